"""The payment API over HTTP, in the shapes that today's clients read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
import yaml
from django.core.management import call_command
from django.db import connection

from payments.models import Payment, Promotion
from payments.orders import purchasing
from tests.factories import CallApi, Deliver, InsertUser, MakeOrder
from tests.payments.conftest import transfer

# --- Status ------------------------------------------------------------------------------------------------------


def test_status_counts_down_and_then_tells_the_credits(api: CallApi, deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    answer = api("GET", f"{order.pk}/status", user="alice").json()
    assert answer["status"] == "pending"
    assert 890 < answer["remainingSeconds"] <= 900
    assert set(answer) == {"status", "remainingSeconds"}
    deliver(transfer(order.order_code))
    answer = api("GET", f"{order.pk}/status", user="alice").json()
    completed_at = Payment.objects.get().completed_at
    assert completed_at is not None
    assert answer == {
        "status": "success",
        "remainingSeconds": 0,
        "credits": 20,
        "completedAt": completed_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def test_status_of_an_overdue_order_is_expired_before_any_sweep(api: CallApi, make_order: MakeOrder) -> None:
    order = make_order(minutes_ago=16)
    assert api("GET", f"{order.pk}/status", user="alice").json() == {"status": "expired", "remainingSeconds": 0}


@pytest.mark.parametrize("identifier", ["nonsense", "6b06b637eb8769850a4b7218", "0" * 24, "%00", "{}", "a" * 500])
def test_status_of_nothing_gets_404(api: CallApi, insert_user: InsertUser, identifier: str) -> None:
    insert_user("alice")
    response = api("GET", f"{identifier}/status", user="alice")
    assert (response.status_code, response.json()["code"]) == (404, "payment_not_found")


def test_status_of_somebody_elses_payment_gets_404(api: CallApi, make_order: MakeOrder) -> None:
    order = make_order("alice")
    make_order("bobby")
    assert api("GET", f"{order.pk}/status", user="bobby").status_code == 404


# --- History -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["history", "history-paginated", "user-stats", "6b06b637eb8769850a4b7218/status"])
def test_every_endpoint_needs_a_key(api: CallApi, db: None, path: str) -> None:
    response = api("GET", path)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_api_key")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_history_has_the_latest_20_of_this_account(api: CallApi, make_order: MakeOrder, settings: Any) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    made = [make_order(minutes_ago=minutes) for minutes in range(25)]
    make_order("bobby")
    payments = api("GET", "history", user="alice").json()["payments"]
    assert [payment["id"] for payment in payments] == [str(order.pk) for order in made[:20]]
    assert set(payments[0]) >= {"id", "orderCode", "credits", "amount", "status", "createdAt", "completedAt"}
    assert (payments[0]["credits"], payments[0]["amount"], payments[0]["status"]) == (20, 50_000, "pending")
    assert (payments[19]["status"], payments[0]["completedAt"]) == ("expired", None)


def test_history_pages(api: CallApi, make_order: MakeOrder) -> None:
    made = [make_order(minutes_ago=minutes) for minutes in range(5)]
    answer = api("GET", "history-paginated?page=2&limit=2", user="alice").json()
    assert [payment["id"] for payment in answer["payments"]] == [str(order.pk) for order in made[2:4]]
    assert (answer["total"], answer["page"], answer["totalPages"]) == (5, 2, 3)
    answer = api("GET", "history-paginated?page=9", user="alice").json()
    assert (answer["payments"], answer["total"]) == ([], 5)


def test_history_of_a_new_account_has_one_empty_page(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    answer = api("GET", "history-paginated", user="alice").json()
    assert answer == {"payments": [], "total": 0, "page": 1, "totalPages": 1}


def test_history_by_status_counts_overdue_orders_as_expired(
    api: CallApi, deliver: Deliver, make_order: MakeOrder
) -> None:
    paid, _, overdue = make_order(), make_order(), make_order(minutes_ago=16)
    deliver(transfer(paid.order_code))

    def total(status: str) -> int:
        return int(api("GET", f"history-paginated?status={status}", user="alice").json()["total"])

    assert [total(status) for status in ("pending", "success", "expired", "failed")] == [1, 1, 1, 0]
    assert api("GET", "history-paginated?status=expired", user="alice").json()["payments"][0]["id"] == str(overdue.pk)


def test_history_by_time(api: CallApi, make_order: MakeOrder) -> None:
    make_order(minutes_ago=60 * 24 * 3)
    make_order()
    now = datetime.now(UTC)

    def total(**query: str) -> int:
        return int(requests_total(api, query))

    assert total() == 2
    assert total(to=now.date().isoformat()) == 2
    assert total(**{"from": now.date().isoformat()}) == 1
    assert total(**{"from": (now - timedelta(days=4)).isoformat(), "to": (now - timedelta(days=2)).isoformat()}) == 1


def requests_total(api: CallApi, query: dict[str, str]) -> int:
    return int(api("GET", "history-paginated", user="alice", params=query).json()["total"])


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=x",
        "page=",
        "page=-3",
        "page=2.5",
        "page=NaN",
        "page=1e400",
        "limit=0",
        "limit=-1",
        "limit=all",
        "limit=1.9",
        "limit=",
        "status=odd",
        "status=all",
        "status=",
        "from=today",
        "from=",
        "to=2026-13-45",
        "to=undefined",
        "to=0001-01-01T00:00:00%2B14:00",
        "to=9999-12-31",
        "page=1&page=x",
        "sort=amount",
    ],
)
def test_history_ignores_what_it_cannot_read(api: CallApi, make_order: MakeOrder, settings: Any, query: str) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    for _ in range(21):
        make_order()
    response = api("GET", f"history-paginated?{query}", user="alice")
    answer = response.json()
    assert response.status_code == 200
    assert (len(answer["payments"]), answer["total"], answer["page"], answer["totalPages"]) == (20, 21, 1, 2)


def test_history_has_20_rows_and_up_to_1000_when_asked(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    made = [{"userId": "alice", "createdAt": datetime.now(UTC), "status": "success"} for _ in range(1005)]
    connection.database["payments"].insert_many(made)

    def rows(query: str) -> tuple[int, int]:
        answer = api("GET", f"history-paginated?{query}", user="alice").json()
        return len(answer["payments"]), answer["totalPages"]

    assert [rows(query) for query in ("", "limit=1000", "limit=5000", "limit=7")] == [
        (20, 51),
        (1000, 2),
        (1000, 2),
        (7, 144),
    ]
    assert rows("page=2000000") == (0, 51)


def test_user_stats_are_as_the_old_pages_read_them(
    api: CallApi, deliver: Deliver, make_order: MakeOrder, settings: Any
) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    paid, failed = make_order(), make_order()
    deliver(transfer(paid.order_code))
    Payment.objects.filter(pk=failed.pk).update(status="failed")
    make_order()
    make_order(minutes_ago=16)  # Overdue: expired, had a sweep been here or not.
    Payment.objects.filter(pk=make_order().pk).update(status="expired")
    other = {"userId": "alice", "credits": 5, "amount": 5, "currency": "USD", "status": "success"}
    connection.database["payments"].insert_one(other)
    stats = api("GET", "user-stats", user="alice").json()
    old = {name: stats[name] for name in ("totalCredits", "totalVND", "successCount", "pendingCount", "failedCount")}
    assert old == {"totalCredits": 25, "totalVND": 50_000, "successCount": 2, "pendingCount": 1, "failedCount": 3}


def test_old_documents_with_anything_missing_are_shown(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    documents: list[dict[str, Any]] = [
        {"userId": "alice"},
        {"userId": "alice", "status": "success", "credits": 20, "amount": 50_000, "orderCode": "TROLL20D1"},
        {"userId": "alice", "status": None, "amount": "odd", "createdAt": None},
        {"userId": "alice", "status": "refunded", "credits": 20.5},
    ]
    connection.database["payments"].insert_many(documents)
    assert len(api("GET", "history", user="alice").json()["payments"]) == 4
    for document in documents:
        assert api("GET", f"{document['_id']}/status", user="alice").status_code == 200
    stats = api("GET", "user-stats", user="alice").json()
    assert (stats["totalPayments"], stats["successfulPayments"], stats["totalCredits"]) == (4, 1, 20)


def test_user_stats_sum_what_was_paid(api: CallApi, deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    Payment.objects.filter(pk=order.pk).update(bonus_percent=Decimal(20))
    make_order()
    deliver(transfer(order.order_code, 60_000))
    stats = api("GET", "user-stats", user="alice").json()
    assert stats["lastPaymentAt"] is not None
    del stats["lastPaymentAt"]
    assert stats == {
        "totalPayments": 2,
        "successfulPayments": 1,
        "totalCredits": 24,
        "totalBonus": 4,
        "totalAmount": {"VND": 60_000},
        "totalVND": 60_000,
        "successCount": 1,
        "pendingCount": 1,
        "failedCount": 0,
    }


# --- Config ------------------------------------------------------------------------------------------------------


def test_config_is_public(api: CallApi, db: None) -> None:
    answer = api("GET", "config").json()
    assert answer == {
        "minCredits": 20,
        "maxCredits": 100,
        "vndRate": 2500,
        "validityDays": 7,
        "currency": "VND",
        "features": ["$20 to $100 of credits for OpenHands", "All credits last 7 days from the latest purchase"],
        "purchasing": True,
        "methods": ["sepay"],
        "notice": "",
        "promotion": None,
    }


def test_config_tells_the_promotion_and_the_switch(api: CallApi, db: None) -> None:
    now = datetime.now(UTC)
    Promotion.objects.create(name="Tet", percent=Decimal("12.5"), starts_at=now, ends_at=now + timedelta(hours=1))
    purchasing.switch_purchasing(is_on=False, actor="staff", reason="bank", notice="Back soon.")
    answer = api("GET", "config").json()
    assert (answer["promotion"]["name"], answer["promotion"]["percent"]) == ("Tet", 12.5)
    assert (answer["purchasing"], answer["notice"]) == (False, "Back soon.")
    assert answer["features"][-1] == "12.5 % more credits: Tet"


def test_while_purchasing_is_off_webhooks_go_on(api: CallApi, deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    purchasing.switch_purchasing(is_on=False, actor="staff", reason="bank")
    assert api("POST", "checkout", user="alice", json={"credits": 20}).status_code == 503
    assert deliver(transfer(order.order_code)).status_code == 200
    assert Payment.objects.get().status == "success"


# --- The OpenAPI document ----------------------------------------------------------------------------------------


def test_the_openapi_document_is_valid_and_complete(site: str, db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn")
    printed = yaml.safe_load(capsys.readouterr().out)
    served = yaml.safe_load(requests.get(f"{site}/api/schema", timeout=10).text)
    assert served["paths"] == printed["paths"]
    names = ["checkout", "config", "history", "history-paginated", "user-stats", "{payment_id}/status"]
    assert set(served["paths"]) == {f"/api/payment/{name}" for name in names}
    query = served["paths"]["/api/payment/history-paginated"]["get"]["parameters"]
    assert {parameter["name"] for parameter in query} == {"page", "limit", "status", "from", "to"}


def test_the_documentation_page_loads_everything_from_this_site(site: str, db: None) -> None:
    page = requests.get(f"{site}/api/docs", timeout=10)
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "https:" not in policy
    assert "<script>" not in page.text
    for part in page.text.split('"'):
        assert not part.startswith(("http:", "https:", "//"))
        if part.startswith("/static/"):
            assert requests.get(site + part, timeout=10).status_code == 200
