"""An embedded MongoDB, the same for `make run` and for the tests: one real mongod as a one-node replica set.

Standard library and pymongo only: it runs before Django is configured.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from development.mongod_binary import MongodError, find_mongod, missing_packages

HOST = "127.0.0.1"
REPLICA_SET = "rs0"

# Exit codes and error codes of MongoDB.
_EXIT_PORT_TAKEN = 48
_NOT_YET_INITIALIZED = 94

# A mongod whose parent was killed needs about a second to stop; a start right after that waits for it.
_DATA_DIR_PATIENCE_SECONDS = 3.0
_FREE_PORT_ATTEMPTS = 3
_KILLED_ATTEMPTS = 3
_POLL_SECONDS = 0.02
_given_ports: set[int] = set()

# Run as `python -c`, not as preexec_fn: Python code between fork and exec can deadlock when other threads run, and
# pymongo starts threads. The kernel sends the signal when the *thread* that started the child ends, so start children
# from the main thread. The check of the parent's id covers a parent that died before the request was made.
_TIE_TO_PARENT = """\
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the process that asked for this one is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class _DataDirInUseError(MongodError):
    """Another mongod holds the data directory, perhaps only until it has stopped."""


class _PortTakenError(MongodError):
    """Another process listens on the port."""


class _KilledError(MongodError):
    """A signal ended it while it started: nothing that another try would meet again."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, another at each call of a process.

    Below those that the system gives to clients (32768 and up), so that none of them is there before the server.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_768)
        if port not in _given_ports and is_port_free(port):
            _given_ports.add(port)
            return port


def is_port_free(port: int) -> bool:
    """Whether a server could listen on this TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do; otherwise a port whose last connections just ended would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def tied_to_parent(command: list[str]) -> list[str]:
    """The command that runs `command` so that it gets SIGTERM when this process dies, by kill -9 too.

    For children started by this process's main thread. On Linux; elsewhere the command as it is.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", "-c", _TIE_TO_PARENT, str(os.getpid()), *command]


def start_log(path: Path) -> int:
    """Begin a new log file, keep the one before as `<name>.1`, and return the descriptor to write to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


