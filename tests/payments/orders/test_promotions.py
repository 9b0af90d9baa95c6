"""A promotion's bonus: what was ordered in its window and paid in full, and nothing more."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account, LedgerEntry
from payments.models import Payment, Promotion
from payments.orders.promotions import bonus_of
from tests.factories import Deliver, MakeOrder
from tests.payments.conftest import transfer


@pytest.fixture
def promotion(db: None) -> Promotion:
    now = datetime.now(UTC)
    return Promotion.objects.create(
        name="Tet",
        percent=Decimal(20),
        starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(hours=1),
    )


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def test_a_paid_order_gets_its_bonus_in_an_entry_of_its_own(
    promotion: Promotion, deliver: Deliver, make_order: MakeOrder
) -> None:
    deliver(transfer(make_order().order_code))
    payment = Payment.objects.get()
    assert (balance_of(), payment.credited, payment.bonus) == (24, 20, 4)
    assert (payment.credits_before, payment.credits_after) == (0, 24)
    assert {(entry.kind, entry.amount) for entry in LedgerEntry.objects.all()} == {("purchase", 20), ("bonus", 4)}


def test_the_orders_time_decides_not_the_moneys(promotion: Promotion, deliver: Deliver, make_order: MakeOrder) -> None:
    before, during = make_order(minutes_ago=61), make_order()
    Promotion.objects.update(ends_at=datetime.now(UTC))
    deliver(transfer(before.order_code))
    assert balance_of() == 20
    deliver(transfer(during.order_code))
    assert balance_of() == 44


@pytest.mark.usefixtures("promotion")
@pytest.mark.parametrize(("amount", "balance", "bonus"), [(60_000, 28, 4), (49_999, 19.9996, 0)])
def test_the_bonus_is_on_what_was_ordered_and_only_if_paid_in_full(
    deliver: Deliver, make_order: MakeOrder, amount: int, balance: float, bonus: int
) -> None:
    deliver(transfer(make_order().order_code, amount))
    assert (balance_of(), Payment.objects.get().bonus) == (balance, bonus)


def test_a_second_transfer_gets_no_bonus(promotion: Promotion, deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    deliver(transfer(order.order_code))
    deliver(transfer(order.order_code))
    assert balance_of() == 44


@pytest.mark.parametrize(
    ("credits", "percent", "bonus"),
    [("20", "20", "4"), ("20", "0", "0"), ("20", None, "0"), ("33", "33.33", "10.9989"), ("1", "0.01", "0.0001")],
)
def test_bonus_is_a_percentage(credits: str, percent: str | None, bonus: str) -> None:
    given: Any = None if percent is None else Decimal(percent)
    assert bonus_of(credits=Decimal(credits), percent=given) == Decimal(bonus)
