"""Why a request was refused is kept for a while: for staff, and for the customer who asks with the request's id."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.api_keys import create_key
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.models import Balance
from proxy.billing.refused_requests import read_not_kept
from proxy.models import RefusalCount, RefusedRequest, RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.billing.test_round_trips import DRIVER_LOG, HOLD, RECORD, SETTLE, commands_of
from tests.proxy.requests import MODEL, assert_reconciles, chat, post
from tests.serving import Server

DEAR = chat(max_tokens=5000)


def kept(response: Any) -> RefusedRequest:
    """The record of a refused request, by the id that its answer had."""
    return RefusedRequest.objects.get(pk=response.headers["X-Request-Id"])


def told(server: Server, request_id: str, username: str = "alice") -> Any:
    url = f"{server.openhands}/v1/requests/{request_id}"
    headers = {"Authorization": f"Bearer {key_of(username)}"}
    return server.http.request("GET", url, headers=headers)


def test_a_402_tells_which_balance_was_short_and_what_held_it(server: Server, insert_user: InsertUser) -> None:
    hold = {"balance": "openhands", "amount": 2.5, "at": timezone.now()}
    other = {"balance": "ohmygpt", "amount": 1.0, "at": timezone.now()}
    insert_user("alice", creditsNew=0.001, credits=25, holds={"req_x": hold, "req_y": other})
    response = post(server, DEAR)
    error, found = response.json()["error"], kept(response)
    assert response.status == 402
    assert (found.user_id, found.code, found.status_code) == ("alice", "insufficient_credits", 402)
    assert (found.upstream, found.endpoint) == ("openhands", "/v1/chat/completions")
    assert str(found.model).startswith(MODEL)
    assert found.message == error["message"]
    assert (found.needed, found.available, found.held) == (Decimal(error["required"]), Decimal("0.001"), Decimal("2.5"))
    assert found.balances == {"openhands": "0.00100000", "ohmygpt": "25.00000000"}
    assert [(one["id"], one["amount"]) for one in found.holds] == [("req_x", "2.50000000")]
    assert found.holds_count == 1
    assert found.worst_case["output"] == 5000
    assert found.worst_case["price"]["output"]
    assert found.api_key_prefix.endswith("…")
    assert key_of("alice") not in str(connection.database["refused_requests"].find_one())
    assert timedelta(days=29) < found.expires_at - timezone.now() < timedelta(days=31)
    index = connection.database["refused_requests"].index_information()
    assert any(one.get("expireAfterSeconds") == 0 for one in index.values())


def test_the_customer_is_told_why_at_no_cost(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.001)
    insert_user("bob", creditsNew=1)
    response = post(server, DEAR)
    request_id = response.headers["X-Request-Id"]
    receipt = told(server, request_id).json()
    assert (receipt["outcome"], receipt["status"], receipt["cost"]) == ("refused", 402, "0.00000000")
    assert receipt["message"] == response.json()["error"]["message"]
    assert (receipt["required"], receipt["available"]) == (response.json()["error"]["required"], "0.00100000")
    assert told(server, request_id, "bob").status == 404
    assert_reconciles()


def refusals_of_all_kinds(insert_user: InsertUser) -> dict[str, tuple[str, int, str]]:
    """The key of a request that is refused, the status, and the code."""
    insert_user("late", creditsNew=5, expiresAt=timezone.now() - timedelta(hours=1))
    insert_user("gone", creditsNew=5, isActive=False)
    insert_user("seen", creditsNew=5, reviewSince=timezone.now())
    insert_user("busy", creditsNew=5, requestsPerMinute=0)
    insert_user("odd", creditsNew=5)
    connection.database["usersNew"].update_one({"_id": "odd"}, {"$set": {"creditsNew": "5"}})
    insert_user("keyed", creditsNew=5)
    budget = Limits(Budget(Decimal("0.0001"), BudgetPeriod.DAY))
    _, poor = create_key(username="keyed", name="poor", limits=budget)
    _, narrow = create_key(username="keyed", name="narrow", limits=Limits(upstreams=("ohmygpt",)))
    return {
        "late": (key_of("late"), 402, "credits_expired"),
        "gone": (key_of("gone"), 403, "account_disabled"),
        "seen": (key_of("seen"), 403, "account_under_review"),
        "busy": (key_of("busy"), 429, "rate_limit_exceeded"),
        "odd": (key_of("odd"), 403, "account_needs_repair"),
        "poor": (poor, 402, "key_budget_reached"),
        "narrow": (narrow, 403, "model_not_allowed"),
    }


def test_every_refusal_of_a_known_account_is_kept(server: Server, insert_user: InsertUser) -> None:
    for name, (key, status, code) in refusals_of_all_kinds(insert_user).items():
        response = post(server, DEAR, username=None, headers={"Authorization": f"Bearer {key}"})
        assert (response.status, response.json()["error"]["code"]) == (status, code), name
        found = kept(response)
        owner = "keyed" if name in ("poor", "narrow") else name
        assert (found.user_id, found.status_code, found.code) == (owner, status, code)
        assert found.message == response.json()["error"]["message"]
    assert kept(post(server, DEAR, username="odd")).balances == {"openhands": None, "ohmygpt": "0.00000000"}
    free = server.http.request(
        "GET", f"{server.openhands}/v1/balance", headers={"Authorization": f"Bearer {key_of('gone')}"}
    )
    assert free.status == 403
    assert (kept(free).user_id, kept(free).endpoint, kept(free).model) == ("gone", "/v1/balance", None)
    before = RefusedRequest.objects.count()
    assert post(server, DEAR, username="nobody").status == 401
    assert post(server, chat(model="no-such-model"), username="keyed").status == 404
    assert RefusedRequest.objects.count() == before
    assert not RequestLog.objects.exists()


def test_a_text_that_cannot_be_stored_is_kept_all_the_same(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    _, key = create_key(username="alice", name="narrow", limits=Limits(models=("other",)))
    headers = {"Authorization": f"Bearer {key}"}
    response = post(server, chat(), username=None, headers=headers, path="/v1/chat/completions?x=%ED%A0%80")
    assert response.status == 403
    assert kept(response).code == "model_not_allowed"


def test_a_flood_is_counted_and_not_kept(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.001)
    insert_user("bob", creditsNew=0.001)
    limits = {"REFUSALS_KEPT_PER_MINUTE": "3", "REFUSALS_KEPT_PER_DAY": "4", "REFUSALS_PER_MINUTE": "12"}
    server = serve_with(GUNICORN_WORKERS="1", **limits)
    statuses = [post(server, DEAR).status for _ in range(20)]
    assert statuses == [402] * 12 + [429] * 8
    assert RefusedRequest.objects.filter(user_id="alice").count() == 3
    today = datetime.now(UTC).date()
    assert read_not_kept("alice", first=today, last=today) == {today: 9}
    # Another minute, and the day's bound. What was refused without the database is told with the next one.
    connection.database["refusal_counts"].update_many({}, {"$inc": {"minute": -1}})
    _, key = create_key(username="alice", name="another")
    for _ in range(3):
        assert post(server, DEAR, username=None, headers={"Authorization": f"Bearer {key}"}).status == 402
    assert RefusedRequest.objects.filter(user_id="alice").count() == 4
    assert read_not_kept("alice", first=today - timedelta(days=9), last=today) == {today: 11}
    assert kept(post(server, DEAR, username="bob")).user_id == "bob"
    assert RefusalCount.objects.get(pk=f"{today.isoformat()}:bob").kept == 1


def test_many_processes_keep_no_more_together(serve_with: ServeWith, insert_user: InsertUser, in_threads: Any) -> None:
    insert_user("alice", creditsNew=0.001)
    server = serve_with(GUNICORN_WORKERS="2", REFUSALS_KEPT_PER_DAY="5", REFUSALS_KEPT_PER_MINUTE="50")
    assert in_threads(4, lambda _: [post(server, DEAR).status for _ in range(5)]) == [[402] * 5] * 4
    assert RefusedRequest.objects.count() == 5
    today = datetime.now(UTC).date()
    assert sum(read_not_kept("alice", first=today - timedelta(days=1), last=today).values()) == 15


def test_an_accepted_request_writes_nothing_of_it(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1", PRICE_CACHE_SECONDS="600", PROCESS_SILENT_SECONDS="3600", **DRIVER_LOG)
    assert post(server, chat()).status == 200
    before = len(commands_of(server.log()))
    assert post(server, chat()).status == 200
    assert commands_of(server.log())[before:] == [HOLD, RECORD, SETTLE]
    before = len(commands_of(server.log()))
    assert post(server, chat(max_tokens=8192, n=50)).status == 402
    assert commands_of(server.log())[before + 1 :] == [
        ("find", "usersNew"),
        ("update", "refusals"),
        ("findAndModify", "refusal_counts"),
        ("insert", "refused_requests"),
    ]


def test_a_refusal_is_answered_when_it_cannot_be_kept(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.001)
    connection.database.command("collMod", "refused_requests", validator={"userId": {"$ne": "alice"}})
    try:
        response = post(server, DEAR)
    finally:
        connection.database.command("collMod", "refused_requests", validator={})
    assert response.status == 402
    assert not RefusedRequest.objects.exists()
    assert told(server, response.headers["X-Request-Id"]).status == 404
    assert Balance.OPENHANDS.value in response.json()["error"]["balance_name"]
