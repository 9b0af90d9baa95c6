"""What is read of a response: whether it is one, its usage, its text, and all that from a stream."""

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from proxy.formats.api_format import UsageReport
from proxy.formats.event_stream import EventStreamReader
from proxy.formats.generated_text import TextMeter, text_size
from proxy.formats.json_body import JsonObject
from proxy.formats.openai_usage import read_usage
from proxy.formats.usage_counts import find_usages

_ENDS = frozenset(("response.completed", "response.incomplete", "response.cancelled"))
"""The events that a stream ends with, beside `response.failed`, which is an error."""
_CALLS = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_execution",
    "image_generation_call": "image_generation",
    "mcp_call": "mcp",
    "shell_call_output": "shell",
    "tool_search_output": "tool_search",
    "program_output": "programmatic_tool_calling",
}
"""Items that tell of a use of a tool that the upstream ran, and what a price row calls the tool."""
_NOT_WRITTEN = frozenset(
    (
        *("id", "type", "status", "role", "phase", "name", "namespace", "call_id", "caller", "container_id"),
        *("annotations", "logprobs", "encrypted_content", "result", "results", "outputs", "output", "server_label"),
        *("sources", "execution", "tools", "environment", "fingerprint", "background", "quality", "size"),
        *("output_format", "revised_prompt", "pending_safety_checks", "error"),
    )
)
"""Members of an item that hold nothing that the model wrote as text."""
_SEQUENCE_NUMBER = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,9})')


def text_meter() -> TextMeter:
    """Counts what a model writes in a plain answer, which says everything once."""
    return TextMeter(("text", "refusal", "arguments", "input", "code", "diff", "transcript"))


def output_size(output: object) -> int:
    """UTF-8 bytes of all that the model wrote in the items of an output."""
    if isinstance(output, str):
        return text_size(output)
    if isinstance(output, list):
        return sum(map(output_size, output))
    if isinstance(output, dict):
        return sum(output_size(value) for name, value in output.items() if name not in _NOT_WRITTEN)
    return 0


def is_answer(answer: JsonObject) -> bool:
    """Whether a JSON object is a response that says something, and not an error or nothing."""
    output = answer.get("output")
    if answer.get("error") or answer.get("status") == "failed" or not isinstance(output, list):
        return False
    return bool(output or answer.get("usage") or answer.get("status") in ("incomplete", "cancelled"))


def read_answer_usage(answer: JsonObject) -> UsageReport:
    """The usage of a whole response, with the uses of tools that its items tell of."""
    return read_usage(_with_uses(list(find_usages(answer)), _uses_in(answer.get("output"))))


def _uses_in(output: object) -> dict[str, int]:
    """How often each tool of the upstream was used, by the items of an output."""
    uses: dict[str, int] = {}
    for item in output if isinstance(output, list) else ():
        kind = item.get("type") if isinstance(item, dict) else None
        tool = _CALLS.get(kind) if isinstance(kind, str) else None
        if tool is not None and not _is_of_the_client(item):
            uses[tool] = uses.get(tool, 0) + 1
    return uses


def _is_of_the_client(item: JsonObject) -> bool:
    """Whether the client ran a tool that the upstream may run, too."""
    return item.get("execution") == "client"


def _with_uses(usages: list[JsonObject], uses: dict[str, int]) -> Sequence[JsonObject]:
    """The usages with the uses of tools, as the normaliser reads them; uses alone are no usage."""
    return [*usages, {"server_tool_use": uses}] if usages and uses else usages


class OpenAiResponsesStream(EventStreamReader):
    """Reads the usage of whichever event ends the stream. A response that failed is an error.

    The text comes several times: in pieces, then in the item that is done, then in the whole response. It is counted in
    pieces; upstreams that send none, or not of every kind of item, are counted by what is told whole, if that is more.
    """

    telling: ClassVar[tuple[bytes, ...]] = (b'"response"', b"output_item.done")
    usual_member: ClassVar[bytes] = b'"type"'

    def __init__(self) -> None:
        super().__init__(TextMeter(("delta",)))
        self._uses_of_items: dict[str, int] = {}
        self._uses_at_end: dict[str, int] = {}
        self._bytes_of_items = 0
        self._bytes_at_end = 0
        self._has_ended = self._has_answer = False
        self._begun: JsonObject | None = None
        self._sequence_number = -1

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far."""
        return max(self._text.size, self._bytes_of_items, self._bytes_at_end)

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return the whole events among them, as they are to be sent on."""
        passed = super().feed(data)
        # The last one: an error of ours goes on from it.
        if (start := passed.rfind(b'"sequence_number"')) >= 0 and (found := _SEQUENCE_NUMBER.match(passed, start)):
            self._sequence_number = int(found[1])
        return passed

    def report(self) -> UsageReport:
        """The usage that the stream told."""
        return read_usage(_with_uses(self._usages, self._uses_at_end or self._uses_of_items))

    def has_stopped(self) -> bool:
        """Whether an event has come that ends the stream."""
        return self._has_ended

    def says_nothing(self) -> bool:
        """Whether there is no answer in the stream: no text, no usage, no item."""
        return not (self.text_bytes or self._has_answer or self.report().usage)

    def is_event(self, message: JsonObject) -> bool:
        """Whether an event's JSON is one of the format."""
        return isinstance(message.get("type"), str)

    def is_last(self, data: bytes, message: JsonObject | None) -> bool:
        """Whether an event is one that ends the stream."""
        return message is not None and message.get("type") in _ENDS

    def read_message(self, message: JsonObject) -> bool:
        """Take what billing needs out of one event's JSON; every event is passed on but an error."""
        item, response = message.get("item"), message.get("response")
        if message.get("type") == "response.output_item.done" and isinstance(item, dict):
            self._has_answer = True
            self._bytes_of_items += output_size(item)
            for tool, count in _uses_in([item]).items():
                self._uses_of_items[tool] = self._uses_of_items.get(tool, 0) + count
        if isinstance(response, dict):
            self.keep_usages(message)
            self._read_response(response, message.get("type"))
        return True

    def _read_response(self, response: JsonObject, kind: Any) -> None:
        if isinstance(response.get("model"), str):
            self.answered_model = response["model"]
        if self._begun is None:
            self._begun = {name: response.get(name) for name in ("id", "created_at", "model")}
        if kind in _ENDS:
            self._has_ended = True
            self._bytes_at_end = output_size(response.get("output"))
            self._uses_at_end = _uses_in(response.get("output"))
            self._has_answer = self._has_answer or is_answer(response)
        if kind == "response.failed" or response.get("status") == "failed" or response.get("error"):
            self.error = {"error": response.get("error") or "the response failed"}

    def error_events(self, body: JsonObject) -> bytes:
        """An error's body as the events that end a stream in it.

        Some clients wait for a response that has failed, others for an error: of a response that has begun both are
        told. The error is told at the top of its event, as documented, and inside, as it is sent and as SDKs raise it.
        """
        error = body["error"]
        events: list[JsonObject] = []
        if self._begun is not None:
            failed = {
                **self._begun,
                "object": "response",
                "status": "failed",
                "error": {"code": error["code"], "message": error["message"]},
                **dict.fromkeys(("incomplete_details", "instructions", "usage")),
                "metadata": {},
                "output": [],
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
            }
            events.append({"type": "response.failed", "response": failed})
        told = {name: error[name] for name in ("code", "message", "param")}
        events.append({"type": "error", **told, "error": error})
        numbered = [
            {**event, "sequence_number": number} for number, event in enumerate(events, self._sequence_number + 1)
        ]
        return b"".join(
            b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in numbered
        )
