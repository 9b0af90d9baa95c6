"""What a payment's currency, rate, received money and credits are, on documents as they really occur."""

from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128
from django.db import connection
from django.test import Client

from money.amounts import from_bson
from mongo.collections import collection_of
from payments.errors import InvalidDecision
from payments.inbox import review
from payments.models import Payment
from payments.orders.prices import CURRENCY, RECEIVED, credited_of, currency_of, rate_of, received_of
from tests.factories import CallApi, InsertUser
from tests.pages import page

ABSENT: dict[str, Any] = {}


def stored(**document: Any) -> Payment:
    """A payment whose document has these fields and no others."""
    found = connection.database["payments"].insert_one({"userId": "alice", "status": "success", **document})
    return Payment.objects.get(pk=found.inserted_id)


def in_the_database(payment: Payment) -> Any:
    """What the aggregation expressions make of its document."""
    pipeline = [{"$match": {"_id": payment.pk}}, {"$project": {"currency": CURRENCY, "received": RECEIVED}}]
    return collection_of(Payment).aggregate(pipeline).next()


@pytest.mark.parametrize(
    ("document", "currency"),
    [
        ({"currency": "VND"}, "VND"),
        ({"currency": "usd"}, "USD"),
        (ABSENT, "VND"),
        ({"currency": None}, "VND"),
        ({"currency": ""}, "VND"),
        ({"currency": 704}, "VND"),
    ],
)
def test_the_currency_is_in_capitals_and_absent_is_vnd(db: None, document: dict[str, Any], currency: str) -> None:
    payment = stored(**document)
    assert currency_of(payment) == in_the_database(payment)["currency"] == currency


@pytest.mark.parametrize(
    ("document", "received"),
    [
        ({"amount": 50_000, "receivedAmount": 60_000.5}, "60000.5"),
        ({"amount": 50_000}, "50000"),
        ({"amount": Decimal128("50000"), "receivedAmount": None}, "50000"),
        ({"amount": 50_000, "receivedAmount": 0}, "0"),
        ({"receivedAmount": 0.0}, "0"),
        (ABSENT, "0"),
    ],
)
def test_received_is_what_came_else_the_price_and_a_received_0_is_0(
    db: None, document: dict[str, Any], received: str
) -> None:
    payment = stored(**document)
    assert received_of(payment) == Decimal(received)
    assert from_bson(in_the_database(payment).get("received")) == Decimal(received)


@pytest.mark.parametrize(
    ("document", "credited"),
    [({"credits": 20, "credited": 16.5}, "16.5"), ({"credits": 20}, "20"), ({"credits": 20, "credited": 0}, "0")],
)
def test_credited_is_what_was_credited_else_what_was_ordered(db: None, document: dict[str, Any], credited: str) -> None:
    assert credited_of(stored(**document)) == Decimal(credited)


@pytest.mark.parametrize(
    ("document", "rate"),
    [
        ({"rate": 2600, "credits": 20, "amount": 50_000}, 2600),
        ({"credits": 20, "amount": 48_000}, 2400),
        ({"credits": 0, "amount": 48_000}, 2500),
        ({"rate": 0, "credits": 20}, 2500),
    ],
)
def test_the_rate_of_an_old_order_follows_from_its_price(db: None, document: dict[str, Any], rate: int) -> None:
    assert rate_of(stored(**document)) == rate


def test_of_a_payment_that_received_0_nothing_can_be_refunded(db: None) -> None:
    payment = stored(credits=20, amount=50_000, receivedAmount=0)
    with pytest.raises(InvalidDecision, match="at most what was received"):
        review.record_refund(
            payment_key=payment.pk, amount=Decimal(1), reference="FT1", actor="staff:mai", reason="phoned"
        )


def test_staff_and_customers_read_the_same_currency(
    admin_client: Client, api: CallApi, insert_user: InsertUser
) -> None:
    insert_user("alice")
    payment = stored(credits=20, amount=50_000, receivedAmount=50_000, currency="vnd")
    stored(credits=20, amount=50_000, currency="")
    assert [line["currency"] for line in api("GET", "history", user="alice").json()["payments"]] == ["VND", "VND"]
    assert api("GET", "user-stats", user="alice").json()["totalAmount"] == {"VND": 100_000}
    for address in ("/admin/payments/payment/", f"/admin/payments/payment/{payment.pk}/change/"):
        text = page(admin_client, address)
        assert "50,000 VND" in text
        assert "vnd" not in text


def test_the_dialog_of_a_refund_names_the_currency_in_capitals(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    payment = stored(credits=20, amount=50_000, currency="vnd")
    address = f"/admin/support/do/payment/{payment.pk}/record-refund/"
    token = admin_client.get(address).content.decode().split('name="token" value="')[1].split('"')[0]
    form = {"amount": "12500", "reference": "FT1", "reason": "phoned", "token": token}
    assert "12,500.00 VND" in admin_client.post(address, form).content.decode()
