"""The payment paths as production serves them: gunicorn, its workers, and clients that break the rules of HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from accounts.models import Account, LedgerEntry
from payments.models import WebhookEvent
from tests.factories import InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.serving import Server

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
