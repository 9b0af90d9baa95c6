"""Strict reading of a JSON request body, and edits of it that leave every other byte as the client sent it."""

import json
import re
from collections.abc import Sequence
from typing import Any

from border import strict_json
from border.strict_json import InvalidJson
from proxy.errors import InvalidRequest

JsonObject = dict[str, Any]


_decode = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\n\r]*+")
_TEXT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_UP_TO_A_BRACKET = re.compile(r'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+([\[\]{}])', re.DOTALL)
_SCALAR = re.compile(r"[^ \t\n\r,\]}]*+")


def parse_object(body: bytes, *, is_within_bounds: bool = False) -> JsonObject:
    """The JSON object in `body`; raises `InvalidRequest` for anything else, naming what is wrong.

    `is_within_bounds`: `border.strict_json.check_bounds` has been asked already.
    """
    try:
        value = strict_json.parse(body, is_within_bounds=is_within_bounds)
    except InvalidJson as error:
        raise InvalidRequest(str(error), param=error.name) from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"The request body must be a JSON object, not {_kind(value)}.")
    return value


def parse_answer(data: bytes) -> JsonObject:
    """The JSON object that an upstream answered; raises `ValueError`. Lenient: what the client can read may pass."""
    try:
        answer = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    return answer


def outline(parsed: JsonObject, *, has_tools: bool) -> JsonObject:
    """What `with_members` and `prepare` of a format need of a body: the names of its members, and a few small values.

    `has_tools`: with the list of tools, which is needed where some are left out.
    """
    kept = ("stream_options", "reasoning", "store", *(("tools",) if has_tools else ()))
    return {name: value if name in kept or _is_short_list(name, value) else None for name, value in parsed.items()}


def _is_short_list(name: str, value: object) -> bool:
    """Whether it is the short list of what an answer is to include: it may hold anything."""
    return name == "include" and isinstance(value, list) and len(value) <= 20 and all(map(_is_short_text, value))


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 100


ABSENT = object()
"""As a change of a member: it is left out."""


def without_tools(parsed: JsonObject, positions: Sequence[int]) -> JsonObject:
    """The changes that leave out the tools at these positions. No list of none is left, nor a choice among none."""
    if not positions:
        return {}
    removed = frozenset(positions)
    kept = [tool for position, tool in enumerate(parsed["tools"]) if position not in removed]
    if kept:
        return {"tools": kept}
    return {name: ABSENT for name in ("tools", "tool_choice", "parallel_tool_calls") if name in parsed}


def with_members(body: bytes, parsed: JsonObject, changes: JsonObject) -> bytes:
    """`body` with the members `changes`: new ones put in front, replaced ones where they stood; other bytes are kept.

    `parsed` has the names of what `parse_object` made of it; what the other members say does not matter.
    """
    replaced = {name: value for name, value in changes.items() if name in parsed}
    if replaced:
        body = _with_values(body.decode(), replaced).encode()
    added = {name: value for name, value in changes.items() if name not in parsed}
    if added:
        start = body.index(b"{") + 1
        separator = b"," if parsed else b""
        body = body[:start] + _compact(added)[1:-1].encode() + separator + body[start:]
    return body


def _with_values(text: str, values: JsonObject) -> str:
    """The text of a JSON object with other values for some of its own members, or without them."""
    parts, kept_from = [], 0
    comma, to_find = _skip_space(text, 0), set(values)  # The brace stands where a comma stands before other members.
    while to_find:
        name, position = _decode(text, _skip_space(text, comma + 1))
        start = _skip_space(text, _skip_space(text, position) + 1)  # After the colon.
        position = _end_of_value(text, start)
        next_comma = _skip_space(text, position)
        if name in to_find:
            to_find.remove(name)
            if values[name] is not ABSENT:
                parts += [text[kept_from:start], _compact(values[name])]
                kept_from = position
            elif text[comma] == "," and comma >= kept_from:
                parts.append(text[kept_from:comma])
                kept_from = position
            else:  # The first member that is left: what goes with it is the comma behind it.
                parts.append(text[kept_from : comma + 1] if comma >= kept_from else "")
                kept_from = next_comma + (text[next_comma] == ",")
        comma = next_comma
    return "".join([*parts, text[kept_from:]])


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _end_of_value(text: str, position: int) -> int:
    """Where the value ends that begins here, in text that is known to be JSON. Nothing of it is parsed once more."""
    if text[position] not in "[{":
        found = (_TEXT if text[position] == '"' else _SCALAR).match(text, position)
        return found.end() if found else position
    depth = 0
    while found := _UP_TO_A_BRACKET.match(text, position):
        position = found.end()
        depth += 1 if found[1] in "[{" else -1
        if depth == 0:
            break
    return position


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def refuse_variants(parsed: JsonObject, names: frozenset[str]) -> None:
    """Refuse a name that differs from one of `names` only by case: a parser that ignores case takes it for that one.

    (Go's does, and then what is done is not what was billed.) Raises `InvalidRequest`.
    """
    for name in parsed:
        if name not in names and name.casefold() in names:
            raise InvalidRequest(f"Write {name.casefold()!r}, not {name!r}.", param=name)


def read_bool(parsed: JsonObject, name: str) -> bool:
    """A flag that may be missing or null (false); raises `InvalidRequest` on another type."""
    value = parsed.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidRequest(f"{name!r} must be true or false, not {_kind(value)}.", param=name)


def read_count(parsed: JsonObject, name: str, *, maximum: int = 2**31 - 1) -> int | None:
    """A whole number from 1 to `maximum`, or None if missing or null; raises `InvalidRequest` on anything else."""
    value = parsed.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name!r} must be a whole number, not {_kind(value)}.", param=name)
    if not 1 <= value <= maximum:
        raise InvalidRequest(f"{name!r} must be from 1 to {maximum}.", param=name)
    return value


def read_inner_count(parsed: JsonObject, name: str, inner: str) -> int:
    """A whole number in an object member; 0 where there is none. Raises `InvalidRequest` on another type."""
    value = parsed.get(name)
    return (read_count(value, inner) or 0) if isinstance(value, dict) else 0


def read_text(parsed: JsonObject, name: str, *, maximum: int = 200) -> str:
    """Required text of 1 to `maximum` characters; raises `InvalidRequest` otherwise."""
    value = parsed.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= maximum:
        raise InvalidRequest(f"{name!r} is required: text of 1 to {maximum} characters.", param=name)
    return value


def read_list(parsed: JsonObject, name: str) -> list[Any]:
    """A required list with at least one item; raises `InvalidRequest` otherwise."""
    value = parsed.get(name)
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"{name!r} is required: a list with at least one item.", param=name)
    return value


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
