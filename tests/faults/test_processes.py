"""A process that dies or stands still is noticed by its silence; an outage of the database makes nobody look dead.

With 6 s of silence in place of the 60 that are the default: everything here takes a tenth of the time.
"""

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from urllib3.exceptions import HTTPError

from accounts.models import Account
from accounts.processes import forget_silent_processes, keep_beating, process_id
from proxy.billing import abandoned
from proxy.models import IdempotentRequest, RequestLog
from tests.factories import InsertUser, ServeWith
from tests.processes import wait_for
from tests.proxy.requests import assert_reconciles, chat, post
from tests.serving import Server

SILENT = {"PROCESS_SILENT_SECONDS": "6"}
KEY = {"Idempotency-Key": "order-66"}
IN_FLIGHT = 20


@pytest.fixture
def opens_ledger() -> bool:
    return True


@pytest.fixture(autouse=True)
def short_silence(db: None) -> Iterator[None]:
    with override_settings(PROCESS_SILENT_SECONDS=6.0):
        keep_beating()  # As a sweeper does: somebody must know that the database answers.
        yield


def start_requests(server: Server, count: int, directive: str, **options: Any) -> list[threading.Thread]:
    """That many plain requests at once, each in a thread of its own that waits for its answer."""

    def ask() -> None:
        with contextlib.suppress(HTTPError):  # Of a process that is killed.
            post(server, chat(f"[[fake {directive}]] x"), **options)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(Account.objects.get(pk="alice").holds) == count)
    return threads


def test_what_a_killed_process_held_is_back_within_a_sweep_of_its_silence(
    serve_with: ServeWith, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1, concurrentRequests=IN_FLIGHT)
    server = serve_with(GUNICORN_WORKERS="1", **SILENT)
    threads = start_requests(server, IN_FLIGHT, "delay=60")
    available = Account.objects.get(pk="alice").credits_new
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    killed_at = time.monotonic()
    wait_for(lambda: server.worker_pids() not in ([], [worker]))
    for thread in threads:
        thread.join()

    waits = []
    while Account.objects.get(pk="alice").holds:
        refused = post(server, chat(), retries=3)
        if refused.status == 200:  # The sweep came in between.
            break
        assert refused.status == 429
        waits.append((time.monotonic(), int(refused.headers["Retry-After"])))
        abandoned.sweep_holds()
        time.sleep(0.5)
    took = time.monotonic() - killed_at
    assert 5 < took < 30, "after the silence, and not long after it"
    assert any(seconds > 1 for _, seconds in waits), "a retry after a second would find nothing changed"
    assert all(at + seconds < killed_at + took + 12 for at, seconds in waits), "no longer than the next sweep"
    wait_for(lambda: abandoned.sweep_holds() == 0 and not Account.objects.get(pk="alice").holds)
    assert Account.objects.get(pk="alice").credits_new >= available
    assert set(RequestLog.objects.filter(cost=0).values_list("outcome", flat=True)) == {"abandoned"}
    assert_reconciles()


def test_a_process_that_stood_still_goes_on_under_another_name_and_charges_nothing_twice(
    serve_with: ServeWith, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1", **SILENT)
    threads = start_requests(server, 5, "delay=3")
    (worker,) = server.worker_pids()
    name = next(iter(Account.objects.get(pk="alice").holds.values()))["process"]
    os.kill(worker, signal.SIGSTOP)
    try:
        wait_for(lambda: abandoned.sweep_holds() == 5, seconds=60)
    finally:
        os.kill(worker, signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert set(RequestLog.objects.values_list("outcome", flat=True)) == {"abandoned"}
    assert Account.objects.get(pk="alice").credits_new == 1

    (last,) = start_requests(server, 1, "delay=2")
    assert next(iter(Account.objects.get(pk="alice").holds.values()))["process"] != name
    assert abandoned.sweep_holds() == 0, "its hold is safe"
    last.join()
    assert RequestLog.objects.filter(outcome="ok", cost__gt=0).count() == 1
    assert_reconciles()


def test_a_claim_that_a_crash_left_says_when_to_retry_and_is_free_soon(
    serve_with: ServeWith, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1", **SILENT)
    (thread,) = start_requests(server, 1, "delay=60", headers=KEY)
    body = chat("[[fake delay=60]] x")
    still_runs = post(server, body, headers=KEY)
    assert (still_runs.status, int(still_runs.headers["Retry-After"])) == (409, 2)
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    thread.join()
    IdempotentRequest.objects.update(body_sha256=hashlib.sha256(json.dumps(chat()).encode()).hexdigest())
    wait_for(lambda: server.worker_pids() not in ([], [worker]))

    waits = []
    # Nobody sweeps: it is the retry that finds its process gone, once anybody has noticed.
    while (retry := post(server, chat(), headers=KEY, retries=3)).status == 409:
        waits.append(int(retry.headers["Retry-After"]))
        assert len(waits) < 100
        forget_silent_processes()
        time.sleep(0.5)
    assert max(waits) > 2
    assert retry.status == 200
    assert "Idempotent-Replayed" not in retry.headers
    assert sorted(RequestLog.objects.values_list("outcome", flat=True)) == ["abandoned", "ok"]
    assert_reconciles()


def test_an_outage_makes_nobody_look_dead(insert_user: InsertUser, usersnew: Any) -> None:
    """The same as seen by the database: nobody was heard for a minute, since nobody could be."""
    insert_user("alice", creditsNew=1)
    processes = connection.database["serving_processes"]
    with override_settings(PROCESS_SILENT_SECONDS=60.0):
        process_id()
        long_ago = timezone.now() - timedelta(seconds=90)
        processes.insert_one({"_id": "living", "heardAt": long_ago, "beatAt": long_ago, "requests": ["req_1"]})
        steady = {"steadySince": long_ago - timedelta(hours=1), "seenAt": long_ago}
        processes.update_one({"_id": "database"}, {"$set": steady})
        assert forget_silent_processes() == 0, "the first command after the outage"
        wait_for_a_beat()
        assert forget_silent_processes() == 0, "it has just come back"
        processes.update_one({"_id": "database"}, {"$set": {"steadySince": long_ago}})
        assert forget_silent_processes() >= 1, "it answered all the time, and nobody was heard"
        assert processes.find_one({"_id": "living"}) is None


def wait_for_a_beat() -> None:
    """What any process does as soon as the database is back."""
    seen = connection.database["serving_processes"].find_one({"_id": "database"})["seenAt"]
    wait_for(lambda: connection.database["serving_processes"].find_one({"_id": "database"})["seenAt"] > seen)
