"""Who may have a password hashed now. One takes a third of a second of a core: strangers must not get them all."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_WAIT_SECONDS = 2.0
MOST_WAITING = 4
REST = 3.0
"""For how many times as long as a hash took strangers rest after it: a process spends a quarter of a core on them."""


class _Turns:
    """One after the other, with a rest in between."""

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)
        self._turn = threading.Lock()
        self._free_at = 0.0

    @contextmanager
    def take(self) -> Iterator[bool]:
        """Yields whether it is one's turn now; False at once where many wait, or after a while."""
        if not self._waiting.acquire(blocking=False):
            yield False
            return
        try:
            if not self._turn.acquire(timeout=LONGEST_WAIT_SECONDS):
                yield False
                return
            try:
                time.sleep(max(self._free_at - time.monotonic(), 0.0))
                started = time.monotonic()
                try:
                    yield True
                finally:
                    ended = time.monotonic()
                    self._free_at = ended + min(self._rest * (ended - started), LONGEST_WAIT_SECONDS)
            finally:
                self._turn.release()
        finally:
            self._waiting.release()


KNOWN, STRANGERS = _Turns(rest=0.0), _Turns(rest=REST)
