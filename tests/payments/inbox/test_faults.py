"""The process dies before or after each write of the webhook path: nothing is lost, nothing is credited twice."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from django.db import connection

from accounts.models import Account, LedgerEntry
from payments.inbox.process import process_due_events
from payments.inbox.receive import receive
from payments.models import Payment, WebhookEvent
from payments.providers import get_provider
from tests.factories import MakeOrder, StartSite
from tests.payments.conftest import Site, transfer
from tests.payments.senders import standard_event, standard_headers

WRITES = 8
"""Writes of one delivery: the event, the claim, and in the transaction the account, the ledger entry, the payment, the
refunds that wait for it, the event and the commit. To die after one is to die before the next."""
MOMENTS = [*(f"before:{number}" for number in range(1, WRITES + 1)), f"after:{WRITES}", f"before:{WRITES + 1}"]


@pytest.fixture
def short_transactions(transactional_db: None) -> Iterator[None]:
    """Let the server end the transactions of dead processes after a second; in production it takes its time."""
    admin = connection.database.client.admin
    before = admin.command("getParameter", transactionLifetimeLimitSeconds=1)["transactionLifetimeLimitSeconds"]
    admin.command("setParameter", transactionLifetimeLimitSeconds=1)
    yield
    admin.command("setParameter", transactionLifetimeLimitSeconds=before)


@pytest.mark.usefixtures("short_transactions")
@pytest.mark.parametrize("recovery", ["redelivery", "sweep"])
def test_death_at_any_write_then_recovery_credits_once(
    start_site: StartSite,
    make_order: MakeOrder,
    recovery: str,
) -> None:
    site = start_site(kill_at=MOMENTS, DATABASE_NAME=connection.settings_dict["NAME"])
    orders = [make_order(moment.replace(":", "-")) for moment in MOMENTS]
    bodies = [json.dumps(transfer(order.order_code)).encode() for order in orders]
    for process, body in enumerate(bodies[:-1]):
        with pytest.raises(requests.ConnectionError):
            site.deliver(body, process)
    assert site.deliver(bodies[-1], len(bodies) - 1).status_code == 200  # There is no further write to die at.

    for order, body in zip(orders, bodies, strict=True):
        recover(body, recovery)
        assert_credited_once(order)


def recover(body: bytes, recovery: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)  # The claim of the dead process has run out.
    if recovery == "redelivery" or not WebhookEvent.objects.filter(body=body).exists():
        headers = {"Authorization": "Apikey sepay-test-key"}
        receive(provider=get_provider("sepay"), body=body, headers=headers, now=later)
    else:
        process_due_events(now=later)


def assert_credited_once(order: Payment) -> None:
    assert Account.objects.get(pk=order.user_id).credits_new == 20
    assert LedgerEntry.objects.filter(account_id=order.user_id, kind="purchase").count() == 1
    assert Payment.objects.get(pk=order.pk).status == "success"
    event = WebhookEvent.objects.get(payment_id=order.pk)
    assert event.status == "done"


@pytest.mark.usefixtures("short_transactions")
def test_death_at_any_write_of_a_refund_then_a_sweep_takes_it_back_once(
    start_site: StartSite, make_order: MakeOrder
) -> None:
    site = start_site(kill_at=MOMENTS, DATABASE_NAME=connection.settings_dict["NAME"])
    orders = [make_order(moment.replace(":", "-")) for moment in MOMENTS]
    for order in orders:
        paid = {"payment_id": str(order.pk), "order_code": order.order_code, "amount": 50_000}
        receive_standard(standard_event("payment.succeeded", **paid))
    refunds = [
        standard_event("payment.refunded", refund_id=f"r{order.pk}", payment_id=str(order.pk), amount=12_500)
        for order in orders
    ]
    for process, refund in enumerate(refunds[:-1]):
        with pytest.raises(requests.ConnectionError):
            deliver_standard(site, refund, process)
    assert deliver_standard(site, refunds[-1], len(refunds) - 1).status_code == 200

    for order, refund in zip(orders, refunds, strict=True):
        process_due_events(now=datetime.now(UTC) + timedelta(hours=1))
        receive_standard(refund)
        assert Account.objects.get(pk=order.user_id).credits_new == 15
        assert LedgerEntry.objects.filter(account_id=order.user_id, kind="refund").count() == 1
        assert Payment.objects.get(pk=order.pk).reversed_credits == 5


def receive_standard(event: dict[str, Any]) -> None:
    body = json.dumps(event).encode()
    headers = standard_headers(body, identifier_of(event))
    receive(provider=get_provider("standard"), body=body, headers=headers)


def deliver_standard(site: Site, event: dict[str, Any], process: int) -> requests.Response:
    body = json.dumps(event).encode()
    return site.deliver(body, process, path="webhook/standard", headers=standard_headers(body, identifier_of(event)))


def identifier_of(event: dict[str, Any]) -> str:
    data = event["data"]
    return f"msg-{data.get('refund_id') or data['payment_id']}"
