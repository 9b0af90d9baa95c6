"""Refunds and disputes follow the newest report by the provider's own time, in whatever order the reports arrive."""

import itertools
import time
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from payments.inbox import review
from payments.models import Payment, Reversal, WebhookEvent
from tests.factories import MakeOrder
from tests.payments.senders import dispute, refund, send_stripe, session, stripe_event

BEGAN = int(time.time()) - 3600


class Paid:
    """A payment of 20 USD by the intent pi_1, and what Stripe reports of it."""

    def __init__(self, site: str, order: Payment) -> None:
        self.site, self.order = site, order
        self.send("checkout.session.completed", session(order.order_code, "pi_1"), 0)

    def send(self, kind: str, obj: dict[str, Any], second: int) -> WebhookEvent:
        event = stripe_event(kind, obj, created=BEGAN + second)
        assert send_stripe(self.site, event).status_code == 200
        return WebhookEvent.objects.get(event_id=event["id"])

    def dispute(self, status: str, second: int, kind: str = "updated", amount: int = 2000) -> str:
        """Report a status of the dispute; returns what became of the report."""
        return self.send(f"charge.dispute.{kind}", dispute("dp_1", "pi_1", amount, status), second).status

    def refund(self, status: str, second: int, amount: int = 2000) -> str:
        return self.send("refund.updated", refund("re_1", "pi_1", amount, status), second).status

    @property
    def balance(self) -> float:
        return float(Account.objects.get().credits_new)

    @property
    def flags(self) -> list[str]:
        self.order.refresh_from_db()
        return list(self.order.flags or ())


@pytest.fixture
def paid(site: str, make_order: MakeOrder) -> Paid:
    return Paid(site, make_order(method="stripe"))


STORIES = {
    "an inquiry that became a dispute": (["warning_needs_response", "warning_closed", "needs_response", "lost"], 0),
    "an inquiry that ended": (["warning_needs_response", "warning_under_review", "warning_closed"], 20),
    "a dispute that was won": (["needs_response", "under_review", "won"], 20),
    "a dispute that was won, then lost": (["needs_response", "won", "lost"], 0),
    "a dispute that was opened again": (["needs_response", "won", "under_review"], 0),
    "a dispute that was lost, then won": (["needs_response", "lost", "won"], 20),
    "a dispute that was prevented": (["warning_needs_response", "prevented"], 20),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_dispute_ends_as_its_newest_report_says(paid: Paid, story: str) -> None:
    statuses, balance = STORIES[story]
    for second, status in enumerate(statuses, start=1):
        assert paid.dispute(status, second) == "done"
    assert paid.balance == balance
    assert paid.flags == (["disputed"] if balance == 0 else [])


@pytest.mark.parametrize("arrival", list(itertools.permutations(range(4))))
def test_the_order_of_arrival_changes_nothing(paid: Paid, arrival: tuple[int, ...]) -> None:
    statuses = ["needs_response", "won", "under_review", "lost"]
    for index in arrival:
        assert paid.dispute(statuses[index], index + 1) == "done"
    assert (paid.balance, paid.flags) == (0, ["disputed"])
    assert paid.dispute("won", 9) == "done"
    for index in arrival:
        paid.dispute(statuses[index], index + 1)
    assert (paid.balance, paid.flags) == (20, [])


def test_all_in_one_second_a_dispute_after_a_closed_inquiry_reverses(paid: Paid) -> None:
    for status in ("warning_needs_response", "warning_closed", "needs_response", "lost"):
        assert paid.dispute(status, 1) == "done"
    assert paid.dispute("lost", 1, kind="funds_withdrawn") == "done"
    assert paid.balance == 0


def test_money_that_was_withdrawn_is_gone_whatever_the_status(paid: Paid) -> None:
    assert paid.dispute("warning_closed", 1) == "done"
    assert paid.dispute("warning_closed", 2, kind="funds_withdrawn") == "done"
    assert (paid.balance, paid.flags) == (0, ["disputed"])
    assert paid.dispute("won", 3, kind="funds_reinstated") == "done"
    assert paid.balance == 20


def test_which_of_one_second_is_newer_is_asked_about_and_what_staff_decide_counts(paid: Paid) -> None:
    assert paid.dispute("won", 5) == "done"
    assert paid.dispute("lost", 5) == "review"
    assert paid.balance == 20
    event = WebhookEvent.objects.get(status="review")
    assert "which of the two is newer" in event.error
    review.match(event_key=event.pk, payment_key=paid.order.pk, actor="staff:mai", reason="Stripe says lost")
    assert (paid.balance, paid.flags) == (0, ["disputed"])
    assert paid.dispute("needs_response", 4) == "done"
    assert paid.balance == 0


def test_an_inquiry_after_a_dispute_is_asked_about(paid: Paid) -> None:
    assert paid.dispute("needs_response", 1) == "done"
    assert paid.dispute("warning_closed", 2) == "review"
    assert paid.balance == 0


def test_a_dispute_that_was_reversed_before_this_rule_reverses_again(paid: Paid) -> None:
    """An inquiry that closed used to be kept as `cancelled`."""
    paid.dispute("warning_closed", 1)
    Reversal.objects.update(state="cancelled")
    assert paid.dispute("needs_response", 2) == "done"
    assert paid.balance == 0


@pytest.mark.parametrize(
    ("reports", "balance"),
    [
        ([("pending", 1), ("succeeded", 2)], 0),
        ([("pending", 1), ("failed", 2), ("succeeded", 1)], 20),
        ([("failed", 2), ("pending", 1)], 20),
        ([("failed", 2), ("pending", 2)], 20),
        ([("failed", 2), ("succeeded", 3)], 0),
        ([("succeeded", 3), ("failed", 2)], 0),
    ],
)
def test_a_refund_follows_its_newest_report(paid: Paid, reports: list[tuple[str, int]], balance: float) -> None:
    for status, second in reports:
        assert paid.refund(status, second) == "done"
    assert paid.balance == balance


def test_the_newest_amount_counts(paid: Paid) -> None:
    paid.dispute("needs_response", 5, amount=1500)
    paid.dispute("needs_response", 3, amount=2000)
    assert paid.balance == 5
    paid.dispute("under_review", 7, amount=1000)
    assert paid.balance == 10
    paid.order.refresh_from_db()
    assert paid.order.reversed_credits == Decimal(10)
