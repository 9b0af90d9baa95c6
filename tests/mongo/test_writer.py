"""Writes of one document, both ways, against a mongod that fails on command: each is applied once or raises."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo import MongoClient, monitoring
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    NetworkTimeout,
    OperationFailure,
    ProtocolError,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from development.mongod import HOST, Mongod
from mongo.fast_writes import MOST_IDLE, POLL_SECONDS, RECEIVE_BYTES, DirectWriter
from mongo.writer import DriverWriter, Writer
from tests.processes import stat_of, wait_for

INCREMENT = [{"$set": {"n": {"$add": ["$n", 1]}}}]
CONNECTION_LOST = {"closeConnection": True}
NOT_PRIMARY = {"errorCode": 10107, "errorLabels": ["RetryableWriteError"]}
APPLIED_BUT_LOST = {
    "writeConcernError": {"code": 6, "errmsg": "a node is gone", "errorLabels": ["RetryableWriteError"]}
}


class Commands(monitoring.CommandListener):
    """The names of the commands that were started."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


class Pool(monitoring.ConnectionPoolListener):
    """How many of the driver's connections are checked out, and how many were closed."""

    def __init__(self) -> None:
        self.checked_out = self.closed = 0
        self._lock = threading.Lock()

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        with self._lock:
            self.checked_out += 1

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        with self._lock:
            self.checked_out -= 1

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        self.closed += 1

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        pass

    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None:
        pass

    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None:
        pass

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        pass

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        pass

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None:
        pass

    def connection_check_out_started(self, event: monitoring.ConnectionCheckOutStartedEvent) -> None:
        pass

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        pass


class Repeater:
    """Stands between a client and a mongod. Once told to, it sends the answer before again, ahead of the next one's."""

    def __init__(self, port: int) -> None:
        self.repeats_next_answer = False
        self._mongod_port = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # It was closed.
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection((HOST, self._mongod_port)) as mongod, contextlib.suppress(OSError):
            last = b""
            while request := client.recv(65536):
                if self.repeats_next_answer and b"findAndModify" in request:
                    self.repeats_next_answer = False
                    client.sendall(last)
                mongod.sendall(request)
                last = mongod.recv(65536)  # Small answers, one to each request: the driver is told not to stream.
                client.sendall(last)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with Mongod(tmp_path_factory.mktemp("mongod") / "data", parameters={"enableTestCommands": "1"}) as running:
        yield running


@pytest.fixture(params=[DirectWriter, DriverWriter])
def connect(mongod: Mongod, request: pytest.FixtureRequest) -> Iterator[Callable[..., Writer]]:
    """Make writers whose collection `things` holds one document, `{"_id": "a", "n": 0}`."""
    clients: list[MongoClient[dict[str, Any]]] = []

    def make(**options: Any) -> Writer:
        options = {"host": mongod.url, "w": "majority", "serverSelectionTimeoutMS": 5000} | options
        clients.append(MongoClient(**options))
        things = clients[-1].test.things
        things.delete_many({})
        things.insert_one({"_id": "a", "n": 0})
        writer: Writer = request.param(clients[-1], "test")
        return writer

    yield make
    for client in clients:
        client.close()


def fail_next(writer: Writer, times: int, command: str, **failure: Any) -> None:
    data = {"failCommands": [command], **failure}
    writer.client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)


def increment(writer: Writer) -> Any:
    document = writer.find_one_and_update("things", {"_id": "a"}, INCREMENT, {"n": 1})
    return document and document["n"]


def test_an_update_returns_what_it_made_or_none(connect: Callable[..., Writer]) -> None:
    writer = connect()
    assert writer.find_one_and_update("things", {"_id": "a"}, INCREMENT, {"n": 1}) == {"_id": "a", "n": 1}
    assert writer.find_one_and_update("things", {"_id": "nobody"}, INCREMENT, {"n": 1}) is None


def test_a_second_insert_of_the_same_id_is_a_duplicate(connect: Callable[..., Writer]) -> None:
    writer = connect()
    writer.insert_one("things", {"_id": "b", "n": 7})
    with pytest.raises(DuplicateKeyError):
        writer.insert_one("things", {"_id": "b", "n": 8})
    assert writer.client.test.things.find_one({"_id": "b"}) == {"_id": "b", "n": 7}
    assert increment(writer) == 1, "the connection is still good"


@pytest.mark.parametrize("failure", [CONNECTION_LOST, NOT_PRIMARY, APPLIED_BUT_LOST])
def test_a_failure_that_may_pass_is_tried_again_and_applied_once(
    connect: Callable[..., Writer], failure: dict[str, Any]
) -> None:
    writer = connect()
    assert increment(writer) == 1
    fail_next(writer, 1, "findAndModify", **failure)
    assert increment(writer) == 2
    fail_next(writer, 1, "insert", **failure)
    writer.insert_one("things", {"_id": "b"})
    assert sorted(document["_id"] for document in writer.client.test.things.find()) == ["a", "b"]
    assert increment(writer) == 3


