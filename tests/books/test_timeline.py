"""The timeline of an account: every movement and all use, with a running balance that adds up."""

import html
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.models import Balance, LedgerEntry
from books import timeline as timeline_module
from books.reconciliation import reconcile_account
from books.timeline import read_timeline
from mongo.collections import collection_of
from proxy.models import RequestLog
from support.pages import account as account_page
from tests.conftest import key_of
from tests.factories import InsertUser, LogIn
from tests.pages import page, text_of

URL = "/admin/support/accounts/alice/timeline/"
NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


def spend(request_id: str, cost: str, *, at: datetime, balance: Balance = Balance.OPENHANDS, **fields: Any) -> None:
    """A request as the proxy bills it: hold, log, settle."""
    amount = Decimal(cost)
    credits.hold(api_key=key_of("alice"), balance=balance, request_id=request_id, minimum=amount, maximum=amount)
    document = {
        "_id": request_id,
        "userId": "alice",
        "creditType": balance.value,
        "model": "sonnet",
        "inputTokens": 10,
        "outputTokens": 5,
        "creditsCost": float(amount),
        "hold": float(amount),
        "isSuccess": True,
        "createdAt": at,
    }
    collection_of(RequestLog).insert_one(document | fields)
    credits.settle(username="alice", request_id=request_id, balance=balance, cost=amount)


def top_up(amount: str, operation: str, at: datetime) -> None:
    credits.top_up(username="alice", amount=Decimal(amount), operation=operation, actor="sepay", reason="Order", now=at)


@pytest.fixture
def busy(insert_user: InsertUser) -> None:
    """Old credits, a purchase between two requests of the same day and model, a transfer, and use of the old days."""
    insert_user("alice", credits=8, creditsNew=3)
    logs = collection_of(RequestLog)
    logs.insert_one(
        {"_id": ObjectId(), "userId": "alice", "model": "old", "creditsCost": Decimal128("1"), "createdAt": NOON}
    )
    spend("r1", "0.1", at=NOON + timedelta(minutes=1))
    spend("r2", "0.2", at=NOON + timedelta(minutes=2))
    top_up("20", "payment:1", NOON + timedelta(minutes=3))
    spend("r3", "0.30000001", at=NOON + timedelta(minutes=4))
    spend("r4", "1", at=NOON + timedelta(minutes=5), balance=Balance.OHMYGPT, isSuccess=False)
    credits.transfer(
        username="alice",
        source=Balance.OHMYGPT,
        amount=Decimal(2),
        operation="transfer:1",
        actor="staff:sam",
        reason="asked",
        now=NOON + timedelta(minutes=6),
    )
    reconcile_account("alice")


def summary(**kwargs: Any) -> list[tuple[Any, ...]]:
    """The timeline without times, newest first."""
    rows = read_timeline(username="alice", **kwargs).rows
    return [(row.kind, row.balance.value, row.amount, row.after) for row in rows]


def test_every_movement_and_use_with_its_running_balance(busy: None) -> None:
    assert summary() == [
        ("opening", "ohmygpt", 8, 5),
        ("opening", "openhands", 3, Decimal("24.39999999")),
        ("transfer", "openhands", 2, Decimal("24.39999999")),
        ("transfer", "ohmygpt", -2, 5),
        ("use", "ohmygpt", -1, 7),
        ("use", "openhands", Decimal("-0.30000001"), Decimal("22.39999999")),
        ("purchase", "openhands", 20, Decimal("22.7")),
        ("use", "openhands", Decimal("-0.3"), Decimal("2.7")),
        ("use", "ohmygpt", -1, None),
    ]


def test_running_balances_of_an_older_page_are_those_of_the_whole(busy: None) -> None:
    whole = summary()
    before = NOON + timedelta(minutes=4)
    older = summary(before=before)
    assert older == whole[6:]
    assert summary(before=NOON + timedelta(minutes=2))[0] == ("use", "openhands", Decimal("-0.1"), Decimal("2.9"))


