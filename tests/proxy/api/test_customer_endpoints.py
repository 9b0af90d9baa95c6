"""What customers read and do with their key: balance, receipts, use, a new key, free token counts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import urllib3
from bson import ObjectId
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.keys import hash_key
from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from mongo.collections import collection_of
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads
from tests.proxy.requests import MESSAGES, assert_reconciles, chat, post
from tests.serving import Server


def get(server: Server, path: str, *, username: str = "alice", key: str | None = None) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {key or key_of(username)}"}
    return server.http.request("GET", server.openhands + path, headers=headers, timeout=20)


def test_balance_tells_both_balances_holds_and_expiry(server: Server, insert_user: InsertUser) -> None:
    insert_user(
        "alice",
        creditsNew=2,
        creditsNewUsed=1.5,
        expiresAt=timezone.now() + timedelta(days=3),
        holds={"req_x": {"balance": "ohmygpt", "amount": 0.25}},
    )
    body = get(server, "/v1/balance").json()
    assert body["balances"] == {
        "openhands": {"available": "2.00000000", "held": "0.00000000", "used": "1.50000000"},
        "ohmygpt": {"available": "0.00000000", "held": "0.25000000", "used": "0.00000000"},
    }
    assert body["days_left"] == pytest.approx(3, abs=0.01)
    assert (body["is_expired"], body["currency"]) == (False, "USD")
    assert body["expires_at"].endswith("Z")


def test_balance_of_an_account_that_never_expires(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    body = get(server, "/v1/balance").json()
    assert (body["expires_at"], body["days_left"], body["is_expired"]) == (None, None, False)


def test_a_receipt_tells_what_was_billed_and_is_ones_own(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    insert_user("bob", creditsNew=1)
    answer = post(server, chat("[[fake prompt_tokens=100 completion_tokens=7 cached_tokens=40]] x"))
    request_id = answer.headers["X-Request-Id"]
    body = get(server, f"/v1/requests/{request_id}").json()
    assert body["tokens"] == {"input": 60, "cache_write": 0, "cache_read": 40, "output": 7}
    assert body["cost"] == answer.headers["X-Credits-Cost"]
    assert body["price"]["output"] == "5.00000000"
    assert Decimal(body["hold"]) > Decimal(body["cost"])
    assert (body["usage_source"], body["balance"], body["outcome"]) == ("upstream", "openhands", "ok")
    for path, username in (
        (f"/v1/requests/{request_id}", "bob"),
        ("/v1/requests/req_unknown", "alice"),
        (f"/v1/requests/{ObjectId()}", "alice"),
    ):
        response = get(server, path, username=username)
        assert (response.status, response.json()["error"]["code"]) == (404, "not_found")


def test_a_receipt_of_the_replaced_system_can_be_read(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    key = ObjectId()
    collection_of(RequestLog).insert_one({"_id": key, "userId": "alice", "creditsCost": 0.5, "inputTokens": 3.0})
    body = get(server, f"/v1/requests/{key}").json()
    assert (body["cost"], body["balance"], body["tokens"]["input"]) == ("0.50000000", "ohmygpt", 3)


def test_usage_adds_up_by_day_and_by_model(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    logs = collection_of(RequestLog)
    for day, model, balance, cost in (
        (1, "a", "openhands", 0.1),
        (1, "a", "openhands", 0.2),
        (1, "b", None, 0.4),
        (2, "a", "ohmygpt", 0.8),
    ):
        entry = {"userId": "alice", "model": model, "creditsCost": cost, "inputTokens": 10, "outputTokens": 1.0}
        when = datetime(2026, 1, day, 23, 59, 59, tzinfo=UTC)
        logs.insert_one({"_id": ObjectId(), **entry, "createdAt": when, **({"creditType": balance} if balance else {})})
    logs.insert_one(
        {"_id": ObjectId(), "userId": "bob", "creditsCost": 5, "createdAt": datetime(2026, 1, 1, tzinfo=UTC)}
    )

    by_day = get(server, "/v1/usage?from=2026-01-01&to=2026-01-02").json()
    assert [(row["day"], row["balance"], row["requests"], row["cost"]) for row in by_day["data"]] == [
        ("2026-01-01", "ohmygpt", 1, "0.40000000"),
        ("2026-01-01", "openhands", 2, "0.30000000"),
        ("2026-01-02", "ohmygpt", 1, "0.80000000"),
    ]
    by_model = get(server, "/v1/usage?from=2026-01-01&to=2026-01-01&group=model").json()
    assert [(row["model"], row["tokens"]["input"]) for row in by_model["data"]] == [("a", 20), ("b", 10)]
    assert get(server, "/v1/usage").json()["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        "to=9999-12-31",
        "to=0001-01-05",
        "from=yesterday",
        "to=2026-13-01",
        "from=2026-02-01&to=2026-01-01",
        "from=2020-01-01&to=2026-01-01",
        "group=hour",
    ],
)
def test_a_bad_usage_query_is_explained(server: Server, insert_user: InsertUser, query: str) -> None:
    insert_user("alice")
    response = get(server, f"/v1/usage?{query}")
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/v1/balance", "/v1/usage", "/v1/requests/req_x"])
def test_what_is_private_needs_a_key(server: Server, path: str) -> None:
    response = server.http.request("GET", server.openhands + path)
    assert (response.status, response.json()["error"]["code"]) == (401, "invalid_api_key")


def rotate(server: Server, key: str) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {key}"}
    return server.http.request("POST", f"{server.ohmygpt}/v1/keys/rotate", headers=headers, timeout=20)


def test_a_rotated_key_stops_at_once_in_every_process(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    old = key_of("alice")
    response = rotate(server, old)
    new = response.json()["api_key"]
    assert response.headers["Cache-Control"] == "no-store"
    for _ in range(10):
        assert get(server, "/v1/balance", key=old).status == 401
        assert post(server, chat(), headers={"Authorization": f"Bearer {old}"}).status == 401
        assert get(server, "/v1/balance", key=new).status == 200
    assert post(server, chat(), headers={"Authorization": f"Bearer {new}"}).status == 200
    assert new not in str(collection_of(Account).find_one({"_id": "alice"}))


def test_of_many_rotations_with_one_key_one_succeeds(
    server: Server, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice")
    results = in_threads(8, lambda _: rotate(server, key_of("alice")))
    assert sorted(result.status for result in results) == [200] + [401] * 7
    (winner,) = [result.json()["api_key"] for result in results if result.status == 200]
    assert get(server, "/v1/balance", key=winner).status == 200


def test_hash_api_keys_keeps_every_key_valid(server: Server, insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    insert_user("bob", apiKey="")
    insert_user("carol", apiKey=key_of("dave"))
    insert_user("dave")
    out, err = StringIO(), StringIO()
    call_command("hash_api_keys", "--dry-run", stdout=out)
    assert out.getvalue() == "3 keys would be hashed\n"
    assert usersnew.find_one({"_id": "alice"})["apiKey"] == key_of("alice")
    with pytest.raises(CommandError):
        call_command("hash_api_keys", stdout=out, stderr=err)
    assert "another account has the same key" in err.getvalue()
    document = usersnew.find_one({"_id": "alice"})
    assert "apiKey" not in document
    assert document["apiKeyHash"] == hash_key(key_of("alice"))
    assert get(server, "/v1/balance").status == 200


def test_counting_tokens_is_free_and_logged(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice")
    body = chat()
    del body["max_tokens"]
    response = post(server, body, path=f"{MESSAGES}/count_tokens", headers={"anthropic-version": "2023-06-01"})
    assert response.status == 200
    assert response.json()["input_tokens"] > 0
    assert upstream.requests[-1].path == "/v1/messages/count_tokens"
    assert upstream.requests[-1].headers["anthropic-version"] == "2023-06-01"
    log = RequestLog.objects.get()
    assert (log.cost, log.outcome, log.endpoint) == (0, "ok", "/v1/messages/count_tokens")
    assert "X-RateLimit-Remaining" in response.headers
    assert_reconciles()
    for username, fields, status in ((None, {}, 401), ("alice", {"model": "unknown"}, 404)):
        refused = post(server, chat(**fields), path=f"{MESSAGES}/count_tokens", username=username)
        assert (refused.status, refused.json()["type"]) == (status, "error")
    failed = post(server, chat("[[fake status=500]]"), path=f"{MESSAGES}/count_tokens")
    assert (failed.status, failed.json()["error"]["code"]) == (502, "upstream_error")
    assert RequestLog.objects.count() == 2


@pytest.mark.parametrize(
    ("directive", "status", "code"),
    [("cut=1", 502, "upstream_error"), ("garbage", 502, "upstream_error"), ("stall=1", 504, "upstream_timeout")],
)
def test_a_token_count_that_breaks_off_is_no_count(
    impatient_server: Server, insert_user: InsertUser, directive: str, status: int, code: str
) -> None:
    insert_user("alice")
    response = post(impatient_server, chat(f"[[fake {directive}]] x"), path=f"{MESSAGES}/count_tokens")
    assert (response.status, response.json()["error"]["code"]) == (status, code)
    assert (RequestLog.objects.get().status_code, RequestLog.objects.get().outcome) == (status, code)
