"""Child processes of `make run`: started, watched, started again when they end, stopped in time."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from development.mongod import MongodError, start_log, tied_to_parent

ROOT = Path(__file__).resolve().parents[1]
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_STABLE_SECONDS = 30.0


def say(text: str = "") -> None:
    """Print a line at once. A terminal that has gone away is no reason to stop."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (it stays open as long as the process)


class Service(Protocol):
    """What the supervisor keeps running: a child process, or the embedded MongoDB."""

    log_path: Path

    @property
    def is_running(self) -> bool: ...
    @property
    def exit_code(self) -> int | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Child:
    """A process in its own group, with its output in a log file. It gets SIGTERM if the supervisor dies."""

    def __init__(
        self, command: list[str], *, environment: Mapping[str, str], log_path: Path, grace_seconds: float, lock: int
    ) -> None:
        self.log_path = log_path
        self._command = command
        self._environment = environment
        self._grace_seconds = grace_seconds
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, after what is left of the process before has ended: it may still hold the ports.

        What is left is asked to stop, and killed after the grace time.
        """
        if self._process is None:
            log = start_log(self.log_path)
        else:
            self._end_group()
            log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = spawn(self._command, self._environment, stdout=log, stderr=log, lock=self._lock)
        finally:
            os.close(log)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for the whole group after the grace time. Safe to call twice."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace_seconds)
        self.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL for the whole group. Does not wait: a signal handler may call it."""
        with contextlib.suppress(ProcessLookupError):
            self._signal_group(signal.SIGKILL)

    def _end_group(self) -> None:
        deadline = time.monotonic() + self._grace_seconds
        with contextlib.suppress(ProcessLookupError):
            self._signal_group(signal.SIGTERM)
            while time.monotonic() < deadline:
                time.sleep(0.05)
                self._signal_group(0)  # only asks whether something is left
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        """Raises ProcessLookupError if nothing of the group is left."""
        if self._process is not None:
            os.killpg(self._process.pid, number)


def spawn(
    command: list[str], environment: Mapping[str, str], *, stdout: int, stderr: int, lock: int
) -> subprocess.Popen[bytes]:
    """Start a process of the project that ends with this one and holds the run's lock."""
    return subprocess.Popen(
        tied_to_parent(command),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=(lock,),
        start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which stops them in order
    )


@dataclass
class Watched:
    """A service that is started again when it ends, each time after a longer pause until it has run for a while."""

    name: str
    service: Service
    started_at: float = field(default_factory=time.monotonic)
    delay: float = _FIRST_DELAY_SECONDS
    retry_at: float | None = None

    def check(self) -> None:
        """Announce an end, or start again what ended when its pause is over. Call it often."""
        now = time.monotonic()
        if self.service.is_running:
            if now - self.started_at > _STABLE_SECONDS:
                self.delay = _FIRST_DELAY_SECONDS
        elif self.retry_at is None:
            self._plan(f"{self.name} {describe_exit(self.service.exit_code)}")
        elif now >= self.retry_at:
            self.retry_at = None
            try:
                self.service.start()
            except (MongodError, OSError) as error:
                self._plan(f"{self.name} did not start: {error}")
            else:
                self.started_at = time.monotonic()
                say(f"{self.name} runs again.")

    def _plan(self, reason: str) -> None:
        say(f"{reason}. Starting it again in {self.delay:g} s; log: {self.service.log_path}")
        self.retry_at = time.monotonic() + self.delay
        self.delay = min(self.delay * 2, _LAST_DELAY_SECONDS)


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
