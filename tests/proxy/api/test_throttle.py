"""What no credits pay for: refusals and free endpoints cost the database little, however often they are asked for."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from bson import ObjectId
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from accounts.errors import RequestThrottled
from accounts.throttle import Throttle
from mongo.collections import collection_of
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import MESSAGES, chat, post
from tests.serving import Server

UNKNOWN = "sk-trollllm-" + "f" * 64
LIMITS = {
    "GUNICORN_WORKERS": "1",
    "FREE_REQUESTS_PER_MINUTE": "12",
    "REFUSALS_PER_MINUTE": "6",
    "UNKNOWN_KEYS_PER_MINUTE": "20",
    "KEY_ROTATIONS_PER_MINUTE": "2",
    "STATEMENTS_PER_MINUTE": "30",
}
REQUESTS = 40
Call = Callable[[], urllib3.BaseHTTPResponse]


def operations() -> int:
    """Operations that the database has served since it started."""
    counters = connection.database.client.admin.command("serverStatus")["opcounters"]
    return sum(counters[name] for name in ("query", "insert", "update", "delete"))


def get(server: Server, path: str, key: str, **headers: str) -> urllib3.BaseHTTPResponse:
    sent = {"Authorization": f"Bearer {key}", **headers}
    return server.http.request("GET", server.openhands + path, headers=sent, timeout=20)


def loop(call: Call, count: int = REQUESTS) -> tuple[list[urllib3.BaseHTTPResponse], int]:
    """The answers to many requests in a row, and what they cost the database."""
    before = operations()
    answers = [call() for _ in range(count)]
    return answers, operations() - before


def assert_throttled(answers: list[urllib3.BaseHTTPResponse], status: int) -> None:
    """First the endpoint's own answer, then 429s that tell a true time and the limit."""
    statuses = [answer.status for answer in answers]
    assert statuses[0] == status
    assert set(statuses) == {status, 429}
    last = answers[-1]
    assert last.status == 429
    assert last.json()["error"].get("code", "rate_limit_exceeded") == "rate_limit_exceeded"
    assert 1 <= int(last.headers["Retry-After"]) <= 10
    assert last.headers["X-RateLimit-Remaining"] == "0"


@pytest.fixture
def limited(serve_with: ServeWith) -> Iterator[Server]:
    return serve_with(**LIMITS)


def test_refusals_in_a_loop_stop_asking_the_database(limited: Server, insert_user: InsertUser) -> None:
    now = timezone.now()
    insert_user("poor", creditsNew=0)
    insert_user("expired", creditsNew=1, expiresAt=now.replace(year=2020))
    insert_user("disabled", creditsNew=1, isActive=False)
    insert_user("reviewed", creditsNew=1, reviewSince=now)
    insert_user("badly", creditsNew=1)
    insert_user("unpriced", creditsNew=1)
    insert_user("busy", creditsNew=1, requestsPerMinute=0)

    cases: list[tuple[str, int, dict[str, Any], str]] = [
        ("poor", 402, chat(), "/v1/chat/completions"),
        ("expired", 402, chat(), MESSAGES),
        ("disabled", 403, chat(), "/v1/chat/completions"),
        ("reviewed", 403, chat(), "/v1/chat/completions"),
        ("badly", 400, {"model": 7}, "/v1/chat/completions"),
        ("unpriced", 404, chat(model="no-such-model"), f"{MESSAGES}/count_tokens"),
        ("nobody", 401, chat(), MESSAGES),
    ]
    for username, status, body, path in cases:
        answers, cost = loop(lambda: post(limited, body, path=path, username=username))  # noqa: B023
        assert_throttled(answers, status)
        assert sum(answer.status == status for answer in answers) <= 6 + 2
        assert cost < REQUESTS, f"{username}: {cost} operations"
    answers, cost = loop(lambda: post(limited, chat(), username="busy"))
    assert {answer.status for answer in answers} == {429}
    assert cost < REQUESTS


def test_an_anthropic_client_reads_the_refusal_in_its_own_shape(limited: Server, insert_user: InsertUser) -> None:
    answers, _ = loop(lambda: post(limited, chat(), path=MESSAGES, username="nobody"), 10)
    assert answers[-1].status == 429
    assert (answers[-1].json()["type"], answers[-1].json()["error"]["type"]) == ("error", "rate_limit_error")


