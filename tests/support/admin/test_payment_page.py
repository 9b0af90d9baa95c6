"""A payment's page and row: what came, what went back, what it moved, and who did what, in words."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from mongo.transactions import run_in_transaction
from payments import orders
from payments.inbox import review
from payments.models import Payment, Promotion
from payments.providers.events import MoneyReversed, ReversalState
from payments.rules.reversals import apply_reversal
from tests.factories import InsertUser, LogIn
from tests.pages import page
from tests.support.actions.test_desk import do, url
from tests.support.conftest import send_money

PAYMENTS = "/admin/payments/payment/"
Buy = Callable[..., Payment]


@pytest.fixture
def buy(insert_user: InsertUser) -> Buy:
    """A paid order of alice of 20 USD, made while a promotion of 20 % ran, of which she has spent some USD."""

    def run(*, spent: int = 0, is_paid: bool = True) -> Payment:
        insert_user("alice")
        now = timezone.now()
        window = {"starts_at": now - timedelta(hours=1), "ends_at": now + timedelta(hours=1)}
        Promotion.objects.create(name="Tet", percent=Decimal(20), **window)
        order = orders.create_order(account=Account.objects.get(), credits=20)
        if is_paid:
            send_money(str(order.order_code))
        connection.database["usersNew"].update_one({}, {"$inc": {"creditsNew": -float(spent)}})
        return Payment.objects.get(pk=order.pk)

    return run


def badges(client: Client) -> str:
    """The rows of the list, without the filters beside them."""
    return client.get(PAYMENTS).text.partition("<tbody")[2].partition("</table>")[0]


def refund(payment: Payment, amount: str, reference: str = "FT1") -> None:
    review.record_refund(
        payment_key=payment.pk, amount=Decimal(amount), reference=reference, actor="staff:boss", reason="double"
    )


def dispute(payment: Payment, state: ReversalState) -> None:
    fact = MoneyReversed(
        reversal_id="dp_1",
        transaction_id=str(payment.provider_transaction_id),
        amount=Decimal(50_000),
        currency="VND",
        state=state,
        occurred_at=timezone.now(),
        is_dispute=True,
    )
    stored = Payment.objects.get(pk=payment.pk)
    run_in_transaction(
        lambda: apply_reversal(
            payment=stored, provider="sepay", fact=fact, operation=f"x:{state}", actor="sepay", now=timezone.now()
        )
    )


def test_a_paid_payment_says_so_and_nothing_went_back(admin_client: Client, buy: Buy) -> None:
    payment = buy()
    shown = page(admin_client, f"{PAYMENTS}{payment.pk}/change/")
    assert "Paid: 50,000 VND came, and $20.00 was credited, with a bonus of $4.00. Nothing of it went back." in shown
    assert "Promotion: 20 % (Tet) when it was ordered: $4.00 credited." in shown
    assert "Credits and bonus $24.00 $0.00 $24.00" in shown
    assert "Purchase" in shown
    assert "+$4.00" in shown
    assert "below zero" not in shown
    assert "efunded" not in badges(admin_client)


def test_refunds_in_part_and_in_full_are_told_in_words_and_badges(admin_client: Client, buy: Buy) -> None:
    payment = buy(spent=23)
    refund(payment, "1")
    assert "Refunded in part" in page(admin_client, PAYMENTS)
    before = page(admin_client, f"{PAYMENTS}{payment.pk}/change/")
    assert "Then refunded in part: 1 VND went back, so $0.0004 of the credits and $0.00008 of its bonus" in before
    assert "below zero" not in before
    do(admin_client, url(payment, "record-refund", "payment"), amount="49999", reference="FT2", reason="asked by mail")
    assert "Refunded in full" in page(admin_client, PAYMENTS)
    shown = page(admin_client, f"{PAYMENTS}{payment.pk}/change/")
    assert "Then refunded in full: 50,000 VND went back, so $20.00 of the credits and $4.00 of its bonus were" in shown
    assert "Left of it: 0 VND, and $0.00." in shown
    assert "That is why the balance fell below zero" in shown
    assert "$23.9995 was taken off, of which $23.00 had been spent" in shown or "$23.99952 was taken off" in shown
    assert "The OpenHands credits of alice fell to -$23.00." in shown
    assert "They are -$23.00 now. Requests are refused until more than $23.00 is bought." in shown
    assert "Money 50,000 VND 50,000 VND 0 VND" in shown
    assert f"manual:{payment.pk}:FT2" in shown
    assert "record-refund: asked by mail" in shown
    assert "sepay 1" in shown  # The event that brought the money.


def test_a_dispute_that_is_won_is_not_shown_as_gone(admin_client: Client, buy: Buy) -> None:
    payment = buy()
    address = f"{PAYMENTS}{payment.pk}/change/"
    dispute(payment, ReversalState.NOTICE)
    assert "The bank asks" in page(admin_client, PAYMENTS)
    dispute(payment, ReversalState.COUNTED)
    assert "Charged back in full" in page(admin_client, PAYMENTS)
    assert "Then charged back in full" in page(admin_client, address)
    dispute(payment, ReversalState.CANCELLED)
    assert "harged back" not in badges(admin_client)
    shown = page(admin_client, address)
    assert "Nothing of it went back." in shown
    assert "Dispute, SePay 50,000 VND Reinstated" in shown


def test_an_unpaid_order_shows_the_money_that_may_be_for_it(log_in: LogIn, buy: Buy) -> None:
    order = buy(is_paid=False)
    event = send_money("nap tien")
    support, viewer = log_in("Support"), log_in("Viewer", "vic")
    address = f"{PAYMENTS}{order.pk}/change/"
    shown = page(support, address)
    assert "Waiting for the money. No money was credited with this order." in shown
    assert f"Money that waits and may be for this order Match {event} 50,000 VND" in shown
    assert f"Money that waits and may be for this order {event} 50,000 VND" in page(viewer, address)
    do(support, url(event, "match-event"), order=str(order.pk), reason="her bank's picture")
    paid = page(viewer, address)
    assert "Money that waits" not in paid
    assert "match-event: her bank" in paid
    assert f"{event}" in paid


@pytest.mark.parametrize(
    "odd", [{"flags": {"a": 1}}, {"refundedAmount": "x"}, {"amount": "x", "credited": []}, {"bonusPercent": "x"}]
)
def test_what_cannot_be_read_is_said_and_not_added_up(admin_client: Client, buy: Buy, odd: dict[str, object]) -> None:
    payment = buy()
    connection.database["payments"].update_one({}, {"$set": odd})
    assert "cannot be read, so nothing of it is added up" in page(admin_client, f"{PAYMENTS}{payment.pk}/change/")
    connection.database["payments"].update_one({}, {"$set": {"flags": [{"a": 1}, ["refunded"], 7]}})
    page(admin_client, f"{PAYMENTS}{payment.pk}/change/")
    page(admin_client, PAYMENTS)
