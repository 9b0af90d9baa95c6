"""A line on a terminal that says how far a long command has come; nothing where nobody looks."""

import time
from typing import IO

WIDTH = 30
SECONDS = 0.2
"""Between two changes of the line."""


class Progress:
    """`progress("accounts", 500, 1000)` rewrites one line of `stream`, if that is a terminal."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream if stream.isatty() else None
        self._next = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._stream is None or (now < self._next and 0 < done < total):
            return
        self._next = now + SECONDS
        if total:
            filled = min(WIDTH, WIDTH * done // total)
            what = f"{what} [{'#' * filled}{'.' * (WIDTH - filled)}] {done:,} of {total:,}"
        self._write(f"{what} …" if not total else what)

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        if self._stream is not None:
            self._write("")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(f"\r\033[K{text}")
            self._stream.flush()
