"""The payment paths as production serves them: gunicorn, its workers, and clients that break the rules of HTTP."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from accounts.models import Account, LedgerEntry
from payments.models import WebhookEvent
from tests.factories import InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.serving import HOST, Server

SIGNED = {"Authorization": "Apikey sepay-test-key", "Content-Type": "application/json"}


def post(server: Server, body: Any) -> requests.Response:
    return requests.post(f"{server.site}/api/payment/webhook", data=body, headers=SIGNED, timeout=30)


def chunks_of(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


def test_a_delivery_in_chunks_credits(server: Server, make_order: MakeOrder) -> None:
    body = json.dumps(transfer(make_order().order_code)).encode()
    response = post(server, chunks_of(body))
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert Account.objects.get(pk="alice").credits_new == 20
    assert bytes(WebhookEvent.objects.get().body) == body


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_large_delivery_gets_413(server: Server, db: None, is_chunked: bool) -> None:
    body = b"x" * (65 * 1024)
    response = post(server, chunks_of(body) if is_chunked else body)
    assert (response.status_code, response.json()["code"]) == (413, "request_too_large")


def test_deliveries_to_several_workers_at_once_credit_once(
    server: Server, make_order: MakeOrder, in_threads: InThreads
) -> None:
    body = json.dumps(transfer(make_order().order_code)).encode()
    responses = in_threads(40, lambda _: post(server, body))
    assert {response.status_code for response in responses} == {200}
    assert Account.objects.get(pk="alice").credits_new == 20
    assert LedgerEntry.objects.filter(kind="purchase").count() == 1


def test_a_broken_chunk_of_a_delivery_is_told(server: Server, db: None) -> None:
    head = (
        "POST /api/payment/webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Apikey sepay-test-key\r\n"
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    with socket.create_connection((HOST, server.ports["SITE_PORT"]), timeout=20) as client:
        client.sendall(head.encode())
        answer = b""
        while b"}" not in answer and (data := client.recv(65536)):
            answer += data
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"malformed_event"' in answer
    assert "a webhook's body could not be read" in server.log()
