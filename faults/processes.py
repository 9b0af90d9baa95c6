"""Processes that are started again when they end, as systemd would, and the signals that disturb them.

Only the main thread starts processes: the kernel ends them with the thread that started them.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from development.mongod import tied_to_parent
from development.processes import ROOT

STOP_SECONDS = 10.0
"""What is left of a process group whose leader died gets SIGTERM, and SIGKILL after these (systemd: TimeoutStopSec)."""


class Supervised:
    """One command in a process group of its own. `check` starts it again when it has ended."""

    def __init__(self, name: str, command: list[str], *, environment: Mapping[str, str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self.starts = 0
        self._command = command
        self.environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._died_at: float | None = None
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The process of the last start."""
        return self._process

    def start(self) -> None:
        """Start it, with its output appended to the log."""
        with self.log_path.open("ab") as log:
            self._process = self.spawn(tied_to_parent(self._command), log.fileno())
        self.starts += 1
        self._died_at = None

    def spawn(self, command: list[str], log: int) -> "subprocess.Popen[bytes]":
        """Run the command; a subclass may connect it otherwise."""
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the campaign, which stops them.
        )

    def stay_away(self, seconds: float) -> None:
        """Do not start it again before so many seconds from now."""
        self._not_before = time.monotonic() + seconds

    def check(self) -> None:
        """Start again what has ended, when nothing of its group is left. Call it often."""
        if self.pid is not None:
            return
        now = time.monotonic()
        if self._died_at is None:
            self._died_at = now
            self._signal_group(signal.SIGTERM)
        if self._signal_group(0):
            if now - self._died_at > STOP_SECONDS:
                self._signal_group(signal.SIGKILL)
        elif now >= self._not_before:
            self.start()

    def children(self) -> list[int]:
        """Its direct children, such as gunicorn's workers."""
        if self.pid is None:
            return []
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def ask_to_stop(self) -> None:
        """SIGTERM, also for a process that stands still."""
        if self.pid is not None:
            self._signal_group(signal.SIGTERM)
        self._signal_group(signal.SIGCONT)

    def end(self, seconds: float) -> None:
        """Wait so long for its end, then kill the whole group. Safe to call twice."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self._signal_group(signal.SIGKILL)
        self._process.wait()

    def _signal_group(self, number: int) -> bool:
        """Whether there was anything to signal."""
        if self._process is None:
            return False
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True


def send_signal(pid: int, number: signal.Signals) -> bool:
    """Signal one process of ours; False if it has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


class Frozen:
    """The processes that stand still, so that none is forgotten."""

    def __init__(self) -> None:
        self._pids: set[int] = set()

    def freeze(self, pid: int) -> bool:
        """SIGSTOP; False if the process has ended."""
        if not send_signal(pid, signal.SIGSTOP):
            return False
        self._pids.add(pid)
        return True

    def thaw(self, pid: int) -> None:
        """SIGCONT. Does nothing for a process that does not stand still."""
        if pid in self._pids:
            self._pids.discard(pid)
            send_signal(pid, signal.SIGCONT)

    def thaw_all(self) -> None:
        for pid in list(self._pids):
            self.thaw(pid)
