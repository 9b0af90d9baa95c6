"""Money counts where it was really received for us: which account, which mode, which payment page, which payment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import Account, LedgerEntry
from payments.inbox.process import process_due_events
from payments.models import Payment, Reversal, WebhookEvent
from tests.factories import CallApi, InsertUser, MakeOrder
from tests.payments.fakes import FakeStripe
from tests.payments.senders import (
    dispute,
    refund,
    send_standard,
    send_stripe,
    session,
    standard_event,
    stripe_event,
)


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def send(site: str, kind: str, obj: dict[str, Any], **changes: Any) -> WebhookEvent:
    """Deliver an event of Stripe's; returns it as it is afterwards."""
    event = stripe_event(kind, obj, **changes)
    assert send_stripe(site, event).status_code == 200
    return WebhookEvent.objects.get(event_id=event["id"])


# --- Payment pages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "event_changes", "reason"),
    [
        ({"id": "cs_other"}, {}, "not made for this order: cs_other"),
        ({"id": "cs_link", "payment_link": "plink_1", "metadata": {}}, {}, "not made for this order"),
        ({}, {"account": "acct_x"}, "connected account acct_x"),
        ({"livemode": False}, {}, "one mode about a payment of the other"),
        ({"livemode": None}, {}, "one mode about a payment of the other"),
    ],
)
def test_money_of_another_origin_waits_for_review(
    site: str, make_order: MakeOrder, changes: dict[str, Any], event_changes: dict[str, Any], reason: str
) -> None:
    order = make_order(method="stripe")
    event = send(site, "checkout.session.completed", session(order.order_code, "pi_1", **changes), **event_changes)
    assert event.status == "review"
    assert reason in event.error
    assert balance_of() == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount_total": 2200, "total_details": {"amount_tax": 200}}, "tax 200"),
        ({"amount_total": 1500, "total_details": {"amount_discount": 500, "amount_tax": 0}}, "discount 500"),
        ({"amount_total": 2500, "total_details": {"amount_shipping": 500}}, "shipping 500"),
        ({"amount_total": 2200, "amount_subtotal": 2000, "total_details": None}, "a subtotal of 2000"),
    ],
)
def test_a_total_that_is_not_the_price_of_the_order_waits_for_review(
    site: str, make_order: MakeOrder, changes: dict[str, Any], reason: str
) -> None:
    page = session(make_order(method="stripe").order_code, "pi_1", **changes)
    event = send(site, "checkout.session.completed", page)
    assert (event.status, balance_of()) == ("review", 0)
    assert reason in event.error


def test_a_total_with_nothing_added_is_credited(site: str, make_order: MakeOrder) -> None:
    details = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}
    page = session(make_order(method="stripe").order_code, "pi_1", amount_subtotal=2000, total_details=details)
    assert send(site, "checkout.session.completed", page).status == "done"


def test_an_order_that_was_not_made_for_stripe_has_no_page(site: str, make_order: MakeOrder, settings: Any) -> None:
    settings.STRIPE_CURRENCY = "vnd"
    order = make_order(method="sepay")
    event = send(site, "checkout.session.completed", session(order.order_code, "pi_1", 50_000, currency="vnd"))
    assert (event.status, balance_of()) == ("review", 0)


@pytest.mark.parametrize("kind", ["completed", "async_payment_failed", "expired"])
def test_a_foreign_page_that_brings_no_money_leaves_the_order(site: str, make_order: MakeOrder, kind: str) -> None:
    order = make_order(method="stripe")
    page = session(order.order_code, "pi_1", id="cs_other", payment_status="unpaid")
    assert send(site, f"checkout.session.{kind}", page).status == "ignored"
    order.refresh_from_db()
    assert (order.status, order.flags) == ("pending", [])
    own = session(order.order_code, "pi_2")
    assert send(site, "checkout.session.completed", own).status == "done"


def test_the_page_that_the_checkout_made_is_the_orders(
    site: str, stripe: FakeStripe, api: CallApi, insert_user: InsertUser
) -> None:
    insert_user("alice")
    code = api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"}).json()["orderCode"]
    foreign = session(code, "pi_foreign", id="cs_foreign")
    assert send(site, "checkout.session.completed", foreign).status == "review"
    assert stripe.deliver(site, stripe.pay(str(Payment.objects.get().session_id))).status_code == 200
    assert balance_of() == 20