def test_held_credits_are_in_the_running_balance(busy: None) -> None:
    credits.hold(
        api_key=key_of("alice"), balance=Balance.OPENHANDS, request_id="r9", minimum=Decimal(4), maximum=Decimal(4)
    )
    assert summary(kind="transfer")[0][3] == Decimal("24.39999999")


def test_use_is_grouped_by_day_and_model(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=100)
    for day in range(2):
        for model in ("a", "b"):
            for index in range(3):
                at = NOON - timedelta(days=day, minutes=index)
                spend(f"{day}{model}{index}", "0.1", at=at, model=model, isSuccess=index > 0)
    rows = read_timeline(username="alice").rows
    assert sorted((row.at.date(), row.model) for row in rows) == sorted(
        ((NOON - timedelta(days=day)).date(), model) for day in range(2) for model in ("a", "b")
    )
    assert {(row.requests, row.failed, row.tokens, row.amount) for row in rows} == {(3, 1, 45, Decimal("-0.3"))}
    assert rows[-1].after == Decimal("99.7")


def test_filters(busy: None) -> None:
    assert {row[1] for row in summary(balance=Balance.OHMYGPT)} == {"ohmygpt"}
    assert [row[:3] for row in summary(kind="purchase")] == [("purchase", "openhands", 20)]
    assert {row[0] for row in summary(kind="use")} == {"use"}


def test_older_pages_skip_the_empty_months(insert_user: InsertUser) -> None:
    insert_user("alice")
    for days in (0, 100, 400):
        top_up("20", f"payment:{days}", NOON - timedelta(days=days))
    seen, before, pages = [], None, 0
    while True:
        shown = read_timeline(username="alice", before=before)
        seen += [row.amount for row in shown.rows if row.kind == "purchase"]
        pages += 1
        before = shown.older_than
        if before is None:
            break
    assert (seen, pages) == ([20, 20, 20], 3)


def test_a_crowded_month_is_cut_into_pages(insert_user: InsertUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_module, "MAX_ENTRIES", 3)
    insert_user("alice")
    for index in range(7):
        top_up("1", f"payment:{index}", NOON + timedelta(minutes=index))
    seen, before = [], None
    while True:
        shown = read_timeline(username="alice", before=before)
        seen += [row.after for row in shown.rows]
        before = shown.older_than
        if before is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_an_account_without_history(insert_user: InsertUser) -> None:
    insert_user("alice", credits=5)
    shown = read_timeline(username="alice")
    assert (shown.rows, shown.older_than) == ((), None)


def test_the_page_shows_everything_and_that_it_adds_up(admin_client: Client, busy: None) -> None:
    text = page(admin_client, URL)
    assert "OpenHands : balance $24.39999999 + held $0.00 = ledger $25.00 − use $0.60000001 · adds up" in text
    for shown in ("Purchase +$20.00 $22.70 sepay Order", "Transfer +$2.00", "staff:sam asked", "Use: sonnet"):
        assert shown in text
    assert "1 request, 1 failed" in text
    assert "billed by the replaced system" in text
    assert "The history of this account begins here." in text
    assert 'hx-trigger="load"' in admin_client.get("/admin/accounts/account/alice/change/").content.decode()


def test_the_page_shows_drift(admin_client: Client, busy: None) -> None:
    connection.database["usersNew"].update_one({"_id": "alice"}, {"$inc": {"creditsNew": 0.5}})
    assert "Drift $0.50: tell an engineer." in page(admin_client, URL)


def test_looking_does_not_open_the_ledger(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=5)
    assert "The ledger of this account has no opening balance yet" in page(admin_client, URL)
    assert LedgerEntry.objects.count() == 0


@pytest.mark.parametrize(
    "query", ["?balance=ohmygpt&kind=use", "?before=2020-01-01", "?before=garbage&kind=x&balance=y", "?balance="]
)
def test_any_query_gives_a_page(admin_client: Client, busy: None, query: str) -> None:
    assert "Everything that moved the credits" in page(admin_client, URL + query)


