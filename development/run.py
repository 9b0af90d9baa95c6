"""The supervisor behind `make run`: starts everything that a try-out needs, keeps it running, and stops it in order.

For development only. Everything that it makes is under `var/` (VAR_DIR): the database, the secrets that it chose once,
the logs. Its settings come from the environment: SITE_PORT, OPENHANDS_PORT, OHMYGPT_PORT, MONGOD_PORT; DATABASE_URL
replaces the embedded MongoDB; OPENHANDS_BASE_URL and OHMYGPT_BASE_URL (without /v1) replace the fake upstream.
"""

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from development.mongod import Mongod, free_port, is_port_free, start_log
from development.mongod_binary import MongodError
from development.ownership import why_not_ours
from development.processes import ROOT, Child, Service, Watched, describe_exit, say, spawn
from development.welcome import UPSTREAMS, welcome

HOST = "127.0.0.1"
DATABASE = "billing"
PORTS = {"SITE_PORT": 8000, "OPENHANDS_PORT": 8004, "OHMYGPT_PORT": 8005}

_STEP_SECONDS = 300
_READY_SECONDS = 60
_EARLIER_RUN_SECONDS = 45
_WATCH_SECONDS = 0.2
_START_ATTEMPTS = 3
"""A service that ends so often before it has worked for a while will not start at all."""


class StartError(Exception):
    """The run cannot start; the message tells the operator what to do."""


def read_ports(environment: Mapping[str, str]) -> dict[str, int]:
    """The ports by the name of their variable. Raises StartError for a port that is malformed, used twice, or taken.

    MONGOD_PORT is among them if it is chosen and there is a MongoDB to start.
    """
    wanted = {name: environment.get(name) or str(default) for name, default in PORTS.items()}
    if environment.get("MONGOD_PORT") and not environment.get("DATABASE_URL"):
        wanted["MONGOD_PORT"] = environment["MONGOD_PORT"]
    ports: dict[str, int] = {}
    for name, value in wanted.items():
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise StartError(f"{name}={value} is no port number.")
        if int(value) in ports.values():
            raise StartError(f"{name}={value} is the port of another part already.")
        ports[name] = int(value)
    for name, port in ports.items():
        if not is_port_free(port):
            another = port + 1000 if port + 1000 < 65536 else port - 1000
            raise StartError(
                f"Port {port} is taken. Stop what listens there, or choose another: {name}={another} make run"
            )
    return ports


