"""The figures of each day, and the dashboard that shows them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from bson import Decimal128, Int64
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.models import Balance
from books import daily_figures as figures_module
from books.daily_figures import count_day, refresh_figures
from books.models import DailyFigures
from books.reconciliation import reconcile_account
from proxy.billing.refusals import count_refusal, read_refusals
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import page, text_of

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DAY = NOW.date()


@pytest.fixture(autouse=True)
def _no_refusals(db: None) -> None:
    for name in ("refusals", "bad_signatures", "reconciliations"):
        connection.database[name].delete_many({})


@pytest.fixture
def business(insert_user: InsertUser) -> None:
    """A day's business, with documents of the replaced system and things of the days beside it."""
    insert_user("alice", credits=8, expiresAt=NOW + timedelta(hours=3))
    insert_user("bob", creditsNew=-3.0)
    top_up = {"username": "alice", "actor": "sepay"}
    credits.top_up(amount=Decimal(20), bonus=Decimal(4), operation="p:1", now=NOW, **top_up)
    credits.top_up(amount=Decimal("0.1"), operation="p:2", now=NOW, **top_up)
    credits.top_up(amount=Decimal(50), operation="p:3", now=NOW - timedelta(days=1), **top_up)
    log = {"userId": "alice", "createdAt": NOW, "isSuccess": True}
    connection.database["request_logs"].insert_many(
        [
            {**log, "creditType": "openhands", "creditsCost": 0.1, "uncollected": 0.5},
            {**log, "creditType": "openhands", "creditsCost": 0.2, "isSuccess": False},
            {**log, "creditsCost": Decimal128("1.5")},
            {**log, "creditsCost": Int64(9), "createdAt": NOW + timedelta(days=1)},
            {**log, "creditsCost": "garbage"},
        ]
    )
    paid = {"status": "success", "completedAt": NOW}
    connection.database["payments"].insert_many(
        [
            {**paid, "paymentMethod": "sepay", "amount": 50000, "currency": "VND"},
            {**paid, "provider": "sepay", "amount": 50000, "receivedAmount": 60000.0},
            {**paid, "provider": "stripe", "currency": "USD", "amount": 20},
            {**paid, "provider": "stripe", "status": "failed", "amount": 999},
        ]
    )
    connection.database["webhook_events"].insert_one({"status": "review", "receivedAt": NOW})
    count_refusal(upstream=Balance.OPENHANDS, code="insufficient_credits", now=NOW)
    count_refusal(upstream=Balance.OPENHANDS, code="insufficient_credits", now=NOW)
    count_refusal(upstream=Balance.OPENHANDS, code="credits_expired", now=NOW)


def test_a_day_is_counted_exactly(business: None) -> None:
    figures = count_day(day=DAY, now=NOW)
    assert figures["ledger"] == {"purchase": {"openhands": "20.10000000"}, "bonus": {"openhands": "4.00000000"}}
    assert figures["use"] == {
        "openhands": {"requests": 2, "errors": 1, "cost": "0.30000000", "uncollected": "0.50000000"},
        "ohmygpt": {"requests": 2, "errors": 0, "cost": "1.50000000", "uncollected": "0.00000000"},
    }
    assert sorted(figures["revenue"], key=lambda row: str(row["provider"])) == [
        {"provider": "sepay", "currency": "VND", "amount": "110000.00000000", "payments": 2},
        {"provider": "stripe", "currency": "USD", "amount": "20.00000000", "payments": 1},
    ]
    assert figures["events"] == {"review": 1}
    assert figures["refusals"]["openhands"] == {"insufficient_credits": 2, "credits_expired": 1}
    assert figures["now"] == {
        "liability": {"openhands": "74.10000000", "ohmygpt": "8.00000000"},
        "expiring": 0,
        "waiting": {"review": 1, "dead": 0, "received": 0},
        "reconciliation": None,
    }
    assert DailyFigures.objects.get(pk="2026-11-20").figures == figures


def test_counting_again_gives_the_same(business: None) -> None:
    assert count_day(day=DAY, now=NOW) == count_day(day=DAY, now=NOW)
    assert DailyFigures.objects.count() == 1