def test_what_is_refused_now_and_then_stops_nobody(limited: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    for _ in range(10):
        assert post(limited, chat(model="no-such-model")).status == 404
        assert post(limited, chat()).status == 200


def test_who_was_refused_is_served_after_the_time_that_was_told(
    limited: Server, insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", creditsNew=0)
    answers, _ = loop(lambda: post(limited, chat()), 8)
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": 1}})
    time.sleep(int(answers[-1].headers["Retry-After"]))
    assert post(limited, chat()).status == 200


def test_made_up_keys_stop_asking_the_database_and_lock_no_customer_out(
    limited: Server, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    assert post(limited, chat()).status == 200
    keys = (f"sk-trollllm-{number:064x}" for number in range(1000))
    answers, cost = loop(lambda: get(limited, "/v1/balance", next(keys)), 60)
    assert_throttled(answers, 401)
    assert sum(answer.status == 401 for answer in answers) <= 20 + 2
    assert cost < 100, "while plain keys remain, each of the first is looked up by its hash, then as it is"
    assert post(limited, chat()).status == 200
    assert get(limited, "/v1/balance", key_of("alice")).status == 200


def test_free_endpoints_have_a_rate(limited: Server, insert_user: InsertUser) -> None:
    paths = ("/v1/models", "/v1/balance", "/v1/requests/req_1", "/v1/usage", "/v1/usage?group=model")
    for number, path in enumerate(paths):
        username = f"alice{number}"
        insert_user(username, creditsNew=1)
        answers, cost = loop(lambda: get(limited, path, key_of(username)))  # noqa: B023
        assert_throttled(answers, 404 if "requests" in path else 200)
        assert sum(answer.status != 429 for answer in answers) <= 12 + 2
        assert cost < 3 * (12 + 2)
        assert post(limited, chat(), username=username).status == 200, "what is billed has a rate of its own"


def test_an_account_replaces_its_key_only_so_often(limited: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    key, statuses = key_of("alice"), []
    for _ in range(4):
        headers = {"Authorization": f"Bearer {key}"}
        answer = limited.http.request("POST", f"{limited.openhands}/v1/keys/rotate", headers=headers, timeout=20)
        statuses.append(answer.status)
        key = answer.json().get("api_key", key)
    assert statuses == [200, 200, 429, 429]
    assert get(limited, "/v1/balance", key).status == 200


def test_other_paths_count_nothing(limited: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    answers, _ = loop(lambda: get(limited, "/v1/files", key_of("alice")))
    assert {answer.status for answer in answers} == {404}
    assert post(limited, chat()).status == 200


def test_a_statement_over_too_many_requests_is_given_up(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice")
    now = timezone.now()
    logs = [
        {"_id": ObjectId(), "userId": "alice", "model": "m", "creditsCost": 0.1, "createdAt": now}
        for _ in range(20_000)
    ]
    collection_of(RequestLog).insert_many(logs)
    server = serve_with(STATEMENT_MAX_SECONDS="0.01", STATEMENTS_PER_MINUTE="30", GUNICORN_WORKERS="1")
    answer = get(server, "/v1/usage", key_of("alice"))
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert "shorter" in answer.json()["error"]["message"]


def test_the_work_of_a_statement_counts() -> None:
    with override_settings(STATEMENTS_PER_MINUTE=30):
        throttle = Throttle("STATEMENTS_PER_MINUTE", "", burst_seconds=10)
        throttle.take("alice")
        throttle.count("alice", 25)
        with pytest.raises(RequestThrottled) as caught:
            throttle.take("alice")
    assert 40 <= caught.value.retry_seconds <= 50


def test_a_statement_reads_the_accounts_own_requests_by_an_index(insert_user: InsertUser) -> None:
    insert_user("alice")
    now = timezone.now()
    match = {"userId": "alice", "createdAt": {"$gte": now.replace(year=2020), "$lt": now}}
    plan = connection.database.command(
        "explain", {"aggregate": "request_logs", "pipeline": [{"$match": match}], "cursor": {}}
    )
    assert "log_account_use" in str(plan)
