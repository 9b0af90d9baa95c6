"""Money for an order or an account that cannot be read waits for a person; other money is credited."""

from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.errors import AccountNeedsRepair
from accounts.models import Account
from payments import orders
from payments.errors import PaymentNeedsRepair
from payments.inbox import review
from payments.models import Payment, WebhookEvent
from tests.factories import Deliver, MakeOrder
from tests.payments.conftest import transfer

pytestmark = pytest.mark.usefixtures("odd_documents")

BY: dict[str, Any] = {"actor": "staff:mai", "reason": "phoned the customer"}


def stored(name: str = "payments", **query: Any) -> dict[str, Any]:
    document: dict[str, Any] = connection.database[name].find_one(query)  # type: ignore[attr-defined]
    return document


def spoil(name: str, key: Any, **fields: Any) -> None:
    connection.database[name].update_one({"_id": key}, {"$set": fields})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("userId", 5),
        ("userId", ["alice"]),
        ("credits", "20"),
        ("credits", 1e20),
        ("amount", float("nan")),
        ("status", ["pending"]),
        ("rate", {"a": 1}),
        ("bonusPercent", "20"),
        ("flags", "late"),
        ("expiresAt", "tomorrow"),
        ("currency", 704),
    ],
)
def test_money_for_a_damaged_order_waits_and_other_money_is_credited(
    deliver: Deliver, make_order: MakeOrder, column: str, value: Any
) -> None:
    order, other = make_order(), make_order("bob")
    spoil("payments", order.pk, **{column: value})
    before = stored(_id=order.pk)
    assert deliver(transfer(order.order_code)).status_code == 200
    assert deliver(transfer(other.order_code)).status_code == 200
    event = WebhookEvent.objects.get(status="review")
    assert f"needs repair: {column}" in event.error
    assert repr(stored(_id=order.pk)) == repr(before)
    assert (Account.objects.get(pk="alice").credits_new, Account.objects.get(pk="bob").credits_new) == (0, 20)
    with pytest.raises(PaymentNeedsRepair):
        review.match(event_key=event.pk, payment_key=order.pk, **BY)

    connection.database["payments"].replace_one({"_id": order.pk}, before | {column: repaired(order, column)})  # type: ignore[attr-defined]
    review.match(event_key=event.pk, payment_key=order.pk, **BY)
    assert Account.objects.get(pk="alice").credits_new == 20


def repaired(order: Payment, column: str) -> Any:
    values: dict[str, Any] = {"userId": "alice", "credits": 20.0, "amount": float(order.amount), "status": "pending"}
    return values.get(column)


def test_money_for_a_damaged_account_waits(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    spoil("usersNew", "alice", credits="many")
    deliver(transfer(order.order_code))
    event = WebhookEvent.objects.get(status="review")
    assert "account 'alice' needs repair: credits (unreadable: text many)" in event.error
    assert stored(_id=order.pk)["status"] == "pending"
    with pytest.raises(AccountNeedsRepair):
        review.match(event_key=event.pk, payment_key=order.pk, **BY)
    spoil("usersNew", "alice", credits=1.0)
    assert review.replay(event_key=event.pk, **BY).status == "done"
    assert Account.objects.get(pk="alice").credits_new == 20


def test_a_list_with_an_orders_code_in_it_hides_no_order(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    connection.database["payments"].insert_one({"orderCode": [order.order_code], "userId": "bob"})  # type: ignore[attr-defined]
    deliver(transfer(order.order_code))
    assert Account.objects.get(pk="alice").credits_new == 20


def test_only_what_is_surely_overdue_expires(make_order: MakeOrder) -> None:
    make_order(minutes_ago=60)
    past = timezone.now().replace(year=2020)
    odd = [{"status": ["pending"], "expiresAt": past}, {"status": "pending", "expiresAt": [past]}]
    connection.database["payments"].insert_many(odd)  # type: ignore[attr-defined]
    assert orders.expire_pending() == 1
    assert stored(status=["pending"]) is not None
    assert stored(expiresAt={"$type": "array"})["status"] == "pending"