def test_refresh_counts_what_is_missing_then_only_what_is_stale(business: None) -> None:
    assert refresh_figures(now=NOW) == 31
    assert refresh_figures(now=NOW + timedelta(seconds=30)) == 0
    assert refresh_figures(now=NOW + timedelta(seconds=61)) == 1
    after_midnight = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
    assert refresh_figures(now=after_midnight) == 2
    settled = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    assert refresh_figures(now=settled) == 2
    assert refresh_figures(now=settled + timedelta(hours=5)) == 1
    assert DailyFigures.objects.get(pk="2026-11-21").figures["use"]["ohmygpt"]["cost"] == "9.00000000"


def test_a_page_keeps_the_outstanding_credits_that_it_has_no_time_to_count(
    admin_client: Client, business: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "LIABILITY_SECONDS", 1e-6)
    now = timezone.now()
    in_a_week = {"$set": {"expiresAt": now + timedelta(days=7)}}  # What has expired is not outstanding.
    connection.database["usersNew"].update_one({"_id": "alice"}, in_a_week)
    assert "Outstanding OhMyGPT credits being counted" in page(admin_client, "/admin/")
    refresh_figures(now=now + timedelta(minutes=2))
    refresh_figures(now=now + timedelta(minutes=4), seconds=0)
    assert "Outstanding OhMyGPT credits $8.00" in page(admin_client, "/admin/")


def test_a_page_counts_today_and_leaves_the_rest_to_the_sweeper(business: None) -> None:
    assert refresh_figures(now=NOW, seconds=0) == 1
    assert DailyFigures.objects.get().pk == "2026-11-20"
    assert refresh_figures(now=NOW) == 30


def test_the_sweeper_reconciles_the_accounts_that_moved_today(
    admin_client: Client, insert_user: InsertUser, usersnew: Any
) -> None:
    assert "No full reconciliation has run yet." in page(admin_client, "/admin/")
    for name in ("alice", "bob", "carol"):
        insert_user(name, credits=3)
    insert_user("not-adopted")
    credits.top_up(username="not-adopted", amount=Decimal(20), operation="p:n", actor="sepay")
    for name in ("alice", "bob"):
        credits.top_up(username=name, amount=Decimal(20), operation=f"p:{name}", actor="sepay")
        reconcile_account(name)
    later = timezone.now() + timedelta(minutes=2)
    refresh_figures(now=later)
    assert "Accounts with movements today that were checked and add up: 2" in page(admin_client, "/admin/")

    usersnew.update_one({"_id": "bob"}, {"$inc": {"credits": 1}})
    refresh_figures(now=later + timedelta(minutes=2))
    text = page(admin_client, "/admin/")
    assert "Drift: bob" in text
    assert "Accounts with movements today that were checked and add up: 1" in text


def test_the_dashboard_shows_what_the_command_found(
    admin_client: Client, insert_user: InsertUser, usersnew: Any
) -> None:
    for name in ("alice", "bob"):
        insert_user(name, credits=3)
    call_command("reconcile", stdout=StringIO())
    assert "All accounts reconciled just now: 2 add up" in page(admin_client, "/admin/")
    usersnew.update_one({"_id": "bob"}, {"$inc": {"credits": 1}})
    with pytest.raises(CommandError):
        call_command("reconcile", stdout=StringIO(), stderr=StringIO())
    with pytest.raises(CommandError):
        call_command("reconcile", "bob", stdout=StringIO(), stderr=StringIO())
    response = admin_client.get("/admin/")
    assert "All accounts reconciled just now: 1 of 2 drift" in text_of(response)
    assert "/admin/accounts/account/bob/change/" in response.content.decode()


