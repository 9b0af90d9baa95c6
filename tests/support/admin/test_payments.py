"""The payment and webhook pages of the admin: read-only, on documents as they really occur."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from django.db import connection
from django.test import Client

from tests.pages import page

PAYMENTS = "/admin/payments/payment/"
EVENTS = "/admin/payments/webhookevent/"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def payment_ids(db: None) -> list[ObjectId]:
    """Payments of the replaced system: as it wrote them, with other number types, and nearly empty."""
    inserted = connection.database["payments"].insert_many(
        [
            {
                "userId": "alice",
                "discordId": "123456789012345678",
                "username": "alice",
                "credits": 20,
                "amount": 50000,
                "currency": "VND",
                "orderCode": "TROLL20D1736570000000AB3X",
                "paymentMethod": "sepay",
                "status": "success",
                "sepayTransactionId": "99123",
                "creditsBefore": 0.5,
                "creditsAfter": 20.5,
                "createdAt": NOW,
                "expiresAt": NOW,
                "completedAt": NOW,
            },
            {"userId": "bob", "credits": 30.0, "amount": Int64(75000), "status": "pending", "orderCode": ""},
            {"userId": "carol", "credits": Decimal128("25"), "amount": Decimal128("62500"), "status": "expired"},
            {},
        ]
    )
    return list(inserted.inserted_ids)


@pytest.fixture
def event_ids(payment_ids: list[ObjectId]) -> list[ObjectId]:
    fields = {"provider": "sepay", "isVerified": True, "attempts": 1, "deliveries": 1, "receivedAt": NOW}
    inserted = connection.database["webhook_events"].insert_many(
        [
            {
                **fields,
                "eventId": "99123",
                "body": b'{"id":99123,"content":"<script>alert(1)</script>"}',
                "headers": {"content-type": "application/json"},
                "status": "done",
                "error": "",
                "payment": payment_ids[0],
            },
            {**fields, "eventId": "2", "body": b"\xff\xfe", "status": "review", "error": "No order", "payment": None},
        ]
    )
    return list(inserted.inserted_ids)


def test_list_of_legacy_payments(admin_client: Client, payment_ids: list[ObjectId]) -> None:
    text = page(admin_client, PAYMENTS)
    for shown in ("TROLL20D1736570000000AB3X", "50,000 VND", "75,000 VND", "62,500 VND", "$20.00", "$30.00", "$25.00"):
        assert shown in text
    for status in ("Paid", "Waiting for the money", "Expired"):
        assert status in text
    assert "4 payments" in text


def test_page_of_every_legacy_payment(admin_client: Client, payment_ids: list[ObjectId]) -> None:
    texts = [page(admin_client, f"{PAYMENTS}{key}/change/") for key in payment_ids]
    assert "99123" in texts[0]
    assert "$0.50" in texts[0]
    assert "$20.50" in texts[0]
    assert "2026-11-20 12:00:00" in texts[0]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("alice", [0]),
        ("Alice", [0]),
        ("TROLL20D1736570000000AB3X", [0]),
        ("troll20d1736570000000ab3x", [0]),
        ("TROLL20D", [0]),
        ("99123", [0]),
        ("123456789012345678", [0]),
        ("nothing", []),
        (".*", []),
    ],
)
def test_search_of_payments(admin_client: Client, payment_ids: list[ObjectId], query: str, found: list[int]) -> None:
    response = admin_client.get(PAYMENTS, {"q": query})
    assert [payment.pk for payment in response.context["cl"].result_list] == [payment_ids[i] for i in found]


def test_search_of_a_payment_by_id(admin_client: Client, payment_ids: list[ObjectId]) -> None:
    response = admin_client.get(PAYMENTS, {"q": str(payment_ids[1])})
    assert [payment.pk for payment in response.context["cl"].result_list] == [payment_ids[1]]


def test_events_show_the_raw_body_escaped(admin_client: Client, event_ids: list[ObjectId]) -> None:
    assert "Needs review" in page(admin_client, EVENTS)
    response = admin_client.get(f"{EVENTS}{event_ids[0]}/change/")
    body = response.content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "<script>alert(1)" not in body
    assert "\\xff\\xfe" in page(admin_client, f"{EVENTS}{event_ids[1]}/change/")


@pytest.mark.parametrize(("query", "count"), [("99123", 1), ("TROLL20D1736570000000AB3X", 1), ("alice", 1), ("zoe", 0)])
def test_search_of_events(admin_client: Client, event_ids: list[ObjectId], query: str, count: int) -> None:
    response = admin_client.get(EVENTS, {"q": query})
    assert len(response.context["cl"].result_list) == count


def test_a_payment_leads_to_its_events(admin_client: Client, payment_ids: list[ObjectId], event_ids: list[Any]) -> None:
    address = f"{EVENTS}?q={payment_ids[0]}"
    assert address in admin_client.get(f"{PAYMENTS}{payment_ids[0]}/change/").content.decode()
    assert [event.pk for event in admin_client.get(address).context["cl"].result_list] == [event_ids[0]]


def test_history_cannot_be_changed(
    admin_client: Client, payment_ids: list[ObjectId], event_ids: list[ObjectId]
) -> None:
    for address in (f"{PAYMENTS}{payment_ids[0]}", f"{EVENTS}{event_ids[0]}"):
        assert admin_client.post(f"{address}/change/", {"status": "failed"}).status_code == 403
        assert admin_client.post(f"{address}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{PAYMENTS}add/").status_code == 403
    assert admin_client.get(f"{EVENTS}add/").status_code == 403
    assert connection.database["payments"].count_documents({}) == 4
