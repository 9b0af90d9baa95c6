"""What other processes are doing, and waiting for it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """The first true value of `condition`; fails if there is none within the time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


def stat_of(pid: int) -> list[str] | None:
    """State, parent, group, session ... of a process or a thread; None if there is none, or only its zombie."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if values[0] == "Z" else values
