"""The filters of payments by provider, flag and promotion, and of requests by status code, key and what was lost."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.api_keys import create_key
from payments.models import Payment, Promotion, WebhookEvent
from proxy.models import RequestLog
from support.admin.display import list_url
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.pages import text_of

NOW = timezone.now()


def shown(client: Client, model: Any, **query: str) -> list[str]:
    """The ids or order codes of the rows, in the list's order."""
    rows = client.get(list_url(model), query).context["cl"].result_list
    return [getattr(row, "order_code", None) or str(row.pk) for row in rows]


@pytest.fixture
def payments(db: None) -> None:
    tet = Promotion.objects.create(
        name="Tet", percent=20, starts_at=NOW - timedelta(days=9), ends_at=NOW - timedelta(days=5)
    )
    fall = Promotion.objects.create(name="Fall", percent=20, starts_at=NOW - timedelta(days=4), ends_at=NOW)
    assert tet.pk != fall.pk
    rows = [
        {"orderCode": "OLD", "paymentMethod": "sepay", "flags": None},
        {"orderCode": "CARD", "provider": "stripe", "flags": ["late", "over"], "bonusPercent": Decimal("20")},
        {"orderCode": "CHOSEN", "provider": None, "paymentMethod": "stripe", "flags": []},
        {"orderCode": "OTHER", "provider": "sepay", "paymentMethod": "stripe", "flags": ["other_provider"]},
        {"orderCode": "TET", "provider": "sepay", "bonusPercent": 20.0, "flags": "odd"},
        {"orderCode": "GONE", "provider": "gone", "bonusPercent": 0},
    ]
    for days, row in enumerate(rows):
        document = row | {"userId": "alice", "createdAt": NOW - timedelta(days=days + 2), "amount": 50000}
        document = {name: (float(value) if isinstance(value, Decimal) else value) for name, value in document.items()}
        connection.database["payments"].insert_one(document)


def test_filters_of_the_payments(admin_client: Client, payments: None) -> None:
    tet, fall = (str(Promotion.objects.get(name=name).pk) for name in ("Tet", "Fall"))
    expected: list[tuple[dict[str, str], list[str]]] = [
        ({"provider": "stripe"}, ["CARD", "CHOSEN"]),
        ({"provider": "sepay"}, ["OLD", "OTHER", "TET"]),
        ({"provider": "gone"}, ["GONE"]),
        ({"flag": "late"}, ["CARD"]),
        ({"flag": "other_provider"}, ["OTHER"]),
        ({"flag": "late", "provider": "sepay"}, []),
        ({"promotion": "any"}, ["CARD", "TET"]),
        ({"promotion": "none"}, ["OLD", "CHOSEN", "OTHER", "GONE"]),
        ({"promotion": tet}, ["TET"]),
        ({"promotion": fall}, ["CARD"]),
    ]
    for query, codes in expected:
        assert shown(admin_client, Payment, **query) == codes, query
    empty = text_of(admin_client.get(list_url(Payment), {"flag": "late", "provider": "sepay"}))
    assert "Filtered by provider: SePay; flag: Paid after the order expired." in empty


def test_filters_of_the_requests(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    further, _ = create_key(username="alice", name="ci", new_key=key_of("further"))
    logs: list[dict[str, Any]] = [
        {"_id": "req_ok", "statusCode": 200, "isSuccess": True, "uncollected": 0},
        {"_id": "req_broken", "statusCode": 502, "isSuccess": False, "keyId": further.key_id},
        {"_id": "req_left", "statusCode": 200, "isSuccess": False, "uncollected": 0.5, "keyId": further.key_id},
        {"_id": "req_dear", "statusCode": 200, "isSuccess": True, "uncollected": 2},
        {"_id": "req_other", "userId": "bob", "statusCode": 418, "isSuccess": False, "keyId": "f" * 24},
    ]
    for minutes, log in enumerate(logs):
        created = {"userId": "alice", "createdAt": NOW - timedelta(minutes=minutes)}
        connection.database["request_logs"].insert_one(created | log)
    expected: list[tuple[dict[str, str], list[str]]] = [
        ({"status_code": "502"}, ["req_broken"]),
        ({"status_code": "200"}, ["req_ok", "req_left", "req_dear"]),
        ({"status_code": "418"}, ["req_other"]),
        ({"uncollected": "some"}, ["req_dear", "req_left"]),
        ({"key": further.key_id}, ["req_broken", "req_left"]),
        ({"key": further.key_id, "q": "alice", "result": "failed"}, ["req_broken", "req_left"]),
        ({"key": "f" * 24}, ["req_other"]),
        ({"key": "f" * 24, "q": "alice"}, []),
        ({"status_code": "99"}, []),
        ({"key": further.key_id[:10]}, []),
    ]
    for query, ids in expected:
        assert shown(admin_client, RequestLog, **query) == ids, query
    searched = text_of(admin_client.get(list_url(RequestLog), {"q": "alice"}))
    assert f"ci ({further.key_id[:6]}…)" in searched
    assert "Choose a number from 100 to 599" in text_of(admin_client.get(list_url(RequestLog), {"status_code": "99"}))


def test_the_index_of_a_list_finds_its_element(payments: None) -> None:
    assert [one.order_code for one in Payment.objects.filter(flags__stored="over")] == ["CARD"]
    plan = connection.database.command(
        "explain", {"find": "payments", "filter": {"flags": {"$eq": "over"}}, "sort": {"createdAt": -1}}
    )
    assert "staff_flag_time" in str(plan["queryPlanner"]["winningPlan"])


def test_webhook_events_by_provider(admin_client: Client, db: None) -> None:
    for minutes, (provider, source) in enumerate([("sepay", "webhook"), ("stripe", "webhook"), ("sepay", "pull")]):
        event = {
            "provider": provider,
            "source": source,
            "eventId": f"e{minutes}",
            "status": "done",
            "error": "",
            "body": b"{}",
        }
        received = {"receivedAt": NOW - timedelta(minutes=minutes)}
        connection.database["webhook_events"].insert_one(event | received)
    rows = admin_client.get(list_url(WebhookEvent), {"provider": "sepay"}).context["cl"].result_list
    assert [event.event_id for event in rows] == ["e0", "e2"]
