"""Payments that are too small to restart the expiry, over HTTP: credited, flagged, and without a new date."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts.administration import set_expiry
from accounts.models import Account, LedgerEntry
from payments.errors import InvalidDecision
from payments.inbox import review
from payments.inbox.pull import pull_payments
from payments.models import Payment, WebhookEvent
from tests.factories import CallApi, Deliver, InsertUser, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay
from tests.payments.senders import send_standard, send_stripe, session, standard_event, stripe_event

BY: dict[str, Any] = {"actor": "staff:mai", "reason": "phoned the customer"}
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


def alice() -> Account:
    return Account.objects.get(pk="alice")


@pytest.fixture
def order(insert_user: InsertUser, make_order: MakeOrder) -> Payment:
    """An order of 20 USD, 50,000 VND, by alice, whose credits expire in two days."""
    insert_user("alice", creditsNew=10.0, credits=5.0, expiresAt=SOON)
    return make_order()


def test_one_dong_again_and_again_never_moves_the_expiry(order: Payment, deliver: Deliver, api: CallApi) -> None:
    for number in range(1, 4):
        deliver(transfer(order.order_code, 1))
        assert (alice().expires_at, alice().credits_new) == (SOON, 10 + Decimal("0.0004") * number)
    assert [payment.flags for payment in Payment.objects.order_by("completed_at")] == [
        ["under", "small"],
        ["second_transfer", "small"],
        ["second_transfer", "small"],
    ]
    answer = api("GET", f"{order.pk}/status", user="alice").json()
    assert (answer["status"], answer["credits"], answer["expiryRenewed"]) == ("success", 0.0004, False)
    assert "does not extend" in answer["notice"]


@pytest.mark.parametrize(
    ("credits", "amount", "is_renewed"),
    [
        (20, 49_999, False),
        (20, 50_000, True),
        (100, 49_999, False),
        (100, 50_000, True),  # The smallest order, by somebody who ordered more.
        (100, 250_000, True),
    ],
)
def test_an_order_or_the_smallest_order_restarts_the_expiry(
    insert_user: InsertUser,
    make_order: MakeOrder,
    deliver: Deliver,
    api: CallApi,
    credits: int,
    amount: int,
    is_renewed: bool,
) -> None:
    insert_user("alice", expiresAt=SOON)
    order = make_order(credits=credits)
    deliver(transfer(order.order_code, amount))
    assert (alice().expires_at != SOON) is is_renewed
    assert ("expiryRenewed" in api("GET", f"{order.pk}/status", user="alice").json()) is not is_renewed
    assert ("small" in Payment.objects.get().flags) is not is_renewed


@pytest.mark.parametrize(("percent", "is_renewed"), [(0, True), (50, True), (51, False)])
def test_the_share_is_a_setting(
    order: Payment, deliver: Deliver, settings: Any, percent: int, is_renewed: bool
) -> None:
    settings.EXPIRY_RENEWAL_MIN_PERCENT = percent
    deliver(transfer(order.order_code, 25_000))
    assert (alice().expires_at != SOON) is is_renewed


def test_a_small_order_of_earlier_days_is_judged_by_itself(order: Payment, deliver: Deliver) -> None:
    Payment.objects.update(credits=Decimal(2), amount=Decimal(5_000))
    deliver(transfer(order.order_code, 5_000))
    assert alice().expires_at != SOON


def test_an_old_order_without_credits_gives_no_reason_to_restart(order: Payment, deliver: Deliver) -> None:
    Payment.objects.update(credits=Decimal(0))
    deliver(transfer(order.order_code, 1))
    assert alice().expires_at == SOON


def test_each_of_two_halves_is_judged_alone(order: Payment, deliver: Deliver) -> None:
    for _ in range(2):
        deliver(transfer(order.order_code, 25_000))
    assert (alice().credits_new, alice().expires_at) == (30, SOON)


def test_every_provider_and_the_pull_is_judged_alike(
    site: str, order: Payment, make_order: MakeOrder, sepay: FakeSePay
) -> None:
    send_standard(site, standard_event("payment.succeeded", payment_id="p", order_code=order.order_code, amount=0.5))
    page = make_order(method="stripe")
    send_stripe(site, stripe_event("checkout.session.completed", session(page.order_code, "pi_1", 1)))
    sepay.add(transfer(make_order().order_code, 2))
    pull_payments()
    paid = Payment.objects.filter(status="success")
    assert [payment.flags[:2] for payment in paid] == [["under", "small"]] * 3
    assert alice().expires_at == SOON


def test_a_small_payment_to_an_expired_account_waits_and_can_be_finished(order: Payment, deliver: Deliver) -> None:
    Account.objects.filter(pk="alice").update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    deliver(transfer(order.order_code, 5_000))
    event = WebhookEvent.objects.get()
    assert (event.status, event.payment) == ("review", order)
    assert "too little to restart the expiry ($2.00), and the credits of alice have expired" in event.error
    assert alice().credits_new == 10
    for decide in (
        lambda: review.match(event_key=event.pk, payment_key=order.pk, **BY),
        lambda: review.credit(event_key=event.pk, username="alice", amount=Decimal(2), **BY),
    ):
        with pytest.raises(InvalidDecision, match="have expired"):
            decide()
    set_expiry(username="alice", expires_at=SOON, seen_expires_at=alice().expires_at)
    review.match(event_key=event.pk, payment_key=order.pk, **BY)
    assert (alice().credits_new, alice().expires_at) == (2, SOON)


def test_a_full_payment_to_an_expired_account_is_credited_as_ever(order: Payment, deliver: Deliver) -> None:
    Account.objects.filter(pk="alice").update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    deliver(transfer(order.order_code))
    assert (alice().credits_new, alice().is_expired()) == (20, False)


@pytest.mark.parametrize(
    ("received", "amount", "is_renewed"),
    [(25_000, "19.99999999", False), (25_000, "20", True), (50_000, "19.5", True)],  # 19.5 and a fee.
)
def test_what_staff_credit_without_an_order_is_judged_by_the_smallest_order(
    order: Payment, deliver: Deliver, received: int, amount: str, is_renewed: bool
) -> None:
    deliver(transfer("no code", received))
    payment = review.credit(event_key=WebhookEvent.objects.get().pk, username="alice", amount=Decimal(amount), **BY)
    assert (alice().expires_at != SOON, "small" not in payment.flags) == (is_renewed, is_renewed)


@pytest.mark.parametrize(
    ("account", "amount", "has_date"),
    [
        ({}, 49_999, True),  # Else credits for ever, for a dong less than an order.
        ({"credits": 0.001, "creditsNew": None}, 49_999, True),
        ({"creditsNew": 10.0}, 49_999, False),  # Staff let these live for ever.
        ({"credits": 10.0}, 1, False),
        ({"holds": {"r": {"balance": "openhands", "amount": 3.0, "at": SOON}}}, 49_999, False),
        ({}, 1, False),
        ({}, 50_000, True),
    ],
)
def test_an_account_without_a_date(
    insert_user: InsertUser,
    make_order: MakeOrder,
    deliver: Deliver,
    account: dict[str, Any],
    amount: int,
    has_date: bool,
) -> None:
    insert_user("alice", **account)
    deliver(transfer(make_order().order_code, amount))
    assert LedgerEntry.objects.filter(kind="purchase").count() == 1
    assert (alice().expires_at is not None) is has_date
