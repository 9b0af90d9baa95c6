"""The fake upstream's answers in the two formats without messages: completions of prompts, and embeddings. Pure."""

import base64
import json
import struct
from dataclasses import dataclass, replace
from typing import Any

from development.fake_upstream.replies import BadRequestError, OpenAI, Reply, Stream, build_reply
from development.fake_upstream.tool_calls import JsonObject

DEFAULT_DIMENSIONS = 8
_BYTES_OF_A_NUMBER = 6


@dataclass(frozen=True)
class Completions:
    """The shape of `/v1/completions`. `n` and `best_of` count for each prompt; one of tokens says `token` for each."""

    payload: JsonObject
    broke = OpenAI.broke
    error = staticmethod(OpenAI.error)

    def reply(self, reply_id: str) -> Reply:
        """The answer. Raises BadRequestError where a real upstream answers 400."""
        items = _items(self.payload, "prompt")
        limit = {"max_tokens": self.payload["max_tokens"]} if "max_tokens" in self.payload else {}
        reply = build_reply({"model": self.payload.get("model"), **limit, "messages": _messages(items)}, reply_id)
        candidates = max(self.payload.get("n") or 1, self.payload.get("best_of") or 1)
        return replace(reply, prompt_tokens=_prompt_tokens(items, reply), choices=candidates * len(items))

    def body(self, reply: Reply, payload: JsonObject) -> JsonObject:
        shown = len(_items(payload, "prompt")) * (payload.get("n") or 1)
        choices = [_choice(index, reply.text, _reason(reply)) for index in range(shown)]
        return {**_frame(reply), "choices": choices, **_usage(OpenAI.usage(reply))}

    def stream(self, reply: Reply, payload: JsonObject) -> Stream:
        def events(text: str, reason: str | None = None) -> bytes:
            return b"".join(
                _event({**_frame(reply), "choices": [_choice(index, text, reason)]}) for index in range(reply.choices)
            )

        usage = OpenAI.usage(reply) if (payload.get("stream_options") or {}).get("include_usage") else None
        last = b"" if usage is None else _event({**_frame(reply), "choices": [], "usage": usage})
        return Stream(
            head=events(""),
            chunks=[events(piece) for piece in reply.pieces],
            tail=events("", _reason(reply)) + last + b"data: [DONE]\n\n",
            error=_event(OpenAI.error(500, "The fake upstream was told to fail.")),
        )


@dataclass(frozen=True)
class Embeddings:
    """The shape of `/v1/embeddings`. The directives stand in the last text; `big` is the bytes of each vector."""

    payload: JsonObject
    broke = OpenAI.broke
    error = staticmethod(OpenAI.error)

    def reply(self, reply_id: str) -> Reply:
        """What is answered beside the vectors. Raises BadRequestError where a real upstream answers 400."""
        items = _items(self.payload, "input")
        reply = build_reply({"model": self.payload.get("model"), "messages": _messages(items)}, reply_id)
        return replace(reply, prompt_tokens=_prompt_tokens(items, reply), words=[])

    def body(self, reply: Reply, payload: JsonObject) -> JsonObject:
        size = payload.get("dimensions") or DEFAULT_DIMENSIONS
        if reply.directives.big is not None:
            size = reply.directives.big // _BYTES_OF_A_NUMBER
        data = []
        for index in range(len(_items(payload, "input"))):
            vector: list[float] | str = [0.25 + index] + [0.25] * (size - 1)
            if payload.get("encoding_format") == "base64":
                vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
            data.append({"object": "embedding", "index": index, "embedding": vector})
        usage = OpenAI.usage(reply)
        told = usage and {name: usage[name] for name in ("prompt_tokens", "total_tokens") if name in usage}
        return {"object": "list", "data": data, "model": reply.model, **_usage(told)}

    def stream(self, reply: Reply, payload: JsonObject) -> Stream:
        raise BadRequestError("stream: embeddings are not streamed")


def _usage(usage: JsonObject | None) -> JsonObject:
    return {} if usage is None else {"usage": usage}


def _items(payload: JsonObject, name: str) -> list[Any]:
    """The texts and lists of tokens that are asked for."""
    value = payload.get(name)
    items = value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]
    if not all(item and isinstance(item, str | list) for item in items):
        raise BadRequestError(f"{name}: text or tokens are needed")
    return items


def _messages(items: list[Any]) -> list[JsonObject]:
    texts = (item if isinstance(item, str) else " ".join(["token"] * len(item)) for item in items)
    return [{"role": "user", "content": text} for text in texts]


def _prompt_tokens(items: list[Any], reply: Reply) -> int:
    """What the directive says, or a quarter of each text's UTF-8 bytes, rounded up; a token is one."""
    if reply.directives.prompt_tokens is not None:
        return reply.directives.prompt_tokens
    return sum(-(-len(item.encode(errors="replace")) // 4) if isinstance(item, str) else len(item) for item in items)


def _frame(reply: Reply) -> JsonObject:
    return {"id": f"cmpl-{reply.id}", "object": "text_completion", "created": reply.created, "model": reply.model}


def _choice(index: int, text: str, reason: str | None) -> JsonObject:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _reason(reply: Reply) -> str:
    return "length" if reply.is_cut_by_limit else "stop"


def _event(data: JsonObject) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