def test_the_dashboard_shows_webhooks_that_failed(admin_client: Client) -> None:
    connection.database["webhook_events"].insert_many(
        {"status": status, "receivedAt": timezone.now()} for status in ("done", "done", "review", "dead")
    )
    for _ in range(3):
        response = Client().post(
            "/api/payment/webhook", b"{}", content_type="application/json", headers={"Authorization": "Apikey wrong"}
        )
        assert response.status_code == 401
    text = page(admin_client, "/admin/")
    assert "Events received 4 4 4" in text
    assert "Needed review 1 1 1" in text
    assert "Gave up 1 1 1" in text
    assert "Refused: bad signature 3 3 3" in text
    assert "Webhooks refused today for a bad signature: 3" in text
    assert not connection.database["webhook_events"].find_one({"body": {"$exists": True}})


def test_refusals_are_counted_without_loss(in_threads: InThreads) -> None:
    in_threads(20, lambda _: count_refusal(upstream=Balance.OHMYGPT, code="insufficient_credits", now=NOW))
    assert read_refusals(upstream=Balance.OHMYGPT, day=DAY) == {"insufficient_credits": 20}
    assert read_refusals(upstream=Balance.OPENHANDS, day=DAY) == {}


def test_the_dashboard_shows_today_and_what_needs_somebody(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=8, expiresAt=timezone.now() + timedelta(hours=3))
    credits.adjust(
        username="alice", balance=Balance.OHMYGPT, amount=Decimal("-0.5"), operation="a", actor="x", reason="y"
    )
    count_refusal(upstream=Balance.OPENHANDS, code="insufficient_credits")
    connection.database["webhook_events"].insert_many(
        {"status": "review", "receivedAt": timezone.now()} for _ in range(2)
    )
    text = page(admin_client, "/admin/")
    assert "Outstanding OhMyGPT credits $7.50" in text
    assert "Adjusted by staff: OhMyGPT -$0.50 -$0.50 -$0.50" in text
    assert "Refused: insufficient credits 1 1 1" in text
    assert "Events that need review: 2" in text
    assert "Accounts whose credits expire within 24 hours: 1" in text
    assert "Purchasing is on" in text
    assert "No promotion is running" in text


def test_the_dashboard_needs_the_permission_to_see_accounts(log_in: LogIn) -> None:
    assert "Outstanding" in page(log_in("Viewer"), "/admin/")
    nobody = log_in("Viewer", "nobody")
    User.objects.get(username="nobody").groups.clear()
    assert "Outstanding" not in page(nobody, "/admin/")


def test_a_year_of_days_is_small(admin_client: Client) -> None:
    day = {"figures": {"use": {"openhands": {"requests": 5, "errors": 0, "cost": "1", "uncollected": "0"}}}}
    today = timezone.now().date()
    connection.database["daily_figures"].insert_many(
        {"_id": (today - timedelta(days=back)).isoformat(), "computedAt": timezone.now(), **day}
        for back in range(1, 366)
    )
    assert "Requests 0 30 145" in page(admin_client, "/admin/")


# --- The margin: what customers were charged, less what the upstream took -------------------------------------------


def insert_logs(*logs: dict[str, Any]) -> None:
    connection.database["request_logs"].insert_many(
        {"userId": "alice", "createdAt": NOW, "creditType": "openhands", "isSuccess": True, **log} for log in logs
    )


def test_the_margin_of_a_day_is_counted_by_model_and_upstream(db: None) -> None:
    insert_logs(
        {"model": "sonnet", "creditsCost": 0.3, "ownCost": 0.1},
        {"model": "sonnet", "creditsCost": 0.2, "ownCost": Decimal128("0.15")},
        {"model": "sonnet", "creditsCost": 0.5},
        {"model": "sonnet", "creditsCost": 0.7, "ownCost": "garbage"},
        {"model": "sonnet", "creditsCost": 1.0, "ownCost": 9.0, "createdAt": NOW - timedelta(days=1)},
        {"model": "haiku", "creditType": None, "creditsCost": 0.0, "ownCost": 4.0},
        {"model": "haiku", "creditsCost": 0.0},
        {"creditsCost": 0.1},
    )
    margin = count_day(day=DAY, now=NOW)["margin"]
    assert sorted(margin["upstreams"], key=lambda row: str(row["upstream"])) == [
        margin_row("0", "0", "4", requests=1, known=1, upstream="ohmygpt"),
        margin_row("1.8", "0.5", "0.25", requests=6, known=2, upstream="openhands"),
    ]
    assert margin["models"] == [
        margin_row("0", "0", "4", requests=1, known=1, upstream="ohmygpt", model="haiku"),
        margin_row("1.7", "0.5", "0.25", requests=4, known=2, upstream="openhands", model="sonnet"),
        margin_row("0.1", "0", "0", requests=1, known=0, upstream="openhands", model=""),
    ]


