"""What the fake upstream answers: from a request and its directives to replies in both API formats. Pure."""

import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from http import HTTPStatus
from typing import Any, Self, cast

from development.fake_upstream.tool_calls import JsonObject, ToolCall, choose_call, count_results, tool_name

MODELS = ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")
DEFAULT_WORDS = 16

_MAX_WORD_CHARACTERS = 40
_OUTPUT_COUNTS = {"completion_tokens", "output_tokens", "total_tokens"}
_USAGE_VALUES = {"zero": 0, "negative": -5, "absurd": 10**12, "fraction": 1.5, "text": "many", "null": None}


class BadRequestError(Exception):
    """A real upstream answers the request with 400, or it has an unknown directive."""


@dataclass(frozen=True)
class Directives:
    """What the last user message asks this server to do; see the table of the module."""

    status: int | None = None
    retry_after: int | None = None
    broke: bool = False
    once: bool = False
    stray: bool = False
    delay: float = 0
    chunks: int | None = None
    chunk_delay: float = 0
    big: int | None = None
    tool: bool = False
    tools: int | None = None
    call: str | None = None
    calls: int = 1
    reasoning: bool = False
    refusal: bool = False
    incomplete: bool = False
    failed: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_creation_tokens: int | None = None
    usage: str | None = None
    gzip: bool = False
    garbage: bool = False
    deep: bool = False
    stream_error: int | None = None
    cut: int | None = None
    stall: int | None = None
    linger: bool = False
    refuse: bool = False

    PATTERN = re.compile(r"\[\[fake ([^]]*)\]\]")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The directives in a text; later ones win. Raises BadRequestError for a directive that does not exist."""
        types = {entry.name: entry.type for entry in fields(cls)}
        values: dict[str, Any] = {}
        for item in " ".join(cls.PATTERN.findall(text)).split():
            name, _, value = item.partition("=")
            try:
                values[name] = True if types[name] is bool else _convert(types[name], value)
            except (KeyError, ValueError):
                raise BadRequestError(f"Unknown directive of the fake upstream: {item}") from None
        if values.get("usage", "missing") not in {"missing", "partial", *_USAGE_VALUES}:
            raise BadRequestError(f"Unknown directive of the fake upstream: usage={values['usage']}")
        return cls(**values)


def _convert(kind: Any, value: str) -> int | float | str:
    if kind in (int, int | None):
        return int(value)
    return float(value) if kind is float else value


@dataclass(frozen=True)
class Reply:
    """What is answered, before it takes the shape of one API."""

    id: str
    model: str
    words: list[str]
    is_cut_by_limit: bool
    choices: int
    tool: ToolCall | None
    prompt_tokens: int
    directives: Directives
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def pieces(self) -> list[str]:
        """The text in the parts in which a stream sends it."""
        return [f" {word}" if index else word for index, word in enumerate(self.words)]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def completion_tokens(self) -> int:
        reported = self.directives.completion_tokens
        return len(self.words) * self.choices if reported is None else reported


@dataclass(frozen=True)
class Stream:
    """Server-sent events: `chunks` has one for each word of the reply, for all choices; the rest frames them."""

    head: bytes
    chunks: list[bytes]
    tail: bytes
    error: bytes


def count_prompt_tokens(payload: JsonObject) -> int:
    """Tokens of the prompt: the UTF-8 bytes of all text in `system` and `messages` over 4, rounded up, at least 1."""
    texts = itertools.chain(
        _texts(payload.get("system")), *(_texts(message.get("content")) for message in payload["messages"])
    )
    return max(1, -(-sum(len(text.encode(errors="replace")) for text in texts) // 4))


def build_reply(payload: JsonObject, reply_id: str) -> Reply:
    """The answer to a request body. Raises BadRequestError where a real upstream answers 400."""
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise BadRequestError("messages: a list of at least one message is needed")
    if not isinstance(payload.get("model"), str):
        raise BadRequestError("model: a string is needed")
    prompt = next((_text(message) for message in reversed(messages) if message.get("role") == "user"), "")
    directives, results = Directives.parse(prompt), 0
    if directives.tools is not None or not Directives.PATTERN.search(prompt):
        directives, results = _lasting_directives(messages)
    limit = _positive(payload, "max_completion_tokens") or _positive(payload, "max_tokens")
    wanted = DEFAULT_WORDS if directives.chunks is None else directives.chunks
    size = wanted if limit is None else min(wanted, limit)
    source = Directives.PATTERN.sub(" ", prompt).split() or ["fake"]
    words = [word[:_MAX_WORD_CHARACTERS] for word in itertools.islice(itertools.cycle(source), size)]
    if directives.big is not None:
        words = ["x" * (directives.big // max(1, size))] * size
    tools = payload.get("tools") or []
    return Reply(
        id=reply_id,
        model=payload["model"],
        words=words,
        is_cut_by_limit=size < wanted,
        choices=_positive(payload, "n") or 1,
        tool=_tool_call(directives, tools, results, words),
        prompt_tokens=count_prompt_tokens(payload) if directives.prompt_tokens is None else directives.prompt_tokens,
        directives=directives,
    )


def _texts(content: object) -> Iterator[str]:
    """Every text in the content of a message: a string, or parts which may hold parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, dict):
        yield from _texts(content.get("text"))
        yield from _texts(content.get("content"))


