"""A promotion's bonus: what was ordered in its window and paid in full, and nothing more."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64
from django.db import connection

from accounts.models import Account, LedgerEntry
from payments.models import Payment, Promotion, WebhookEvent
from payments.orders.promotions import bonus_of
from tests.factories import CallApi, Deliver, InsertUser, MakeOrder
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


@pytest.mark.parametrize(
    ("stored", "bonus"),
    [
        (20, "4"),
        (Int64(20), "4"),
        (12.1, "2.42"),
        (0.1 + 0.2, "0.06"),
        (Decimal128("12.5"), "2.5"),
        (Decimal128("1.25E1"), "2.5"),
        (Decimal128("NaN"), "0"),
        (float("nan"), "0"),
        (float("inf"), "0"),
        (Decimal128("Infinity"), "0"),
        (1e20, "0"),
        (-5, "0"),
        (0, "0"),
        (501, "0"),
    ],
)
def test_a_percentage_of_any_number_type_is_read(
    promotion: Promotion, api: CallApi, deliver: Deliver, insert_user: InsertUser, stored: object, bonus: str
) -> None:
    insert_user("alice")
    connection.database["promotions"].update_one({"_id": promotion.pk}, {"$set": {"percent": stored}})
    assert api("GET", "config").status_code == 200
    answer = api("POST", "checkout", user="alice", json={"credits": 20})
    assert answer.status_code == 200
    assert deliver(transfer(answer.json()["orderCode"])).status_code == 200
    assert Payment.objects.get().bonus == Decimal(bonus)
    assert balance_of() == 20 + float(bonus)


@pytest.mark.parametrize(
    ("stored", "status", "bonus"),
    [(20, "done", 4), (12.5, "done", 2.5), (Decimal128("NaN"), "review", 0), (1e20, "review", 0), (-5, "review", 0)],
)
def test_an_old_orders_percentage_is_read_and_an_impossible_one_is_asked_about(
    deliver: Deliver, make_order: MakeOrder, stored: object, status: str, bonus: float
) -> None:
    order = make_order()
    connection.database["payments"].update_one({"_id": order.pk}, {"$set": {"bonusPercent": stored}})
    assert deliver(transfer(order.order_code)).status_code == 200
    assert WebhookEvent.objects.get().status == status
    assert balance_of() == (20 + bonus if status == "done" else 0)
