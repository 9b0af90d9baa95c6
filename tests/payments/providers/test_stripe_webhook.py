"""Stripe's events over HTTP: paid, slow, failed, refunded and disputed, in any order."""

import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from accounts import credits
from accounts.models import Account, Balance, LedgerEntry
from payments.currencies import decimals_of
from payments.errors import InvalidSignature
from payments.inbox.process import process_due_events
from payments.models import Payment, WebhookEvent
from payments.providers.stripe import Stripe
from tests.factories import InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.senders import dispute, refund, send_stripe, session, stripe_event, stripe_signature

VECTOR = (
    b'{"id":"evt_test_1","object":"event","api_version":"2026-10-28.endive","created":1700000000,"livemode":false,'
    b'"type":"checkout.session.completed","data":{"object":{"id":"cs_test_1","object":"checkout.session",'
    b'"mode":"payment","status":"complete","payment_status":"paid","amount_total":1000,"currency":"usd",'
    b'"client_reference_id":"NAP7K3M9QXA","payment_intent":"pi_test_1","metadata":{"order":"NAP7K3M9QXA"}}}}'
)
VECTOR_SIGNATURE = "t=1700000000,v1=29bbd6bb96d229525a1b5f7485187fde6635371e364bf9c1ccee8ed3069de60b"
Send = Callable[..., requests.Response]


@pytest.fixture
def send(site: str) -> Send:
    def call(kind: str, obj: dict[str, Any], **changes: Any) -> requests.Response:
        response = send_stripe(site, stripe_event(kind, obj, **changes))
        assert response.status_code == 200
        return response

    return call


@pytest.fixture
def order(make_order: MakeOrder) -> Payment:
    return make_order(method="stripe")


@pytest.fixture
def paid(send: Send, make_order: MakeOrder, settings: Any) -> Payment:
    """An order of 20 USD with a bonus of 4, paid by the intent pi_1."""
    order = make_order(method="stripe")
    Payment.objects.filter(pk=order.pk).update(bonus_percent=Decimal(20))
    send("checkout.session.completed", session(order.order_code, "pi_1"))
    order.refresh_from_db()
    assert (order.status, order.credited, order.bonus) == ("success", 20, 4)
    return order


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def statuses() -> list[str]:
    return [event.status for event in WebhookEvent.objects.order_by("received_at")]


# --- Signatures --------------------------------------------------------------------------------------------------


def verify(body: bytes = VECTOR, header: str = VECTOR_SIGNATURE, now: int = 1_700_000_000) -> None:
    Stripe().verify(body=body, headers={"Stripe-Signature": header}, now=datetime.fromtimestamp(now, UTC))


def test_the_published_vector_passes() -> None:
    verify()
    verify(header=VECTOR_SIGNATURE + ",v1=" + "0" * 64)
    verify(header="v0=abc, t=1700000000, v1=00 ,v1=" + VECTOR_SIGNATURE.rpartition("=")[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"now": 1_700_000_301},
        {"now": 1_699_999_699},
        {"now": 1_699_900_000},
        {"body": VECTOR + b"\n"},
        {"header": ""},
        {"header": "t=1700000000"},
        {"header": "t=1700000000,v1="},
        {"header": "t=,v1=00"},
        {"header": "t=1700000000,t=1700000000,v1=00"},
        {"header": "v1=00,t=x"},
        {"header": "t=1700000000,v1=é"},
        {"header": "t=1700000000,v1=\U0001f916"},
        {"header": "t=" + "9" * 500 + ",v1=00"},
        {"header": stripe_signature(VECTOR, 1_700_000_000, "other")},
        {"header": VECTOR_SIGNATURE.replace("v1", "v0")},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature):
        verify(**changes)


def test_the_previous_secret_is_accepted_too(site: str, order: Payment) -> None:
    body = json.dumps(stripe_event("checkout.session.completed", session(order.order_code, "pi_1"))).encode()
    signature = stripe_signature(body, secret="whsec_previous")
    assert send_stripe(site, body, **{"Stripe-Signature": signature}).status_code == 200
    assert balance_of() == 20


@pytest.mark.parametrize("at", [-400, 400, -86_400])
def test_a_stale_or_future_delivery_gets_401_and_leaves_nothing(site: str, order: Payment, at: int) -> None:
    body = json.dumps(stripe_event("checkout.session.completed", session(order.order_code, "pi_1"))).encode()
    signature = stripe_signature(body, int(time.time()) + at)
    assert send_stripe(site, body, **{"Stripe-Signature": signature}).status_code == 401
    assert not WebhookEvent.objects.exists()


