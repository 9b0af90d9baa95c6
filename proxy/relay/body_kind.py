"""What an answer's body is, by its first bytes, whatever its header calls it. Pure."""

import re
from enum import Enum

_EVENTS = re.compile(rb"(?:data|event|id|retry)[ \t]*(?::|\r?\n)|:")
_FIELDS = (b"data:", b"event:", b"id:", b"retry:")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BodyKind(Enum):
    """What a client of an API can be told, and what not."""

    OBJECT = "a JSON object"
    EVENTS = "server-sent events"
    OTHER = "neither a JSON object nor server-sent events"


def kind_of_body(start: bytes) -> BodyKind | None:
    """The kind of a body that begins with `start`; None if more of it must come to tell."""
    start = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if start.startswith(b"{"):
        return BodyKind.OBJECT
    if _EVENTS.match(start):
        return BodyKind.EVENTS
    return None if any(field.startswith(start) for field in _FIELDS) else BodyKind.OTHER
