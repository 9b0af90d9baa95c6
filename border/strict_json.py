"""JSON from outside, read strictly and within bounds. The one reader for all JSON that clients and providers send.

The bounds are judged by passes over the bytes before anything is parsed: a body of 8 MiB can spell four million values
of 64 bytes and more each. Reading takes a time and a memory that grow with the size of the body and nothing else.
"""

import json
import math
import re
from array import array
from collections.abc import Callable
from itertools import accumulate
from typing import Any

MOST_NODES = 300_000
"""Values and names in one document: ten times what the longest conversations of coding agents have, whose bytes are
text. So many are parsed and read in less than half a second."""
MOST_DEPTH = 512
"""Levels of nesting: schemas of tools have about 30. The same on every version of Python, each of which has a limit of
its own to what it can parse, the lowest of them at about 900."""
BYTES_A_NODE = 120
"""The memory that a value or a name takes at most while it is parsed, beside its text: an object with one member takes
about 200 bytes for two of them. `tests/border/test_strict_json.py` measures the dearest shapes."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+', re.DOTALL)
_BRACKET_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_BEYOND_16_BITS = bytes(set(range(256)) - set(range(0xF0, 0xF8)))
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF_OF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


class InvalidJson(ValueError):
    """What is wrong with a document, in a sentence. `name` is the member that is to blame, if one is."""

    def __init__(self, message: str, *, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


def check_bounds(body: bytes) -> int:
    """How many values and names a document has at most. Raises `InvalidJson` for too many, or too many levels.

    Judges the bytes alone, and parses nothing. What no valid document can hold may count too.
    """
    openings = body.count(b"[") + body.count(b"{")
    nodes = openings + body.count(b",") + body.count(b":")
    if openings <= MOST_DEPTH and nodes < MOST_NODES:  # Even if all of it stood outside of the texts.
        return nodes + 1
    # Every quote but an escaped one begins or ends a text.
    if (body.count(b'"') - body.count(b'\\"')) // 2 > MOST_NODES:
        raise _too_many()
    bare = _STRING.sub(b"", body)
    nodes = bare.count(b"[") + bare.count(b"{") + bare.count(b",") + bare.count(b":")
    if nodes >= MOST_NODES:
        raise _too_many()
    if max(accumulate(array("b", bare.translate(_BRACKET_STEPS, _NO_BRACKETS))), default=0) > MOST_DEPTH:
        raise InvalidJson("The body is nested too deeply.")
    return nodes + 1


def _too_many() -> InvalidJson:
    return InvalidJson(f"The body has more than {MOST_NODES:,} values and names.")


def parsed_size(body: bytes, nodes: int) -> int:
    """An upper bound of the memory, in bytes, that parsing takes beside the body: its text, and what is made of it.

    Python keeps a text in 1, 2 or 4 bytes a character, by the largest character in it.
    """
    if body.isascii() and b"\\u" not in body:
        width = 1
    else:
        width = 4 if b"\\ud" in body or b"\\uD" in body or body.translate(None, _BEYOND_16_BITS) else 2
    return 2 * width * len(body) + BYTES_A_NODE * nodes


def parse(
    body: bytes,
    *,
    parse_float: Callable[[str], Any] | None = None,
    refuses_half_characters: bool = False,
    is_within_bounds: bool = False,
) -> Any:
    """The value of a JSON document within the bounds. Raises `InvalidJson` for anything else, saying what is wrong.

    Refused beside what is no JSON: a name that occurs twice in an object, since parsers differ in which one wins; NaN
    and infinities; numbers that no double and no integer of Python's holds. `parse_float` makes numbers with a point or
    an exponent, and may raise `ArithmeticError`. `refuses_half_characters`: half of a surrogate pair, which JSON can
    spell and UTF-8 cannot, so that such a text can be neither stored nor answered. `is_within_bounds`: `check_bounds`
    has been asked already.
    """
    if not is_within_bounds:
        check_bounds(body)
    if refuses_half_characters and _has_half_character(body):
        raise InvalidJson("The body has half of a surrogate pair, which is no character.")
    decoder = _DECODER if parse_float is None else _decoder(parse_float)
    try:
        return decoder.decode(body.decode("utf-8"))
    except InvalidJson:
        raise
    except UnicodeDecodeError as error:
        raise InvalidJson("The body is not UTF-8 text.") from error
    except json.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidJson("The body is nested too deeply.") from error
    except ArithmeticError as error:
        raise InvalidJson("The body holds a number that is too large.") from error
    except ValueError as error:  # An integer with more digits than Python converts.
        raise InvalidJson("The body holds a number with too many digits.") from error


def _has_half_character(body: bytes) -> bool:
    if not _HALF_OF_A_PAIR.search(body):
        return False
    escapes = _PAIR.sub(b"_", body.replace(b"\\\\", b"_"))  # Without escaped backslashes, which begin no escape.
    return _HALF_OF_A_PAIR.search(escapes) is not None


def _no_constant(name: str) -> None:
    raise InvalidJson(f"{name} is not valid JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidJson(f"The number {text[:40]} is too large.")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        duplicate = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidJson(f"The name {duplicate[:100]!r} occurs twice in one JSON object.", name=duplicate[:100])
    return members


def _decoder(parse_float: Callable[[str], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_no_constant, parse_float=parse_float, object_pairs_hook=_unique)


_DECODER = _decoder(_finite)
