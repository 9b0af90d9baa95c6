"""What the fake upstream answers in the shape of `/v1/responses`: a reply as items, whole and in events. Pure."""

import json
from collections.abc import Iterator
from typing import cast

from development.fake_upstream.replies import OpenAI, Reply, Stream, argument_parts, distort, sse_event
from development.fake_upstream.tool_calls import JsonObject, tool_name


def as_chat(payload: JsonObject) -> JsonObject:
    """A Responses request as `build_reply` reads requests: its items as messages, its tools by their names."""
    asked = payload.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return {
        **payload,
        "messages": [_as_message(item) for item in items] if isinstance(items, list) else items,
        "system": payload.get("instructions"),
        "max_tokens": payload.get("max_output_tokens"),
        "tools": _client_tools(payload),
    }


def _client_tools(payload: JsonObject) -> list[JsonObject]:
    return [tool for tool in payload.get("tools") or [] if tool.get("type") in ("function", "custom")]


def _as_message(item: object) -> object:
    if not isinstance(item, dict) or "role" in item:
        return item
    role = "tool" if str(item.get("type")).endswith("_output") else "item"
    return {"role": role, "content": item.get("output") or item.get("arguments") or item.get("input") or ""}


class Responses:
    """The shape of `/v1/responses`."""

    broke = OpenAI.broke

    @staticmethod
    def error(status: int, message: str) -> JsonObject:
        return OpenAI.error(status, message)

    @staticmethod
    def usage(reply: Reply) -> JsonObject | None:
        details = {"cached_tokens": reply.directives.cached_tokens or 0}
        if reply.directives.cache_creation_tokens is not None:
            details["cache_write_tokens"] = reply.directives.cache_creation_tokens
        usage = {
            "input_tokens": reply.prompt_tokens,
            "input_tokens_details": details,
            "output_tokens": reply.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 1 if reply.directives.reasoning else 0},
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        }
        return cast(JsonObject | None, distort(usage, reply.directives.usage))

    @classmethod
    def body(cls, reply: Reply, payload: JsonObject) -> JsonObject:
        output = [] if reply.directives.failed else list(_items(reply, payload))
        return cls._response(reply, payload, cls._status(reply), output)

    @classmethod
    def stream(cls, reply: Reply, payload: JsonObject) -> Stream:
        begun = cls._response(reply, payload, "in_progress", [])
        head: list[JsonObject] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        chunks: list[list[JsonObject]] = []
        before, output = head, []
        for index, item in enumerate(_items(reply, payload)):
            start, deltas, end = _events_of_item(reply, item, index)
            before += start
            if item["type"] == "reasoning":  # Its few pieces are no words of the reply.
                before += [*deltas, *end]
            else:
                chunks += [[delta] for delta in deltas]
                before = chunks[-1] if chunks else before
                before += end
            output.append(item)
        status = cls._status(reply)
        response = cls._response(reply, payload, status, [] if status == "failed" else output)
        error = cls.error(500, "The fake upstream was told to fail.")
        numbers = iter(range(1_000_000))
        return Stream(
            head=_numbered(head, numbers),
            chunks=[_numbered(chunk, numbers) for chunk in chunks],
            tail=_numbered([{"type": f"response.{status}", "response": response}], numbers),
            error=_numbered([{"type": "error", **error, **error["error"] | {"type": "error"}}], numbers),
        )

    @staticmethod
    def _status(reply: Reply) -> str:
        if reply.directives.failed:
            return "failed"
        return "incomplete" if reply.is_cut_by_limit or reply.directives.incomplete else "completed"

    @classmethod
    def _response(cls, reply: Reply, payload: JsonObject, status: str, output: list[JsonObject]) -> JsonObject:
        reason = "max_output_tokens" if reply.is_cut_by_limit else "content_filter"
        usage = None if status == "in_progress" else cls.usage(reply)
        return {
            "id": f"resp_{reply.id}",
            "object": "response",
            "created_at": reply.created,
            "status": status,
            "error": {"code": "server_error", "message": "Told to fail."} if status == "failed" else None,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "instructions": payload.get("instructions"),
            "max_output_tokens": payload.get("max_output_tokens"),
            "model": reply.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": payload.get("store", True),
            "text": payload.get("text") or {"format": {"type": "text"}},
            "tool_choice": payload.get("tool_choice", "auto"),
            "tools": payload.get("tools") or [],
            "usage": usage,
            "metadata": payload.get("metadata") or {},
        }