@pytest.mark.parametrize(
    ("kind", "obj"),
    [
        ("refund.created", refund("re_1", "pi_1", 2000)),
        ("charge.dispute.created", dispute("dp_1", "pi_1", 2000, "needs_response")),
        (
            "charge.refunded",
            {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "amount_refunded": 2000, "currency": "usd"},
        ),
        ("radar.early_fraud_warning.created", {"id": "issfr_1", "payment_intent": "pi_1", "charge": "ch_1"}),
    ],
)
def test_nothing_of_a_connected_account_reverses_ours(
    site: str, make_order: MakeOrder, kind: str, obj: dict[str, Any]
) -> None:
    send(site, "checkout.session.completed", session(make_order(method="stripe").order_code, "pi_1"))
    event = send(site, kind, obj, account="acct_x")
    assert (event.status, balance_of()) == ("review", 20)
    assert Payment.objects.get().provider_charge_id is None


# --- Refunds of payments -----------------------------------------------------------------------------------------


def test_the_same_refund_id_on_several_payments(site: str, make_order: MakeOrder) -> None:
    for name in ("p1", "p2", "p3"):
        paid = {"payment_id": name, "order_code": make_order().order_code, "amount": 50_000}
        send_standard(site, standard_event("payment.succeeded", **paid))
    for name, amount in (("p1", 50_000), ("p2", 25_000), ("p3", 10_000)):
        for _ in range(2):  # Each told twice, by two messages.
            refunded = standard_event("payment.refunded", refund_id="r", payment_id=name, amount=amount)
            assert send_standard(site, refunded).status_code == 200
    reversed_by_payment = {
        payment.provider_transaction_id: payment.reversed_credits for payment in Payment.objects.all()
    }
    assert reversed_by_payment == {"p1": 20, "p2": 10, "p3": 4}
    assert balance_of() == 60 - 34
    assert Reversal.objects.count() == 3
    assert LedgerEntry.objects.filter(kind="refund").count() == 3


def charge_alone(identifier: str, amount: int, **changes: Any) -> dict[str, Any]:
    return refund(identifier, "pi_1", amount, payment_intent=None, **changes)


@pytest.fixture
def paid(site: str, make_order: MakeOrder) -> Payment:
    order = make_order(method="stripe")
    send(site, "checkout.session.completed", session(order.order_code, "pi_1"))
    return order


def test_a_charge_that_stands_there_in_full_names_its_payment(site: str, paid: Payment) -> None:
    charge = {"id": "ch_pi_1", "object": "charge", "payment_intent": "pi_1"}
    assert send(site, "refund.created", charge_alone("re_1", 500, charge=charge)).status == "done"
    intent = {"id": "pi_1", "object": "payment_intent"}
    lost = dispute("dp_1", "pi_1", 1500, "lost") | {"payment_intent": intent}
    assert send(site, "charge.dispute.closed", lost).status == "done"
    assert balance_of() == 0


def test_a_charge_is_known_from_an_earlier_event(site: str, paid: Payment) -> None:
    send(site, "refund.created", refund("re_1", "pi_1", 500))
    disputed = charge_alone("dp_1", 1500, object="dispute", status="needs_response")
    assert send(site, "charge.dispute.created", disputed).status == "done"
    assert balance_of() == 0


def test_a_refund_of_a_charge_wakes_up_when_the_charge_becomes_known(site: str, paid: Payment) -> None:
    waiting = send(site, "refund.created", charge_alone("re_1", 500))
    assert (waiting.status, balance_of()) == ("received", 20)
    send(site, "refund.created", refund("re_2", "pi_1", 1000))
    process_due_events(now=datetime.now(UTC) + timedelta(seconds=1))
    waiting.refresh_from_db()
    assert (waiting.status, balance_of()) == ("done", 5)


def test_stripe_is_asked_whose_charge_it_is(site: str, paid: Payment, stripe: FakeStripe) -> None:
    stripe.charges["ch_pi_1"] = {"id": "ch_pi_1", "object": "charge", "payment_intent": "pi_1"}
    assert send(site, "refund.created", charge_alone("re_1", 500)).status == "done"
    assert send(site, "refund.created", charge_alone("re_2", 500)).status == "done"
    assert stripe.requests == ["GET /v1/charges/ch_pi_1"]
    assert balance_of() == 10


@pytest.mark.parametrize("answer", ["down", "unknown", "of nothing", "of another"])
def test_a_charge_that_nobody_knows_waits_and_then_is_reviewed(
    site: str, paid: Payment, stripe: FakeStripe, answer: str
) -> None:
    stripe.is_down = answer == "down"
    if answer.startswith("of"):
        intent = None if answer == "of nothing" else "pi_other"
        stripe.charges["ch_pi_1"] = {"id": "ch_pi_1", "object": "charge", "payment_intent": intent}
    event = send(site, "refund.created", charge_alone("re_1", 500))
    assert event.status == "received"
    now = datetime.now(UTC)
    for _ in range(7):
        now += timedelta(hours=3)
        process_due_events(now=now)
    event.refresh_from_db()
    assert (event.status, balance_of()) == ("review", 20)
