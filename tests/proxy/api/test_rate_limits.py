"""Requests a minute and at once: exact over processes, truthful in the headers, an override an account."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import override_settings

from accounts import credits, rate_limits
from accounts.errors import AccountDisabled, InvalidApiKey, RateLimitExceeded
from accounts.models import Account, Balance
from development.fake_upstream.server import FakeUpstream
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads
from tests.proxy.requests import MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def hold(index: int, now: datetime = NOW) -> credits.Hold:
    amount = Decimal("0.001")
    return credits.hold(
        api_key=key_of("alice"),
        balance=Balance.OPENHANDS,
        request_id=f"req_{index}",
        minimum=amount,
        maximum=amount,
        now=now,
    )


def test_a_burst_of_a_minute_passes_then_an_even_rate(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=6)
    remaining = [hold(index).rate.remaining for index in range(6)]
    assert remaining == [5, 4, 3, 2, 1, 0]
    with pytest.raises(RateLimitExceeded) as caught:
        hold(6)
    assert (caught.value.retry_seconds, caught.value.rate.limit) == (10, 6)
    with pytest.raises(RateLimitExceeded):
        hold(6, now=NOW + timedelta(seconds=9.9))
    assert hold(6, now=NOW + timedelta(seconds=10)).rate.remaining == 0
    assert hold(7, now=NOW + timedelta(minutes=5)).rate.remaining == 5


def test_the_retry_time_is_true_to_the_second(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=7)
    for index in range(7):
        hold(index)
    with pytest.raises(RateLimitExceeded) as caught:
        hold(8)
    assert hold(8, now=NOW + timedelta(seconds=caught.value.retry_seconds)).request_id == "req_8"


def test_holds_at_once_are_counted_exactly(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice", creditsNew=1, concurrentRequests=5)

    def attempt(index: int) -> bool:
        try:
            hold(index)
        except RateLimitExceeded:
            return False
        return True

    assert sum(in_threads(40, attempt)) == 5
    with pytest.raises(RateLimitExceeded, match="5 requests at once"):
        hold(98)
    credits.settle(
        username="alice", request_id=next(iter(Account.objects.get().holds)), balance=Balance.OPENHANDS, cost=Decimal(0)
    )
    assert hold(99).request_id == "req_99"


def test_the_minute_is_counted_exactly_under_concurrency(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice", requestsPerMinute=10)

    def attempt(_: int) -> bool:
        try:
            rate_limits.take_one(key_of("alice"), now=NOW)
        except RateLimitExceeded:
            return False
        return True

    assert sum(in_threads(40, attempt)) == 10


def test_zero_allows_nothing_and_the_settings_are_the_default(insert_user: InsertUser) -> None:
    insert_user("alice", requestsPerMinute=0)
    insert_user("bob")
    with pytest.raises(RateLimitExceeded):
        rate_limits.take_one(key_of("alice"))
    with override_settings(REQUESTS_PER_MINUTE=2):
        assert rate_limits.take_one(key_of("bob"), now=NOW)[1].limit == 2
        rate_limits.take_one(key_of("bob"), now=NOW)
        with pytest.raises(RateLimitExceeded):
            rate_limits.take_one(key_of("bob"), now=NOW)


def test_a_free_request_needs_a_good_key(insert_user: InsertUser) -> None:
    insert_user("alice", isActive=False)
    with pytest.raises(AccountDisabled):
        rate_limits.take_one(key_of("alice"))
    with pytest.raises(InvalidApiKey):
        rate_limits.take_one(key_of("nobody"))


@pytest.mark.parametrize("path", ["/v1/chat/completions", MESSAGES])
def test_over_http_the_limit_is_told_in_the_callers_shape(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=3)
    headers = [post(server, chat(stream=index == 1), path=path).headers for index in range(3)]
    assert [h["X-RateLimit-Remaining"] for h in headers] == ["2", "1", "0"]
    assert {h["X-RateLimit-Limit"] for h in headers} == {"3"}

    refused = post(server, chat(), path=path)

    assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert len(upstream.requests) == 3
    assert_reconciles()


def test_over_http_requests_at_once_are_limited_across_workers(
    server: Server, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", creditsNew=1, concurrentRequests=4)
    body = json.dumps(chat("[[fake delay=0.7]] x")).encode()
    statuses = in_threads(24, lambda _: post(server, body).status)
    assert set(statuses) <= {200, 429}
    assert 4 <= statuses.count(200) < 24
    time.sleep(0.05)
    assert post(server, chat()).status == 200
    assert_reconciles()
