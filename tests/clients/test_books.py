"""The check of `make clients` finds what was billed wrong: a cost, a balance, a request that is not there."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from clients.books import Bill, check_bill
from development.fake_upstream.server import FakeUpstream
from tests.factories import InsertUser
from tests.proxy.requests import CHAT, MESSAGES, RESPONSES, chat, post, respond
from tests.serving import Server

TOKENS = "[[fake prompt_tokens=1000 completion_tokens=50 cached_tokens=300 cache_creation_tokens=200]]" + " text" * 1000
"""Long enough that the hold covers all of it."""
COST = {
    CHAT: Decimal("0.00108150"),  # (500 × 1 + 50 × 5 + 200 × 1.25 + 300 × 0.1) / 10⁶ × 1.05
    RESPONSES: Decimal("0.00108150"),
    MESSAGES: Decimal("0.00160650"),  # the same with 1000 × 1
}


@pytest.fixture
def database(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> Iterator[Any]:
    """The platform after one request in each format and one that is free, all by alice."""
    insert_user("alice", creditsNew=10, credits=10)
    upstream.clear()
    for path in (CHAT, MESSAGES):
        assert post(server, chat(TOKENS), path=path).status == 200
    assert post(server, respond(TOKENS), path=RESPONSES).status == 200
    assert post(server, chat("hi"), path=f"{MESSAGES}/count_tokens").status == 200
    yield connection.database  # type: ignore[attr-defined]
    upstream.clear()


def check(database: Any, upstream: FakeUpstream) -> Bill:
    seen = upstream.requests
    return check_bill(database, account="alice", balance="openhands", opening=Decimal(10), seen=seen, patience=0.5)


def test_exact_books_pass(database: Any, upstream: FakeUpstream) -> None:
    bill = check(database, upstream)
    assert bill.problems == []
    assert bill == Bill(4, sum(COST.values(), Decimal(0)), [])


def test_a_cost_that_differs_in_the_8th_place_is_found(database: Any, upstream: FakeUpstream) -> None:
    database["request_logs"].update_one({"endpoint": CHAT}, {"$inc": {"creditsCost": 0.00000001}})
    problems = check(database, upstream).problems
    assert [problem.partition(":")[0] for problem in problems] == [
        *("not billed", "billed, but not used", "creditsNew is 9.99623050 instead of 9.99623049")
    ]
    assert "$0.00108151" in problems[1]


def test_other_tokens_at_the_same_cost_are_found(database: Any, upstream: FakeUpstream) -> None:
    database["request_logs"].update_one({"endpoint": MESSAGES}, {"$inc": {"inputTokens": 1}})
    assert len(check(database, upstream).problems) == 2


def test_a_request_that_was_not_billed_is_found(database: Any, upstream: FakeUpstream) -> None:
    database["request_logs"].delete_one({"endpoint": RESPONSES})
    problems = check(database, upstream).problems
    assert problems[0].startswith(f"not billed: {RESPONSES}")


@pytest.mark.parametrize("member", ["creditsNew", "credits"])
def test_a_balance_that_is_not_what_is_left_is_found(database: Any, upstream: FakeUpstream, member: str) -> None:
    database["usersNew"].update_one({"_id": "alice"}, {"$inc": {member: 0.00000001}})
    assert [problem.split()[0] for problem in check(database, upstream).problems] == [member]


def test_a_hold_that_is_left_and_an_estimate_are_found(database: Any, upstream: FakeUpstream) -> None:
    database["usersNew"].update_one({"_id": "alice"}, {"$set": {"holds": {"req_1": {"amount": 1.0}}}})
    database["request_logs"].update_one({"endpoint": CHAT}, {"$set": {"usageSource": "estimated"}})
    problems = check(database, upstream).problems
    assert "usage estimated" in problems[1]
    assert problems[2].startswith("still held")