def _text(message: JsonObject) -> str:
    return " ".join(_texts(message.get("content")))


def _positive(payload: JsonObject, name: str) -> int | None:
    value = payload.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise BadRequestError(f"{name}: a positive integer is needed")
    return value


def _lasting_directives(messages: list[JsonObject]) -> tuple[Directives, int]:
    """The directives of the last user message with `tools`, which last, and how many results of tools came after it.

    In Anthropic's format the results are user messages too; agents put reminders of their own behind them.
    """
    results = 0
    for message in reversed(messages):
        results += count_results(message)
        if message.get("role") == "user" and (directives := Directives.parse(_text(message))).tools is not None:
            return directives, results
    return Directives(), 0


def _tool_call(directives: Directives, tools: list[JsonObject], results: int, words: list[str]) -> ToolCall | None:
    if directives.tools is not None and results < directives.tools:
        names = directives.call.split(",") if directives.call else None
        return choose_call(tools, names, turn=results)
    if directives.tool and tools:
        return ToolCall(tool_name(tools[0]), {"text": " ".join(words)})
    return None


def distort(usage: Any, kind: str | None) -> Any:
    """The usage with every count replaced as the directive `usage` says; None if it is to be missing."""
    if kind is None or kind == "missing":
        return usage if kind is None else None
    if isinstance(usage, dict) and kind == "partial":
        return {name: value for name, value in usage.items() if name not in _OUTPUT_COUNTS}
    if isinstance(usage, dict):
        return {name: distort(value, kind) for name, value in usage.items()}
    return _USAGE_VALUES[kind]


def sse_event(data: JsonObject) -> bytes:
    """One server-sent event; Anthropic's carry their type as the name of the event too."""
    name = f"event: {data['type']}\n" if "type" in data else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


