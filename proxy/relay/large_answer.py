"""Finds the usage of a plain answer that is too large to hold in memory, while it passes."""

import json

from proxy.formats.api_format import ApiFormat, UsageReport

KEPT_BYTES = 64 * 1024
"""Of the beginning and of the end: both formats report the usage in one of them."""


class LargeAnswerReader:
    """Passes everything on and remembers the answer's two ends."""

    def __init__(self, api_format: ApiFormat) -> None:
        self.is_finished = self.has_failed = False
        self.text_bytes = 0
        self._api_format = api_format
        self._head = b""
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return them."""
        self.text_bytes += len(data)
        if len(self._head) < KEPT_BYTES:
            self._head += data[: KEPT_BYTES - len(self._head)]
        self._tail = (self._tail + data)[-KEPT_BYTES:] if len(data) < KEPT_BYTES else data[-KEPT_BYTES:]
        return data

    def flush(self) -> bytes:
        """The answer has ended as it should; nothing is held back."""
        self.is_finished = True
        return b""

    def report(self) -> UsageReport:
        """The usage by the last `"usage"` member of the end, else of the beginning."""
        for part in (self._tail, self._head):
            text = part.decode(errors="replace")
            position = text.rfind('"usage"')
            if position >= 0:
                colon = text.find(":", position)
                try:
                    usage, _ = json.JSONDecoder().raw_decode(text[colon + 1 :].lstrip())
                except (ValueError, RecursionError):
                    continue
                return self._api_format.read_usage({"usage": usage})
        return UsageReport(None, "missing")
