"""Processes whose first contact with the database fails: they refuse in bounded time, and recover by themselves."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pymongo import MongoClient
from pymongo.database import Database

from development.mongod import Mongod
from mongo.collections import collection_of
from proxy.models import ModelPrice
from tests.conftest import key_of
from tests.factories import ServeWith
from tests.payments.conftest import transfer
from tests.processes import wait_for
from tests.proxy.requests import CHAT, chat
from tests.serving import ROOT, Server

ALICE = {"Authorization": f"Bearer {key_of('alice')}"}
EVERY_THREAD = 40
"""Requests at once: each thread that met the outage serves at least one of as many afterwards."""


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A database that a test may stop."""
    with Mongod(tmp_path / "mongodb") as mongod:
        yield mongod


@pytest.fixture
def database(mongod: Mongod, prices: None) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongod.url) as client:
        database = client["outage"]
        database["model_pricing"].insert_many(list(collection_of(ModelPrice).find()))
        database["usersNew"].insert_one({"_id": "alice", "apiKey": key_of("alice"), "creditsNew": 1000})
        yield database


def freeze(mongod: Mongod) -> None:
    """The database takes connections and answers nothing, until `thaw`."""
    assert mongod.pid is not None
    os.kill(mongod.pid, signal.SIGSTOP)


def thaw(mongod: Mongod) -> None:
    assert mongod.pid is not None
    os.kill(mongod.pid, signal.SIGCONT)


def requests_to(server: Server) -> dict[str, Callable[[], int]]:
    """One request of each kind that needs the database; each returns the status of its answer."""

    def ask(method: str, url: str, **options: Any) -> Callable[[], int]:
        return lambda: int(server.http.request(method, url, timeout=60, **options).status)

    return {
        "chat": ask("POST", server.openhands + CHAT, json=chat(), headers=ALICE),
        "balance": ask("GET", f"{server.openhands}/v1/balance", headers=ALICE),
        "checkout": ask("POST", f"{server.site}/api/payment/checkout", json={"credits": 20}, headers=ALICE),
        "webhook": ask(
            "POST",
            f"{server.site}/api/payment/webhook",
            json=transfer("no order"),
            headers={"Authorization": "Apikey sepay-test-key"},
        ),
        "readyz": ask("GET", f"{server.site}/readyz"),
    }


def statuses_of(server: Server) -> dict[str, Counter[int]]:
    """The statuses of many requests of each kind, all at once."""
    asks = requests_to(server)
    with ThreadPoolExecutor(EVERY_THREAD) as threads:
        each = EVERY_THREAD // len(asks)
        answers = {name: [threads.submit(ask) for _ in range(each)] for name, ask in asks.items()}
        return {name: Counter(answer.result() for answer in found) for name, found in answers.items()}


def everywhere(kinds: Iterable[str], status: int) -> dict[str, set[int]]:
    return {name: {status} for name in kinds}


def test_workers_that_start_without_a_database_refuse_in_time_and_recover(
    mongod: Mongod, database: Database[dict[str, Any]], serve_with: ServeWith
) -> None:
    server = serve_with(
        DATABASE_URL=mongod.url, DATABASE_NAME=database.name, DATABASE_TIMEOUT_MS="1500", OPEN_ORDERS_LIMIT="0"
    )
    workers = server.worker_pids()
    freeze(mongod)
    try:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(set(server.worker_pids()) - set(workers)) == 2)
        started = time.monotonic()
        refused = statuses_of(server)
        assert time.monotonic() - started < 20
        assert {name: set(found) for name, found in refused.items()} == everywhere(refused, 503)
    finally:
        thaw(mongod)
    time.sleep(2)  # The prices are read again after a second.
    for _ in range(3):
        answered = statuses_of(server)
        assert {name: set(found) for name, found in answered.items()} == everywhere(answered, 200)


def test_a_database_that_falls_silent_is_waited_for_in_bounded_time(
    mongod: Mongod, database: Database[dict[str, Any]], serve_with: ServeWith
) -> None:
    """The longest wait: the driver asks every 10 s how the server is, and waits 5 s for the answer."""
    server = serve_with(
        DATABASE_URL=mongod.url, DATABASE_NAME=database.name, DATABASE_TIMEOUT_MS="1500", OPEN_ORDERS_LIMIT="0"
    )
    statuses_of(server)
    freeze(mongod)
    try:
        started = time.monotonic()
        assert server.http.request("GET", f"{server.site}/readyz").status == 503
        assert time.monotonic() - started < 6, "a load balancer looks elsewhere soon"
        refused = statuses_of(server)
        assert time.monotonic() - started < 35
        assert {name: set(found) for name, found in refused.items()} == everywhere(refused, 503)
    finally:
        thaw(mongod)
    time.sleep(2)
    answered = statuses_of(server)
    assert {name: set(found) for name, found in answered.items()} == everywhere(answered, 200)


@pytest.fixture
def sweeper(mongod: Mongod, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a sweeper on the database, with options; its log is `tmp_path / "sweep.log"`."""
    environment = {**os.environ, "DATABASE_URL": mongod.url, "DATABASE_NAME": "outage", "DATABASE_TIMEOUT_MS": "300"}
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / "sweep.log").open("wb"))
            command = [sys.executable, "manage.py", "sweep", "--skip-checks", *options]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


def test_a_sweeper_that_starts_without_a_database_recovers(
    mongod: Mongod,
    database: Database[dict[str, Any]],
    sweeper: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
) -> None:
    freeze(mongod)
    try:
        process = sweeper("--loop", "0.1")
        # Each job that needs the database has failed at its first contact.
        wait_for(lambda: "days counted failed" in (tmp_path / "sweep.log").read_text(), seconds=30)
    finally:
        thaw(mongod)
    long_ago = timezone.now() - timedelta(days=9)
    database["usersNew"].insert_one({"_id": "bob", "creditsNew": 1, "expiresAt": long_ago})
    database["usersNew"].create_index([("expiresAt", 1), ("creditsNew", 1)], name="openhands_expiry")
    database["usersNew"].create_index([("expiresAt", 1), ("credits", 1)], name="ohmygpt_expiry")
    wait_for(lambda: database["usersNew"].find_one({"_id": "bob", "creditsNew": 0}), seconds=5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_sweeper_whose_jobs_all_keep_failing_ends_with_an_error(
    mongod: Mongod, sweeper: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    mongod.stop()
    assert sweeper("--loop", "0.1", "--give-up-after", "4").wait(60) == 1
    log = (tmp_path / "sweep.log").read_text()
    assert "Every job keeps failing" in log
    assert log.count("accounts expired failed") >= 2, "it tried again first"