EVENT = stripe_event("checkout.session.completed", session("NAP", "pi_1"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        json.dumps(EVENT).encode()[:-9],
        EVENT | {"object": "v2.core.event"},
        EVENT | {"livemode": None},
        EVENT | {"id": 1.5},
        EVENT | {"type": None},
        EVENT | {"created": "now"},
        EVENT | {"created": 10**15},
        EVENT | {"created": -1},
        EVENT | {"data": []},
        EVENT | {"data": {"object": None}},
        EVENT | {"data": {"object": session("NAP", "pi_1", amount=-1)}},
        EVENT | {"data": {"object": session("NAP", "pi_1", amount=0)}},
        EVENT | {"data": {"object": session("NAP", "pi_1", currency="dollars")}},
        EVENT | {"data": {"object": session("NAP", "pi_1") | {"amount_total": 20.5}}},
        EVENT | {"data": {"object": session("NAP", "pi_1") | {"client_reference_id": 5}}},
        EVENT | {"type": "charge.dispute.created", "data": {"object": dispute("dp", "pi_1", 1, "odd")}},
        json.dumps(EVENT).replace("2000", "NaN").encode(),
        json.dumps(EVENT).replace("2000", "1e400").encode(),
    ],
)
def test_a_malformed_body_gets_400_and_is_kept(site: str, db: None, body: Any) -> None:
    assert send_stripe(site, body).status_code == 400
    assert statuses() == ["review"]


def test_a_body_over_256_kb_gets_413(site: str, db: None) -> None:
    assert send_stripe(site, b"x" * (256 * 1024 + 1)).status_code == 413


def test_an_unknown_provider_gets_404_as_json(site: str) -> None:
    response = requests.post(f"{site}/api/payment/webhook/nobody", data=b"{}", timeout=10)
    assert (response.status_code, response.json()["success"]) == (404, False)


# --- Money in ----------------------------------------------------------------------------------------------------


def test_a_paid_session_credits_the_order(send: Send, order: Payment) -> None:
    send("checkout.session.completed", session(order.order_code, "pi_1"))
    order.refresh_from_db()
    assert (order.status, order.provider, order.provider_transaction_id) == ("success", "stripe", "pi_1")
    assert (order.currency, order.amount, order.received_amount, order.sepay_transaction_id) == ("USD", 20, 20, None)
    assert balance_of() == 20


def test_a_rounded_price_buys_exactly_what_was_ordered(send: Send, make_order: MakeOrder, settings: Any) -> None:
    settings.STRIPE_UNITS_PER_USD = "1.0049"
    order = make_order(credits=33, method="stripe")
    send("checkout.session.completed", session(order.order_code, "pi_1", 3316))
    order.refresh_from_db()
    assert (balance_of(), order.flags) == (33, [])


def test_two_events_of_one_payment_credit_once(send: Send, order: Payment) -> None:
    send("checkout.session.completed", session(order.order_code, "pi_1"))
    send("checkout.session.async_payment_succeeded", session(order.order_code, "pi_1"))
    assert balance_of() == 20
    assert statuses() == ["done", "ignored"]


def test_a_slow_payment_keeps_the_order_open_and_is_credited_when_it_comes(send: Send, order: Payment) -> None:
    send("checkout.session.completed", session(order.order_code, "pi_1", payment_status="unpaid"))
    order.refresh_from_db()
    assert (order.status, order.flags) == ("pending", ["processing"])
    assert order.expires_at is not None
    assert order.expires_at > datetime.now(UTC) + timedelta(days=13)
    send("checkout.session.async_payment_succeeded", session(order.order_code, "pi_1"))
    order.refresh_from_db()
    assert (order.status, order.flags, balance_of()) == ("success", [], 20)


@pytest.mark.parametrize(
    ("kind", "status"), [("checkout.session.async_payment_failed", "failed"), ("checkout.session.expired", "expired")]
)
def test_a_failed_or_closed_session_ends_the_order_but_never_a_paid_one(
    send: Send, order: Payment, make_order: MakeOrder, kind: str, status: str
) -> None:
    send(kind, session(order.order_code, "pi_1", payment_status="unpaid"))
    order.refresh_from_db()
    assert order.status == status

    paid = make_order(method="stripe")
    send("checkout.session.completed", session(paid.order_code, "pi_2"))
    send(kind, session(paid.order_code, "pi_2", payment_status="unpaid"))
    paid.refresh_from_db()
    assert (paid.status, balance_of()) == ("success", 20)


def test_money_after_a_failure_is_credited_and_flagged(send: Send, order: Payment) -> None:
    send("checkout.session.async_payment_failed", session(order.order_code, "pi_1", payment_status="unpaid"))
    send("checkout.session.completed", session(order.order_code, "pi_1"))
    order.refresh_from_db()
    assert (order.status, order.flags, balance_of()) == ("success", ["after_failure"], 20)