def test_a_line_of_use_opens_to_its_requests(admin_client: Client, busy: None) -> None:
    row = next(row for row in read_timeline(username="alice").rows if row.kind == "use" and row.requests == 2)
    assert row.first_at is not None
    query = {"balance": "openhands", "model": "sonnet", "first": row.first_at.isoformat(), "last": row.at.isoformat()}
    response = admin_client.get(f"{URL}requests/", query)
    text = text_of(response)
    assert "$0.20 · 10 in, 5 out" in text
    assert "$0.10" in text
    assert "$0.30000001" not in text
    assert "/admin/proxy/requestlog/r2/change/" in response.content.decode()
    assert admin_client.get(f"{URL}requests/", {**query, "first": "x"}).status_code == 404


def test_the_timeline_needs_its_permissions(client: Client, log_in: LogIn, busy: None) -> None:
    assert client.get(URL).status_code == 302
    assert log_in("Viewer").get(URL).status_code == 200
    assert log_in(None, "root").get(URL.replace("alice", "nobody")).status_code == 404


def test_reading_uses_the_indexes(busy: None) -> None:
    query = {"userId": "alice", "createdAt": {"$gte": datetime(2020, 1, 1, tzinfo=UTC)}}
    plan = connection.database.command({"explain": {"find": "request_logs", "filter": query}})
    assert "IXSCAN" in str(plan["queryPlanner"]["winningPlan"])


def test_a_month_of_many_requests_is_cut_into_pages(insert_user: InsertUser, monkeypatch: pytest.MonkeyPatch) -> None:
    insert_user("alice", creditsNew=100)
    top_up("20", "payment:1", NOON - timedelta(days=2, minutes=5))
    for index in range(4):
        spend(f"old{index}", "1", at=NOON - timedelta(days=2, minutes=index))
    for index in range(6):
        spend(f"new{index}", "1", at=NOON - timedelta(minutes=index))
    whole = summary()
    monkeypatch.setattr(timeline_module, "MAX_REQUESTS", 4)
    seen, before, requests = [], None, []
    while True:
        shown = read_timeline(username="alice", before=before)
        seen += [row.after for row in shown.rows if row.kind == "purchase"]
        requests.append(sum(row.requests for row in shown.rows))
        before = shown.older_than
        if before is None:
            break
    assert requests == [4, 2, 4]
    assert seen == [row[3] for row in whole if row[0] == "purchase"]


def test_a_timeline_that_is_not_read_in_time_is_a_sentence(
    admin_client: Client, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_page, "TIMELINE_SECONDS", 1e-6)
    assert "The database did not answer in time" in page(admin_client, URL)


def test_a_line_of_use_says_when_it_shows_only_the_newest(
    admin_client: Client, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_page, "MAX_REQUESTS", 1)
    query = {"balance": "openhands", "model": "sonnet", "first": NOON.isoformat()}
    response = admin_client.get(f"{URL}requests/", {**query, "last": (NOON + timedelta(minutes=2)).isoformat()})
    assert "Only the newest 1 are shown here." in text_of(response)
    assert "$0.10" not in text_of(response)
    all_url = html.unescape(re.findall(r'href="([^"]+)">All requests', response.content.decode())[0])
    assert "model=sonnet" in all_url
    found = admin_client.get(all_url).context["cl"].result_list
    assert sorted(log.pk for log in found) == ["r1", "r2", "r3"]


def test_another_kind_keeps_the_chosen_date(admin_client: Client, busy: None) -> None:
    shown = admin_client.get(f"{URL}?before=2030-01-31&kind=use").content.decode()
    field = '<input type="text" name="before" placeholder="2026-11-27" autocomplete="off" size="11" value="'
    assert f'{field}2030-01-31">' in shown
    assert f'{field}">' in admin_client.get(URL).content.decode()
