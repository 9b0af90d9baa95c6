"""Whatever a log holds, its readers agree: `/v1/usage`, timeline, daily figures, reconciliation and lists."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64
from django.test import Client
from django.utils import timezone

from accounts.models import Account, Balance
from books.daily_figures import count_day
from books.reconciliation import settled_costs
from books.timeline import read_timeline
from mongo.collections import collection_of
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.serving import Server

Sums = dict[str, tuple[int, Decimal]]

ABSENT = "(absent)"
NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
DAY = f"{NOON:%Y-%m-%d}"
ODD_CREDIT_TYPES = [ABSENT, None, "", "garbage", 5]
AMOUNTS: list[tuple[object, str]] = [
    ("0.5", "0"),
    ("abc", "0"),
    (None, "0"),
    (ABSENT, "0"),
    (float("nan"), "0"),
    (Decimal128("NaN"), "0"),
    (float("inf"), "0"),
    (float("-inf"), "0"),
    (Decimal128("Infinity"), "0"),
    (Decimal128("1e6000"), "0"),
    (True, "0"),
    ({"$numberDecimal": "1"}, "0"),
    (2, "2"),
    (Int64(3), "3"),
    (0.1, "0.1"),
    (0.1 + 0.2, "0.3"),
    (Decimal128("0.25"), "0.25"),
]
COUNTS: list[tuple[object, int]] = [
    *((value, 0) for value, read in AMOUNTS if read == "0"),
    (7, 7),
    (Int64(2**40), 2**40),
    (5.0, 5),
    (2.9, 2),
    (-2.9, -2),
    (Decimal128("11"), 11),
]


def insert_logs(logs: list[dict[str, Any]]) -> None:
    """Requests of alice, which this platform billed, a second apart; what is `ABSENT` is left out."""
    common = {"userId": "alice", "model": "sonnet", "creditType": "openhands", "creditsCost": 1.0, "hold": 9.0}
    collection_of(RequestLog).insert_many(
        {name: value for name, value in {**common, **log}.items() if value is not ABSENT}
        | {"_id": f"r{index}", "createdAt": NOON + timedelta(seconds=index)}
        for index, log in enumerate(logs)
    )


def usage(server: Server, *, group: str = "day") -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    address = f"{server.openhands}/v1/usage?from={DAY}&to={DAY}&group={group}"
    response = server.http.request("GET", address, headers=headers, timeout=20)
    assert response.status == 200, response.data
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


def sums_of_usage(server: Server) -> Sums:
    return {row["balance"]: (row["requests"], Decimal(row["cost"])) for row in usage(server)}


def sums_of_timeline() -> Sums:
    rows = read_timeline(username="alice").rows
    return {row.balance.value: (row.requests, -row.amount) for row in rows}


def sums_of_day() -> Sums:
    use = count_day(day=NOON.date())["use"]
    return {balance: (found["requests"], Decimal(found["cost"])) for balance, found in use.items()}


def assert_all_say(server: Server, expected: Sums) -> None:
    assert sums_of_usage(server) == expected
    assert sums_of_timeline() == expected
    assert sums_of_day() == expected
    costs = settled_costs(Account.objects.get(pk="alice"))
    assert costs == {balance: expected.get(balance, (0, Decimal(0)))[1] for balance in Balance.values}


def test_any_credit_type_but_openhands_is_ohmygpt_for_all(
    server: Server, admin_client: Client, insert_user: InsertUser
) -> None:
    insert_user("alice")
    insert_logs([{"creditType": value} for value in [*ODD_CREDIT_TYPES, "ohmygpt", "openhands"]])
    assert_all_say(server, {"ohmygpt": (6, Decimal(6)), "openhands": (1, Decimal(1))})

    listed = {
        "": 7,
        "?upstream=ohmygpt": 6,
        "?upstream=openhands": 1,
        "?model=sonnet": 7,
        "?model=sonnet&upstream=ohmygpt": 6,
        "?model=sonnet&upstream=garbage": 0,  # A filter that cannot be read shows nothing, and says so.
        "?q=alice&upstream=ohmygpt": 6,
    }
    for query, count in listed.items():
        rows = admin_client.get(f"/admin/proxy/requestlog/{query}").context["cl"].result_list
        assert (query, len(rows)) == (query, count)
    times = {"first": (NOON - timedelta(hours=1)).isoformat(), "last": (NOON + timedelta(hours=1)).isoformat()}
    for balance, count in {"ohmygpt": 6, "openhands": 1, "garbage": 0}.items():
        query = {"balance": balance, "model": "sonnet", **times}
        response = admin_client.get("/admin/support/accounts/alice/timeline/requests/", query)
        assert (balance, len(response.context["logs"])) == (balance, count)
    export: Any = admin_client.get("/admin/support/export/proxy/requestlog/?upstream=ohmygpt")
    assert b"".join(export.streaming_content).decode().count(",ohmygpt,") == 6
    assert {log.credit_type for log in RequestLog.objects.billed_to(Balance.OHMYGPT)} == {"ohmygpt"}


def test_a_receipt_names_the_balance_that_usage_counts_it_for(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    insert_logs([{"creditType": value} for value in [*ODD_CREDIT_TYPES, "openhands"]])
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    balances = [
        server.http.request("GET", f"{server.openhands}/v1/requests/r{index}", headers=headers).json()["balance"]
        for index in range(len(ODD_CREDIT_TYPES) + 1)
    ]
    assert balances == ["ohmygpt"] * len(ODD_CREDIT_TYPES) + ["openhands"]


def test_what_is_no_amount_counts_as_nothing_for_all(
    server: Server, admin_client: Client, insert_user: InsertUser
) -> None:
    insert_user("alice")
    insert_logs([{"creditsCost": value, "uncollected": value} for value, _ in AMOUNTS])
    total = sum((Decimal(read) for _, read in AMOUNTS), Decimal(0))
    assert total == Decimal("5.65")
    assert_all_say(server, {"openhands": (len(AMOUNTS), total)})
    assert count_day(day=NOON.date())["use"]["openhands"]["uncollected"] == "5.65000000"
    assert sum(log.cost for log in RequestLog.objects.all()) == total
    for address in ("/admin/proxy/requestlog/", "/admin/support/accounts/alice/timeline/", "/admin/"):
        assert admin_client.get(address).status_code == 200


@pytest.mark.parametrize("amount", [value for value, read in AMOUNTS if read == "0"], ids=repr)
def test_no_single_odd_amount_makes_a_page_fail(server: Server, insert_user: InsertUser, amount: object) -> None:
    insert_user("alice")
    insert_logs([{"creditsCost": amount}, {}])
    assert_all_say(server, {"openhands": (2, Decimal(1))})


def test_what_is_no_count_of_tokens_counts_as_none_for_all(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    names = ("inputTokens", "outputTokens", "cacheWriteTokens", "cacheHitTokens")
    insert_logs([dict.fromkeys(names, value) for value, _ in COUNTS])
    total = sum(read for _, read in COUNTS)
    for group in ("day", "model"):
        (row,) = usage(server, group=group)
        assert row["tokens"] == {"input": total, "output": total, "cache_write": total, "cache_read": total}
    assert [row.tokens for row in read_timeline(username="alice").rows] == [4 * total]
    assert sum(log.input_tokens for log in RequestLog.objects.all()) == total


def test_a_count_beyond_every_integer_makes_no_page_fail(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    insert_logs([{"inputTokens": 1e300}, {"inputTokens": 3}])
    (row,) = usage(server)
    assert row["tokens"]["input"] >= 10**299
    assert read_timeline(username="alice").rows[0].tokens >= 10**299


def test_the_condition_of_a_balance_is_served_by_an_index_in_order(db: None) -> None:
    insert_logs([{"creditType": value} for value in [*ODD_CREDIT_TYPES, "ohmygpt", "openhands"]] * 30)
    found = list(RequestLog.objects.billed_to(Balance.OHMYGPT).order_by("-created_at")[:3])
    assert len(found) == 3
    plan = RequestLog.objects.billed_to(Balance.OHMYGPT).order_by("-created_at")[:3].explain()
    assert "SORT_MERGE" in plan
    assert '"SORT"' not in plan
    assert "COLLSCAN" not in plan
