"""Order codes: made, and found again in what banks make of a transfer's memo. Pure: no database, no clock.

A code is a prefix of 3 letters, 7 random characters of Crockford's base32 and a check character: 11 characters, no
hyphen (banks drop hyphens), no I, L, O or U (people mistake them). One wrong character and two swapped neighbours
are always noticed, and a random text of the right length passes once in 32 times, so the exact look-up decides.
"""

import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_LENGTH = 7
PREFIX_LENGTH = 3
CODE_LENGTH = PREFIX_LENGTH + RANDOM_LENGTH + 1

_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_LOOKALIKES = str.maketrans("OIL", "011")
_STROKED_D = str.maketrans({"đ": "d", "Đ": "D"})  # NFKD leaves the stroke of the Vietnamese d.
_NOT_KEPT = re.compile(r"[^A-Z0-9]")
# The replaced system's codes: TROLL{credits}D{epoch ms}{up to 4 base36}; a lookahead finds overlapping ones.
_OLD_CODE = re.compile(r"(?=(TROLL[0-9]{1,4}D[0-9]{13})([0-9A-Z]{0,4}))")


def check_character(text: str) -> str:
    """The check character of base32 `text`: a polynomial over GF(32), so all single errors and swaps show.

    Raises `KeyError` for a character outside the alphabet.
    """
    value = 0
    for character in text:
        value = _times_x(value) ^ _VALUES[character]
    return ALPHABET[_times_x(value)]


def _times_x(value: int) -> int:
    """Multiply by x in GF(32) with the primitive polynomial x⁵ + x² + 1."""
    doubled = value << 1
    return doubled ^ 0b100101 if doubled & 0b100000 else doubled


def generate_code(prefix: str) -> str:
    """A new random code (35 bits). The database's unique key says whether it is really new."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return prefix + text + check_character(text)


def is_valid_prefix(prefix: str) -> bool:
    """Whether codes can begin with `prefix`: three capital letters."""
    return re.fullmatch(r"[A-Z]{3}", prefix) is not None


def normalise(text: str) -> str:
    """Reduce a memo to `A-Z0-9`: no diacritics, spaces or punctuation, all capitals."""
    plain = unicodedata.normalize("NFKD", text.translate(_STROKED_D))
    return _NOT_KEPT.sub("", plain.upper())


def find_candidates(texts: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Every code that may stand in one of the texts, each once, in order: what to look up in the database.

    Codes of the present form have passed their check character; old `TROLL…` codes are given with every possible
    length of their random end, because banks glue text behind them.
    """
    found: dict[str, None] = {}
    for text in texts:
        normal = normalise(text)
        found.update(dict.fromkeys(_new_codes(normal, prefix)))
        found.update(dict.fromkeys(_old_codes(normal)))
    return tuple(found)


def _new_codes(normal: str, prefix: str) -> Iterable[str]:
    readable = normal.translate(_LOOKALIKES)
    readable_prefix = prefix.translate(_LOOKALIKES)
    start = readable.find(readable_prefix)
    while start != -1:
        code = readable[start + PREFIX_LENGTH : start + CODE_LENGTH]
        if len(code) == RANDOM_LENGTH + 1 and all(character in _VALUES for character in code):
            random_part, check = code[:-1], code[-1]
            if check_character(random_part) == check:
                yield prefix + code
        start = readable.find(readable_prefix, start + 1)


def _old_codes(normal: str) -> Iterable[str]:
    for match in _OLD_CODE.finditer(normal):
        base, end = match.groups()
        yield from (base + end[:length] for length in range(len(end), -1, -1))


@dataclass(frozen=True)
class Code:
    """A code that is looked for in many texts, and its runs of three characters."""

    text: str
    triples: frozenset[str]

    @classmethod
    def of(cls, code: str) -> "Code":
        """Characters that people mistake for one another are the same."""
        text = code.translate(_LOOKALIKES)
        return cls(text, _triples(text))


@dataclass(frozen=True)
class CodeFinder:
    """A normalised text that many codes are looked for in: where each stands best, and how well."""

    text: str
    triples: frozenset[str]

    @classmethod
    def of(cls, normal: str) -> "CodeFinder":
        """The finder of a text that `normalise` made. Characters that people mistake for one another are the same."""
        text = normal.translate(_LOOKALIKES)
        return cls(text, _triples(text))

    def count_errors(self, code: Code, *, most: int) -> int | None:
        """How many characters of `code` are wrong, missing or too many where it stands best. None if above `most`."""
        # An error spoils three of the code's triples at most, so that many are left; this sorts nearly all codes out.
        if len(code.triples & self.triples) < max(len(code.triples) - 3 * most, 1):
            return None
        best = len(code.text)
        column = list(range(best + 1))  # The errors of each beginning of the code that ends at this place of the text.
        for character in self.text:
            diagonal, column[0] = column[0], 0
            for index, wanted in enumerate(code.text, start=1):
                errors = min(diagonal + (character != wanted), column[index] + 1, column[index - 1] + 1)
                diagonal, column[index] = column[index], errors
            best = min(best, column[-1])
        return best if best <= most else None


def _triples(text: str) -> frozenset[str]:
    return frozenset(text[start : start + 3] for start in range(len(text) - 2))


def count_errors(code: str, normal: str, *, most: int) -> int | None:
    """How well one `code` stands in a normalised text: see `CodeFinder.count_errors`."""
    return CodeFinder.of(normal).count_errors(Code.of(code), most=most)