def _items(reply: Reply, payload: JsonObject) -> Iterator[JsonObject]:
    """The items of the output: reasoning, then calls of a tool, a refusal, or the text."""
    if reply.directives.reasoning:
        item = {"id": f"rs_{reply.id}", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm, well."}]}
        is_sealed = "reasoning.encrypted_content" in (payload.get("include") or [])
        yield item | ({"encrypted_content": "c2VhbGVk"} if is_sealed else {})
    if reply.tool is not None:
        custom = {tool_name(tool) for tool in _client_tools(payload) if tool["type"] == "custom"}
        for index in range(reply.directives.calls):
            call = {"call_id": f"call_{index}_{reply.id}", "name": reply.tool.name, "status": "completed"}
            if reply.tool.name in custom:
                yield {"id": f"ctc_{index}_{reply.id}", "type": "custom_tool_call", **call, "input": reply.text}
            else:
                arguments = "".join(argument_parts(reply))
                yield {"id": f"fc_{index}_{reply.id}", "type": "function_call", **call, "arguments": arguments}
        return
    part = {"type": "output_text", "text": _text_of(reply, payload), "annotations": [], "logprobs": []}
    if reply.directives.refusal:
        part = {"type": "refusal", "refusal": reply.text}
    yield {
        "id": f"msg_{reply.id}",
        "type": "message",
        "status": "incomplete" if reply.is_cut_by_limit else "completed",
        "role": "assistant",
        "content": [part],
    }


def _text_of(reply: Reply, payload: JsonObject) -> str:
    """The text; where the request asks for JSON of a schema, an object with it in every member."""
    wanted = (payload.get("text") or {}).get("format") or {}
    if wanted.get("type") != "json_schema":
        return reply.text
    return json.dumps(dict.fromkeys((wanted.get("schema") or {}).get("properties", ()), reply.text))


def _events_of_item(
    reply: Reply, item: JsonObject, index: int
) -> tuple[list[JsonObject], list[JsonObject], list[JsonObject]]:
    """How an item begins, its pieces, and how it ends."""
    place = {"item_id": item["id"], "output_index": index}
    added = {"type": "response.output_item.added", "output_index": index}
    done: JsonObject = {"type": "response.output_item.done", "output_index": index, "item": item}
    if item["type"] in ("function_call", "custom_tool_call"):
        name = "arguments" if item["type"] == "function_call" else "input"
        kind = f"response.{item['type']}_{name}"
        parts = argument_parts(reply) if name == "arguments" else reply.pieces
        return (
            [{**added, "item": {**item, name: "", "status": "in_progress"}}],
            [{"type": f"{kind}.delta", **place, "delta": part} for part in parts],
            [{"type": f"{kind}.done", **place, name: item[name]}, done],
        )
    if item["type"] == "reasoning":
        part, kind, name, member = item["summary"][0], "reasoning_summary_text", "reasoning_summary_part", "summary"
    else:
        part, name, member = item["content"][0], "content_part", "content"
        kind = "refusal" if part["type"] == "refusal" else "output_text"
    place["summary_index" if member == "summary" else "content_index"] = 0
    text_name = "refusal" if kind == "refusal" else "text"
    text = part[text_name]
    pieces = reply.pieces if text == reply.text else [text[start : start + 4] for start in range(0, len(text), 4)]
    more: JsonObject = {"logprobs": []} if kind == "output_text" else {}
    return (
        [
            {**added, "item": {**item, member: []} | ({"status": "in_progress"} if "status" in item else {})},
            {"type": f"response.{name}.added", **place, "part": {**part, text_name: ""}},
        ],
        [{"type": f"response.{kind}.delta", **place, "delta": piece, **more} for piece in pieces],
        [
            {"type": f"response.{kind}.done", **place, text_name: text, **more},
            {"type": f"response.{name}.done", **place, "part": part},
            done,
        ],
    )


def _numbered(events: list[JsonObject], numbers: Iterator[int]) -> bytes:
    return b"".join(sse_event({**data, "sequence_number": next(numbers)}) for data in events)
