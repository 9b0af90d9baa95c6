"""The OpenAI chat completions format: what is read of a request, of an answer, and of a stream."""

import json
import re
from typing import Any, ClassVar

from accounts.errors import BillingError
from proxy.billing.pricing import Usage
from proxy.formats.api_format import Call, UsageReport, bound_input_tokens, read_tokens
from proxy.formats.event_stream import EventStreamReader
from proxy.formats.json_body import (
    JsonObject,
    read_bool,
    read_count,
    read_list,
    read_text,
    refuse_variants,
    text_size,
    with_members,
)

MOST_CHOICES = 128

_BILLED_BY = frozenset(("model", "messages", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options"))
_ERROR_TYPES = {
    401: "authentication_error",
    402: "insufficient_credits",
    403: "permission_error",
    429: "rate_limit_error",
}


class OpenAiChat:
    """`POST /v1/chat/completions`."""

    path: ClassVar[str] = "/v1/chat/completions"

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs; raises `InvalidRequest`. All else is the upstream's business."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        messages = read_list(parsed, "messages")
        limits = [read_count(parsed, name) for name in ("max_tokens", "max_completion_tokens")]
        options = parsed.get("stream_options")
        return Call(
            model=model,
            is_stream=read_bool(parsed, "stream"),
            # Upstreams differ in which of the two they heed.
            max_output_tokens=max((limit for limit in limits if limit is not None), default=None),
            choices=read_count(parsed, "n", maximum=MOST_CHOICES) or 1,
            input_bound_tokens=bound_input_tokens(messages, body_bytes),
            text_bytes=body_bytes,
            has_asked_for_usage=isinstance(options, dict) and options.get("include_usage") is True,
        )

    def prepare(self, body: bytes, parsed: JsonObject, call: Call, *, model: str, max_output_tokens: int) -> bytes:
        """Map the model, ask for usage on streams, and bound the output where the client did not."""
        changes: dict[str, Any] = {}
        if model != call.model:
            changes["model"] = model
        if call.is_stream and not call.has_asked_for_usage:
            options = parsed.get("stream_options")
            changes["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
        if call.max_output_tokens is None:
            changes["max_tokens"] = max_output_tokens
        return with_members(body, parsed, changes)

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return _read_usage(answer.get("usage"))

    def output_text_bytes(self, answer: JsonObject) -> int:
        """Bytes of what the model wrote, all choices together: text, reasoning and tool calls."""
        choices = answer.get("choices")
        messages = [choice.get("message") for choice in choices or () if isinstance(choice, dict)]
        return sum(text_size(message) for message in messages if message)

    def stream_reader(self, call: Call) -> "OpenAiChatStream":
        return OpenAiChatStream(hides_usage=not call.has_asked_for_usage)

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
        default = "invalid_request_error" if status < 500 else "server_error"
        param = details.pop("param", None)
        kind = _ERROR_TYPES.get(status, default)
        return {"error": {"message": message, "type": kind, "param": param, "code": code, **details}}

    def error_event(self, error: BillingError, message: str) -> bytes:
        body = self.error_body(status=502, code=error.code, message=message, details={})
        return b"data: " + json.dumps(body).encode() + b"\n\n"


class OpenAiChatStream(EventStreamReader):
    """Reads the usage of the last chunk, and hides that chunk from a client that did not ask for it."""

    terminal_word = b"[DONE]"
    terminal_line = re.compile(rb"^data: ?\[DONE\][ \r]*$", re.MULTILINE)
    text_pattern = re.compile(rb'"(?:content|reasoning_content|refusal|arguments)"\s*:\s*"((?:[^"\\]|\\.)*)"')

    def __init__(self, *, hides_usage: bool) -> None:
        super().__init__()
        self._hides_usage = hides_usage
        self._report = UsageReport(None, "missing")

    def report(self) -> UsageReport:
        return self._report

    def read_message(self, message: JsonObject) -> bool:
        if isinstance(message.get("usage"), dict):
            self._report = _read_usage(message["usage"])
        return not (self._hides_usage and message.get("choices") == [])


def _read_usage(usage: object) -> UsageReport:
    """`prompt_tokens` includes the cached ones: bill each token once, at its own price."""
    if not isinstance(usage, dict):
        return UsageReport(None, "missing")
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    try:
        prompt = read_tokens(usage, "prompt_tokens", is_required=True)
        cached = read_tokens(details, "cached_tokens")
        # Two names for the same count: OpenAI's own, and that of gateways in front of Anthropic models.
        written = max(read_tokens(details, "cache_write_tokens"), read_tokens(details, "cache_creation_tokens"))
        output = read_tokens(usage, "completion_tokens", is_required=True)
    except ValueError as error:
        return UsageReport(None, f"rejected: {error}")
    if cached + written > prompt:
        return UsageReport(None, f"rejected: {cached + written} cached of {prompt} prompt tokens")
    if prompt == 0:
        return UsageReport(None, "rejected: no prompt tokens")
    return UsageReport(Usage(prompt - cached - written, output, written, cached))
