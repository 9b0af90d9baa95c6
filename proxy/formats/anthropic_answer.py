"""What is read of an Anthropic message: whether it is one, its usage, its text, and all that from a stream."""

import json
from typing import ClassVar

from proxy.formats.anthropic_usage import read_usage
from proxy.formats.api_format import UsageReport
from proxy.formats.event_stream import EventStreamReader
from proxy.formats.generated_text import TextMeter, text_size
from proxy.formats.json_body import JsonObject
from proxy.formats.usage_counts import find_usages


def text_meter() -> TextMeter:
    """Counts everything that a model writes in this format; a tool's input stands as text only in a stream."""
    return TextMeter(("text", "thinking", "partial_json", "content"))


def tool_inputs_size(answer: JsonObject) -> int:
    """UTF-8 bytes of the inputs of tools in a whole message, which are objects there."""
    blocks = answer.get("content")
    inputs = [block.get("input") for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    return sum(text_size(json.dumps(value, ensure_ascii=False)) for value in inputs if value)


def is_answer(answer: JsonObject) -> bool:
    """Whether a JSON object is a message, and not an error or nothing. A message may be empty, if it says why."""
    content = answer.get("content")
    return (
        not answer.get("error")
        and answer.get("type", "message") == "message"
        and isinstance(content, list)
        and (bool(content) or isinstance(answer.get("stop_reason"), str))
    )


def read_answer_usage(answer: JsonObject) -> UsageReport:
    """The usage of a whole message."""
    return read_usage(list(find_usages(answer)), is_refusal=answer.get("stop_reason") == "refusal")


class AnthropicMessagesStream(EventStreamReader):
    """Reads the usage of `message_start` and of the cumulative `message_delta`."""

    telling: ClassVar[tuple[bytes, ...]] = (b"message_stop", b'"stop_reason":"', b'"stop_reason": "')
    usual_member: ClassVar[bytes] = b'"index"'

    def __init__(self) -> None:
        super().__init__(text_meter())
        self._has_final = False
        self._stop_reason: str | None = None

    def report(self) -> UsageReport:
        is_refusal = self._stop_reason == "refusal" and not self.text_bytes
        return read_usage(self.usages, is_final=self._has_final, is_refusal=is_refusal)

    def has_stopped(self) -> bool:
        return self._stop_reason is not None

    def is_event(self, message: JsonObject) -> bool:
        return isinstance(message.get("type"), str) or "delta" in message

    def is_last(self, data: bytes, message: JsonObject | None) -> bool:
        return message is not None and message.get("type") == "message_stop"

    def read_message(self, message: JsonObject) -> bool:
        if self.keep_usages(message):
            self._has_final = self._has_final or message.get("type") in {"message_delta", "message_stop"}
        for inner in (message.get("message"), message.get("delta")):
            if isinstance(inner, dict):
                self.answered_model = inner["model"] if isinstance(inner.get("model"), str) else self.answered_model
                reason = inner.get("stop_reason")
                self._stop_reason = reason if isinstance(reason, str) else self._stop_reason
        return True
