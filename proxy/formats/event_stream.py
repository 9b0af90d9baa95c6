"""Server-sent events passed through in whole events, with a look only at those that say what billing needs."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from proxy.formats.api_format import UsageReport
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import JsonObject
from proxy.formats.operator_costs import tells_costs, without_costs
from proxy.formats.usage_counts import find_usages, keep_usage

_EVENT_END = re.compile(rb"\r?\n\r?\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ERROR_EVENT = re.compile(rb"^event:[ \t]*error[ \t\r]*$", re.MULTILINE)
_ERRORS = (b'"error"', b"event: error", b"event:error")
LARGEST_EVENT_BYTES = 1024 * 1024
"""A longer event is passed on in pieces, unread: memory stays flat whatever the upstream sends."""
KEPT_BYTES = 64 * 1024
"""Of a longer event that its format knows by its beginning the end is held back, and read."""


class EventStreamReader(ABC):
    """Splits a stream into events. Most are passed on without parsing; those that say what billing needs are read.

    An error that the upstream reports is not passed on, nor anything after it: `error` is what it said.
    """

    telling: ClassVar[tuple[bytes, ...]]
    """What an event has that must be read, beside errors and usage: a reason to stop, the last event."""
    usual_member: ClassVar[bytes]
    """What every other event of the format has, once."""

    def __init__(self, text: TextMeter) -> None:
        self.is_finished = self.has_begun = self.is_garbage = False
        self.error: JsonObject | None = None
        self.answered_model: str | None = None
        self._text = text
        self.usages: list[JsonObject] = []  # As they were told, in this order.
        self._pending = b""
        self._is_inside_event = False
        self._held: bytes | None = None

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far."""
        return self._text.size

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return the whole events among them, as they are to be sent on."""
        data = self._pending + data
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\n\r\n") + 3)
        if end <= 2:  # Neither was found.
            end = 0
        if not end and len(data) > LARGEST_EVENT_BYTES:
            end = len(data)
        block, self._pending = data[:end], data[end:]
        return self._pass(block) if block else b""

    def flush(self) -> bytes:
        """What is left when the upstream has ended: an event without its blank line, but no part of one."""
        block, self._pending = self._pending, b""
        if block and not self._is_inside_event and not self._is_whole(block):
            block = b""
        passed = self._pass(block) if block else b""
        if self._held is not None:
            held, self._held = self._held, None
            passed += self.finish_long_event(held, is_whole=False)
        self.is_finished = self.is_finished or (self.error is None and self.has_stopped())
        return passed

    @abstractmethod
    def report(self) -> UsageReport:
        """The usage that the stream told."""

    @abstractmethod
    def has_stopped(self) -> bool:
        """Whether the model has said that it is done: an end without the format's last event is then no break."""

    @abstractmethod
    def read_message(self, message: JsonObject) -> bool:
        """Take what billing needs out of one event's JSON; returns whether the event is passed on."""

    @abstractmethod
    def is_event(self, message: JsonObject) -> bool:
        """Whether an event's JSON is one of the format."""

    @abstractmethod
    def is_last(self, data: bytes, message: JsonObject | None) -> bool:
        """Whether an event's data, or the JSON in it, is that of the last event."""

    def says_nothing(self) -> bool:
        """Whether there is no answer in the stream: no text, no usage, and no reason to stop."""
        return not (self.text_bytes or self.has_stopped() or self.report().usage)

    def begin_long_event(self, start: bytes) -> bytes | None:
        """The beginning of an event that is too long to be read, as it is passed on; None if it says nothing here.

        An error in it is noted.
        """
        return None

    def finish_long_event(self, end: bytes, *, is_whole: bool) -> bytes:
        """An event known by its beginning ends with these bytes, or is cut; returns them as they are sent on."""
        return end

    def keep_usages(self, message: JsonObject) -> bool:
        """Keep what an event tells of the usage, an error too; returns whether it tells any."""
        is_told = False
        for usage in find_usages(message):
            keep_usage(self.usages, usage)
            is_told = True
        return is_told

    def _pass(self, block: bytes) -> bytes:
        if self.error is not None:
            return b""
        self._text.feed(block)
        begun = b""
        rest = block
        if self._is_inside_event:
            end = _EVENT_END.search(block)
            if end is None:
                return self._go_on(block)
            begun, rest = self._go_on(block[: end.end()], has_ended=True), block[end.end() :]
        passed = rest if self.has_begun and self._is_usual(rest) else b"".join(self._read_events(rest))
        self._is_inside_event = not block.endswith((b"\n\n", b"\n\r\n"))
        return begun + passed

    def _go_on(self, piece: bytes, *, has_ended: bool = False) -> bytes:
        """The next piece of an event that is passed on in pieces; returns what of it is sent on now."""
        if self._held is None:
            return piece
        data = self._held + piece
        if has_ended:
            self._held = None
            return self.finish_long_event(data, is_whole=True)
        self._held = data[-KEPT_BYTES:]
        return data[:-KEPT_BYTES]

    def _is_usual(self, block: bytes) -> bool:
        """Whether no event of a block has to be read. Each has one line of data, and that the member they all have."""
        for word in self.telling:
            if word in block:
                return False
        if b"error" in block and any(word in block for word in _ERRORS):
            return False
        # Usage is null, or not there, until it is told.
        if b'"usage"' in block and block.count(b'"usage"') != block.count(b'"usage":null') + block.count(
            b'"usage": null'
        ):
            return False
        return block.count(b"data:") == block.count(self.usual_member)

    def _is_whole(self, event: bytes) -> bool:
        """Whether an event that lacks its blank line lacks nothing else: a stream may be cut in the middle of one."""
        data = _data_of(event)
        is_begun = data.startswith((b"{", b"["))
        return event.endswith(b"\n") or not is_begun or _object_of(data) is not None or self.is_last(data, None)

    def _read_events(self, block: bytes) -> Iterator[bytes]:
        for event in _split(block):
            if self.error is not None:
                return
            is_long = len(event) > LARGEST_EVENT_BYTES and not event.endswith((b"\n\n", b"\n\r\n"))
            if is_long and (begun := self.begin_long_event(event)) is not None:
                self.has_begun = True
                if self.error is None:
                    self._held = begun[-KEPT_BYTES:]
                    yield begun[:-KEPT_BYTES]
            else:
                yield event if self.has_begun and self._is_usual(event) else self._read_event(event)

    def _read_event(self, event: bytes) -> bytes:
        """Read one event; returns it as it is passed on, which may be not at all."""
        data = _data_of(event)
        if not data:
            if _ERROR_EVENT.search(event) or b'"error"' in event:
                self.error = _object_of(event.strip()) or {"error": event.decode(errors="replace").strip()}
                return b""
            return event
        message = _object_of(data)
        is_first, self.has_begun = not self.has_begun, True
        if message is None:
            self.is_finished = self.is_finished or self.is_last(data, None)
            self.is_garbage = self.is_garbage or (is_first and not self.is_finished)
            if _ERROR_EVENT.search(event):
                self.error = {"error": data.decode(errors="replace")}
            return b"" if self.error is not None else event
        if message.get("error") or message.get("type") == "error" or message.get("object") == "error":
            self.error = message
        elif not self.is_event(message):
            if is_first:
                self.is_garbage = True
            self.error = message
        if self.error is not None:
            self.keep_usages(message)
            return b""
        self.is_finished = self.is_finished or self.is_last(data, message)
        is_passed = self.read_message(message)
        if not is_passed or self.error is not None:
            return b""
        return _without_costs(event, data) if tells_costs(message) else event


def _split(block: bytes) -> Iterator[bytes]:
    start = 0
    for end_match in _EVENT_END.finditer(block):
        yield block[start : end_match.end()]
        start = end_match.end()
    if start < len(block):
        yield block[start:]


def _data_of(event: bytes) -> bytes:
    lines = event.removeprefix(_BYTE_ORDER_MARK).splitlines()
    return b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))


def _object_of(data: bytes) -> JsonObject | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _without_costs(event: bytes, data: bytes) -> bytes:
    """The event without what its data tell of the operator's costs."""
    try:
        clean = without_costs(data)
    except ValueError:
        return b""  # Read as JSON by one reader and not by the other: it is not passed on.
    if data in event:
        return event.replace(data, clean, 1)
    others = [line for line in event.splitlines(keepends=True) if not line.startswith(b"data:")]
    end = others.pop() if others and not others[-1].strip() else b"\n"
    return b"".join(others) + b"data: " + clean.replace(b"\n", b" ") + b"\n" + end
