"""What staff decide about events that wait, with actor and reason, and only once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId

from accounts.errors import AccountNotFound, InvalidAmount
from accounts.models import Account, LedgerEntry
from payments.errors import AlreadyCredited, InvalidDecision, NotReviewable, PaymentNotFound
from payments.inbox import review
from payments.inbox.events import MAX_ATTEMPTS
from payments.inbox.process import process_due_events
from payments.models import Payment, WebhookEvent
from tests.factories import Deliver, InsertUser, InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.senders import refund, send_stripe, session, stripe_event

BY: dict[str, Any] = {"actor": "staff:mai", "reason": "phoned the customer"}


def waiting() -> WebhookEvent:
    return WebhookEvent.objects.get(status__in=["review", "dead"])


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


@pytest.fixture
def unmatched(deliver: Deliver, make_order: MakeOrder) -> WebhookEvent:
    """50,000 VND with a memo that names no order, beside an open order of 20 USD by alice."""
    make_order()
    deliver(transfer(content="nap tien", description=""))
    return waiting()


def test_match_credits_the_order_and_says_who_did_it(unmatched: WebhookEvent) -> None:
    order = Payment.objects.get()
    payment = review.match(event_key=unmatched.pk, payment_key=order.pk, **BY)
    assert (payment.pk, balance_of()) == (order.pk, 20)
    assert Payment.objects.get().flags == ["manual"]
    event = WebhookEvent.objects.get()
    assert (event.status, event.resolved_by, event.resolution) == ("done", "staff:mai", "phoned the customer")
    assert "no order" in event.error
    assert LedgerEntry.objects.get().actor == "staff:mai"


def test_match_credits_a_payment_that_came_days_too_late(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order(minutes_ago=60 * 24 * 3)
    deliver(transfer(order.order_code))
    review.match(event_key=waiting().pk, payment_key=order.pk, **BY)
    assert (balance_of(), Payment.objects.get().flags) == (20, ["late", "manual"])


def test_two_decisions_at_once_credit_once(unmatched: WebhookEvent, in_threads: InThreads) -> None:
    order = Payment.objects.get()

    def act(index: int) -> bool:
        try:
            if index % 2:
                review.match(event_key=unmatched.pk, payment_key=order.pk, **BY)
            else:
                review.credit(event_key=unmatched.pk, username="alice", amount=Decimal(20), **BY)
        except NotReviewable:
            return False
        return True

    assert sum(in_threads(8, act)) == 1
    assert balance_of() == 20


def test_match_of_another_currency_is_refused(unmatched: WebhookEvent, make_order: MakeOrder) -> None:
    order = make_order(method="stripe")
    with pytest.raises(InvalidDecision, match="currency"):
        review.match(event_key=unmatched.pk, payment_key=order.pk, **BY)
    assert waiting().pk == unmatched.pk


def test_match_with_nothing_is_refused(unmatched: WebhookEvent) -> None:
    with pytest.raises(PaymentNotFound):
        review.match(event_key=unmatched.pk, payment_key=ObjectId(), **BY)
    with pytest.raises(NotReviewable):
        review.match(event_key=ObjectId(), payment_key=Payment.objects.get().pk, **BY)


def test_credit_makes_a_payment_for_an_account(unmatched: WebhookEvent) -> None:
    payment = review.credit(event_key=unmatched.pk, username="alice", amount=Decimal("19.5"), **BY)
    payment.refresh_from_db()
    assert (payment.status, payment.credited, payment.received_amount, payment.flags) == (
        "success",
        Decimal("19.5"),
        50_000,
        ["manual"],
    )
    assert (payment.credits_before, payment.credits_after) == (0, Decimal("19.5"))
    assert balance_of() == 19.5
    assert Payment.objects.filter(status="pending").count() == 1


@pytest.mark.parametrize(
    ("username", "amount", "error"),
    [("nobody", "20", AccountNotFound), ("alice", "0", InvalidAmount), ("alice", "-1", InvalidAmount)],
)
def test_credit_of_something_impossible_is_refused_and_leaves_nothing(
    unmatched: WebhookEvent, username: str, amount: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        review.credit(event_key=unmatched.pk, username=username, amount=Decimal(amount), **BY)
    assert (waiting().pk, Payment.objects.count(), balance_of()) == (unmatched.pk, 1, 0)


def test_credit_for_a_body_that_cannot_be_read(deliver: Deliver, insert_user: InsertUser) -> None:
    insert_user("alice")
    deliver(b'{"half": ')
    review.credit(event_key=waiting().pk, username="alice", amount=Decimal(20), **BY)
    assert balance_of() == 20


def test_a_look_alike_can_be_credited_as_another_transfer_but_an_id_never_twice(
    deliver: Deliver, make_order: MakeOrder
) -> None:
    order = make_order()
    payload = transfer(order.order_code)
    deliver(payload)
    deliver(payload | {"id": payload["id"] + 500_000})
    review.match(event_key=waiting().pk, payment_key=order.pk, **BY)
    assert balance_of() == 40
    deliver(payload | {"transferAmount": 1_000_000})  # The first id, with another body.
    with pytest.raises(AlreadyCredited):
        review.match(event_key=waiting().pk, payment_key=order.pk, **BY)
    with pytest.raises(AlreadyCredited):
        review.credit(event_key=waiting().pk, username="alice", amount=Decimal(20), **BY)
    assert balance_of() == 40


def test_dismiss_closes_without_credits(unmatched: WebhookEvent) -> None:
    review.dismiss(event_key=unmatched.pk, **BY)
    event = WebhookEvent.objects.get()
    assert (event.status, event.resolved_by, balance_of()) == ("ignored", "staff:mai", 0)
    with pytest.raises(NotReviewable):
        review.dismiss(event_key=unmatched.pk, **BY)


@pytest.mark.parametrize("reason", ["", "  "])
def test_every_decision_needs_a_reason(unmatched: WebhookEvent, reason: str) -> None:
    by = BY | {"reason": reason}
    key = unmatched.pk
    order = Payment.objects.get()
    for decision in (
        lambda: review.match(event_key=key, payment_key=order.pk, **by),
        lambda: review.credit(event_key=key, username="alice", amount=Decimal(1), **by),
        lambda: review.dismiss(event_key=key, **by),
        lambda: review.replay(event_key=key, **by),
        lambda: review.record_refund(payment_key=order.pk, amount=Decimal(1), reference="1", **by),
    ):
        with pytest.raises(InvalidDecision, match="reason"):
            decision()


def test_replay_runs_the_rules_again(deliver: Deliver, make_order: MakeOrder, settings: Any) -> None:
    order = make_order()
    settings.SEPAY_ACCOUNT_NUMBER = "another"
    deliver(transfer(order.order_code))
    event = waiting()
    assert review.replay(event_key=event.pk, **BY).status == "review"
    settings.SEPAY_ACCOUNT_NUMBER = "0123499999"
    assert review.replay(event_key=event.pk, **BY).status == "done"
    assert balance_of() == 20
    with pytest.raises(NotReviewable):
        review.replay(event_key=event.pk, **BY)


def test_replay_of_a_dead_event_gets_new_attempts(make_order: MakeOrder, deliver: Deliver) -> None:
    now = datetime.now(UTC)
    deliver(transfer(make_order().order_code, content="none", description=""))
    WebhookEvent.objects.update(status="dead", attempts=MAX_ATTEMPTS)
    event = review.replay(event_key=WebhookEvent.objects.get().pk, **BY)
    assert (event.status, event.attempts) == ("review", 1)
    assert process_due_events(now=now + timedelta(days=1)) == 0


def test_an_unverified_event_cannot_be_replayed(unmatched: WebhookEvent) -> None:
    WebhookEvent.objects.update(is_verified=False)
    with pytest.raises(NotReviewable):
        review.replay(event_key=unmatched.pk, **BY)


def test_a_refund_in_review_is_matched_with_its_payment(site: str, deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order(method="stripe")
    other = make_order()
    send_stripe(site, stripe_event("checkout.session.completed", session(order.order_code, "pi_1")))
    send_stripe(site, stripe_event("refund.created", refund("re_1", "pi_1", 500), livemode=False))
    event = waiting()
    with pytest.raises(InvalidDecision, match="match it"):
        review.credit(event_key=event.pk, username="alice", amount=Decimal(5), **BY)
    with pytest.raises(InvalidDecision):
        review.match(event_key=event.pk, payment_key=other.pk, **BY)
    review.match(event_key=event.pk, payment_key=order.pk, **BY)
    assert balance_of() == 15


def test_record_refund_takes_back_what_staff_sent_back_once(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    with pytest.raises(InvalidDecision, match="not paid"):
        review.record_refund(payment_key=order.pk, amount=Decimal(1), reference="FT1", **BY)
    deliver(transfer(order.order_code))
    for _ in range(2):
        payment = review.record_refund(payment_key=order.pk, amount=Decimal(12_500), reference="FT1", **BY)
    assert (balance_of(), payment.refunded_amount, payment.reversed_credits) == (15, 12_500, 5)
    review.record_refund(payment_key=order.pk, amount=Decimal(37_500), reference="FT2", **BY)
    assert balance_of() == 0
    with pytest.raises(InvalidDecision, match="at most"):
        review.record_refund(payment_key=order.pk, amount=Decimal(50_001), reference="FT3", **BY)
