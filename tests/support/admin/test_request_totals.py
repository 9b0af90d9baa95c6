"""The list of an account's requests: totals, usual days, the order by cost, and requests by the beginning of an id."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from django.db import connection
from django.test import Client

from books import account_use
from tests.pages import page, text_of
from tests.support.admin.test_refusals import refusal

LOGS = "/admin/proxy/requestlog/"
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=30, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
OLD = ObjectId("65a000000000000000000001")


@pytest.fixture
def logs(db: None) -> Any:
    """Requests of alice yesterday (one failed, one of the replaced system), today and long ago; one of bob."""
    collection = connection.database["request_logs"]
    rows: list[dict[str, Any]] = [
        {"_id": "req_aa11", "model": "opus", "creditsCost": 4.5, "inputTokens": 1000, "outputTokens": 200},
        {"_id": "req_aa22", "model": "haiku", "creditsCost": 0.25, "inputTokens": 10, "cacheHitTokens": 5},
        {"_id": "req_aa33", "model": "haiku", "creditsCost": 0, "isSuccess": False},
        {"_id": OLD, "model": "haiku", "creditsCost": Decimal128("0.25"), "creditType": None},
        {"_id": "req_bb11", "model": "opus", "creditsCost": 1.0, "createdAt": TODAY},
        {"_id": "req_bb22", "model": "opus", "creditsCost": 9.0, "createdAt": TODAY - timedelta(days=40)},
        {"_id": "req_bob1", "model": "opus", "creditsCost": 100.0, "userId": "bob"},
    ]
    plain = {"userId": "alice", "creditType": "openhands", "isSuccess": True, "createdAt": YESTERDAY}
    collection.insert_many(plain | row for row in rows)
    connection.database["refused_requests"].insert_many(
        [refusal("req_r1", createdAt=YESTERDAY, model="haiku"), refusal("req_r2", createdAt=TODAY, upstream="ohmygpt")]
    )
    return collection


def shown(client: Client, address: str) -> str:
    """The text of the totals alone."""
    text = page(client, address)
    start = text.index("Today Yesterday 7 days All days")
    return text[start : start + 500]


def yesterday(**query: str) -> str:
    day = f"{YESTERDAY:%Y-%m-%d}"
    more = "".join(f"&{name}={value}" for name, value in query.items())
    return f"{LOGS}?q=alice&created_at_from={day}&created_at_to={day}{more}"


def test_what_is_filtered_is_added_up(admin_client: Client, logs: Any) -> None:
    text = shown(admin_client, yesterday())
    assert "Requests 4 Failed 1 Tokens 1,215 Cost $5.00 Refused 1" in text
    assert "By model: opus $4.50 (1) · haiku $0.50 (3)" in text
    assert "Requests 6 Failed 1 Tokens 1,215 Cost $15.00 Refused 2" in shown(admin_client, f"{LOGS}?q=alice")
    assert "Requests 6 " in shown(admin_client, f"{LOGS}?q=Alice")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"upstream": "openhands"}, "Requests 3 Failed 1 Tokens 1,215 Cost $4.75 Refused 1"),
        ({"upstream": "ohmygpt"}, "Requests 1 Failed 0 Tokens 0 Cost $0.25 Refused 0"),
        ({"model": "haiku"}, "Requests 3 Failed 1 Tokens 15 Cost $0.50 Refused 1"),
        ({"result": "failed"}, "Requests 1 Failed 1 Tokens 0 Cost $0.00"),
        ({"result": "ok", "model": "opus"}, "Requests 1 Failed 0 Tokens 1,200 Cost $4.50"),
    ],
)
def test_every_filter_counts_in_the_totals_as_in_the_list(
    admin_client: Client, logs: Any, query: dict[str, str], words: str
) -> None:
    response = admin_client.get(yesterday(**query))
    assert words in text_of(response)
    assert f"Requests {len(response.context['cl'].result_list)} " in words


def test_days_are_read_as_the_list_reads_them(admin_client: Client, logs: Any) -> None:
    day = f"{YESTERDAY:%d/%m/%Y}"
    response = admin_client.get(f"{LOGS}?q=alice&created_at_from={day}&created_at_to={day}")
    assert len(response.context["cl"].result_list) == 4
    assert "Requests 4 Failed 1 Tokens 1,215 Cost $5.00" in text_of(response)


@pytest.mark.parametrize("unread", ["created_at_from=garbage", "upstream=garbage"])
def test_where_the_list_shows_nothing_nothing_is_added_up(admin_client: Client, logs: Any, unread: str) -> None:
    assert "A filter cannot be read, so nothing is added up." in shown(admin_client, f"{LOGS}?q=alice&{unread}")


def test_totals_that_are_not_exact_or_not_there_are_said(
    admin_client: Client, logs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Search for an account to see what its requests come to" in shown(admin_client, LOGS)
    assert "Search for an account" in shown(admin_client, f"{LOGS}?q=req_aa11")
    assert "What cannot be read is not added up." in shown(admin_client, f"{LOGS}?q=alice&unreadable=any")
    monkeypatch.setattr(account_use, "MOST_ADDED_UP", 2)
    assert "Not exact: only the newest" in shown(admin_client, f"{LOGS}?q=alice")


def test_the_dearest_come_first_within_an_account_alone(admin_client: Client, logs: Any) -> None:
    response = admin_client.get(f"{LOGS}?q=alice")
    order = f"-{response.context['cl'].list_display.index('cost_usd')}"
    assert f"o={order}" in response.content.decode()
    found = admin_client.get(LOGS, {"q": "alice", "o": order}).context["cl"].result_list
    assert [log.pk for log in found][:3] == ["req_bb22", "req_aa11", "req_bb11"]
    of_all = admin_client.get(LOGS, {"o": order})
    assert of_all.context["cl"].get_ordering(of_all.wsgi_request, None) == ["-created_at"]


def test_usual_days_keep_the_search_and_the_order(admin_client: Client, logs: Any) -> None:
    body = admin_client.get(f"{LOGS}?q=alice&o=-8&p=2&model=opus").content.decode()
    day = f"{YESTERDAY:%Y-%m-%d}"
    address = f"?q=alice&amp;o=-8&amp;model=opus&amp;created_at_from={day}&amp;created_at_to={day}"
    assert f'href="{address}"' in body
    chosen = admin_client.get(yesterday()).content.decode()
    assert chosen.count('aria-current="true">Yesterday') == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("req_aa", ["req_aa11", "req_aa22", "req_aa33"]),
        ("REQ_AA1…", ["req_aa11"]),
        ("req_bb22", ["req_bb22"]),
        ("65a0000000", [str(OLD)]),
        ("65A000000000000000000001", [str(OLD)]),
        ("65a00", []),
        ("req_%", []),
    ],
)
def test_requests_by_the_beginning_of_their_ids(admin_client: Client, logs: Any, text: str, found: list[str]) -> None:
    response = admin_client.get(LOGS, {"q": text}, follow=True)
    assert sorted(log.pk for log in response.context["cl"].result_list) == found


def test_ids_stand_in_the_list(admin_client: Client, logs: Any) -> None:
    logs.insert_one({"_id": "req_" + "0f" * 16, "userId": "alice", "createdAt": TODAY})
    body = admin_client.get(LOGS).content.decode()
    assert f'title="req_{"0f" * 16}">req_0f0f0f0f0f0f…</code>' in body
