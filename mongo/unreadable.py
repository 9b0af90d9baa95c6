"""What an adopted document holds and nobody can read: how it is named, and how an odd `_id` is written as text."""

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bson
from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

ANY_TIME: "CodecOptions[dict[str, Any]]" = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
LONGEST_SHOWN = 80
ODD_ID = re.compile(r"~[0-9a-f]{10,}\Z")
LONGEST_ODD_ID = 2000
"""Characters of the text of an odd `_id`. What is longer is named by a hash, by which nothing can be found."""

_TYPES: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool,), "true or false"),
    ((int, Int64, float, Decimal128), "number"),
    ((str,), "text"),
    ((Code,), "code"),
    ((DBRef,), "reference"),
    ((Mapping,), "object"),
    ((list, tuple), "list"),
    ((bytes, uuid.UUID), "binary data"),
    ((ObjectId,), "object id"),
    ((datetime,), "time"),
    ((DatetimeMS,), "time that is out of range"),
    ((Regex, re.Pattern), "pattern"),
    ((Timestamp,), "timestamp"),
    ((MinKey, MaxKey), "end of all values"),
)


def type_of(value: object) -> str:
    """The kind of a stored value in a word that a person understands."""
    if isinstance(value, Code):  # A text to Python.
        return "code"
    return next((name for types, name in _TYPES if isinstance(value, types)), type(value).__name__)


@dataclass(frozen=True)
class Unreadable:
    """A stored value that its field cannot read: the kind of it, and a bit of it unless it may be a secret."""

    kind: str
    text: str = ""

    @classmethod
    def of(cls, value: object, *, is_secret: bool = False) -> "Unreadable":
        text = "" if is_secret else str(value).replace("\0", "\\0")
        return cls(type_of(value), text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")

    def __str__(self) -> str:
        return f"unreadable: {self.kind} {self.text}".rstrip()


def text_of_id(value: object) -> str:
    """An odd `_id` as text, of letters, digits and `~` alone. `id_of_text` leads back, unless it is too long."""
    text = f"~{bson.encode({'': value}).hex()}"
    return text if len(text) <= LONGEST_ODD_ID else f"~long-{hashlib.sha256(text.encode()).hexdigest()}"


def id_of_text(text: Any) -> Any:
    """The `_id` that a text stands for: the text itself, unless `text_of_id` has made it. What is no text stays."""
    if not isinstance(text, str) or not ODD_ID.match(text):
        return text
    try:
        return bson.decode(bytes.fromhex(text[1:]), ANY_TIME)[""]
    except (ValueError, KeyError, BSONError):
        return text


def is_odd_id(text: object) -> bool:
    """Whether a text stands for an odd `_id`."""
    return isinstance(text, str) and (text.startswith("~long-") or id_of_text(text) is not text)
