"""What is read of a chat completion: whether it is one, its usage, its text, and all that from a stream."""

from typing import Any, ClassVar

from proxy.formats.api_format import UsageReport
from proxy.formats.event_stream import EventStreamReader
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import JsonObject
from proxy.formats.openai_usage import read_usage
from proxy.formats.usage_counts import find_usages

_REFUSALS = frozenset(("refusal",))
"""Reasons to stop that say that Claude refused, in gateways that pass Anthropic's word on."""


def text_meter() -> TextMeter:
    """Counts everything that a model writes in this format.

    Gateways report reasoning by several names at once; `text` is that of content parts, or of OpenRouter's details.
    """
    return TextMeter(
        ("content", "refusal", "arguments", "input", "transcript", "text"),
        copies=("reasoning", "reasoning_content", "thinking", "summary"),
        copy_beside=("text", '"reasoning_details"'),
    )


def is_answer(answer: JsonObject) -> bool:
    """Whether a JSON object is a completion, and not an error or nothing."""
    choices = answer.get("choices")
    if answer.get("error") or not isinstance(choices, list) or not choices:
        return False
    if any(not isinstance(choice, dict) or _has_failed(choice) for choice in choices):
        return False
    messages = [message for choice in choices if isinstance(message := choice.get("message"), dict)]
    if not messages:
        return False
    says_something = any(value for message in messages for name, value in message.items() if name != "role")
    return bool(says_something or answer.get("usage") or any(choice.get("finish_reason") for choice in choices))


def _has_failed(choice: JsonObject) -> bool:
    """Whether a choice tells an error, as OpenRouter does when a model's server failed in the middle."""
    return bool(choice.get("error")) or choice.get("finish_reason") == "error"


def read_answer_usage(answer: JsonObject) -> UsageReport:
    """The usage of a whole completion."""
    choices = answer.get("choices")
    return read_usage(list(find_usages(answer)), is_refusal=_is_refusal(choices))


def _is_refusal(choices: object) -> bool:
    return isinstance(choices, list) and any(
        isinstance(choice, dict)
        and (choice.get("finish_reason") in _REFUSALS or choice.get("native_finish_reason") in _REFUSALS)
        for choice in choices
    )


class OpenAiChatStream(EventStreamReader):
    """Reads the usage wherever chunks report it, and hides its chunk from a client that did not ask for it."""

    telling: ClassVar[tuple[bytes, ...]] = (
        b"[DONE]",
        b'"finish_reason":"',
        b'"finish_reason": "',
        b"_hidden_params",
    )
    usual_member: ClassVar[bytes] = b'"choices"'

    def __init__(self, *, hides_usage: bool, choices: int = 1, text: TextMeter | None = None) -> None:
        super().__init__(text or text_meter())
        self._hides_usage = hides_usage
        self._choices = choices
        self._stopped: set[object] = set()
        self._is_refusal = False

    def report(self) -> UsageReport:
        return read_usage(self.usages, is_refusal=self._is_refusal and not self.text_bytes)

    def has_stopped(self) -> bool:
        return len(self._stopped) >= self._choices

    def is_event(self, message: JsonObject) -> bool:
        return not _CHUNK_MEMBERS.isdisjoint(message)

    def is_last(self, data: bytes, message: JsonObject | None) -> bool:
        return data == b"[DONE]"

    def read_message(self, message: JsonObject) -> bool:
        model, choices = message.get("model"), message.get("choices")
        if isinstance(model, str):
            self.answered_model = model
        self.keep_usages(message)
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._read_choice(choice, message)
        is_empty = not choices or (isinstance(choices, list) and not any(map(_says_something, choices)))
        return not (self._hides_usage and is_empty and isinstance(message.get("usage"), dict))

    def _read_choice(self, choice: JsonObject, message: JsonObject) -> None:
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._stopped.add(str(choice.get("index")))
            self._is_refusal = self._is_refusal or _is_refusal([choice])
        if _has_failed(choice):
            self.error = {"error": choice.get("error") or "a choice failed"}


_CHUNK_MEMBERS = frozenset(("choices", "usage", "object", "delta", "x_groq"))


def _says_something(choice: Any) -> bool:
    """Whether a choice of a chunk has more for the client than its place: LiteLLM reports usage beside an empty one."""
    if not isinstance(choice, dict):
        return True
    delta = choice.get("delta")
    if isinstance(delta, dict):
        delta = [value for name, value in delta.items() if name != "role" and value]
    return bool(delta or choice.get("text") or choice.get("finish_reason") or choice.get("logprobs"))
