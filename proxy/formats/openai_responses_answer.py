"""What is read of a response: whether it is one, its usage, its text, and all that from a stream."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from proxy.formats.api_format import UsageReport
from proxy.formats.event_stream import EventStreamReader
from proxy.formats.generated_text import TextMeter, text_size
from proxy.formats.json_body import JsonObject
from proxy.formats.openai_usage import read_usage
from proxy.formats.operator_costs import usage_without_costs
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
_HEAD_BYTES = 64 * 1024
"""Of an event that is too long to be read: what it is stands in them."""
_KIND = re.compile(rb'(?<!\\)"type"\s*:\s*"(response\.[a-z_.]+|error)"')
_USE = re.compile(rb'(?<!\\)"type"\s*:\s*"(%b)"' % "|".join(_CALLS).encode())
_LONGEST_USE = 64
_ID = re.compile(rb'"response"\s*:\s*\{\s*"id"\s*:\s*"([\w-]{1,200})"')
_ERROR = re.compile(r'(?<!\\)"error"\s*:\s*(?=\{)')
_USAGE = re.compile(r'(?<!\\)"usage"\s*:\s*(?=\{)')
_MOST_TRIED = 20
"""Places where the usage may stand: tools of the client may have members of that name."""
_decode = json.JSONDecoder().raw_decode
_SEQUENCE_NUMBER = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,9})')


class _TextAndUses(TextMeter):
    """Counts the uses of tools of the upstream beside the text: a large answer is seen only as it passes."""

    def __init__(self) -> None:
        super().__init__(("text", "refusal", "arguments", "input", "code", "diff", "transcript"))
        self._uses: dict[str, int] = {}
        self._end = b""

    @property
    def uses(self) -> dict[str, int]:
        """How often each tool was used, by the types of items."""
        return self._uses

    def feed(self, data: bytes) -> None:
        """Count what a piece holds. A text, a name, or the type of an item may be cut anywhere."""
        super().feed(data)
        seen = len(self._end)
        data = self._end + data
        for found in _USE.finditer(data):
            if found.end() > seen:
                tool = _CALLS[found[1].decode()]
                self._uses[tool] = self._uses.get(tool, 0) + 1
        self._end = data[-_LONGEST_USE:]


def text_meter() -> TextMeter:
    """Counts what a model writes in a plain answer, which says everything once, and its uses of tools."""
    return _TextAndUses()


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
        self._long_kind = ""
        self._sequence_number = -1

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far."""
        return max(super().text_bytes, self._bytes_of_items, self._bytes_at_end)

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return the whole events among them, as they are to be sent on."""
        passed = super().feed(data)
        # The last one: an error of ours goes on from it.
        if (start := passed.rfind(b'"sequence_number"')) >= 0 and (found := _SEQUENCE_NUMBER.match(passed, start)):
            self._sequence_number = int(found[1])
        return passed

    def report(self) -> UsageReport:
        """The usage that the stream told."""
        return read_usage(_with_uses(self.usages, self._uses_at_end or self._uses_of_items))

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
            self._count_uses(_uses_in([item]))
        if isinstance(response, dict):
            self.keep_usages(message)
            self._read_response(response, message.get("type"))
        return True

    def _count_uses(self, uses: dict[str, int]) -> None:
        for tool, count in uses.items():
            self._uses_of_items[tool] = self._uses_of_items.get(tool, 0) + count

    def begin_long_event(self, start: bytes) -> bytes | None:
        """A long event of the format: a response repeats instructions, and holds whole images."""
        found = _KIND.search(start, 0, _HEAD_BYTES)
        if found is None:
            return None
        self._long_kind = found[1].decode()
        if self._long_kind in ("response.failed", "error"):
            self.error = {"error": _error_in(start.decode(errors="replace"))}
        elif self._long_kind == "response.output_item.done":
            if use := _USE.search(start, found.end(), _HEAD_BYTES):
                self._count_uses({_CALLS[use[1].decode()]: 1})
        elif self._begun is None and (begun := _ID.search(start, 0, _HEAD_BYTES)):
            self._begun = {"id": begun[1].decode(), "created_at": 0, "model": ""}
        return self._without_usage_costs(start, _usage_at_start) or start

    def finish_long_event(self, end: bytes, *, is_whole: bool) -> bytes:
        """A long event has ended. If it is what ends the stream, its usage stands in its end."""
        if self._long_kind not in _ENDS:
            return end
        clean = self._without_usage_costs(end, _usage_at_end)
        if is_whole or clean is not None:
            self._has_ended = self._has_answer = self.is_finished = True
        return clean or end

    def _without_usage_costs(self, data: bytes, find: Callable[[str], "_Found | None"]) -> bytes | None:
        """Take the usage out of a part of the long event that ends the stream; returns the part without costs."""
        text = data.decode("utf-8", "surrogateescape")
        found = find(text) if self._long_kind in _ENDS else None
        if found is None:
            return None
        usage, start = found
        self.keep_usages({"usage": usage})
        return (text[:start] + usage_without_costs(text[start:])).encode("utf-8", "surrogateescape")

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


def _error_in(start: str) -> Any:
    """The error that the beginning of a long event tells."""
    for found in _ERROR.finditer(start):
        try:
            return _decode(start, found.end())[0]
        except (ValueError, RecursionError):
            continue
    return "the response failed"


_Found = tuple[JsonObject, int]
"""A usage, and where it stands."""


def _usage_at_start(start: str) -> _Found | None:
    """The usage of the response whose event begins so."""
    return _own_usage(start, lambda before, behind: start[start.index("{") : before] + '"usage":0}}')


def _usage_at_end(end: str) -> _Found | None:
    """The usage of the response whose event ends so."""
    return _own_usage(end, lambda before, behind: '{"response":{"usage":0' + end[behind:])


def _own_usage(text: str, event_without: Callable[[int, int], str]) -> _Found | None:
    """The usage in a part of an event that is the response's own, and not a member of a tool or an item.

    `event_without` writes the event without what is not seen of it, from what stands before the usage and behind: it is
    JSON where the usage is a member of the response.
    """
    for found in list(_USAGE.finditer(text))[: -_MOST_TRIED - 1 : -1]:
        try:
            usage, behind = _decode(text, found.end())
            json.loads(event_without(found.start(), behind))
        except (ValueError, RecursionError):
            continue
        return (usage, found.end()) if isinstance(usage, dict) else None
    return None
