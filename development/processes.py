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

from development.mongod import start_log, tied_to_parent
from development.mongod_binary import MongodError

ROOT = Path(__file__).resolve().parents[1]
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 5.0


def say(text: str = "") -> None:
    """Print a line at once. A terminal that has gone away is no reason to stop."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (it stays open as long as the process)


class Service(Protocol):
    """What the supervisor keeps running: a child process, or the embedded MongoDB."""

    log_path: Path
    settling_seconds: float
    """Once it has been ready for so long, it has shown that it works."""

    @property
    def is_running(self) -> bool: ...
    @property
    def is_ready(self) -> bool:
        """Whether it does what it is for, as far as a quick look can tell."""

    @property
    def exit_code(self) -> int | None: ...
    def start(self) -> None:
        """Start it for the first time, and wait as long as that takes."""

    def is_clear(self) -> bool:
        """Whether nothing is left of a process that ended; ends what is left. Called until it is true; never waits."""

    def start_again(self) -> None:
        """Start it after it ended and is clear. Never waits."""

    def stop(self) -> None: ...


class Child:
    """A process in its own group, with its output in a log file. It gets SIGTERM if the supervisor dies."""

    settling_seconds = 5.0

    def __init__(
        self, command: list[str], *, environment: Mapping[str, str], log_path: Path, grace_seconds: float, lock: int
    ) -> None:
        self.log_path = log_path
        self._command = command
        self._environment = environment
        self._grace_seconds = grace_seconds
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_ready(self) -> bool:
        return self.is_running

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, after what is left of the process before has ended: it may still hold the ports.

        What is left is asked to stop, and killed after the grace time.
        """
        while not self.is_clear():
            time.sleep(0.05)
        self.start_again()

    def is_clear(self) -> bool:
        """Whether nothing is left of the process that ended. What is left is asked to stop at the first call, and
        killed at one after the grace time."""
        now = time.monotonic()
        try:
            if self._kill_at is None:
                self._kill_at = now + self._grace_seconds
                self._signal_group(signal.SIGTERM)
            self._signal_group(signal.SIGKILL if now > self._kill_at else 0)  # 0 only asks whether something is left.
        except ProcessLookupError:
            return True
        return self._process is None

    def start_again(self) -> None:
        """Start it, in the log of the processes before."""
        if self._process is None:
            log = start_log(self.log_path)
        else:
            log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._kill_at = None
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
    """A service that is started again when it ends, each time after a longer pause until it has shown that it works.

    Nothing here waits, so that each of any number of services is looked after, whatever another one needs.
    """

    name: str
    service: Service
    ends: int = 0
    """How often it ended, or did not start, since it last worked."""
    _ready_at: float | None = field(default_factory=time.monotonic)
    _retry_at: float | None = None

    def check(self) -> None:
        """Announce an end, start again what ended when its pause is over, or note that it works. Call it often."""
        now = time.monotonic()
        if self.service.is_running:
            self._check_ready(now)
        elif self._retry_at is None:
            self._plan(f"{self.name} {describe_exit(self.service.exit_code)}")
        elif now >= self._retry_at and self.service.is_clear():
            self._retry_at = self._ready_at = None
            try:
                self.service.start_again()
            except (MongodError, OSError) as error:
                self._plan(f"{self.name} did not start: {error}")

    @property
    def is_ready(self) -> bool:
        """Whether it worked when it was last looked at."""
        return self.service.is_running and self._ready_at is not None

    def _check_ready(self, now: float) -> None:
        if self._ready_at is None:
            if not self.service.is_ready:
                return
            self._ready_at = now
            say(f"{self.name} runs again.")
        if now - self._ready_at >= self.service.settling_seconds:
            self.ends = 0

    def _plan(self, reason: str) -> None:
        delay = min(_FIRST_DELAY_SECONDS * 2**self.ends, _LAST_DELAY_SECONDS)
        self.ends += 1
        say(f"{reason}. Starting it again in {delay:g} s; log: {self.service.log_path}")
        self._retry_at = time.monotonic() + delay
        self.service.is_clear()  # What is left has the pause to stop.


def describe_exit(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"
