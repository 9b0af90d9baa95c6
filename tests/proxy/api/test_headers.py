"""The headers that clients send and read: keys, retries, limits, ids, and what passes to the upstream and back."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from accounts.keys import KEY_PREFIX
from accounts.models import Account
from accounts.rate_limits import RateLimit
from development.fake_upstream.server import FakeUpstream
from proxy.api.passed_headers import ANSWER_HEADERS, QUERY, REQUEST_HEADERS
from proxy.models import RequestLog
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.proxy.raw_upstream import RawUpstream, events, http_answer
from tests.proxy.relay.test_border_answers import completion
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

EACH_FORMAT = pytest.mark.parametrize("path", [CHAT, MESSAGES])
FOREIGN = "sk-ant-api03-" + 90 * "x"


# --- Ids and limits ---------------------------------------------------------------------------------------------------


@EACH_FORMAT
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_has_its_id_and_limits_in_the_names_of_both_vendors(
    server: Server, insert_user: InsertUser, path: str, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=30)
    headers = post(server, chat(stream=is_stream), path=path).headers
    assert headers["request-id"] == headers["X-Request-Id"] == RequestLog.objects.get().pk
    for prefix in ("x-ratelimit-{}-requests", "anthropic-ratelimit-requests-{}", "X-RateLimit-{}"):
        assert [headers[prefix.format(name)] for name in ("limit", "remaining")] == ["30", "29"]
    assert (headers["x-ratelimit-reset"], headers["x-ratelimit-reset-requests"]) == ("2", "2s")
    reset_at = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert timedelta(seconds=-60) < reset_at - datetime.now(UTC) <= timedelta(seconds=3)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (1, "1s"), (59, "59s"), (60, "1m0s"), (360, "6m0s")])
def test_a_time_until_reset_is_a_duration_to_openais_clients(seconds: int, text: str) -> None:
    assert RateLimit(10, 0, seconds).headers["X-RateLimit-Reset-Requests"] == text


def test_the_anthropic_sdk_finds_the_request_id(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    with sdks.anthropic.Anthropic(base_url=server.openhands, api_key=key_of("alice")) as client:
        raw = client.messages.with_raw_response.create(model=chat()["model"], max_tokens=5, messages=chat()["messages"])
    assert raw.request_id == RequestLog.objects.get().pk


# --- Whether to try again ---------------------------------------------------------------------------------------------


@EACH_FORMAT
@pytest.mark.parametrize(
    ("account", "body", "status"),
    [
        ({"creditsNew": 1, "_id": "bob"}, chat(), 401),
        ({}, chat(), 402),
        ({"creditsNew": 1, "expiresAt": datetime(2020, 1, 1, tzinfo=UTC)}, chat(), 402),
        ({"creditsNew": 1, "isActive": False}, chat(), 403),
        ({"creditsNew": 1, "reviewSince": datetime(2026, 1, 1, tzinfo=UTC)}, chat(), 403),
        ({"creditsNew": 1}, chat(model="unknown"), 404),
        ({"creditsNew": 1}, chat(max_tokens=-1), 400),
        ({"creditsNew": 1}, chat("[[fake status=400]] x"), 400),
        ({"creditsNew": 1, "requestsPerMinute": 0}, chat(), 429),
        ({"creditsNew": 1, "concurrentRequests": 0}, chat(), 429),
    ],
)
def test_what_no_retry_mends_says_so(
    server: Server, usersnew: Any, path: str, account: dict[str, Any], body: dict[str, Any], status: int
) -> None:
    usersnew.insert_one({"_id": "alice", "apiKey": key_of(account.get("_id", "alice")), **account})
    response = post(server, body, path=path)
    assert (response.status, response.headers["X-Should-Retry"]) == (status, "false")


def test_an_unknown_path_and_another_body_for_a_key_are_final(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(), path="/v1/files").headers["X-Should-Retry"] == "false"
    keyed = {"Idempotency-Key": "once"}
    assert "X-Should-Retry" not in post(server, chat(), headers=keyed).headers
    other = post(server, chat("Something else"), headers=keyed)
    assert (other.status, other.headers["X-Should-Retry"]) == (409, "false")
    assert "Retry-After" not in other.headers


def test_what_waiting_mends_says_when(server: Server, insert_user: InsertUser) -> None:
    own = {"balance": "openhands", "amount": 2.0, "at": datetime.now(UTC)}
    insert_user("alice", creditsNew=0, holds={"req_x": own})
    held = post(server, chat())
    assert (held.status, held.headers["X-Should-Retry"]) == (402, "true")
    assert int(held.headers["Retry-After"]) > 0
    insert_user("bob", creditsNew=1, requestsPerMinute=1)
    assert post(server, chat(), username="bob").status == 200
    limited = post(server, chat(), username="bob")
    assert (limited.status, limited.headers["X-Should-Retry"]) == (429, "true")
    assert 0 < int(limited.headers["Retry-After"]) <= 60


# --- Keys -------------------------------------------------------------------------------------------------------------


@EACH_FORMAT
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "{key}"},
        {"api-key": "{key}"},
        {"x-api-key": "{key}"},
        {"Authorization": "Basic abc", "x-api-key": "{key}"},
        {"Authorization": "Bearer {key}", "x-api-key": FOREIGN},
        {"Authorization": f"Bearer {FOREIGN}", "x-api-key": "{key}"},
        {"Authorization": f"Bearer {FOREIGN}", "x-api-key": FOREIGN + "2", "api-key": "{key}"},
        {"Authorization": "Bearer {key}", "x-api-key": f"{KEY_PREFIX}replaced-long-ago"},
        {"Authorization": f"Bearer {KEY_PREFIX}replaced-long-ago", "x-api-key": "{key}"},
        {"Authorization": "Bearer {key}", "x-api-key": "{key}"},
    ],
)
def test_the_key_is_found_wherever_it_stands(
    server: Server, insert_user: InsertUser, path: str, headers: dict[str, str]
) -> None:
    insert_user("alice", creditsNew=1)
    sent = {name: value.format(key=key_of("alice")) for name, value in headers.items()}
    for _ in range(2):
        assert post(server, chat(), path=path, username=None, headers=sent).status == 200
    assert server.http.request("GET", f"{server.openhands}/v1/balance", headers=sent).status == 200
    assert server.http.request("GET", f"{server.site}/api/payment/history", headers=sent).status == 200
    assert_reconciles()


def test_of_two_keys_that_accounts_have_that_of_authorization_pays(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    insert_user("bob", creditsNew=1)
    for _ in range(3):
        post(server, chat(), headers={"x-api-key": key_of("bob")}, username="bob")
        assert post(server, chat(), headers={"x-api-key": key_of("bob")}).status == 200
    assert RequestLog.objects.filter(user_id="alice").count() == 3
    assert Account.objects.get(pk="alice").credits_new < 1


def test_two_keys_that_nobody_has_are_refused(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    sent = {"Authorization": f"Bearer {FOREIGN}", "x-api-key": f"{KEY_PREFIX}nobody"}
    assert post(server, chat(), username=None, headers=sent).status == 401


# --- What passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("beta=true", "?beta=true"),
        ("beta=yes", ""),
        ("api-version=2024-10-21", "?api-version=2024-10-21"),
        ("api-version=2024%0A1", ""),
        ("key=secret&beta=true&api_key=secret&model=other", "?beta=true"),
        ("api_base=http://x", ""),
        ("&".join(["x"] * 1500), ""),
    ],
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES, f"{MESSAGES}/count_tokens"])
def test_of_a_query_what_is_harmless_passes(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str, query: str, passed: str
) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(), path=f"{path}?{query}").status == 200
    assert upstream.requests[-1].path == path + passed
    assert {log.endpoint for log in RequestLog.objects.all()} == {path}


SENT = {
    "anthropic-version": "2023-06-01",
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "x-stainless-lang": "python",
    "session-id": "s",
    "x-codex-window-id": "w",
    "x-claude-code-session-id": "c",
    "x-app": "cli",
    "traceparent": "00-1-1-01",
    "x-litellm-tags": "t",
    "cookie": "a=b",
    "x-forwarded-for": "1.2.3.4",
}


@EACH_FORMAT
def test_of_the_headers_of_a_request_those_of_the_list_pass(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(), path=path, headers=SENT).status == 200
    got = upstream.requests[-1].headers
    assert got.keys() & SENT.keys() == {"anthropic-version"}
    assert got["authorization"] == "Bearer upstream-key"
    assert key_of("alice") not in str(got)
    post(server, chat(), path=path, headers={"anthropic-version": "x y"})
    assert "anthropic-version" not in upstream.requests[-1].headers


@pytest.mark.parametrize("is_stream", [False, True])
def test_of_the_headers_of_an_answer_those_of_the_list_pass(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=1)
    sent = {"openai-processing-ms": "12.5", "openai-version": "2020-10-01", "openai-organization": "org-secret"}
    sent |= {"x-litellm-response-cost": "0.1", "set-cookie": "a=b", "x-request-id": "upstreams", "request-id": "theirs"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    stream = events(
        {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}], "usage": usage}, "[DONE]"
    )
    raw_upstream.play(http_answer(stream if is_stream else completion(usage=usage), **sent))
    response = post(raw_server, chat(stream=is_stream))
    assert response.status == 200, response.data
    assert (response.headers["openai-processing-ms"], response.headers["openai-version"]) == ("12.5", "2020-10-01")
    for name in ("openai-organization", "x-litellm-response-cost", "set-cookie"):
        assert name not in response.headers
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["request-id"].startswith("req_")


def test_the_documentation_lists_what_passes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "proxy.md").read_text()

    def listed(first: str) -> set[str]:
        row = next(line for line in page.splitlines() if line.startswith(f"| {first} |"))
        return set(re.findall(r"`([^`]+)`", row.split("|")[2]))

    assert listed("header of a request") == set(REQUEST_HEADERS) | {"anthropic-beta"}
    assert listed("part of the query") == {"beta=true", *QUERY.keys() - {"beta"}}
    assert listed("header of an answer") == set(ANSWER_HEADERS) | {"Retry-After"}
