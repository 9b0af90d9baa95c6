"""What the dialog of a refund shows is what the refund does: bonus included, below zero in words."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from payments import orders
from payments.models import Payment, Promotion
from tests.factories import InsertUser
from tests.pages import text_of
from tests.support.actions.test_desk import do, preview, url
from tests.support.conftest import send_money

Buy = Callable[..., Payment]
REFUNDS = [
    # Received VND, percent of the promotion, spent of what was credited, and the refunds one after the other.
    (50_000, "0", "0", ["25000", "25000"]),
    (50_000, "20", "0", ["50000"]),
    (50_000, "20", "23.99999999", ["1", "49999"]),
    (50_000, "12.5", "20", ["16666.67", "16666.67", "16666.66"]),
    (50_000, "33.33", "5", ["0.01", "0.02", "33333.33"]),
    (100_000, "20", "10", ["70000"]),
    (25_000, "20", "10", ["12345.67", "1000"]),
    (250_000, "500", "599", ["100", "249900"]),
]


@pytest.fixture
def buy(insert_user: InsertUser) -> Buy:
    """A payment of alice for `received` VND while a promotion runs, of which she has spent some USD."""

    def run(*, received: int, percent: str, spent: str) -> Payment:
        insert_user("alice")
        now = timezone.now()
        window = {"starts_at": now - timedelta(hours=1), "ends_at": now + timedelta(hours=1)}
        Promotion.objects.create(name="Tet", percent=Decimal(percent), **window)
        ordered = max(20, min(100, received // 2500))
        order = orders.create_order(account=Account.objects.get(), credits=ordered)
        send_money(str(order.order_code), received)
        connection.database["usersNew"].update_one({}, {"$inc": {"creditsNew": -float(spent)}})
        return Payment.objects.get(pk=order.pk)

    return run


def after_of(text: str, label: str) -> Decimal:
    """The second amount of a line of a preview."""
    found = re.search(rf"{re.escape(label)} -?\$[\d.,]+ (-?)\$([\d.,]+\d)", text)
    assert found, (label, text)
    return Decimal(found[1] + found[2].replace(",", ""))


@pytest.mark.parametrize(("received", "percent", "spent", "refunds"), REFUNDS)
def test_a_refund_does_what_its_preview_showed(
    admin_client: Client, buy: Buy, received: int, percent: str, spent: str, refunds: list[str]
) -> None:
    payment = buy(received=received, percent=percent, spent=spent)
    for number, amount in enumerate(refunds):
        form = {"amount": amount, "reference": f"FT{number}", "reason": "asked"}
        before = Account.objects.get().credits_new
        shown = preview(admin_client, url(payment, "record-refund", "payment"), **form)
        assert Account.objects.get().credits_new == before, "a preview moves nothing"
        told = text_of(do(admin_client, url(payment, "record-refund", "payment"), **form))
        after, balance = Payment.objects.get(), Account.objects.get().credits_new
        assert after_of(shown, "Credits reversed") == after.reversed_credits
        assert after_of(shown, "OpenHands credits of alice") == balance
        total = (after.reversed_credits or 0) + (after.reversed_bonus or 0)
        if payment.bonus:
            assert after_of(shown, "Bonus reversed") == after.reversed_bonus
            assert after_of(shown, "Reversed in all") == total
        in_all = re.search(r"In all, \$([\d.,]+\d) of this payment has been reversed", told)
        assert in_all
        assert Decimal(in_all[1].replace(",", "")) == total
        for text in (shown, told):
            assert ("below zero, so requests are refused until" in text) is (balance < 0)


def test_the_same_transfer_is_shown_to_move_nothing_more(admin_client: Client, buy: Buy) -> None:
    payment = buy(received=50_000, percent="20", spent="0")
    form = {"amount": "25000", "reference": "FT1", "reason": "asked"}
    address = url(payment, "record-refund", "payment")
    assert "Reversed in all $0.00 $12.00" in preview(admin_client, address, **form)
    do(admin_client, address, **form)
    shown = preview(admin_client, address, **form)
    assert "recorded before: nothing more is reversed" in shown
    assert "Reversed in all $12.00 $12.00" in shown
    do(admin_client, address, **form)
    assert Account.objects.get().credits_new == 12


def test_more_than_was_received_is_refused_in_the_preview(admin_client: Client, buy: Buy) -> None:
    payment = buy(received=50_000, percent="20", spent="0")
    address = url(payment, "record-refund", "payment")
    form = {"amount": "50000.01", "reference": "FT1", "reason": "asked"}
    assert "at most what was received" in preview(admin_client, address, **form)


@pytest.mark.parametrize("amount", ["25.000", "25,000", "1e3", "-5"])
def test_an_amount_that_can_be_misread_is_refused(admin_client: Client, buy: Buy, amount: str) -> None:
    payment = buy(received=50_000, percent="0", spent="0")
    address = url(payment, "record-refund", "payment")
    shown = preview(admin_client, address, amount=amount, reference="FT1", reason="asked")
    assert "Credits reversed" not in shown
    assert not Payment.objects.get().refunded_amount