@pytest.mark.parametrize("failure", [CONNECTION_LOST, NOT_PRIMARY])
def test_a_failure_that_stays_is_raised_after_one_retry(
    connect: Callable[..., Writer], failure: dict[str, Any]
) -> None:
    writer = connect()
    fail_next(writer, 2, "findAndModify", **failure)
    with pytest.raises(PyMongoError):
        increment(writer)
    assert increment(writer) == 1


def test_a_refused_command_is_not_tried_again(connect: Callable[..., Writer]) -> None:
    writer = connect()
    with pytest.raises(OperationFailure, match="Unrecognized pipeline stage"):
        writer.find_one_and_update("things", {"_id": "a"}, [{"$nothing": {}}], {})
    assert increment(writer) == 1


def test_many_threads_on_a_small_pool_each_write_once_and_leave_connections_for_others(
    connect: Callable[..., Writer],
) -> None:
    pool = Pool()
    writer = connect(maxPoolSize=4, event_listeners=[pool])
    with ThreadPoolExecutor(40) as threads:
        results = list(threads.map(lambda _: increment(writer), range(400)))
    assert sorted(results) == list(range(1, 401))
    assert pool.checked_out <= 2
    # The driver's own calls share the pool, and are not starved by what lies idle here.
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: writer.client.test.things.count_documents({}), range(40))) == [1] * 40


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_connection_that_is_given_back_waits_for_an_answer_as_before(
    connect: Callable[..., Writer], is_refused: bool
) -> None:
    writer = connect(maxPoolSize=1)  # One connection for everything: none of it stays checked out.
    assert increment(writer) == 1
    if is_refused:
        with pytest.raises(OperationFailure):
            writer.find_one_and_update("things", {"_id": "a"}, [{"$nothing": {}}], {})
    writer.client.admin.command("sleep", 1, millis=int(3000 * POLL_SECONDS), lock="none")


def test_idle_connections_are_few(connect: Callable[..., Writer]) -> None:
    pool = Pool()
    writer = connect(event_listeners=[pool])
    together = threading.Barrier(60)

    def write(_: int) -> Any:
        together.wait(30)
        return increment(writer)

    with ThreadPoolExecutor(60) as threads:
        assert sorted(threads.map(write, range(60))) == list(range(1, 61))
    assert pool.checked_out <= MOST_IDLE


def test_a_restarted_server_is_found_again(mongod: Mongod, connect: Callable[..., Writer]) -> None:
    writer = connect(heartbeatFrequencyMS=500)
    assert increment(writer) == 1
    mongod.stop()
    mongod.start()
    assert increment(writer) == 2


def test_an_answer_in_pieces_is_put_together(connect: Callable[..., Writer]) -> None:
    writer = connect()
    text = "x" * (4 * RECEIVE_BYTES)
    writer.insert_one("things", {"_id": "b", "text": text})
    assert writer.find_one_and_update("things", {"_id": "b"}, INCREMENT, {"text": 1}) == {"_id": "b", "text": text}


def test_an_answer_to_something_else_is_refused_and_the_connection_dropped(
    mongod: Mongod, connect: Callable[..., Writer]
) -> None:
    pool = Pool()
    repeater = Repeater(mongod.port)
    options = {"directConnection": True, "serverMonitoringMode": "poll", "event_listeners": [pool]}
    writer = connect(host=f"mongodb://{HOST}:{repeater.port}", **options)
    assert increment(writer) == 1
    repeater.repeats_next_answer = True
    with pytest.raises(ProtocolError, match="not the answer" if isinstance(writer, DirectWriter) else "response id"):
        increment(writer)
    assert pool.closed == 1
    # What was sent may have been applied, as with any error that is not known to be passing.
    assert increment(writer) in (2, 3)
    repeater.close()


def stop(pid: int) -> None:
    """Stop a process, and return when none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    wait_for(lambda: all((stat_of(thread) or "T")[0] == "T" for thread in threads))


LOSES_THE_SERVER_SOON = {
    "heartbeatFrequencyMS": 500,
    "connectTimeoutMS": 500,
    "serverSelectionTimeoutMS": 500,
    "socketTimeoutMS": 30_000,
}


@pytest.mark.parametrize(
    ("options", "error"),
    [({"socketTimeoutMS": 1000}, NetworkTimeout), (LOSES_THE_SERVER_SOON, ServerSelectionTimeoutError)],
    ids=["the time-out is over", "the driver has lost the server"],
)
def test_a_silent_server_is_not_waited_for(
    mongod: Mongod, connect: Callable[..., Writer], options: dict[str, Any], error: type[PyMongoError]
) -> None:
    writer = connect(**options)
    assert increment(writer) == 1
    assert mongod.pid is not None
    stop(mongod.pid)
    started = time.monotonic()
    try:
        # The driver tells of the first of its two tries, by an error whose public name is the wider one.
        with pytest.raises(error if isinstance(writer, DirectWriter) else AutoReconnect):
            increment(writer)
    finally:
        os.kill(mongod.pid, signal.SIGCONT)
    assert time.monotonic() - started < 15


def test_commands_that_somebody_listens_to_are_reported(connect: Callable[..., Writer]) -> None:
    heard = Commands()
    writer = connect(event_listeners=[heard])
    heard.names.clear()
    assert increment(writer) == 1
    writer.insert_one("things", {"_id": "b"})
    assert heard.names == ["findAndModify", "insert"]