@pytest.mark.parametrize(
    ("changes", "event_changes", "reason"),
    [
        ({"currency": "eur"}, {}, "wrong currency: EUR"),
        ({}, {"livemode": False}, "test-mode event"),
        ({"client_reference_id": None}, {}, "no order"),
        ({"client_reference_id": "NAP00000000"}, {}, "no order"),
    ],
)
def test_money_that_does_not_fit_waits_for_review(
    send: Send, order: Payment, changes: dict[str, Any], event_changes: dict[str, Any], reason: str
) -> None:
    send("checkout.session.completed", session(order.order_code, "pi_1", **changes), **event_changes)
    event = WebhookEvent.objects.get()
    assert event.status == "review"
    assert reason in event.error
    assert balance_of() == 0


def test_a_stripe_order_paid_by_bank_transfer_waits_for_review(deliver: Send, order: Payment) -> None:
    deliver(transfer(order.order_code))
    assert "wrong currency: VND" in WebhookEvent.objects.get().error


@pytest.mark.parametrize("kind", ["customer.created", "payment_intent.succeeded", "checkout.session.new"])
def test_other_event_types_are_ignored(send: Send, order: Payment, kind: str) -> None:
    send(kind, session(order.order_code, "pi_1"))
    assert statuses() == ["ignored"]


@pytest.mark.parametrize(("currency", "decimals"), [("usd", 2), ("VND", 0), ("jpy", 0), ("KWD", 3)])
def test_amounts_have_the_decimals_of_their_currency(currency: str, decimals: int) -> None:
    assert decimals_of(currency) == decimals


# --- Money out ---------------------------------------------------------------------------------------------------


def reversed_of(payment: Payment) -> tuple[float, float]:
    payment.refresh_from_db()
    return float(payment.reversed_credits or 0), float(payment.reversed_bonus or 0)


def test_a_full_refund_takes_credits_and_bonus_back_in_entries_of_their_own(send: Send, paid: Payment) -> None:
    send("refund.created", refund("re_1", "pi_1", 2000))
    assert (balance_of(), reversed_of(paid)) == (0, (20, 4))
    assert sorted(entry.amount for entry in LedgerEntry.objects.filter(kind="refund")) == [-20, -4]
    assert (paid.status, paid.flags, paid.refunded_amount) == ("success", ["refunded"], 20)


def test_a_refund_of_spent_credits_makes_a_debt(send: Send, paid: Payment) -> None:
    credits.adjust(
        username="alice", balance=Balance.OPENHANDS, amount=Decimal(-20), operation="use", actor="t", reason="t"
    )
    send("refund.created", refund("re_1", "pi_1", 2000))
    assert balance_of() == -20


def test_the_same_refund_in_several_events_counts_once(send: Send, paid: Payment) -> None:
    send("refund.created", refund("re_1", "pi_1", 700, "pending"))
    send("refund.updated", refund("re_1", "pi_1", 700))
    send("charge.refund.updated", refund("re_1", "pi_1", 700))
    send("charge.refunded", {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 700, "currency": "usd"})
    assert (balance_of(), reversed_of(paid)) == (24 - 8.4, (7, 1.4))
    assert statuses() == ["done"] * 5


def test_partial_refunds_add_up_to_exactly_the_whole(send: Send, paid: Payment) -> None:
    for number, amount in enumerate((1, 333, 333, 334, 999)):
        send("refund.created", refund(f"re_{number}", "pi_1", amount))
    assert (balance_of(), reversed_of(paid)) == (0, (20, 4))


