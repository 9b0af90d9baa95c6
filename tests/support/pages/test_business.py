"""The owner's page: its numbers are those of the documents, and each leads to a list that says the same."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest
from bson import ObjectId
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Balance
from books.business import Sums, read_business
from books.daily_figures import count_day, count_earlier_days, refresh_figures
from books.models import DailyFigures
from payments.inbox import review
from payments.models import WebhookEvent
from proxy.billing.refusals import count_refusal
from support.pages.charts import Series, draw
from tests.factories import InsertUser, LogIn
from tests.pages import text_of
from tests.support.conftest import send_money

BUSINESS = "/admin/support/business/"
LATER = timedelta(minutes=5)


@pytest.fixture(autouse=True)
def _no_refusals(db: None) -> None:
    connection.database["refusals"].delete_many({})


def now() -> datetime:
    return timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)


def log(account: str, model: str, cost: float, own: object = None, **fields: Any) -> None:
    document = {"userId": account, "model": model, "creditsCost": cost, "createdAt": now(), "isSuccess": True}
    document |= {"creditType": "openhands"} | ({} if own is None else {"ownCost": own}) | fields
    connection.database["request_logs"].insert_one(document)


def business(client: Client, query: str = "") -> tuple[str, dict[str, str]]:
    """The text of the page, and the addresses of its links by their text."""
    response = client.get(BUSINESS + query)
    assert response.status_code == 200
    links = re.findall(r'<a class="text-link" href="([^"]+)">([^<]+)</a>', response.content.decode())
    plain = [(address.replace("&amp;", "&"), text) for address, text in reversed(links)]
    return text_of(response), {address: address for address, _ in plain} | {text: address for address, text in plain}


def test_what_was_used_and_lost_leads_to_the_requests(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    for _ in range(3):
        log("alice", "sonnet", 2.0, 1.5)
    log("alice", "sonnet", 1.0, isSuccess=False)
    log("bob", "haiku", 0.5, 4.0, creditType="ohmygpt")
    log("alice", "sonnet", 9.0, 1.0, createdAt=now() - timedelta(days=40))
    refresh_figures(now=timezone.now() + LATER)
    client = log_in("Owner")
    text, links = business(client, "?days=7")
    assert "OpenHands 4 1 $7.00 $4.50 for $6.00 $1.50 25.0%" in text
    assert "haiku (OhMyGPT) 1 0 $0.50 $4.00 -$3.50 (loses money) -700.0%" in text
    assert "alice 4 1 $7.00" in text
    assert text.index("haiku (OhMyGPT)") < text.index("sonnet (OpenHands)"), "losses come first"
    assert "Margin of use -$2.00" in text

    sonnet = client.get(links["sonnet (OpenHands)"])
    assert "Requests 4 Failed 1 Charged $7.00 Operator&#x27;s cost $4.50 for $6.00 Margin $1.50" in text_of(sonnet)
    assert sonnet.context_data["cl"].result_count == 4  # type: ignore[attr-defined]
    assert "Failed 1" in text_of(client.get(links["sonnet (OpenHands)"] + "&result=failed"))
    of_alice = client.get(next(one for one in links.values() if "q=alice" in one))
    assert "Requests 4 Failed 1 Tokens 0 Cost $7.00" in text_of(of_alice)
    viewed = text_of(log_in("Viewer", "viewer").get(links["sonnet (OpenHands)"]))
    assert "Charged $7.00" in viewed
    assert "Margin" not in viewed


def test_the_sums_are_those_of_the_logs(db: None) -> None:
    for number in range(120):
        when = now() - timedelta(days=number % 40)
        own = None if number % 3 else number / 7
        cost = 0.00000001 * number**3
        kind = "openhands" if number % 2 else None
        log(f"user{number % 7}", f"m{number % 5}", cost, own, createdAt=when, creditType=kind)
    for day in range(40):
        count_day(day=(now() - timedelta(days=day)).date(), now=timezone.now())
    today = timezone.now().date()
    found = read_business(first=today - timedelta(days=29), last=today)
    start = datetime.combine(today - timedelta(days=29), datetime.min.time(), UTC)
    logs = list(connection.database["request_logs"].find({"createdAt": {"$gte": start}}))
    assert len(logs) == 90

    def sums(of: list[dict[str, Any]]) -> Sums:
        known = [one for one in of if "ownCost" in one]
        return Sums(
            requests=len(of),
            known=len(known),
            charged=sum((exact(one["creditsCost"]) for one in of), Decimal(0)),
            charged_known=sum((exact(one["creditsCost"]) for one in known), Decimal(0)),
            own_cost=sum((exact(one["ownCost"]) for one in known), Decimal(0)),
        )

    def exact(value: float) -> Decimal:
        return round(Decimal(value), 8)

    upstreams = {"openhands": "openhands", None: "ohmygpt"}
    assert found.by_upstream == {
        name: sums([one for one in logs if one["creditType"] == kind]) for kind, name in upstreams.items()
    }
    assert found.models == {
        (name, f"m{model}"): of_model
        for kind, name in upstreams.items()
        for model in range(5)
        if (
            of_model := sums([one for one in logs if (one["creditType"], one["model"]) == (kind, f"m{model}")])
        ).requests
    }
    assert {one.account: (one.sums, one.is_exact) for one in found.customers} == {
        f"user{user}": (sums([one for one in logs if one["userId"] == f"user{user}"]), True) for user in range(7)
    }


def test_net_revenue_is_what_was_paid_less_what_went_back(log_in: LogIn) -> None:
    paid = {"status": "success", "completedAt": now(), "createdAt": now(), "credits": 20, "amount": 50000, "rate": 2500}
    ids = [ObjectId() for _ in range(4)]
    connection.database["payments"].insert_many(
        [
            {**paid, "_id": ids[0], "provider": "sepay", "currency": "VND", "orderCode": "A1"},
            {**paid, "_id": ids[1], "paymentMethod": "sepay", "orderCode": "A2"},
            {
                **paid,
                "_id": ids[2],
                "provider": "stripe",
                "currency": "usd",
                "amount": 20,
                "rate": 1,
                "orderCode": "A3",
            },
            {**paid, "_id": ids[3], "provider": "sepay", "completedAt": now() - timedelta(days=60), "orderCode": "A4"},
        ]
    )
    back = {"provider": "sepay", "isDispute": False, "isCumulative": False, "occurredAt": now()}
    connection.database["payment_reversals"].insert_many(
        [
            {**back, "reversalId": "r1", "payment": ids[0], "amount": 10000, "state": "counted"},
            {**back, "reversalId": "r2", "payment": ids[0], "amount": 10000, "state": "cancelled"},
            {**back, "reversalId": "d1", "payment": ids[2], "amount": 20, "state": "counted", "isDispute": True},
            {**back, "reversalId": "d2", "payment": ids[1], "amount": 50000, "state": "cancelled", "isDispute": True},
            {**back, "reversalId": "d3", "payment": ids[1], "amount": 50000, "state": "notice", "isDispute": True},
            {**back, "reversalId": "r4", "payment": ids[3], "amount": 90000, "state": "counted"},
        ]
    )
    refresh_figures(now=timezone.now() + LATER)
    client = log_in("Owner")
    text, links = business(client, "?days=7")
    assert "Net revenue $16.00" in text  # 60 paid; 4 refunded, 20 of the dispute, and 20 (not 36) of the old payment.
    assert "SePay (bank transfer) (VND) 2 100,000 VND 60,000 VND 40,000 VND" in text or "(VND) 2 100,000 VND" in text
    assert "(USD) 1 20.00 USD 20.00 USD 0.00 USD" in text
    of_sepay = client.get(links["100,000 VND"])
    assert "Payments 2 Paid, VND 100,000 VND" in text_of(of_sepay)
    assert of_sepay.context_data["cl"].result_count == 2  # type: ignore[attr-defined]
    went = client.get(links["60,000 VND"])
    assert "Went back, VND 60,000 VND" in text_of(went)
    assert {row.order_code for row in went.context_data["cl"].result_list} == {"A1", "A4"}  # type: ignore[attr-defined]
    unread = text_of(client.get("/admin/payments/payment/?went_back=2026-13-01..x&through=none"))
    assert "The filter “money went back” cannot be read" in unread
    assert "The filter “paid through” cannot be “none”" in unread


def test_liability_leaves_out_what_nobody_can_spend(log_in: LogIn, insert_user: InsertUser) -> None:
    past, future = timezone.now() - timedelta(days=1), timezone.now() + timedelta(days=1)
    insert_user("never", creditsNew=10, credits=1)
    insert_user("valid", creditsNew=20.5, expiresAt=future)
    insert_user("expired", creditsNew=40, expiresAt=past)
    insert_user("disabled", creditsNew=80, isActive=False, expiresAt=past)
    insert_user("debtor", creditsNew=-7, credits=2)
    client = log_in("Owner")
    text, links = business(client)
    assert "OpenHands credits that customers hold $30.50" in text
    assert "OhMyGPT credits that customers hold $3.00" in text
    lists = {"$30.50": {"never", "valid"}, "$7.00 owed by accounts below $0": {"debtor"}}
    lists |= {"$80.00 of disabled accounts": {"disabled"}, "$40.00 expired, and not yet taken off": {"expired"}}
    for words, names in lists.items():
        shown = client.get(links[words])
        assert {row.pk for row in shown.context_data["cl"].result_list} == names  # type: ignore[attr-defined]
        assert f"OpenHands credits {words.split()[0]}" in text_of(shown)
    assert "Outstanding OpenHands credits $30.50" in text_of(client.get("/admin/"))


def test_refusals_by_reason_lead_to_those_that_are_kept(log_in: LogIn) -> None:
    kept = {"userId": "alice", "createdAt": now(), "statusCode": 402, "upstream": "openhands"}
    connection.database["refused_requests"].insert_many(
        [
            {**kept, "_id": "req_1", "code": "insufficient_credits"},
            {**kept, "_id": "req_2", "code": "insufficient_credits", "upstream": "ohmygpt"},
            {**kept, "_id": "req_3", "code": "key_budget_reached"},
            {**kept, "_id": "req_4", "code": "rate_limit_exceeded", "statusCode": 429},
        ]
    )
    for balance, count in ((Balance.OPENHANDS, 5), (Balance.OHMYGPT, 1)):
        for _ in range(count):
            count_refusal(upstream=balance, code="insufficient_credits")
    refresh_figures(now=timezone.now() + LATER)
    client = log_in("Owner")
    text, links = business(client, "?days=7")
    assert "402 Too little on the balance 6 2 1 1" in text
    assert "402 Budget of the key – 1 1 0" in text
    shown = client.get(links["402 Too little on the balance"])
    assert shown.context_data["cl"].result_count == 2  # type: ignore[attr-defined]


def test_needed_review_counts_what_came_whatever_became_of_it(log_in: LogIn) -> None:
    events = [send_money("no such code") for _ in range(3)]
    assert {WebhookEvent.objects.get(pk=one.pk).status for one in events} == {"review"}
    review.dismiss(event_key=events[0].pk, actor="staff:sam", reason="a test")
    WebhookEvent.objects.filter(pk=events[1].pk).update(status="dead", gave_up=True)
    old = {"receivedAt": timezone.now(), "provider": "sepay", "error": ""}
    connection.database["webhook_events"].insert_many([{**old, "status": "review"}, {**old, "status": "done"}])
    refresh_figures(now=timezone.now() + LATER)
    client = log_in("Owner")
    response = client.get(f"{BUSINESS}?days=today")
    assert "Needed review 4 Were given up 1 Of 1 more, which an earlier release stored" in text_of(response)
    assert "Needed review 4 4 4 Gave up 1 1 1" in text_of(client.get("/admin/"))
    address = re.search(r'href="([^"]+came=review[^"]+)">4<', response.content.decode())
    assert address
    shown = client.get(unquote(address[1].replace("&amp;", "&")))
    assert shown.context_data["cl"].result_count == 4  # type: ignore[attr-defined]


def test_days_of_an_earlier_release_are_not_known_until_they_are_counted(log_in: LogIn) -> None:
    yesterday, before = ((timezone.now() - timedelta(days=back)).date().isoformat() for back in (2, 3))
    use = {"openhands": {"requests": 1, "errors": 0, "cost": "2.00000000", "uncollected": "0.00000000"}}
    old = {"use": use, "events": {}, "revenue": [], "ledger": {}, "refusals": {}}
    connection.database["daily_figures"].insert_many(
        {"_id": day, "figures": old, "computedAt": timezone.now()} for day in (yesterday, before)
    )
    log("alice", "sonnet", 2.0, 1.0, createdAt=now() - timedelta(days=2))
    log("alice", "sonnet", 1.0, 1.0, createdAt=now() - timedelta(days=9))
    client = log_in("Owner")
    text, _ = business(client, "?days=7")
    assert f"2 days ({before} to {yesterday}) were counted without models and customers, which are not known" in text
    assert "OpenHands 2 0 $4.00 not known not known –" in text
    assert count_earlier_days(now=timezone.now()) > 0
    counted = DailyFigures.objects.get(pk=yesterday).figures
    assert counted["use"] == use
    assert counted["models"][0]["own_cost"] == "1.00000000"
    # The logs of the other day have been deleted since: what was counted of it stays, and its models are not known.
    assert DailyFigures.objects.get(pk=before).figures["use"] == use
    text, _ = business(client, "?days=7")
    assert f"1 day ({before}) were counted without models" in text
    assert "sonnet (OpenHands) 1 0 $2.00 $1.00 $1.00 50.0%" in text
    assert count_earlier_days(now=timezone.now()) == 0
    assert DailyFigures.objects.get(pk=(now() - timedelta(days=9)).date().isoformat()).figures["models"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?days=90", ""),
        ("?first=2026-11-02&last=2026-11-03", ""),
        ("?first=11/27/2026", "there is no month 27"),
        ("?first=2026-11-03&last=2026-11-02", "2026-11-03 is after 2026-11-02."),
        ("?first=2020-01-01", "These are more than 366 days."),
        ("?first=2999-01-01", "2999-01-01 has not come yet."),
        ("?days=8", "There is no such range."),
    ],
)
def test_ranges(log_in: LogIn, query: str, words: str) -> None:
    text, _ = business(log_in("Owner"), query)
    assert words in text
    assert ("These are the last 30 days." in text) == bool(words)


def test_a_chart_has_axes_a_legend_values_and_a_table(log_in: LogIn) -> None:
    log("alice", "sonnet", 1234.5, 7.0)
    refresh_figures(now=timezone.now() + LATER)
    html = log_in("Owner").get(f"{BUSINESS}?days=7").content.decode()
    assert html.count("<svg") == html.count("The values as a table") == 4
    assert "Operator&#x27;s cost, where known: $7.00" in html
    assert html.count("<td>$1,234.50</td>") == 1
    today = now().date()
    days = [today - timedelta(days=1), today]
    chart = draw(
        key="k",
        title="T",
        unit="USD",
        days=days,
        series=[Series("a", [Decimal(-3), None]), Series("b", [Decimal(9), Decimal(0)])],
        show=str,
    )
    assert [tick.label for tick in chart.ticks] == ["-5", "0", "5", "10"]
    assert [len(column.bars) for column in chart.columns] == [2, 0]
    assert chart.columns[1].cells == ("not known", "0")
    assert all(chart.left <= one.tip.x <= one.tip.x + one.tip.width <= chart.right for one in chart.columns)
