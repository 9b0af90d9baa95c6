"""Processes killed, clients gone, the database away: nothing is lost, nothing is charged twice."""

import contextlib
import json
import os
import signal
import socket
import threading
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from urllib3.exceptions import HTTPError

from accounts import credits
from accounts.models import Account, Balance
from development.fake_upstream.server import FakeUpstream
from development.mongod import free_port
from proxy.billing import abandoned, metering
from proxy.billing.price_book import PRICES
from proxy.billing.pricing import Usage
from proxy.billing.terms import price_call
from proxy.formats.api_format import UsageReport
from proxy.formats.openai_chat import OpenAiChat
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads, ServeWith
from tests.processes import wait_for
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server


def sweep_later() -> int:
    """What a sweeper does when the holds of now have become stale."""
    return abandoned.sweep_holds(now=timezone.now() + timedelta(seconds=settings.HOLD_MAX_AGE_SECONDS + 1))


def open_request(server: Server, body: dict[str, Any], *, path: str = CHAT, headers: str = "") -> socket.socket:
    """Send a request over a bare socket and leave its answer unread. `headers` are whole lines."""
    data = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", server.ports["OPENHANDS_PORT"]), timeout=20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)  # What is not read, is not received.
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('alice')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    )
    client.sendall(head.encode() + data)
    return client


def slow_stream(chunks: int = 40, delay: float = 0.05) -> dict[str, Any]:
    return chat(f"[[fake chunks={chunks} chunk_delay={delay}]] word", stream=True)


PATHS = pytest.mark.parametrize("path", [CHAT, MESSAGES])
LAST_EVENTS = {CHAT: b"data: [DONE]", MESSAGES: b"event: message_stop"}


