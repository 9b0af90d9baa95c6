"""Account names by a part of them, whatever their capitals and diacritics: "nguyen" finds "Nguyễn Văn A".

Names are the keys of adopted documents, which have no normalised name beside them. So the index of the keys is read,
and no document, as far as a short time allows.
"""

import re
import time
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

from accounts.models import Account
from mongo.collections import collection_of

SCAN_SECONDS = 0.4
PART = 25_000
"""Names that are looked at with one question."""
LEAST_CHARACTERS = 2
MOST_CHARACTERS = 60
_WITHOUT_STROKE = str.maketrans({"đ": "d", "Đ": "D", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "ı": "i"})
"""Letters that Unicode does not take apart."""
_LAST_FOLDED = 0x2000
"""The letters of alphabets with capitals and diacritics stand before this code point."""
_BY_KEY: dict[str, Any] = {
    "projection": {"_id": 1},
    "sort": {"_id": 1},
    "hint": "_id_",
    "max_time_ms": 3_000,
}
"""Answered by the index alone."""
_BETWEEN_WORDS = re.compile(r"[\s._-]+")
_BETWEEN_LETTERS = "[\u0300-\u036f\\s._-]*"
"""Diacritics that stand apart from their letter, and what divides words: people type names together, too."""


@dataclass(frozen=True)
class NamesFound:
    """Names in order. `stopped_at`: the name after which none was looked at; None if all were."""

    names: list[str]
    stopped_at: str | None


def fold(text: str) -> str:
    """A name without capitals, diacritics, and what stands between its words."""
    plain = unicodedata.normalize("NFKD", text.translate(_WITHOUT_STROKE))
    return _BETWEEN_WORDS.sub("", "".join(one for one in plain if not unicodedata.combining(one)).casefold())


def find_names(text: str, *, most: int, after: str = "", seconds: float | None = None) -> NamesFound:
    """At most `most` names of accounts that contain `text`, of those after the name `after`. Reads only.

    In parts, each answered by the index alone: when the time is over it is known how far it came.
    """
    pattern, last, names = pattern_of(text), after, list[str]()
    until = time.monotonic() + (SCAN_SECONDS if seconds is None else seconds)
    while pattern:
        part_of = {"$gt": last}
        if end := _end_of_part(last):
            part_of["$lte"] = end
        found = collection_of(Account).find({"_id": {**part_of, "$regex": pattern}}, **_BY_KEY)
        names += [document["_id"] for document in found.limit(most - len(names))]
        if len(names) == most:
            return NamesFound(names, names[-1])
        if end is None or time.monotonic() >= until:
            return NamesFound(names, end)
        last = end
    return NamesFound([], None)


def _end_of_part(last: str) -> str | None:
    """The name that ends the part after `last`; None if fewer than a part are left."""
    found = collection_of(Account).find({"_id": {"$gt": last}}, **_BY_KEY).skip(PART - 1).limit(1)
    return next((str(document["_id"]) for document in found), None)


def pattern_of(text: str) -> str:
    """The regular expression of names that contain `text`; empty for what is too short to look for."""
    folded = fold(text[:MOST_CHARACTERS])
    if len(folded) < LEAST_CHARACTERS:
        return ""
    return _BETWEEN_LETTERS.join(_class_of(letter) for letter in folded)


def _class_of(letter: str) -> str:
    """What may stand in a name for one folded letter."""
    found = _spellings().get(letter, letter)
    return re.escape(found) if len(found) == 1 else f"[{found}]"


@cache
def _spellings() -> dict[str, str]:
    """Every folded letter, and all characters that fold to it: the regular expressions of the database know none."""
    found: dict[str, str] = {}
    for number in range(_LAST_FOLDED):
        character = chr(number)
        if character.isalpha() and len(folded := fold(character)) == 1:
            found[folded] = found.get(folded, "") + character
    return found