class OpenAI:
    """The shape of `/v1/chat/completions`."""

    broke = "Budget has been exceeded! Current cost: 10.01, Max budget: 10.0"

    @staticmethod
    def error(status: int, message: str) -> JsonObject:
        kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        code = "invalid_api_key" if status == HTTPStatus.UNAUTHORIZED else None
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    @staticmethod
    def usage(reply: Reply) -> JsonObject | None:
        details: JsonObject = {"cached_tokens": reply.directives.cached_tokens or 0}
        if reply.directives.cache_creation_tokens is not None:
            details["cache_creation_tokens"] = reply.directives.cache_creation_tokens
        usage = {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
            "prompt_tokens_details": details,
        }
        return cast(JsonObject | None, distort(usage, reply.directives.usage))

    @classmethod
    def body(cls, reply: Reply, payload: JsonObject) -> JsonObject:
        del payload
        message: JsonObject = {"role": "assistant", "content": reply.text, "refusal": None}
        if reply.tool is not None:
            message |= {
                "content": None,
                "tool_calls": [cls._tool_call(reply.tool, reply, json.dumps(reply.tool.arguments))],
            }
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": cls._finish_reason(reply)}
            for index in range(reply.choices)
        ]
        usage = cls.usage(reply)
        return {
            **cls._frame(reply, "chat.completion"),
            "choices": choices,
            **({} if usage is None else {"usage": usage}),
        }

    @classmethod
    def stream(cls, reply: Reply, payload: JsonObject) -> Stream:
        include_usage = bool((payload.get("stream_options") or {}).get("include_usage"))
        usage = cls.usage(reply) if include_usage else None
        frame = cls._frame(reply, "chat.completion.chunk") | ({"usage": None} if include_usage else {})

        def event(delta: JsonObject, reason: str | None = None, **more: Any) -> bytes:
            return b"".join(
                sse_event({**frame, "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **more})
                for index in range(reply.choices)
            )

        if reply.tool is None:
            start: JsonObject = {"role": "assistant", "content": ""}
            deltas: list[JsonObject] = [{"content": piece} for piece in reply.pieces]
        else:
            start = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": 0, **cls._tool_call(reply.tool, reply, "")}],
            }
            deltas = [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in argument_parts(reply)]
        finish = event({}, cls._finish_reason(reply))
        last = b"" if usage is None else sse_event({**frame, "choices": [], "usage": usage})
        if reply.directives.stray:
            finish, last = event({}, cls._finish_reason(reply), usage=usage), b""
        return Stream(
            head=event(start),
            chunks=[event(delta) for delta in deltas],
            tail=finish + last + b"data: [DONE]\n\n",
            error=sse_event(cls.error(500, "The fake upstream was told to fail.")),
        )

    @staticmethod
    def _frame(reply: Reply, kind: str) -> JsonObject:
        return {"id": f"chatcmpl-{reply.id}", "object": kind, "created": reply.created, "model": reply.model}

    @staticmethod
    def _finish_reason(reply: Reply) -> str:
        return "length" if reply.is_cut_by_limit else "stop" if reply.tool is None else "tool_calls"

    @staticmethod
    def _tool_call(tool: ToolCall, reply: Reply, arguments: str) -> JsonObject:
        function = {"name": tool.name, "arguments": arguments}
        return {"id": f"call_{reply.id}", "type": "function", "function": function}


class Anthropic:
    """The shape of `/v1/messages`."""

    broke = "Your credit balance is too low to access the Anthropic API."

    @staticmethod
    def error(status: int, message: str) -> JsonObject:
        kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
        kinds |= {413: "request_too_large", 422: "invalid_request_error"}
        kinds |= {429: "rate_limit_error", 529: "overloaded_error"}
        return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message}}

    @staticmethod
    def usage(reply: Reply) -> JsonObject | None:
        usage = {
            "input_tokens": reply.prompt_tokens,
            "cache_creation_input_tokens": reply.directives.cache_creation_tokens or 0,
            "cache_read_input_tokens": reply.directives.cached_tokens or 0,
            "output_tokens": reply.completion_tokens,
        }
        return cast(JsonObject | None, distort(usage, reply.directives.usage))

    @classmethod
    def body(cls, reply: Reply, payload: JsonObject) -> JsonObject:
        del payload
        content: JsonObject = {"type": "text", "text": reply.text}
        if reply.tool is not None:
            content = cls._tool_use(reply.tool, reply) | {"input": reply.tool.arguments}
        usage = cls.usage(reply)
        return {
            **cls._frame(reply),
            "content": [content],
            "stop_reason": cls._stop_reason(reply),
            **({} if usage is None else {"usage": usage}),
        }

    @classmethod
    def stream(cls, reply: Reply, payload: JsonObject) -> Stream:
        del payload  # usage is always in Anthropic's streams
        usage = cls.usage(reply)
        # As the real one: the start knows the input, the last delta repeats it with the final, cumulative output.
        first = {} if usage is None else {"usage": usage | ({"output_tokens": 1} if _is_exact(reply) else {})}
        final: JsonObject = {} if usage is None else {"usage": usage}
        final, stray = ({}, final) if reply.directives.stray else (final, {})
        message = {**cls._frame(reply), "content": [], "stop_reason": None, **first}
        if reply.tool is None:
            block: JsonObject = {"type": "text", "text": ""}
            deltas: list[JsonObject] = [{"type": "text_delta", "text": piece} for piece in reply.pieces]
        else:
            block = cls._tool_use(reply.tool, reply) | {"input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in argument_parts(reply)]
        stop = {"stop_reason": cls._stop_reason(reply), "stop_sequence": None}
        return Stream(
            head=sse_event({"type": "message_start", "message": message})
            + sse_event({"type": "content_block_start", "index": 0, "content_block": block})
            + sse_event({"type": "ping"}),
            chunks=[sse_event({"type": "content_block_delta", "index": 0, "delta": delta}) for delta in deltas],
            tail=sse_event({"type": "content_block_stop", "index": 0})
            + sse_event({"type": "message_delta", "delta": stop, **final})
            + sse_event({"type": "message_stop", **stray}),
            error=sse_event(cls.error(500, "The fake upstream was told to fail.")),
        )

    @staticmethod
    def _frame(reply: Reply) -> JsonObject:
        return {"id": f"msg_{reply.id}", "type": "message", "role": "assistant", "model": reply.model}

    @staticmethod
    def _stop_reason(reply: Reply) -> str:
        return "max_tokens" if reply.is_cut_by_limit else "end_turn" if reply.tool is None else "tool_use"

    @staticmethod
    def _tool_use(tool: ToolCall, reply: Reply) -> JsonObject:
        return {"type": "tool_use", "id": f"toolu_{reply.id}", "name": tool.name}


def _is_exact(reply: Reply) -> bool:
    return reply.directives.usage is None


def argument_parts(reply: Reply) -> list[str]:
    """The JSON arguments of the tool call, in as many parts as the reply has words."""
    text = json.dumps(reply.tool.arguments if reply.tool else {})
    count = len(reply.words)
    return [text[len(text) * index // count : len(text) * (index + 1) // count] for index in range(count)]
