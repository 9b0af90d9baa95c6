"""Orders: what they fix, who may make them, and how they expire."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection

from accounts.errors import AccountDisabled
from accounts.models import Account
from payments import orders
from payments.errors import InvalidOrder, PurchasingOff
from payments.models import Payment, Promotion
from payments.orders import purchasing
from payments.orders.codes import find_candidates
from tests.conftest import key_of
from tests.factories import CallApi, InsertUser

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def alice(insert_user: InsertUser) -> Account:
    return Account.objects.get(pk=insert_user("alice", discordId="123456789012345678"))


def test_an_order_fixes_price_rate_and_expiry(alice: Account, settings: Any) -> None:
    order = orders.create_order(account=alice, credits=20, now=NOW)
    settings.ORDER_VND_PER_USD = 9999
    stored = Payment.objects.get(pk=order.pk)
    assert (stored.amount, stored.rate, stored.currency, stored.credits) == (50_000, 2500, "VND", 20)
    assert (stored.status, stored.created_at, stored.expires_at) == ("pending", NOW, NOW + timedelta(minutes=15))
    assert (stored.user_id, stored.username, stored.discord_id) == ("alice", "alice", "123456789012345678")
    assert find_candidates([stored.order_code or ""], "NAP") == (stored.order_code,)


@pytest.mark.parametrize("credits", [19, 101, 0, -20, 10**30])
def test_an_order_outside_the_limits_is_refused(alice: Account, credits: int) -> None:
    with pytest.raises(InvalidOrder, match="from 20 to 100"):
        orders.create_order(account=alice, credits=credits)
    assert not Payment.objects.exists()


def test_a_disabled_account_cannot_order_and_an_expired_one_can(insert_user: InsertUser) -> None:
    insert_user("off", isActive=False)
    insert_user("old", expiresAt=NOW - timedelta(days=30))
    with pytest.raises(AccountDisabled):
        orders.create_order(account=Account.objects.get(pk="off"), credits=20)
    assert orders.create_order(account=Account.objects.get(pk="old"), credits=20).pk


def test_an_order_gets_the_best_promotion_of_its_moment(alice: Account) -> None:
    def promotion(name: str, percent: str, start: timedelta, end: timedelta, **kwargs: Any) -> None:
        Promotion.objects.create(
            name=name, percent=Decimal(percent), starts_at=NOW + start, ends_at=NOW + end, **kwargs
        )

    hour = timedelta(hours=1)
    promotion("past, ends this moment", "90", -hour, timedelta(0))
    promotion("begins this moment", "20", timedelta(0), hour)
    promotion("smaller", "10", -hour, hour)
    promotion("switched off", "80", -hour, hour, is_active=False)
    promotion("future", "70", timedelta(milliseconds=1), hour)
    assert orders.create_order(account=alice, credits=20, now=NOW).bonus_percent == 20
    assert orders.create_order(account=alice, credits=20, now=NOW + hour).bonus_percent is None


def test_expire_pending_takes_only_overdue_pending_orders(alice: Account) -> None:
    old = orders.create_order(account=alice, credits=20, now=NOW)
    fresh = orders.create_order(account=alice, credits=20, now=NOW + timedelta(minutes=1))
    paid = orders.create_order(account=alice, credits=20, now=NOW)
    Payment.objects.filter(pk=paid.pk).update(status="success")
    connection.database["payments"].insert_one({"userId": "alice", "status": "pending"})

    due = NOW + timedelta(minutes=15)
    assert orders.expire_pending(now=due - timedelta(milliseconds=1)) == 0
    assert orders.expire_pending(now=due) == 1
    assert orders.expire_pending(now=due) == 0
    statuses = [Payment.objects.get(pk=payment.pk).status for payment in (old, fresh, paid)]
    assert statuses == ["expired", "pending", "success"]


def test_an_order_code_is_unique_among_our_orders(alice: Account) -> None:
    order = orders.create_order(account=alice, credits=20)
    with pytest.raises(IntegrityError):
        Payment.objects.create(user_id="alice", rate=Decimal(2500), order_code=order.order_code)


def test_purchasing_can_be_switched_off_and_on(alice: Account, settings: Any) -> None:
    purchasing.switch_purchasing(is_on=False, actor="staff", reason="bank maintenance", notice="Back at 9:00.")
    with pytest.raises(PurchasingOff) as refused:
        orders.create_order(account=alice, credits=20)
    assert refused.value.customer_message == "Back at 9:00."
    purchasing.switch_purchasing(is_on=True, actor="staff", reason="done")
    assert orders.create_order(account=alice, credits=20).pk
    settings.HAS_PURCHASING = False
    with pytest.raises(PurchasingOff) as refused:
        orders.create_order(account=alice, credits=20)
    assert refused.value.customer_message == settings.MAINTENANCE_TEXT


# --- Over HTTP ---------------------------------------------------------------------------------------------------


def test_checkout_answers_as_today(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 20, "discordId": "123456789012345678"})
    assert response.status_code == 200
    answer = response.json()
    order = Payment.objects.get()
    assert (answer["paymentId"], answer["orderCode"]) == (str(order.pk), order.order_code)
    assert (answer["amount"], answer["credits"]) == (50_000, 20)
    assert answer["qrCodeUrl"] == (
        f"https://qr.sepay.vn/img?acc=0123499999&bank=Vietcombank&amount=50000&des={order.order_code}"
    )
    assert datetime.fromisoformat(answer["expiresAt"]) == order.expires_at
    assert order.discord_id == "123456789012345678"


def test_checkout_takes_the_key_as_x_api_key_too(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    assert api("POST", "checkout", json={"credits": 20}, headers={"x-api-key": key_of("alice")}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[20]",
        b'"20"',
        b"null",
        b'{"credits": NaN}',
        b'{"credits": 1e400}',
        b'{"credits": -20}',
        b'{"credits": 20.5}',
        b'{"credits": true}',
        b'{"credits": null}',
        b'{"credits": [20]}',
        b'{"credits": {"$gt": 0}}',
        b'{"credits": "many"}',
        b'{"credits": 1000000000000000000000}',
        b"{}",
        b'{"credits": 20, "discordId": "abc"}',
        b'{"credits": 20, "discordId": 5}',
        b'{"credits": 20, "method": "cash"}',
        b'{"credits": "\xff"}',
    ],
)
def test_checkout_of_something_odd_gets_400_with_an_error(api: CallApi, insert_user: InsertUser, body: bytes) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", data=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert isinstance(response.json()["error"], str)
    assert not Payment.objects.exists()


def test_checkout_with_a_large_body_gets_413(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 20, "padding": "x" * 2_000_000})
    assert (response.status_code, response.json()["code"]) == (413, "request_too_large")


def test_a_price_is_rounded_to_what_the_currency_can_pay(alice: Account, settings: Any) -> None:
    settings.STRIPE_UNITS_PER_USD = "1.0049"
    assert orders.price_of(credits=33, method="stripe").amount == Decimal("33.16")
    settings.STRIPE_CURRENCY = "jpy"
    assert orders.price_of(credits=33, method="stripe").amount == 33


def test_checkout_of_another_content_type_gets_415(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", data={"credits": 20})
    assert (response.status_code, "error" in response.json()) == (415, True)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong-key-wrong-key", "Basic eDp5", "Bearer \xff\xfe\xff"]
)
def test_checkout_without_a_valid_key_gets_401(api: CallApi, db: None, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    response = api("POST", "checkout", json={"credits": 20}, headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_api_key")


def test_checkout_of_a_disabled_account_gets_403(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice", isActive=False)
    response = api("POST", "checkout", user="alice", json={"credits": 20})
    assert (response.status_code, response.json()["code"]) == (403, "account_disabled")


def test_checkout_while_purchasing_is_off_gets_503_with_the_notice(
    api: CallApi, insert_user: InsertUser, settings: Any
) -> None:
    insert_user("alice")
    settings.HAS_PURCHASING = False
    response = api("POST", "checkout", user="alice", json={"credits": 20})
    assert (response.status_code, response.json()["error"]) == (503, settings.MAINTENANCE_TEXT)


def test_checkout_by_a_method_that_is_not_configured_gets_503(
    api: CallApi, insert_user: InsertUser, settings: Any
) -> None:
    insert_user("alice")
    settings.SEPAY_API_KEYS = []
    response = api("POST", "checkout", user="alice", json={"credits": 20})
    assert (response.status_code, response.json()["code"]) == (503, "payment_method_unavailable")
    assert not Payment.objects.exists()


def test_checkout_by_get_gets_405_as_json(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = api("GET", "checkout", user="alice")
    assert (response.status_code, "error" in response.json()) == (405, True)
