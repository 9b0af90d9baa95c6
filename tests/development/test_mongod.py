"""The embedded MongoDB, on a real mongod: starts, stops, restarts after any end, and what its errors say."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.client_session import ClientSession

from development.mongod import Mongod, free_port
from development.mongod_binary import MongodError, find_mongod, missing_packages
from tests.processes import stat_of, wait_for

ROOT = Path(__file__).resolve().parents[2]

# Starts a mongod in the directory of the first argument, prints its pid and port, and waits to be killed.
PARENT = """\
import sys, time
from pathlib import Path
from development.mongod import Mongod
mongod = Mongod(Path(sys.argv[1]))
mongod.start()
print(mongod.pid, mongod.port, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    with Mongod(tmp_path_factory.mktemp("mongod") / "data") as mongod:
        yield mongod


def insert(mongod: Mongod, **document: Any) -> None:
    with MongoClient[dict[str, Any]](mongod.url) as client:
        collection = client["test"].get_collection("documents", write_concern=WriteConcern("majority"))
        collection.insert_one(document)


def count(mongod: Mongod) -> int:
    with MongoClient[dict[str, Any]](mongod.url) as client:
        return client["test"]["documents"].count_documents({})


def test_transaction_commits_and_rolls_back(running: Mongod) -> None:
    with MongoClient[dict[str, Any]](running.url) as client, client.start_session() as session:
        documents = client["transactions"]["documents"]

        def write(session: ClientSession) -> None:
            documents.insert_one({"_id": 1}, session=session)

        session.with_transaction(write)
        with session.start_transaction():
            documents.insert_one({"_id": 2}, session=session)
            session.abort_transaction()

        assert [document["_id"] for document in documents.find()] == [1]


def test_start_twice_keeps_the_process(running: Mongod) -> None:
    pid = running.pid
    running.start()
    assert running.pid == pid


def test_listens_on_loopback_only(running: Mongod) -> None:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    is_listening = "0A"
    addresses = {row[1] for row in rows if row[1].endswith(f":{running.port:04X}") and row[3] == is_listening}
    assert addresses == {f"0100007F:{running.port:04X}"}


def test_url_of_names_the_database(running: Mongod) -> None:
    assert running.url_of("billing") == f"mongodb://127.0.0.1:{running.port}/billing?replicaSet=rs0"


def test_data_directory_in_use_names_the_pid(running: Mongod, tmp_path: Path) -> None:
    second = Mongod(running.data_dir, log_path=tmp_path / "second.log")
    with pytest.raises(MongodError, match=rf"in use by another mongod \(pid {running.pid}\)"):
        second.start()
    assert not second.is_running
    assert running.is_running


def test_port_taken_names_the_port(running: Mongod, tmp_path: Path) -> None:
    second = Mongod(tmp_path / "data", port=running.port)
    with pytest.raises(MongodError, match=f"Port {running.port} for MongoDB is taken"):
        second.start()
    assert not second.is_running


def test_data_survives_stop_other_port_and_kill(tmp_path: Path) -> None:
    first = Mongod(tmp_path / "data")
    with pytest.raises(MongodError, match="no port yet"):
        _ = first.url
    first.start()
    insert(first, run=1)
    first.stop()
    first.stop()
    assert not first.is_running

    # Its replica set configuration still names the port of the first run.
    second = Mongod(tmp_path / "data", port=free_port())
    second.start()
    assert second.port != first.port
    insert(second, run=2)
    assert second.pid is not None
    os.kill(second.pid, signal.SIGKILL)
    wait_for(lambda: not second.is_running, 10)

    second.start()
    assert count(second) == 2
    second.stop()


def test_frozen_mongod_is_stopped_in_bounded_time(tmp_path: Path) -> None:
    with Mongod(tmp_path / "data") as mongod:
        pid = mongod.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        mongod.stop(seconds=0.2)
    assert stat_of(pid) is None


def test_dies_with_its_killed_parent_and_the_next_start_takes_over(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port = map(int, parent.stdout.readline().split())
        parent.kill()
    # At once, while the orphan is still stopping.
    with Mongod(tmp_path / "data", log_path=tmp_path / "second.log") as mongod:
        assert mongod.pid != pid
        assert mongod.port != port
    wait_for(lambda: stat_of(pid) is None, 10)


def test_ctrl_c_in_the_terminal_does_not_reach_it(running: Mongod) -> None:
    assert running.pid is not None
    assert os.getsid(running.pid) == running.pid != os.getsid(0)


def test_not_primary_in_time_says_so_and_leaves_no_process(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path / "data", start_seconds=0)
    with pytest.raises(MongodError, match=r"not ready after 0 s\. Log .*data\.log"):
        mongod.start()
    assert not mongod.is_running


def test_failing_start_quotes_the_errors_of_the_log(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path / "data", parameters={"noSuchParameter": "1"})
    with pytest.raises(MongodError, match=r"(?s)ended with code .*noSuchParameter"):
        mongod.start()


def test_unusable_data_directory_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MongodError, match="Not a directory"):
        Mongod(tmp_path / "file" / "data").start()


def test_missing_system_library_names_the_debian_package(tmp_path: Path) -> None:
    # A mongod that asks for a libcurl which no system has.
    binary = tmp_path / "mongod"
    binary.write_bytes(find_mongod().read_bytes().replace(b"libcurl.so.4\0", b"libcurl.so.x\0"))
    binary.chmod(0o700)
    assert missing_packages(binary) == ["libcurl4"]
    with pytest.raises(MongodError, match="apt-get install libcurl4"):
        Mongod(tmp_path / "data", binary=binary).start()


def test_nothing_is_missing_for_the_mongod_of_the_requirements() -> None:
    assert missing_packages(find_mongod()) == []


@pytest.mark.parametrize("on_path", [True, False])
def test_without_the_wheel_mongod_comes_from_path_or_the_error_explains(tmp_path: Path, on_path: bool) -> None:
    # An interpreter that has pymongo, but not the wheel.
    for name in ("pymongo", "bson", "gridfs", "dns"):
        package = Path(sys.modules["pymongo"].__path__[0]).parent / name
        (tmp_path / name).symlink_to(package)
    if on_path:
        (tmp_path / "mongod").symlink_to(find_mongod())
    script = (
        "from development.mongod_binary import *\ntry: print(find_mongod())\nexcept MongodError as error: print(error)"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    if on_path:
        assert answer.stdout.strip() == str(tmp_path / "mongod")
    else:
        assert "Install requirements-dev.txt" in answer.stdout
        assert "DATABASE_URL" in answer.stdout


def test_free_ports_are_different_ones_that_no_client_is_given() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert all(20_000 <= port < 32_768 for port in ports)
