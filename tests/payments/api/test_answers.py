"""Every answer of the payment API to the byte: names and their order, numbers and times as JavaScript writes them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId
from django.db import connection

from payments.models import Payment, Promotion
from tests.factories import CallApi, InsertUser
from tests.payments.fakes import FakeStripe

DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": ObjectId("6900000000000000000000a1"),
        "userId": "alice",
        "orderCode": "NAP0000000A",
        "status": "success",
        "credits": 20.0,
        "amount": 50_000.0,
        "currency": "VND",
        "rate": 2500.0,
        "credited": 24.12345678,
        "bonus": 4.5,
        "receivedAmount": 60_308.64195,
        "createdAt": datetime(2026, 11, 20, 12, 0, 0, 7_000, tzinfo=UTC),
        "completedAt": datetime(2026, 11, 20, 12, 5, 9, 120_000, tzinfo=UTC),
    },
    {
        "_id": ObjectId("6900000000000000000000a2"),
        "userId": "alice",
        "orderCode": None,
        "status": "success",
        "credits": 20,
        "amount": 50_000,
        "createdAt": datetime(2026, 11, 19, 12, tzinfo=UTC),
    },
    {
        "_id": ObjectId("6900000000000000000000a3"),
        "userId": "alice",
        "orderCode": "NAP0000000C",
        "status": "pending",
        "credits": 0.00000001,
        "amount": 10.25,
        "currency": "USD",
        "createdAt": datetime(2026, 11, 18, 12, tzinfo=UTC),
        "expiresAt": datetime(2026, 11, 18, 12, 15, tzinfo=UTC),
    },
    {"_id": ObjectId("6900000000000000000000a4"), "userId": "alice"},
]
LINES = (
    '{"id":"6900000000000000000000a1","orderCode":"NAP0000000A","credits":20,"amount":50000,"currency":"VND",'
    '"bonus":4.5,"status":"success","createdAt":"2026-11-20T12:00:00.007Z","completedAt":"2026-11-20T12:05:09.120Z"}',
    '{"id":"6900000000000000000000a2","orderCode":null,"credits":20,"amount":50000,"currency":"VND","bonus":0,'
    '"status":"success","createdAt":"2026-11-19T12:00:00.000Z","completedAt":null}',
    '{"id":"6900000000000000000000a3","orderCode":"NAP0000000C","credits":1e-08,"amount":10.25,"currency":"USD",'
    '"bonus":0,"status":"expired","createdAt":"2026-11-18T12:00:00.000Z","completedAt":null}',
    '{"id":"6900000000000000000000a4","orderCode":null,"credits":0,"amount":0,"currency":"VND","bonus":0,'
    '"status":"pending","createdAt":null,"completedAt":null}',
)


@pytest.fixture
def payments(insert_user: InsertUser) -> None:
    """Payments of this platform and of the replaced system, all alice's."""
    insert_user("alice")
    connection.database["payments"].insert_many(DOCUMENTS)


@pytest.mark.usefixtures("payments")
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("history", f'{{"payments":[{",".join(LINES)}]}}'),
        (
            "history-paginated?limit=3",
            f'{{"payments":[{",".join(LINES[:3])}],"total":4,"page":1,"totalPages":2}}',
        ),
        (
            "user-stats",
            '{"totalPayments":4,"successfulPayments":2,"totalCredits":44.12345678,"totalBonus":4.5,'
            '"totalAmount":{"VND":110308.64195},"lastPaymentAt":"2026-11-20T12:05:09.120Z",'
            '"totalVND":110308.64195,"successCount":2,"pendingCount":1,"failedCount":1}',
        ),
        (
            "6900000000000000000000a1/status",
            '{"status":"success","remainingSeconds":0,"credits":28.62345678,"completedAt":"2026-11-20T12:05:09.120Z"}',
        ),
        (
            "6900000000000000000000a2/status",
            '{"status":"success","remainingSeconds":0,"credits":20,"completedAt":null}',
        ),
        ("6900000000000000000000a3/status", '{"status":"expired","remainingSeconds":0}'),
        ("6900000000000000000000a4/status", '{"status":"pending","remainingSeconds":0}'),
        (
            "6900000000000000000000a5/status",
            '{"error":"Payment not found.","code":"payment_not_found"}',
        ),
        ("history-paginated?page=0&limit=x", f'{{"payments":[{",".join(LINES)}],"total":4,"page":1,"totalPages":1}}'),
        ("checkout", '{"error":"Method \\"GET\\" not allowed.","code":"method_not_allowed"}'),
    ],
)
def test_an_answer_is_as_its_clients_know_it(api: CallApi, path: str, text: str) -> None:
    response = api("GET", path, user="alice")
    assert response.text == text
    assert response.headers["Content-Type"] == "application/json"


def test_config_with_a_promotion_is_as_its_clients_know_it(api: CallApi, db: None) -> None:
    starts_at = datetime(2026, 11, 1, tzinfo=UTC)
    ends_at = starts_at + timedelta(days=36_500, milliseconds=30)
    Promotion.objects.create(name="Tet", percent=Decimal("12.5"), starts_at=starts_at, ends_at=ends_at)
    assert api("GET", "config").text == (
        '{"minCredits":20,"maxCredits":100,"vndRate":2500,"validityDays":7,"currency":"VND",'
        '"features":["$20 to $100 of credits for OpenHands","All credits last 7 days from the latest purchase",'
        '"12.5 % more credits: Tet"],"purchasing":true,"methods":["sepay"],"notice":"",'
        '"promotion":{"name":"Tet","percent":12.5,"endsAt":"2126-10-08T00:00:00.030Z"}}'
    )


def order_text(order: Payment, amount: str, currency: str) -> str:
    assert order.expires_at is not None
    expires_at = order.expires_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        f'{{"paymentId":"{order.pk}","orderCode":"{order.order_code}","amount":{amount},"currency":"{currency}",'
        f'"credits":33,"expiresAt":"{expires_at}"'
    )


def test_checkout_by_transfer_is_as_its_clients_know_it(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 33})
    order, answer = Payment.objects.get(), response.json()
    assert answer["qrImage"].startswith("data:image/svg+xml")
    assert answer["qrData"].startswith("000201")
    assert response.text == order_text(order, "82500", "VND") + (
        f',"qrCodeUrl":"https://qr.sepay.vn/img?acc=0123499999&bank=Vietcombank&amount=82500&des={order.order_code}",'
        f'"bank":"Vietcombank","accountNumber":"0123499999","accountName":"","memo":"{order.order_code}",'
        f'"qrData":"{answer["qrData"]}","qrImage":"{answer["qrImage"]}"}}'
    )


def test_checkout_by_stripe_is_as_its_clients_know_it(
    api: CallApi, stripe: FakeStripe, insert_user: InsertUser, settings: Any
) -> None:
    insert_user("alice")
    settings.STRIPE_UNITS_PER_USD = "1.0049"
    response = api("POST", "checkout", user="alice", json={"credits": 33, "method": "stripe"})
    assert response.text == order_text(Payment.objects.get(), "33.16", "USD") + (
        ',"checkoutUrl":"https://checkout.stripe.test/c/pi_fake_1"}'
    )
