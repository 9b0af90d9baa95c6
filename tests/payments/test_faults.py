"""The process dies before or after each write of the webhook path: nothing is lost, nothing is credited twice."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from django.db import connection

from accounts.models import Account, LedgerEntry
from payments import inbox
from payments.models import Payment, WebhookEvent
from tests.payments.conftest import Site, transfer

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
    start_site: Callable[..., Site],
    make_order: Callable[..., Payment],
    recovery: str,
) -> None:
    database = connection.settings_dict["NAME"]
    sites = [start_site(DATABASE_NAME=database, KILL_AT=moment) for moment in MOMENTS]
    orders = [make_order(moment.replace(":", "-")) for moment in MOMENTS]
    bodies = [json.dumps(transfer(order.order_code)).encode() for order in orders]
    for site, body in zip(sites[:-1], bodies, strict=False):
        with pytest.raises(requests.ConnectionError):
            site.deliver(body)
        assert site.stop() == 9
    assert sites[-1].deliver(bodies[-1]).status_code == 200  # There is no further write to die at.

    for order, body in zip(orders, bodies, strict=True):
        recover(body, recovery)
        assert_credited_once(order)


def recover(body: bytes, recovery: str) -> None:
    from payments.providers import get_provider

    later = datetime.now(UTC) + timedelta(hours=1)  # The claim of the dead process has run out.
    if recovery == "redelivery" or not WebhookEvent.objects.filter(body=body).exists():
        headers = {"Authorization": "Apikey sepay-test-key"}
        inbox.receive(provider=get_provider("sepay"), body=body, headers=headers, now=later)
    else:
        inbox.process_due_events(now=later)


def assert_credited_once(order: Payment) -> None:
    assert Account.objects.get(pk=order.user_id).credits_new == 20
    assert LedgerEntry.objects.filter(account_id=order.user_id, kind="purchase").count() == 1
    assert Payment.objects.get(pk=order.pk).status == "success"
    event = WebhookEvent.objects.get(payment_id=order.pk)
    assert event.status == "done"