def margin_row(charged: str, charged_known: str, own_cost: str, **fields: Any) -> dict[str, Any]:
    amounts = {"charged": charged, "charged_known": charged_known, "own_cost": own_cost}
    return {**{name: f"{Decimal(amount):.8f}" for name, amount in amounts.items()}, **fields}


def test_only_the_largest_models_are_kept(db: None) -> None:
    insert_logs(*({"model": f"m{index:03}", "creditsCost": float(index)} for index in range(80)))
    models = count_day(day=DAY, now=NOW)["margin"]["models"]
    assert [row["model"] for row in models] == [f"m{index:03}" for index in range(79, 29, -1)]


def test_the_margin_is_read_by_the_index_of_times(db: None) -> None:
    connection.database.command("profile", 2)
    try:
        insert_logs({"model": "sonnet", "creditsCost": 1.0})
        count_day(day=DAY, now=NOW)
        query = {"command.aggregate": "request_logs", "command.pipeline.$facet": {"$exists": True}}
        profile = connection.database["system.profile"].find_one(query, sort=[("ts", -1)])
    finally:
        connection.database.command("profile", 0)
    assert profile["planSummary"] == "IXSCAN { createdAt: -1 }"


def test_the_dashboard_shows_margins_and_days_at_a_loss(admin_client: Client) -> None:
    now = timezone.now()
    insert_logs(
        {"createdAt": now, "model": "sonnet", "creditsCost": 10.0, "ownCost": 8.0},
        {"createdAt": now - timedelta(days=1), "model": "sonnet", "creditsCost": 2.0},
        {"createdAt": now, "model": "haiku", "creditType": "ohmygpt", "creditsCost": 1.0, "ownCost": 3.5},
        {"createdAt": now, "model": "tiny", "creditsCost": 1.0, "ownCost": 1.005},
        {"createdAt": now, "model": "unknown", "creditsCost": 1.0},
    )
    refresh_figures(now=now + timedelta(minutes=2))
    response = admin_client.get("/admin/")
    text = text_of(response)
    assert "Charged Own cost Margin" in text
    assert "sonnet (OpenHands) $12.00 $8.00 (of $10.00) $2.00 20.0%" in text
    assert "haiku (OhMyGPT) $1.00 $3.50 -$2.50 -250.0%" in text
    assert "unknown (OpenHands) $1.00 – – –" in text
    assert f"haiku (OhMyGPT) cost $3.50 on {now:%d %b}, and $1.00 was charged" in text
    assert "tiny (OpenHands) cost" not in text
    link = f"?upstream=ohmygpt&amp;model=haiku&amp;created_at_from={now:%Y-%m-%d}&amp;created_at_to={now:%Y-%m-%d}"
    assert f"/admin/proxy/requestlog/{link}" in response.content.decode()


def test_many_days_at_a_loss_are_a_few_alerts(admin_client: Client) -> None:
    now = timezone.now()
    insert_logs(*({"createdAt": now, "model": f"m{index}", "creditsCost": 0.0, "ownCost": 1.0} for index in range(9)))
    refresh_figures(now=now + timedelta(minutes=2))
    text = page(admin_client, "/admin/")
    assert text.count("and $0.00 was charged") == 5
    assert "Other days at a loss: 4" in text


def test_figures_of_days_counted_before_margins_were_are_shown_without(admin_client: Client) -> None:
    yesterday = (timezone.now() - timedelta(days=1)).date().isoformat()
    connection.database["daily_figures"].insert_one(
        {"_id": yesterday, "figures": {"use": {}}, "computedAt": timezone.now() + timedelta(days=2)}
    )
    assert "Nothing was charged in the last 30 days." in page(admin_client, "/admin/")
