"""What an answer tells of the operator's own costs is left out of what customers get; other bytes are kept. Pure."""

import json
import re
from collections.abc import Callable
from typing import Any

from proxy.formats.json_body import JsonObject

_COST = re.compile(
    r"cost|price|pricing|spen[dt]|byok|budget|credit|markup|discount|margin|usd|dollar|charge|billed|invoice|\bfees?\b"
)
_PLAIN_USAGE = frozenset(
    (
        *("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens"),
        *("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details"),
        *("cached_tokens", "audio_tokens", "image_tokens", "text_tokens", "reasoning_tokens", "thinking_tokens"),
        *("accepted_prediction_tokens", "rejected_prediction_tokens", "cache_creation_tokens", "cache_write_tokens"),
        *("cache_creation", "cache_creation_input_tokens", "cache_read_input_tokens", "server_tool_use"),
        *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "cache_creation_token_details"),
        *("web_search_requests", "web_fetch_requests", "service_tier", "speed", "inference_geo"),
    )
)
"""Names that are no costs, so that a usual answer is seen to tell none at little cost."""

_PLAIN_ANSWER = frozenset(
    (
        *("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "provider"),
        *("type", "role", "content", "stop_reason", "stop_sequence", "stop_details", "container", "index"),
    )
)

_decode = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\n\r]*")

Keeps = Callable[[str], "Keeps | bool"]
"""Whether a member of an object is kept, by its name: True, False, or the rule for the members of its value."""


def _of_usage(name: str) -> Keeps | bool:
    return _of_usage if not _is_cost(name) else False


def _of_answer(name: str) -> Keeps | bool:
    if name == "usage":
        return _of_usage
    if name.startswith(("_", "litellm", "x-litellm")) or _is_cost(name):
        return False
    return _of_answer if name in ("message", "response", "x_groq", "choices", "delta") else True


def _is_cost(name: str) -> bool:
    return name not in _PLAIN_USAGE and _COST.search(name.lower()) is not None


def tells_costs(message: JsonObject) -> bool:
    """Whether an answer, or a stream's event, tells something of the operator's costs."""
    usage = message.get("usage")
    if usage is not None and not _is_plain_usage(usage) and _has_left_out(usage, _of_usage):
        return True
    if not message.keys() <= _PLAIN_ANSWER and _has_left_out(message, _of_answer):
        return True
    choices = message.get("choices")
    return isinstance(choices, list) and any("usage" in choice for choice in choices if isinstance(choice, dict))


def _is_plain_usage(usage: Any) -> bool:
    return isinstance(usage, dict) and all(
        name in _PLAIN_USAGE and (not isinstance(inner, dict | list) or _is_plain_usage(inner))
        for name, inner in usage.items()
    )


def _has_left_out(value: Any, keeps: Keeps) -> bool:
    if isinstance(value, list):
        return any(_has_left_out(item, keeps) for item in value)
    if not isinstance(value, dict):
        return False
    for name, inner in value.items():
        kept = keeps(name)
        if kept is False or (kept is not True and isinstance(inner, dict | list) and _has_left_out(inner, kept)):
            return True
    return False


def without_costs(data: bytes) -> bytes:
    """The JSON text of an answer without what it tells of the operator's costs.

    Raises `ValueError` for what is no JSON object.
    """
    text = data.decode("utf-8", "surrogateescape")
    start = _skip(text, 0)
    parts = [text[:start]]
    try:
        end = _copy(text, start, _of_answer, parts)
    except (ValueError, IndexError, RecursionError) as error:
        raise ValueError("no whole JSON object") from error
    return ("".join(parts) + text[end:]).encode("utf-8", "surrogateescape")


def usage_without_costs(text: str) -> str:
    """The same for text that begins with a usage object, and goes on with whatever follows it."""
    parts: list[str] = []
    position = _copy(text, 0, _of_usage, parts)
    return "".join(parts) + text[position:]


def _copy(text: str, position: int, keeps: Keeps | bool, parts: list[str]) -> int:
    """Copy the value at `position` to `parts`, without the members that are left out; returns where it ends."""
    opening = text[position : position + 1]
    if keeps is True or opening not in ("{", "["):
        end = _decode(text, position)[1]
        parts.append(text[position:end])
        return end
    parts.append(opening)
    closing = "}" if opening == "{" else "]"
    start = position + 1  # Where the item with the space before it begins.
    is_first = True
    while text[(inner := _skip(text, start))] != closing:
        item_keeps: Keeps | bool = keeps
        value_at = inner
        if opening == "{":
            name, after = _decode(text, inner)
            value_at = _skip(text, _skip(text, after) + 1)  # Behind the colon.
            item_keeps = keeps(name) if callable(keeps) else True
        if item_keeps is False:
            end = _decode(text, value_at)[1]
        else:
            parts.append(("" if is_first else ",") + text[start:value_at])
            is_first = False
            end = _copy(text, value_at, item_keeps, parts)
        after_item = _skip(text, end)
        if text[after_item] != ",":
            parts.append(text[end : after_item + 1])
            return after_item + 1
        if item_keeps is not False:
            parts.append(text[end:after_item])
        start = after_item + 1
    parts.append(text[start : inner + 1])
    return inner + 1


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position