@PATHS
def test_a_worker_killed_in_the_middle_of_a_stream_loses_and_charges_nothing(
    serve_with: ServeWith, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1")
    post(server, chat())
    before = Account.objects.get(pk="alice").credits_new
    with open_request(server, slow_stream(chunks=100), path=path) as client:
        assert b"200 OK" in client.recv(1000)
        assert Account.objects.get(pk="alice").held(Balance.OPENHANDS) > 0
        (worker,) = server.worker_pids()

        os.kill(worker, signal.SIGKILL)

        wait_for(lambda: server.worker_pids() not in ([], [worker]))
    assert abandoned.sweep_holds() == 0, "the hold is not stale yet"
    assert sweep_later() == 1
    assert sweep_later() == 0
    assert Account.objects.get(pk="alice").credits_new == before
    log = RequestLog.objects.order_by("-created_at").first()
    assert log is not None
    assert (log.outcome, log.cost) == ("abandoned", 0)
    assert wait_for(lambda: post(server, chat(), retries=3).status == 200)
    assert_reconciles()


def test_a_stopping_server_lets_the_running_streams_finish(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with()
    with contextlib.ExitStack() as stack:
        clients = {
            path: stack.enter_context(open_request(server, slow_stream(), path=path)) for path in (CHAT, MESSAGES)
        }
        received = {path: client.recv(1000) for path, client in clients.items()}
        server.process.send_signal(signal.SIGTERM)
        for path, client in clients.items():
            while data := client.recv(65536):
                received[path] += data
            assert LAST_EVENTS[path] in received[path]
    assert server.process.wait(10) == 0
    assert [log.outcome for log in RequestLog.objects.all()] == ["ok", "ok"]
    assert_reconciles()


@PATHS
@pytest.mark.parametrize("reads_first", [True, False], ids=["mid-stream", "before the first byte"])
def test_a_client_that_leaves_pays_exactly_what_it_used(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, reads_first: bool, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    with open_request(server, slow_stream(chunks=40, delay=0.02), path=path) as client:
        if reads_first:
            assert b"200 OK" in client.recv(1000)
    log = wait_for(RequestLog.objects.first)
    wait_for(lambda: upstream.requests[0].client_connected is not None)
    assert upstream.requests[0].client_connected is True, "the upstream was read to its end"
    assert (log.usage_source, log.output_tokens) == ("upstream", 40)
    assert log.outcome in {"client_disconnected", "ok"}
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_an_upstream_that_is_down_is_our_fault_not_the_customers(
    serve_with: ServeWith, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1, credits=1)
    server = serve_with(GUNICORN_WORKERS="1", OPENHANDS_BASE_URL=f"http://127.0.0.1:{free_port()}", OHMYGPT_BASE_URL="")
    for base in (server.openhands, server.ohmygpt):
        response = post(server, chat(), base=base)
        assert (response.status, response.json()["error"]["code"]) == (502, "upstream_error")
    assert RequestLog.objects.count() == 2
    assert_reconciles()


@PATHS
def test_a_client_that_left_pays_nothing_for_what_failed_before_any_output(
    impatient_server: Server, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    with open_request(impatient_server, chat("[[fake stall=0]] x", stream=True), path=path) as client:
        assert b"200 OK" in client.recv(1000)
    log = wait_for(RequestLog.objects.first)
    assert log.cost == 0
    assert "upstream_timeout" in log.outcome
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


@PATHS
def test_an_upstream_that_comes_back_at_the_second_try_is_billed_once(
    serve_with: ServeWith, insert_user: InsertUser, path: str
) -> None:
    """Refused, then accepted: it opens its port when the server has logged the first try."""
    insert_user("alice", creditsNew=1)
    port = free_port()
    server = serve_with(GUNICORN_WORKERS="1", OPENHANDS_BASE_URL=f"http://127.0.0.1:{port}")
    for attempt in range(1, 6):
        statuses: list[int] = []
        thread = threading.Thread(target=lambda: statuses.append(post(server, chat(), path=path).status))  # noqa: B023
        thread.start()
        wait_for(lambda: server.log().count("trying once more") == attempt)  # noqa: B023
        with FakeUpstream(api_key="upstream-key", port=port) as late:
            thread.join()
            requests = late.requests
        if statuses == [200]:
            break
    assert statuses == [200]
    assert len(requests) == 1
    logs = RequestLog.objects.filter(outcome="ok")
    assert [log.usage_source for log in logs] == ["upstream"]
    assert Account.objects.get(pk="alice").credits_new == 1 - logs[0].cost
    assert_reconciles()


def test_without_a_database_nothing_is_forwarded(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    url = f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0"
    server = serve_with(GUNICORN_WORKERS="1", DATABASE_URL=url, DATABASE_TIMEOUT_MS="300")
    response = post(server, chat())
    assert (response.status, response.json()["error"]["code"]) == (503, "service_unavailable")
    assert not upstream.requests
    assert server.http.request("GET", f"{server.site}/readyz").status == 503
    assert server.http.request("GET", f"{server.site}/healthz").status == 200


# --- A crash between any two steps of a request, by doing only the steps before it --------------------------------


@pytest.fixture
def reservation(insert_user: InsertUser, prices: None) -> metering.Reservation:
    insert_user("alice", creditsNew=1)
    return make_reservation("req_crash")


def make_reservation(request_id: str) -> metering.Reservation:
    call = OpenAiChat().parse(chat(), 120)
    return metering.reserve(
        request_id=request_id,
        api_key=key_of("alice"),
        balance=Balance.OPENHANDS,
        endpoint=CHAT,
        priced=price_call(call, PRICES.find(Balance.OPENHANDS, call.model)),
    )


def bill(reservation: metering.Reservation) -> metering.Receipt:
    return metering.collect(metering.make_bill(reservation, report=UsageReport(Usage(100, 20)), output_text_bytes=0))


COST = (100 + 20 * 5) * 105 / 10**8


def test_a_crash_after_the_hold_releases_it(reservation: metering.Reservation) -> None:
    assert Account.objects.get(pk="alice").credits_new == 1 - reservation.hold.amount
    assert sweep_later() == 1
    assert Account.objects.get(pk="alice").credits_new == 1
    assert_reconciles()


def test_a_crash_after_the_record_settles_by_it(
    reservation: metering.Reservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(**kwargs: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(credits, "settle", crash)
        with pytest.raises(Crash):
            bill(reservation)
    assert RequestLog.objects.get().cost > 0
    assert sweep_later() == 1
    account = Account.objects.get(pk="alice")
    assert float(account.credits_new) == 1 - COST
    assert (account.tokens_user_new, account.total_input_tokens) == (120, 100)
    assert sweep_later() == 0
    assert_reconciles()


def test_a_request_that_outlived_its_hold_is_not_charged(reservation: metering.Reservation) -> None:
    assert sweep_later() == 1
    receipt = bill(reservation)
    assert receipt.balance_after is None
    assert (RequestLog.objects.get().outcome, RequestLog.objects.get().cost) == ("abandoned", 0)
    assert Account.objects.get(pk="alice").credits_new == 1
    assert_reconciles()


def test_many_sweepers_and_the_request_itself_settle_once(
    reservation: metering.Reservation, in_threads: InThreads
) -> None:
    others = [make_reservation(f"req_{index}") for index in range(10)]
    everyone = [reservation, *others]

    def act(index: int) -> int:
        if index < len(everyone):
            bill(everyone[index])
            return 0
        return sweep_later()

    in_threads(len(everyone) + 6, act)
    sweep_later()
    logs = RequestLog.objects.all()
    assert len(logs) == len(everyone)
    assert Account.objects.get(pk="alice").credits_new == 1 - sum(log.cost for log in logs)
    assert_reconciles()


@PATHS
def test_a_slow_client_does_not_hold_the_others_up(server: Server, insert_user: InsertUser, path: str) -> None:
    insert_user("alice", creditsNew=5)
    clients = [open_request(server, chat("[[fake big=2000000]] x", stream=True), path=path) for _ in range(5)]
    done = threading.Event()

    def others() -> None:
        for _ in range(5):
            assert post(server, chat()).status == 200
        done.set()

    thread = threading.Thread(target=others)
    thread.start()
    assert done.wait(10)
    thread.join()
    for client in clients:
        client.close()
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_200_streams_against_a_dollar_with_a_worker_killed_in_the_middle(
    serve_with: ServeWith, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", creditsNew=1.0)
    server = serve_with()
    body = chat("[[fake chunks=20 chunk_delay=0.1 completion_tokens=4000]] x", stream=True, max_tokens=4_500)
    lowest: list[Decimal] = []

    def act(index: int) -> int:
        if index == 0:
            wait_for(lambda: len(Account.objects.get(pk="alice").holds) >= 30)
            time.sleep(0.5)
            os.kill(server.worker_pids()[0], signal.SIGKILL)
            return 0
        try:
            status = post(server, body).status
        except HTTPError:  # the killed worker's clients
            status = -1
        lowest.append(Account.objects.get(pk="alice").credits_new)
        return status

    statuses = in_threads(201, act)

    assert set(statuses) <= {0, -1, 200, 402}
    wait_for(lambda: len(server.worker_pids()) == 2)
    wait_for(lambda: server.http.request("GET", f"{server.openhands}/health", retries=3).status == 200)
    sweep_later()
    account = Account.objects.get(pk="alice")
    logs = list(RequestLog.objects.all())
    assert min([*lowest, account.credits_new]) >= 0
    assert account.credits_new == 1 - sum(log.cost for log in logs)
    assert account.credits_new_used == sum(log.cost for log in logs)
    # Whichever worker had them: every stream is in the books once, those that finished with their cost.
    assert len(logs) >= 30
    assert sum(log.outcome == "ok" for log in logs) >= statuses.count(200)
    assert all((log.cost > 0) == (log.outcome == "ok") for log in logs)
    assert_reconciles()
