"""The database fails between the hold of a request and its answer: nobody is told what is not known, or pays twice."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import urllib3
from pymongo import MongoClient
from pymongo.database import Database

from development.fake_upstream.server import FakeUpstream
from development.mongod import Mongod
from tests.conftest import key_of, upstream_environment
from tests.processes import wait_for
from tests.proxy.requests import chat, post
from tests.serving import ROOT, Server, serve

KEY = {"Idempotency-Key": "order-66"}
FROZEN_SECONDS = 14
"""More than a write waits for, and more than twice the silence that makes a process look dead."""


@pytest.fixture
def frozen_mongod(tmp_path: Path) -> Iterator[Mongod]:
    with Mongod(tmp_path / "mongodb", parameters={"enableTestCommands": "1"}) as mongod:
        yield mongod


@pytest.fixture
def database(frozen_mongod: Mongod, _price_documents: list[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(frozen_mongod.url_of("frozen"))
    with client:
        client["frozen"]["model_pricing"].insert_many(_price_documents)
        for name in ("alice", "bob", "carol"):
            client["frozen"]["usersNew"].insert_one({"_id": name, "apiKey": key_of(name), "creditsNew": 1.0})
        yield client["frozen"]


@pytest.fixture
def settings_of_processes(frozen_mongod: Mongod) -> dict[str, str]:
    return {
        "DATABASE_URL": frozen_mongod.url_of("frozen"),
        "DATABASE_NAME": "frozen",
        "DATABASE_TIMEOUT_MS": "3000",
        "PROCESS_SILENT_SECONDS": "6",
        "RECORD_PATIENCE_SECONDS": "2",
        "GUNICORN_WORKERS": "1",
    }


@pytest.fixture
def frozen_server(settings_of_processes: dict[str, str], upstream: FakeUpstream, tmp_path: Path) -> Iterator[Server]:
    """A server, and a sweep every half second beside it."""
    upstream.clear()
    environment = upstream_environment(upstream) | settings_of_processes
    command = [sys.executable, "manage.py", "sweep", "--loop", "0.5"]
    with serve(tmp_path, environment) as server, (tmp_path / "sweep.log").open("wb") as log:
        sweeper = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield server
        finally:
            sweeper.kill()
            sweeper.wait()


@contextlib.contextmanager
def standing_still(mongod: Mongod) -> Iterator[None]:
    assert mongod.pid is not None
    os.kill(mongod.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(mongod.pid, signal.SIGCONT)


def test_whether_an_answer_was_billed_is_told_only_when_it_is_known(
    frozen_server: Server, frozen_mongod: Mongod, database: Database[dict[str, Any]], upstream: FakeUpstream
) -> None:
    answers: dict[str, urllib3.BaseHTTPResponse] = {}
    asked = {
        "alice": (chat("[[fake delay=3]] x"), KEY),
        "bob": (chat("[[fake delay=3]] x"), {}),
        # It is on its way all the time: its process is not taken for dead.
        "carol": (chat("[[fake chunks=20 chunk_delay=1]] x", stream=True), {}),
    }

    def ask(name: str) -> None:
        body, headers = asked[name]
        answers[name] = post(frozen_server, body, username=name, headers=headers, timeout=100)

    threads = [threading.Thread(target=ask, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    users, logs = database["usersNew"], database["request_logs"]
    # The upstream has them, so the server knows of their holds: before that it rightly says that nothing was charged.
    wait_for(lambda: len(upstream.requests) == 3)
    assert users.count_documents({"heldSince": {"$exists": True}}) == 3
    with standing_still(frozen_mongod):
        frozen_at = time.monotonic()
        wait_for(lambda: {"alice", "bob"} <= answers.keys(), seconds=60)
        time.sleep(max(0.0, FROZEN_SECONDS - (time.monotonic() - frozen_at)))
    for thread in threads:
        thread.join()

    for name, is_keyed in (("alice", True), ("bob", False)):
        error = answers[name].json()["error"]
        assert (answers[name].status, error["code"]) == (503, "outcome_unknown")
        assert "not known yet" in error["message"]
        assert "not charged" not in error["message"]
        assert ("is not billed again" in error["message"]) is is_keyed
        assert error["receipt"] == f"/v1/requests/{answers[name].headers['X-Request-Id']}"
        assert ("Retry-After" in answers[name].headers) is is_keyed
        assert (answers[name].headers.get("X-Should-Retry") == "false") is not is_keyed
    assert answers["carol"].status == 200
    assert b"data: [DONE]" in answers["carol"].data

    def retry() -> urllib3.BaseHTTPResponse | None:
        response = post(frozen_server, asked["alice"][0], headers=KEY)
        assert response.status in {200, 409}
        assert response.status == 200 or int(response.headers["Retry-After"]) > 0
        return response if response.status == 200 else None

    wait_for(retry, seconds=40)
    wait_for(lambda: users.count_documents({"heldSince": {"$exists": True}}) == 0, seconds=40)
    for name in asked:
        costs = [Decimal(str(log["creditsCost"])) for log in logs.find({"userId": name})]
        account = users.find_one({"_id": name})
        assert account is not None
        assert Decimal(str(account["creditsNew"])) == 1 - sum(costs)
        if name != "bob":  # He may have paid, or not.
            assert sum(cost > 0 for cost in costs) == 1, "paid for exactly once"
        if name == "carol":
            assert [log["outcome"] for log in logs.find({"userId": name})] == ["ok"]
    receipt = frozen_server.http.request(
        "GET",
        f"{frozen_server.openhands}{answers['bob'].json()['error']['receipt']}",
        headers={"Authorization": f"Bearer {key_of('bob')}"},
    ).json()
    (log,) = logs.find({"userId": "bob"})
    assert (receipt["outcome"], Decimal(receipt["cost"])) == (log["outcome"], Decimal(str(log["creditsCost"])))


@pytest.mark.parametrize("failure", ["not the primary any more", "lost after it was applied"])
def test_an_answer_is_stored_and_billed_once_over_a_change_of_the_primary(
    frozen_server: Server, database: Database[dict[str, Any]], failure: str
) -> None:
    data: dict[str, Any] = {
        "failCommands": ["update", "findAndModify"],
        "namespace": f"{database.name}.idempotent_requests",
    }
    if failure == "not the primary any more":
        times, data = 3, data | {"errorCode": 10107, "errorLabels": ["RetryableWriteError"]}
    else:
        labels = ["RetryableWriteError"]
        times, data = 1, data | {"writeConcernError": {"code": 6, "errmsg": "gone", "errorLabels": labels}}
    database.client.admin.command("configureFailPoint", "failCommand", mode={"times": times}, data=data)

    first = post(frozen_server, chat(), headers=KEY)
    again = post(frozen_server, chat(), headers=KEY)

    assert (first.status, again.status) == (200, 200)
    assert again.data == first.data
    assert again.headers["Idempotent-Replayed"] == "true"
    (log,) = database["request_logs"].find()
    assert (log["outcome"], log["creditsCost"] > 0) == ("ok", True)
    account = database["usersNew"].find_one({"_id": "alice"})
    assert account is not None
    assert Decimal(str(account["creditsNew"])) == 1 - Decimal(str(log["creditsCost"]))
