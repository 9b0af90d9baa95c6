"""The Anthropic messages format: what is read of a request, of an answer, and of a stream."""

import json
import re
from typing import ClassVar

from accounts.errors import BillingError
from proxy.billing.pricing import Usage
from proxy.errors import InvalidRequest
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

_BILLED_BY = frozenset(("model", "messages", "system", "max_tokens", "stream"))
# https://docs.anthropic.com/en/api/errors
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class AnthropicMessages:
    """`POST /v1/messages`."""

    path: ClassVar[str] = "/v1/messages"
    needs_max_tokens: ClassVar[bool] = True

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs; raises `InvalidRequest`. All else is the upstream's business."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        messages = read_list(parsed, "messages")
        system = parsed.get("system")
        system_message = [{"content": system}] if isinstance(system, list) else []
        max_tokens = read_count(parsed, "max_tokens")
        if max_tokens is None and self.needs_max_tokens:
            raise InvalidRequest("'max_tokens' is required.", param="max_tokens")
        return Call(
            model=model,
            is_stream=read_bool(parsed, "stream"),
            max_output_tokens=max_tokens,
            choices=1,
            input_bound_tokens=bound_input_tokens(messages + system_message, body_bytes),
            text_bytes=body_bytes,
            has_asked_for_usage=True,
        )

    def prepare(self, body: bytes, parsed: JsonObject, call: Call, *, model: str, max_output_tokens: int) -> bytes:
        """Map the model; the format always has usage and an output bound."""
        return with_members(body, parsed, {"model": model} if model != call.model else {})

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return _read_usage(answer.get("usage"))

    def output_text_bytes(self, answer: JsonObject) -> int:
        """Bytes of what the model wrote: text, thinking and tool input."""
        content = answer.get("content")
        return text_size(content) if content else 0

    def stream_reader(self, call: Call) -> "AnthropicMessagesStream":
        return AnthropicMessagesStream()

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject:
        kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message, "code": code, **details}}

    def error_event(self, error: BillingError, message: str) -> bytes:
        body = self.error_body(status=502, code=error.code, message=message, details={})
        return b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"


class AnthropicTokenCount(AnthropicMessages):
    """`POST /v1/messages/count_tokens`: the same request without an output."""

    needs_max_tokens = False


class AnthropicMessagesStream(EventStreamReader):
    """Reads `message_start` and the cumulative `message_delta`; the later value of each count is the true one."""

    terminal_word = b"message_stop"
    terminal_line = re.compile(rb"^event: ?message_stop[ \r]*$", re.MULTILINE)
    text_pattern = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"((?:[^"\\]|\\.)*)"')

    def __init__(self) -> None:
        super().__init__()
        self._usage: JsonObject = {}
        self._has_final = False

    def report(self) -> UsageReport:
        report = _read_usage(self._usage or None)
        return report if self._has_final or report.problem else UsageReport(report.usage, "incomplete")

    def read_message(self, message: JsonObject) -> bool:
        start = message.get("message")
        usage = start.get("usage") if isinstance(start, dict) else message.get("usage")
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            self._has_final = self._has_final or message.get("type") in {"message_delta", "message_stop"}
        return True


def _read_usage(usage: object) -> UsageReport:
    """`input_tokens` excludes the cached ones, which are reported beside it."""
    if not isinstance(usage, dict):
        return UsageReport(None, "missing")
    try:
        read = Usage(
            input_tokens=read_tokens(usage, "input_tokens", is_required=True),
            output_tokens=read_tokens(usage, "output_tokens", is_required=True),
            cache_write_tokens=read_tokens(usage, "cache_creation_input_tokens"),
            cache_read_tokens=read_tokens(usage, "cache_read_input_tokens"),
        )
    except ValueError as error:
        return UsageReport(None, f"rejected: {error}")
    if read.total_input_tokens == 0:
        return UsageReport(None, "rejected: no input tokens")
    return UsageReport(read)
