"""Server-sent events passed through in whole events, with a look only at those that carry usage or an error."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from proxy.formats.json_body import JsonObject

_EVENT_END = re.compile(rb"\r?\n\r?\n")
_USAGE_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
LARGEST_EVENT_BYTES = 1024 * 1024
"""A longer event is passed on in pieces, unread: memory stays flat whatever the upstream sends."""


class EventStreamReader(ABC):
    """Splits a stream into events. Most are counted and passed on without parsing; usage events are read."""

    terminal_word: ClassVar[bytes]
    terminal_line: ClassVar[re.Pattern[bytes]]
    """A line of the format's last event, which holds the word; the word alone is what a model may write."""
    text_pattern: ClassVar[re.Pattern[bytes]]

    def __init__(self) -> None:
        self.is_finished = self.has_failed = False
        self.text_bytes = 0
        self._pending = b""
        self._is_inside_line = False

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
        """What is left when the upstream has ended, an event without its blank line included."""
        block, self._pending = self._pending, b""
        return self._pass(block) if block else b""

    def _pass(self, block: bytes) -> bytes:
        self.text_bytes += sum(map(len, self.text_pattern.findall(block)))
        # With a start of 1, `^` does not take the middle of a line for its beginning.
        if self.terminal_word in block and self.terminal_line.search(block, int(self._is_inside_line)):
            self.is_finished = True
        self._is_inside_line = not block.endswith(b"\n")
        if not _is_read(block):
            return block
        return b"".join(event for event in _split(block) if self._read_event(event))

    def _read_event(self, event: bytes) -> bool:
        """Read one event that may carry usage or an error; returns whether it is passed on."""
        if not _is_read(event):
            return True
        data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return True
        if not isinstance(message, dict):
            return True
        self.has_failed = self.has_failed or bool(message.get("error"))
        return self.read_message(message)

    @abstractmethod
    def read_message(self, message: JsonObject) -> bool:
        """Take the usage out of one event's JSON; returns whether the event is passed on."""


def _is_read(data: bytes) -> bool:
    return b'"error"' in data or _USAGE_OBJECT.search(data) is not None


def _split(block: bytes) -> Iterator[bytes]:
    start = 0
    for end_match in _EVENT_END.finditer(block):
        yield block[start : end_match.end()]
        start = end_match.end()
    if start < len(block):
        yield block[start:]