def test_a_charge_that_tells_only_its_sum_is_enough(send: Send, paid: Payment) -> None:
    for total in (500, 1500, 1000):
        send("charge.refunded", {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": total, "currency": "usd"})
    assert reversed_of(paid) == (15, 3)


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_failed_refund_gives_everything_back_whatever_comes_late(send: Send, paid: Payment, status: str) -> None:
    send("refund.created", refund("re_1", "pi_1", 2000, "pending"))
    send("charge.refunded", {"id": "ch_1", "payment_intent": "pi_1", "amount_refunded": 2000, "currency": "usd"})
    assert balance_of() == 0
    send("refund.failed", refund("re_1", "pi_1", 2000, status))
    assert (balance_of(), reversed_of(paid), paid.flags) == (24, (0, 0), [])
    send("refund.updated", refund("re_1", "pi_1", 2000), created=int(time.time()) - 60)
    assert balance_of() == 24


def test_a_refund_before_its_payment_waits_and_is_applied_with_it(send: Send, order: Payment) -> None:
    send("refund.created", refund("re_1", "pi_1", 2000))
    assert statuses() == ["received"]
    send("checkout.session.completed", session(order.order_code, "pi_1"))
    assert statuses() == ["done", "done"]
    assert balance_of() == 0


def test_a_refund_of_an_unknown_payment_ends_in_review_and_wakes_up(send: Send, order: Payment) -> None:
    send("refund.created", refund("re_1", "pi_1", 2000))
    now = datetime.now(UTC)
    for _ in range(10):
        now += timedelta(hours=1)
        process_due_events(now=now)
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("review", 6)
    assert "no payment pi_1" in event.error
    send("checkout.session.completed", session(order.order_code, "pi_1"))
    assert statuses() == ["done", "done"]
    assert balance_of() == 0


def test_an_inquiry_takes_nothing_and_flags_the_payment(send: Send, paid: Payment) -> None:
    send("charge.dispute.created", dispute("dp_1", "pi_1", 2000, "warning_needs_response"))
    assert (balance_of(), reversed_of(paid), paid.flags) == (24, (0, 0), ["inquiry"])
    send("charge.dispute.closed", dispute("dp_1", "pi_1", 2000, "warning_closed"))
    assert (balance_of(), reversed_of(paid), paid.flags) == (24, (0, 0), [])


def test_a_fraud_warning_flags_the_payment(send: Send, paid: Payment) -> None:
    send("radar.early_fraud_warning.created", {"id": "issfr_1", "payment_intent": "pi_1", "charge": "ch_1"})
    assert (balance_of(), reversed_of(paid), paid.flags) == (24, (0, 0), ["inquiry"])


def test_a_dispute_takes_the_credits_and_losing_it_changes_nothing(send: Send, paid: Payment) -> None:
    send("charge.dispute.created", dispute("dp_1", "pi_1", 2000, "needs_response"))
    send("charge.dispute.funds_withdrawn", dispute("dp_1", "pi_1", 2000, "under_review"))
    assert (balance_of(), reversed_of(paid), paid.flags) == (0, (20, 4), ["disputed"])
    assert {entry.kind for entry in LedgerEntry.objects.filter(amount__lt=0)} == {"chargeback"}
    send("charge.dispute.closed", dispute("dp_1", "pi_1", 2000, "lost"))
    assert (balance_of(), reversed_of(paid)) == (0, (20, 4))


def test_a_won_dispute_gives_the_credits_back_once(send: Send, paid: Payment) -> None:
    expires_at = Account.objects.get().expires_at
    send("charge.dispute.created", dispute("dp_1", "pi_1", 2000, "needs_response"))
    send("charge.dispute.closed", dispute("dp_1", "pi_1", 2000, "won"))
    send("charge.dispute.funds_reinstated", dispute("dp_1", "pi_1", 2000, "won"))
    send("charge.dispute.updated", dispute("dp_1", "pi_1", 2000, "under_review"), created=int(time.time()) - 60)
    assert (balance_of(), reversed_of(paid), paid.flags) == (24, (0, 0), [])
    assert Account.objects.get().expires_at == expires_at


def test_a_refund_and_a_dispute_never_take_more_than_was_paid(send: Send, paid: Payment) -> None:
    send("refund.created", refund("re_1", "pi_1", 1000))
    send("charge.dispute.created", dispute("dp_1", "pi_1", 2000, "needs_response"))
    assert (balance_of(), reversed_of(paid)) == (0, (20, 4))


STORY = [
    ("refund.created", refund("re_1", "pi_1", 500, "pending")),
    ("refund.failed", refund("re_1", "pi_1", 500, "failed")),
    ("charge.dispute.created", dispute("dp_1", "pi_1", 1500, "needs_response")),
    ("charge.dispute.closed", dispute("dp_1", "pi_1", 1500, "lost")),
]


@pytest.mark.parametrize("order_of_events", list(itertools.permutations(range(4))))
def test_events_in_any_order_lead_to_the_same_end(send: Send, paid: Payment, order_of_events: tuple[int, ...]) -> None:
    began = int(time.time()) - 60
    for index in order_of_events:
        send(*STORY[index], created=began + index)
    assert reversed_of(paid) == (15, 3)
    assert balance_of() == 6


def test_many_refunds_at_once_take_exactly_their_sum(site: str, paid: Payment, in_threads: InThreads) -> None:
    events = [stripe_event("refund.created", refund(f"re_{n}", "pi_1", 190)) for n in range(10)]
    in_threads(20, lambda n: send_stripe(site, events[n % 10]))
    later = datetime.now(UTC)
    while WebhookEvent.objects.filter(status="received").exists():
        later += timedelta(hours=1)
        process_due_events(now=later)
    assert reversed_of(paid) == (19, 3.8)
    assert balance_of() == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("changes", "event_changes", "reason"),
    [({"currency": "eur"}, {}, "wrong currency"), ({}, {"livemode": False}, "test-mode event")],
)
def test_a_refund_that_does_not_fit_waits_for_review(
    send: Send, paid: Payment, changes: dict[str, Any], event_changes: dict[str, Any], reason: str
) -> None:
    send("refund.created", refund("re_1", "pi_1", 2000, **changes), **event_changes)
    assert reason in WebhookEvent.objects.get(status="review").error
    assert balance_of() == 24
