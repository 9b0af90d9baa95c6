"""Direct writes against a mongod that fails on command: each is applied once or raises, as the driver's own would."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from pymongo import MongoClient, monitoring
from pymongo.errors import (
    DuplicateKeyError,
    NetworkTimeout,
    OperationFailure,
    ProtocolError,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.message import _op_msg

from development.mongod import Mongod
from mongo.fast_writes import MOST_IDLE, POLL_SECONDS, RECEIVE_BYTES, DirectWriter
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


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with Mongod(tmp_path_factory.mktemp("mongod") / "data", parameters={"enableTestCommands": "1"}) as running:
        yield running


@pytest.fixture
def connect(mongod: Mongod) -> Iterator[Callable[..., DirectWriter]]:
    """Make writers whose collection `things` holds one document, `{"_id": "a", "n": 0}`."""
    clients: list[MongoClient[dict[str, Any]]] = []

    def make(**options: Any) -> DirectWriter:
        clients.append(MongoClient(mongod.url, w="majority", **{"serverSelectionTimeoutMS": 5000} | options))
        things = clients[-1].test.things
        things.delete_many({})
        things.insert_one({"_id": "a", "n": 0})
        return DirectWriter(clients[-1], "test")

    yield make
    for client in clients:
        client.close()


def fail_next(writer: DirectWriter, times: int, command: str, **failure: Any) -> None:
    data = {"failCommands": [command], **failure}
    writer.client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)


def increment(writer: DirectWriter) -> Any:
    document = writer.find_one_and_update("things", {"_id": "a"}, INCREMENT, {"n": 1})
    return document and document["n"]


def test_an_update_returns_what_it_made_or_none(connect: Callable[..., DirectWriter]) -> None:
    writer = connect()
    assert writer.find_one_and_update("things", {"_id": "a"}, INCREMENT, {"n": 1}) == {"_id": "a", "n": 1}
    assert writer.find_one_and_update("things", {"_id": "nobody"}, INCREMENT, {"n": 1}) is None


def test_a_second_insert_of_the_same_id_is_a_duplicate(connect: Callable[..., DirectWriter]) -> None:
    writer = connect()
    writer.insert_one("things", {"_id": "b", "n": 7})
    with pytest.raises(DuplicateKeyError):
        writer.insert_one("things", {"_id": "b", "n": 8})
    assert writer.client.test.things.find_one({"_id": "b"}) == {"_id": "b", "n": 7}
    assert increment(writer) == 1, "the connection is still good"


@pytest.mark.parametrize("failure", [CONNECTION_LOST, NOT_PRIMARY, APPLIED_BUT_LOST])
def test_a_failure_that_may_pass_is_tried_again_and_applied_once(
    connect: Callable[..., DirectWriter], failure: dict[str, Any]
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
    connect: Callable[..., DirectWriter], failure: dict[str, Any]
) -> None:
    writer = connect()
    fail_next(writer, 2, "findAndModify", **failure)
    with pytest.raises(PyMongoError):
        increment(writer)
    assert increment(writer) == 1


def test_a_refused_command_is_not_tried_again(connect: Callable[..., DirectWriter]) -> None:
    writer = connect()
    with pytest.raises(OperationFailure, match="Unrecognized pipeline stage"):
        writer.find_one_and_update("things", {"_id": "a"}, [{"$nothing": {}}], {})
    assert increment(writer) == 1


def test_many_threads_on_a_small_pool_each_write_once_and_leave_connections_for_others(
    connect: Callable[..., DirectWriter],
) -> None:
    writer = connect(maxPoolSize=4)
    with ThreadPoolExecutor(40) as threads:
        results = list(threads.map(lambda _: increment(writer), range(400)))
    assert sorted(results) == list(range(1, 401))
    assert len(writer._idle) <= 2
    # The driver's own calls share the pool, and are not starved by what lies idle here.
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: writer.client.test.things.count_documents({}), range(40))) == [1] * 40


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_connection_that_is_given_back_waits_for_an_answer_as_before(
    connect: Callable[..., DirectWriter], is_refused: bool
) -> None:
    writer = connect(maxPoolSize=1)  # One connection for everything: none of it stays checked out.
    assert increment(writer) == 1
    if is_refused:
        with pytest.raises(OperationFailure):
            writer.find_one_and_update("things", {"_id": "a"}, [{"$nothing": {}}], {})
    writer.client.admin.command("sleep", 1, millis=int(3000 * POLL_SECONDS), lock="none")


def test_idle_connections_are_few(connect: Callable[..., DirectWriter]) -> None:
    writer = connect()
    together = threading.Barrier(60)

    def write(_: int) -> Any:
        together.wait(30)
        return increment(writer)

    with ThreadPoolExecutor(60) as threads:
        assert sorted(threads.map(write, range(60))) == list(range(1, 61))
    assert len(writer._idle) <= MOST_IDLE


def test_a_restarted_server_is_found_again(mongod: Mongod, connect: Callable[..., DirectWriter]) -> None:
    writer = connect(heartbeatFrequencyMS=500)
    assert increment(writer) == 1
    mongod.stop()
    mongod.start()
    assert increment(writer) == 2


def test_an_answer_in_pieces_is_put_together(connect: Callable[..., DirectWriter]) -> None:
    writer = connect()
    text = "x" * (4 * RECEIVE_BYTES)
    writer.insert_one("things", {"_id": "b", "text": text})
    assert writer.find_one_and_update("things", {"_id": "b"}, INCREMENT, {"text": 1}) == {"_id": "b", "text": text}


def test_an_answer_to_something_else_is_refused_and_the_connection_dropped(
    connect: Callable[..., DirectWriter],
) -> None:
    writer = connect()
    assert increment(writer) == 1
    [lease] = writer._idle
    _, message, _, _ = _op_msg(0, {"ping": 1}, "test", None, DEFAULT_CODEC_OPTIONS)
    lease.connection.send_message(message, 0)  # Its answer stands before that of the next command.
    with pytest.raises(ProtocolError, match="not the answer"):
        increment(writer)
    assert lease.connection.closed
    # What was sent may have been applied, as with any error that is not known to be passing.
    assert increment(writer) in (2, 3)


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
    mongod: Mongod, connect: Callable[..., DirectWriter], options: dict[str, Any], error: type[PyMongoError]
) -> None:
    writer = connect(**options)
    assert increment(writer) == 1
    assert mongod.pid is not None
    stop(mongod.pid)
    started = time.monotonic()
    try:
        with pytest.raises(error):
            increment(writer)
    finally:
        os.kill(mongod.pid, signal.SIGCONT)
    assert time.monotonic() - started < 15


def test_commands_that_somebody_listens_to_are_reported(connect: Callable[..., DirectWriter]) -> None:
    heard = Commands()
    writer = connect(event_listeners=[heard])
    heard.names.clear()
    assert increment(writer) == 1
    writer.insert_one("things", {"_id": "b"})
    assert heard.names == ["findAndModify", "insert"]
