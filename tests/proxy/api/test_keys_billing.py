"""Keys with limits over HTTP: what they pay, what they are refused, and that a budget is hard there too."""

import json
from decimal import Decimal
from typing import Any

import pytest
import urllib3
from django.db import connection

from accounts.api_keys import create_key, set_key_disabled, update_key
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.models import Account
from proxy.models import RequestLog
from tests.factories import InsertUser, InThreads
from tests.proxy.requests import CHAT, MESSAGES, MODEL, assert_reconciles, chat, post
from tests.serving import Server

OUTPUT_PRICE, INPUT_PRICE = Decimal("5.25") / 10**6, Decimal("1.3125") / 10**6
COUNT = "/v1/messages/count_tokens"


def ask(server: Server, key: str, body: object = None, path: str = CHAT, **options: Any) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {key}"}
    return post(server, body or chat(), username=None, path=path, headers=headers, **options)


def spent_by(key_id: str) -> Decimal:
    account: Any = connection.database["usersNew"].find_one({"_id": "alice"})  # type: ignore[attr-defined]
    return Decimal(str(next(entry["spent"] for entry in account["keys"].values() if entry["id"] == key_id)))


def error_of(response: urllib3.BaseHTTPResponse) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status, error["code"], error["message"]


def test_a_budget_of_a_dollar_under_200_parallel_requests_is_never_exceeded(
    server: Server, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", creditsNew=100.0, concurrentRequests=1000, requestsPerMinute=100_000)
    budget = Budget(Decimal(1), BudgetPeriod.MONTH)
    key, secret = create_key(username="alice", name="ci", limits=Limits(budget=budget))
    body = chat("[[fake delay=0.2 completion_tokens=9000]] hi", max_tokens=10_000)
    body["max_tokens"] = int((Decimal("0.10") - -(-len(json.dumps(body)) // 2) * INPUT_PRICE) / OUTPUT_PRICE)
    highest: list[Decimal] = []

    def call(_: int) -> int:
        response = ask(server, secret, body, timeout=120)
        highest.append(spent_by(key.key_id))
        if response.status != 200:
            assert error_of(response)[:2] == (402, "key_budget_reached")
        return response.status

    statuses = in_threads(200, call)
    assert set(statuses) == {200, 402}
    assert max(highest) <= 1
    logs = list(RequestLog.objects.all())
    cost = sum(log.cost for log in logs)
    assert Decimal("0.5") < cost <= 1
    assert {log.key_id for log in logs} == {key.key_id}
    assert spent_by(key.key_id) == cost == 100 - Account.objects.get(pk="alice").credits_new
    assert_reconciles()


def test_refusals_say_what_to_do_in_both_shapes(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5.0, credits=5.0)
    limits = Limits(Budget(Decimal("0.0001"), BudgetPeriod.DAY), models=("other",), upstreams=("openhands",))
    key, secret = create_key(username="alice", name="ci", limits=limits)
    for path in (CHAT, MESSAGES, COUNT):
        response = ask(server, secret, path=path)
        status, code, message = error_of(response)
        assert (status, code) == (403, "model_not_allowed")
        assert "other" in message
        assert ("type" in response.json()) is (path != CHAT)
    assert error_of(ask(server, secret, base=server.ohmygpt))[:2] == (403, "model_not_allowed")

    update_key(username="alice", wanted_id=key.key_id, models=(MODEL,))
    for path in (CHAT, MESSAGES):
        response = ask(server, secret, path=path)
        status, code, message = error_of(response)
        assert (status, code, response.headers["X-Should-Retry"]) == (402, "key_budget_reached", "false")
        assert "budget of $0.0001 a day" in message
        assert "begins anew at" in message
        assert response.json()["error"]["begins_anew_at"].endswith("T00:00:00Z")
    assert ask(server, secret, path=COUNT).status == 200

    set_key_disabled(username="alice", wanted_id=key.key_id, is_disabled=True)
    for path in (CHAT, MESSAGES, COUNT):
        assert error_of(ask(server, secret, path=path))[:2] == (401, "key_disabled")
    for path in ("/v1/balance", "/v1/models"):
        response = server.http.request("GET", server.openhands + path, headers={"x-api-key": secret})
        assert error_of(response)[:2] == (401, "key_disabled")
    history = server.http.request("GET", f"{server.site}/api/payment/history", headers={"x-api-key": secret})
    assert (history.status, history.json()["code"]) == (401, "key_disabled")
    assert_reconciles()


def test_a_budget_that_is_only_held_says_when_to_retry(
    server: Server, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", creditsNew=5.0)
    limits = Limits(Budget(Decimal("0.01"), BudgetPeriod.DAY))
    _, secret = create_key(username="alice", name="ci", limits=limits)
    body = chat("[[fake delay=1.5 completion_tokens=3]] hi", max_tokens=1700)

    responses = in_threads(2, lambda _: ask(server, secret, body))
    (refused,) = [response for response in responses if response.status != 200]
    status, code, message = error_of(refused)
    assert (status, code) == (402, "key_budget_reached")
    assert "Try again when they have finished" in message
    assert int(refused.headers["Retry-After"]) > 0
    assert ask(server, secret, body).status == 200
    assert_reconciles()


@pytest.mark.parametrize("limits", [Limits(models=("claude-haiku-4-5-20251001",)), Limits(models=(MODEL,))])
def test_a_model_is_allowed_by_either_of_its_names(server: Server, insert_user: InsertUser, limits: Limits) -> None:
    insert_user("alice", creditsNew=5.0)
    _, secret = create_key(username="alice", name="ci", limits=limits)
    assert ask(server, secret).status == 200
