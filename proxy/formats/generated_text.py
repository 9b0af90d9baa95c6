"""How much text a model wrote, for estimates: UTF-8 bytes of what it says, not of how JSON spells it. Pure."""

import re
from collections.abc import Sequence

_ESCAPED_LETTERS = (
    (re.compile(rb"\\u00[0-7]"), 5),
    (re.compile(rb"\\u(?:0[0-7]|[dD][89a-fA-F])[0-9a-fA-F]"), 4),
    (re.compile(rb"\\u[0-9a-fA-F]{3}"), 3),
)
"""Letters spelled by their numbers, and how many bytes fewer than those six they are in UTF-8; half of a pair is half
of four."""
_TEXT = rb'((?:[^"\\]++|\\.)*+)("?)'
_REST_OF_TEXT = re.compile(_TEXT, re.DOTALL)
_CUT_NAME = re.compile(rb'"[a-z_]{0,24}(?:"[ \t\r\n]{0,8}(?::[ \t\r\n]{0,8})?)?\Z')
_LONGEST_CUT_NAME = 64


def decoded_size(spelled: bytes) -> int:
    """The UTF-8 bytes of JSON text once its escapes are decoded: `\\u1ebf` is one letter of three bytes, not six."""
    if b"\\" not in spelled:
        return len(spelled)
    # An escaped backslash is one byte; without it, every backslash left begins another escape.
    rest = spelled.replace(b"\\\\", b"_")
    escapes = rest.count(b"\\")
    if b"\\u" not in rest:
        return len(rest) - escapes
    size = len(rest)
    for letters, spared in _ESCAPED_LETTERS:
        # By replacing, which keeps no list of millions of matches.
        rest, count = letters.subn(b"", rest)
        size -= spared * count
        escapes -= count
    return size - escapes


def text_size(text: str) -> int:
    """UTF-8 bytes of a text; half a surrogate pair, which JSON can hold, counts too."""
    return len(text.encode("utf-8", "surrogatepass"))


class TextMeter:
    """Counts the generated text in JSON that passes in pieces, by the names of the members that hold it.

    `names` are counted each; of `copies`, which vendors report side by side in several spellings, the longest is.
    `copy_beside` is a name that is one of the copies in an answer that has a certain member.
    """

    def __init__(
        self, names: Sequence[str], *, copies: Sequence[str] = (), copy_beside: tuple[str, str] | None = None
    ) -> None:
        self._sizes: dict[bytes, int] = dict.fromkeys((name.encode() for name in (*names, *copies)), 0)
        self._copies = [name.encode() for name in copies]
        self._pattern = _pattern_of((*names, *copies))
        self._copy, self._beside = (name.encode() for name in copy_beside or ("", ""))
        self._open: bytes | None = None
        self._carried = b""

    @property
    def uses(self) -> dict[str, int]:
        """How often tools of the upstream were used, by the names of price rows, where a format's items tell it."""
        return {}

    @property
    def size(self) -> int:
        """UTF-8 bytes of text so far."""
        copies = [self._sizes[name] for name in self._copies]
        return sum(self._sizes.values()) - sum(copies) + max(copies, default=0)

    def feed(self, data: bytes) -> None:
        """Count what a piece holds. A text, or a name, may be cut anywhere."""
        if self._carried:
            data, self._carried = self._carried + data, b""
        if self._beside and self._beside in data:
            self._copies.append(self._copy)
            self._beside = b""
        if self._open is not None:
            data = self._finish_open_text(data)
        sizes, size_of = self._sizes, decoded_size if b"\\" in data else len
        found = self._pattern.findall(data)
        for name, text, _ in found:
            sizes[name] += size_of(text)
        if found and not found[-1][2]:
            self._open = found[-1][0]
            self._carried = _half_an_escape(data)
        elif data[-1:] != b"\n" and (cut := _CUT_NAME.search(data[-_LONGEST_CUT_NAME:])):
            self._carried = cut[0]

    def _finish_open_text(self, data: bytes) -> bytes:
        """Count the rest of a text that began in an earlier piece; returns what follows it."""
        found = _REST_OF_TEXT.match(data)
        if found is None or self._open is None:
            return data
        self._sizes[self._open] += decoded_size(found[1])
        if found[2]:
            self._open = None
            return data[found.end() :]
        self._carried = _half_an_escape(data)
        return b""


def _half_an_escape(data: bytes) -> bytes:
    """The backslash at the end of a piece whose letter comes with the next one."""
    backslashes = len(data) - len(data.rstrip(b"\\"))
    return b"\\" * (backslashes % 2)


_patterns: dict[tuple[str, ...], re.Pattern[bytes]] = {}


def _pattern_of(names: tuple[str, ...]) -> re.Pattern[bytes]:
    if names not in _patterns:
        _patterns[names] = re.compile(rb'"(%b)"\s*+:\s*+"%b' % ("|".join(names).encode(), _TEXT), re.DOTALL)
    return _patterns[names]