class Mongod:
    """One mongod on 127.0.0.1 that is primary of its own replica set, and stops with the process that started it.

    Journaled like a production server: what was acknowledged survives `kill -9`; with `is_durable=False`, for data
    that nobody wants then, a write does not wait for the disk. `port=None` takes a free port, which
    then stays the same for this object. `parameters` are MongoDB server parameters (`--setParameter`). It
    inherits the descriptors `pass_fds`, such as that of a lock to hold as long as it lives.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log_path: Path | None = None,
        cache_gb: float = 0.25,
        start_seconds: float = 60,
        binary: Path | None = None,
        parameters: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        is_durable: bool = True,
    ) -> None:
        self.data_dir = data_dir
        self._is_durable = is_durable
        self.log_path = log_path or data_dir.with_name(f"{data_dir.name}.log")
        self._binary = binary
        self._port = port
        self._cache_gb = cache_gb
        self._start_seconds = start_seconds
        self._parameters = {
            "shutdownTimeoutMillisForSignaledShutdown": "0",  # no other node to wait for
            "diagnosticDataCollectionEnabled": "false",
            # What a killed process had locked is free again as soon as a transaction of ours could still run.
            "transactionLifetimeLimitSeconds": "20",
            **(parameters or {}),
        }
        self._pass_fds = pass_fds
        self._process: subprocess.Popen[bytes] | None = None
        self.settling_seconds = 0.0  # One that is primary works.

    @property
    def port(self) -> int:
        """The port; raises MongodError before the first start if it is still to be chosen."""
        if self._port is None:
            raise MongodError("This mongod has no port yet: start it first.")
        return self._port

    @property
    def url(self) -> str:
        """Connection string without a database name."""
        return self.url_of("")

    def url_of(self, database: str) -> str:
        """Connection string for one database. Replica set form, as in production: transactions work through it."""
        return f"mongodb://{HOST}:{self.port}/{database}?replicaSet={REPLICA_SET}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def is_running(self) -> bool:
        return self.pid is not None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended by itself (negative: the signal); None while it runs and after `stop`."""
        return None if self._process is None else self._process.poll()

    @property
    def is_ready(self) -> bool:
        """Whether it runs and is primary; a quick look, which a frozen one can make wait for 3 s."""
        if self.pid is None or not self._is_listening():
            return False
        try:
            with self._connect(milliseconds=500) as client:
                return self._is_primary(client, self.pid)
        except PyMongoError:
            return False

    def is_clear(self) -> bool:
        """Whether nothing is left of a process that ended: it has no children."""
        return not self.is_running

    def start_again(self) -> None:
        """Start after an end, on the port and the data that it had, without waiting: `is_ready` tells the rest.

        Raises MongodError if there is nothing that could be started.
        """
        self._launch()

    def start(self) -> None:
        """Start and wait until primary; does nothing if it runs. Works after any kind of end of the run before.

        Tries again if something kills it meanwhile. Raises MongodError, and leaves no process, if it is not primary
        within `start_seconds`.
        """
        if self.is_running:
            return
        choose_port = self._port is None
        ports_left, kills_left = _FREE_PORT_ATTEMPTS, _KILLED_ATTEMPTS
        patient_until = time.monotonic() + _DATA_DIR_PATIENCE_SECONDS
        while not self.is_running:
            if choose_port:
                self._port = free_port()
            try:
                self._start_once()
            except _DataDirInUseError:
                if time.monotonic() > patient_until:
                    raise
                time.sleep(0.2)
            except _PortTakenError:
                ports_left -= 1
                if not choose_port or ports_left == 0:
                    raise
            except _KilledError:
                kills_left -= 1
                if kills_left == 0:
                    raise

    def stop(self, seconds: float = 20) -> None:
        """Stop cleanly, with SIGKILL after `seconds`. Safe to call twice, and when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start_once(self) -> None:
        try:
            self._wait_until_primary(self._launch(), time.monotonic() + self._start_seconds)
        except BaseException:
            self.stop()
            raise

    def _launch(self) -> subprocess.Popen[bytes]:
        binary = self._binary or find_mongod()
        if not os.access(binary, os.X_OK):
            raise MongodError(f"{binary} may not be executed. Type: chmod +x {binary}")
        if not is_port_free(self.port):
            raise self._port_error()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            log = start_log(self.log_path)
        except OSError as error:
            raise MongodError(f"MongoDB cannot use {self.data_dir}: {error}.") from error
        try:
            self._process = subprocess.Popen(
                tied_to_parent(self._command(binary)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._pass_fds,
                start_new_session=True,  # Ctrl-C in the terminal is not for it: whoever started it stops it in order
            )
        finally:
            os.close(log)
        return self._process

    def _connect(self, *, milliseconds: int) -> MongoClient[dict[str, Any]]:
        return MongoClient(
            HOST,
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=milliseconds,
            socketTimeoutMS=5 * milliseconds,
        )

    def _command(self, binary: Path) -> list[str]:
        command = [str(binary), "--replSet", REPLICA_SET, "--bind_ip", HOST, "--port", str(self.port)]
        command += ["--dbpath", str(self.data_dir), "--wiredTigerCacheSizeGB", str(self._cache_gb)]
        command += ["--nounixsocket", "--quiet"]
        for name, value in self._parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        return command

    def _wait_until_primary(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while not self._is_listening():
            self._check_start(process, deadline)
            time.sleep(_POLL_SECONDS)
        with self._connect(milliseconds=1000) as client:
            while True:
                try:
                    if self._is_primary(client, process.pid):
                        return
                    self._configure(client)
                except PyMongoError:
                    pass  # still starting, or gone: the check tells which
                self._check_start(process, deadline)
                time.sleep(_POLL_SECONDS)

    def _is_listening(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _is_primary(self, client: MongoClient[dict[str, Any]], pid: int) -> bool:
        hello = client.admin.command("hello")
        if not hello.get("isWritablePrimary") or hello.get("me") != self._member:
            return False
        # The process on the port must be ours, not one that took it a moment earlier.
        return bool(client.admin.command("serverStatus")["pid"] == pid)

    @property
    def _member(self) -> str:
        return f"{HOST}:{self.port}"

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        """Make this node the only member of its replica set. Repeating it changes nothing."""
        members = [{"_id": 0, "host": self._member}]
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            new = {"_id": REPLICA_SET, "members": members, "writeConcernMajorityJournalDefault": self._is_durable}
            client.admin.command({"replSetInitiate": new})
            return
        if [member["host"] for member in config["members"]] != [self._member]:
            # Data of a run on another port: the node does not find itself in it, so only force is accepted.
            config |= {"members": members, "version": config["version"] + 1}
            client.admin.command({"replSetReconfig": config, "force": True})

    def _check_start(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        """Raise MongodError if the process ended or the time is over."""
        exit_code = process.poll()
        if exit_code is not None:
            raise self._exit_error(exit_code)
        if time.monotonic() > deadline:
            raise MongodError(
                f"MongoDB on port {self.port} was not ready after {self._start_seconds:g} s. {self._log_excerpt()}"
            )

    def _exit_error(self, exit_code: int) -> MongodError:
        excerpt = self._log_excerpt()
        if exit_code == _EXIT_PORT_TAKEN:
            return self._port_error()
        if "DBPathInUse" in excerpt:
            return _DataDirInUseError(
                f"The data directory {self.data_dir} is in use by another mongod{self._lock_holder()}. "
                "Stop that one first, or use another directory."
            )
        if "error while loading shared libraries" in excerpt:
            packages = " ".join(missing_packages(self._binary or find_mongod()))
            command = f"apt-get update && apt-get install {packages}"
            return MongodError(
                f"mongod lacks a system library. As root: {command}\n"
                f"Or set DATABASE_URL to a replica set that runs elsewhere. {excerpt}"
            )
        if "Exec format error" in excerpt:
            return MongodError(
                f"{self._binary or find_mongod()} is cut short, or of another machine: install it again."
            )
        if exit_code == -signal.SIGILL:
            return MongodError(
                "This processor lacks an instruction (AVX) that MongoDB 5.0 and newer need. "
                "Set DATABASE_URL to a replica set that runs elsewhere."
            )
        kind = _KilledError if -exit_code in (signal.SIGKILL, signal.SIGTERM) else MongodError
        return kind(f"mongod ended with code {exit_code} while starting. {excerpt}")

    def _port_error(self) -> MongodError:
        return _PortTakenError(
            f"Port {self.port} for MongoDB is taken. Stop what listens there, or choose another port."
        )

    def _lock_holder(self) -> str:
        try:
            return f" (pid {int((self.data_dir / 'mongod.lock').read_text())})"
        except (OSError, ValueError):
            return ""

    def _log_excerpt(self) -> str:
        """The errors in the log, or its last lines, and where it is."""
        try:
            lines = self.log_path.read_text(errors="replace").splitlines()[-200:]
        except OSError as error:
            return f"Log: {error}"
        errors = [line for line in lines if _is_error(line)]
        excerpt = "\n".join(f"  {line[:500]}" for line in (errors or lines)[-5:])
        return f"Log {self.log_path}:\n{excerpt}"


def _is_error(line: str) -> bool:
    """Whether a line of mongod's log reports an error. Lines that are not JSON come from outside (the loader)."""
    try:
        return json.loads(line)["s"] in ("E", "F")
    except (ValueError, KeyError, TypeError):
        return bool(line.strip())