def load_secrets(path: Path) -> dict[str, str]:
    """The secrets of this installation, chosen at the first call and kept in a file that only its owner reads."""
    found: dict[str, str] = {}
    if path.exists():
        lines = [line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#")]
        found = {name: value for name, separator, value in lines if separator}
    wanted: dict[str, Callable[[], str]] = {
        "SECRET_KEY": lambda: secrets.token_urlsafe(50),
        "SEPAY_API_KEYS": lambda: secrets.token_urlsafe(24),
        "ADMIN_USERNAME": lambda: "admin",
        "ADMIN_PASSWORD": lambda: secrets.token_urlsafe(12),
        "DEMO_API_KEY_ALICE": lambda: f"sk-trollllm-{secrets.token_hex(32)}",
        "DEMO_API_KEY_BOB": lambda: f"sk-trollllm-{secrets.token_hex(32)}",
        "FAKE_UPSTREAM_API_KEY": lambda: secrets.token_urlsafe(24),
    }
    missing = {name: choose() for name, choose in wanted.items() if name not in found}
    if missing:
        found |= missing
        text = "".join(f"{name}={value}\n" for name, value in found.items())
        _write_private(
            path, f"# Secrets of `make run`, for development only. Delete this file to choose new ones.\n{text}"
        )
    return found


def _write_private(path: Path, text: str) -> None:
    """Replace a file with mode 0600, whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def only_run(path: Path) -> Iterator[int]:
    """Hold the lock of the var directory, and give its descriptor for children to inherit.

    The lock is free when this process *and* the children have ended, so a run right after `kill -9` of this process
    waits for what still stops instead of finding its ports taken. Raises StartError if another run goes on.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _EARLIER_RUN_SECONDS
        is_announced = False
        while not _is_locked(descriptor):
            holder = path.read_text().strip()
            if _is_run(holder):
                raise StartError(f"Another `make run` (pid {holder}) uses {path.parent}. Stop it first.")
            if time.monotonic() > deadline:
                raise StartError(f"Children of an earlier run do not stop: those that `fuser {path}` lists.")
            if not is_announced:
                say("Waiting for the children of an earlier run to stop ...")
                is_announced = True
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_run(pid: str) -> bool:
    try:
        return __spec__.name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Supervisor:
    """One run: start, watch, stop. The signals arrive here; the first one stops the run, a second hurries the stop."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._var = Path(environment.get("VAR_DIR") or ROOT / "var").absolute()
        self._watched: list[Watched] = []  # in the order of starting
        self._is_stopping = False
        self._lock = -1
        self._ports: dict[str, int] = {}
        self._fake_upstream_url: str | None = None

    def run(self) -> None:
        """Run until a signal. Raises StartError or MongodError if something does not start; nothing is left running."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        _stop_with_make()
        if problem := why_not_ours(self._var):
            raise StartError(problem)
        try:
            with only_run(self._var / "run.lock") as self._lock:
                try:
                    self._start()
                    while True:
                        self._check()
                        time.sleep(_WATCH_SECONDS)
                finally:
                    self._is_stopping = True
                    self._stop()
        except KeyboardInterrupt:
            say("Stopped.")

    def _on_signal(self, number: int, frame: object) -> None:
        del number, frame
        if not self._is_stopping:
            self._is_stopping = True
            raise KeyboardInterrupt
        # MongoDB keeps its time, which is bounded: its data outlive this run.
        for watched in self._watched:
            if isinstance(watched.service, Child):
                watched.service.kill()

    def _check(self) -> None:
        """Look after every service. Never waits; call it often."""
        for watched in self._watched:
            watched.check()

    def _check_start(self) -> None:
        """The same while not everything runs yet. Raises StartError if a service keeps ending."""
        self._check()
        for watched in self._watched:
            if watched.ends >= _START_ATTEMPTS:
                ending = describe_exit(watched.service.exit_code)
                raise StartError(f"{watched.name} {ending} while starting. {log_tail(watched.service.log_path)}")

    def _stop(self) -> None:
        if self._watched:
            say("\nStopping ...")
        for watched in reversed(self._watched):
            watched.service.stop()

    def _start(self) -> None:
        self._ports = read_ports(self._environment)
        chosen = load_secrets(self._var / "development.env")
        # What the caller has set wins over everything chosen here.
        defaults = chosen | self._development_settings()
        self._environment = defaults | {name: value for name, value in self._environment.items() if value}
        self._start_database()
        self._start_fake_upstream()
        self._step("migrate", "--noinput")
        self._start_child("Sweeper", [sys.executable, "manage.py", "sweep", "--loop"], grace_seconds=10)
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", "billing_site/gunicorn.conf.py"]
        grace_seconds = float(self._environment["GRACEFUL_TIMEOUT_SECONDS"])
        for name, served in (("Site", "site"), ("API", "api")):
            command = [*gunicorn, f"--name={served}", "billing_site.wsgi:application"]
            self._start_child(name, command, grace_seconds=grace_seconds, SERVE=served)
        demo = self._seed_demo()  # While they start.
        self._wait_until_healthy()
        say(
            welcome(
                self._environment,
                demo,
                urls={name: f"http://{HOST}:{port}" for name, port in self._ports.items()},
                fake_upstream_url=self._fake_upstream_url,
                log_dir=self._var / "log",
            )
        )

    def _development_settings(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "billing_site.settings",
            "ENVIRONMENT": "development",
            "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
            "SEPAY_ACCOUNT_NUMBER": "0123499999",
            "SEPAY_BANK": "Vietcombank",
            "VAR_DIR": str(self._var),
            "PYTHONUNBUFFERED": "1",
            # Well within what the next run waits for the children of a killed one.
            "GRACEFUL_TIMEOUT_SECONDS": "15",
            **{name: str(port) for name, port in self._ports.items()},
        }

    def _start_database(self) -> None:
        if self._environment.get("DATABASE_URL"):
            return
        say("Starting MongoDB ...")
        mongod = Mongod(
            self._var / "mongodb",
            port=self._ports.get("MONGOD_PORT"),
            log_path=self._var / "log" / "mongod.log",
            cache_gb=0.5,
            pass_fds=(self._lock,),
        )
        self._watch("MongoDB", mongod)
        self._environment["DATABASE_URL"] = mongod.url_of(DATABASE)

    def _start_fake_upstream(self) -> None:
        lacking = [name for name in UPSTREAMS if not self._environment.get(f"{name}_BASE_URL")]
        if not lacking:
            return
        port, api_key = free_port(), self._environment["FAKE_UPSTREAM_API_KEY"]
        command = [sys.executable, "-m", "development.fake_upstream.server", f"--port={port}", f"--api-key={api_key}"]
        self._start_child("Fake upstream", command, grace_seconds=5)
        self._fake_upstream_url = f"http://{HOST}:{port}"
        for name in lacking:
            self._environment |= {f"{name}_BASE_URL": self._fake_upstream_url, f"{name}_API_KEY": api_key}
        self._wait_for("the fake upstream", partial(_is_listening, port))

    def _seed_demo(self) -> dict[str, Any]:
        """Make the demo data, once and again, and return what `seed_demo --json` says about them."""
        answer = self._step("seed_demo", "--json", "--skip-checks")  # `migrate` has just checked.
        try:
            demo: dict[str, Any] = json.loads(answer.splitlines()[-1])
        except (ValueError, IndexError):
            raise StartError(f"manage.py seed_demo --json printed no JSON but: {answer[-500:]}") from None
        return demo

    def _step(self, name: str, *arguments: str) -> str:
        """Run a management command to its end and return what it printed. If it fails, it is run once more.

        Raises StartError if it fails then too.
        """
        say(f"manage.py {name} ...")
        try:
            return self._run_command(name, *arguments)
        except StartError as error:
            # What it needs may have been away for a moment.
            say(f"{str(error).splitlines()[0]} Trying again ...")
            self._wait_for("every service", lambda: all(watched.is_ready for watched in self._watched))
            return self._run_command(name, *arguments)

    def _run_command(self, name: str, *arguments: str) -> str:
        log_path = self._var / "log" / f"{name}.log"
        log = start_log(log_path)
        command = [sys.executable, "manage.py", name, *arguments]
        process = spawn(command, self._environment, stdout=subprocess.PIPE, stderr=log, lock=self._lock)
        deadline = time.monotonic() + _STEP_SECONDS
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=_WATCH_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        message = f"manage.py {name} took more than {_STEP_SECONDS} s. {log_tail(log_path)}"
                        raise StartError(message) from None
                self._check_start()
        finally:
            os.close(log)
            if process.returncode is None:
                process.kill()
                process.communicate()
        if process.returncode != 0:
            ending = describe_exit(process.returncode)
            raise StartError(f"manage.py {name} {ending}. {log_tail(log_path)}\n{output.decode()[-500:]}".rstrip())
        return output.decode()

    def _start_child(self, name: str, command: list[str], *, grace_seconds: float, **environment: str) -> None:
        log_path = self._var / "log" / f"{name.lower().replace(' ', '_')}.log"
        child = Child(
            command,
            environment=self._environment | environment,
            log_path=log_path,
            grace_seconds=grace_seconds,
            lock=self._lock,
        )
        self._watch(name, child)

    def _watch(self, name: str, service: Service) -> None:
        # Before it starts, so that an interrupted start is cleaned up as well.
        self._watched.append(Watched(name, service))
        service.start()

    def _wait_until_healthy(self) -> None:
        for name in PORTS:
            port = self._ports[name]
            self._wait_for(f"http://{HOST}:{port}/healthz", partial(_answers, port, "/healthz"))

    def _wait_for(self, what: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not is_ready():
            self._check_start()
            if time.monotonic() > deadline:
                last = self._watched[-1]
                raise StartError(f"No answer from {what} in {_READY_SECONDS} s. {log_tail(last.service.log_path)}")
            time.sleep(0.05)


def log_tail(path: Path, lines: int = 15) -> str:
    """Where a log is, and its last lines."""
    with contextlib.suppress(OSError), path.open("rb") as log:
        text = _last_bytes(log, 8192).decode(errors="replace")
        return "\n".join([f"Log {path}:", *(f"  {line}" for line in text.splitlines()[-lines:])])
    return f"Log {path} is missing."


def _last_bytes(file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
    return file.read()


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop_with_make() -> None:
    """Under make, ask the kernel for SIGTERM when make dies: `kill -9` of it must not leave this process behind."""
    if "MAKELEVEL" in os.environ and sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def main() -> int:
    try:
        Supervisor(os.environ).run()
    except (StartError, MongodError) as error:
        say(f"\n{error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
