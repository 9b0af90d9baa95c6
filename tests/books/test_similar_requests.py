""" "Charged twice": whether requests of the same minute are one that was retried, or two; in data and in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from books.similar_requests import Likeness, read_similar
from proxy.models import RequestLog
from tests.pages import page
from tests.support.admin.test_refusals import refusal

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
FIRST = "req_" + "11" * 16


def add(request_id: str, seconds: float = 0, **fields: Any) -> str:
    """A request that took two seconds and cost 2 cents."""
    document = {
        "_id": request_id,
        "userId": "alice",
        "creditType": "openhands",
        "endpoint": "/v1/chat/completions",
        "model": "haiku",
        "inputTokens": 1200,
        "outputTokens": 50,
        "creditsCost": 0.02,
        "statusCode": 200,
        "isSuccess": True,
        "outcome": "ok",
        "latencyMs": 2000,
        "createdAt": AT + timedelta(seconds=seconds),
    }
    connection.database["request_logs"].insert_one(document | fields)
    return request_id


def with_key(request_id: str, body: str) -> None:
    connection.database["idempotent_requests"].insert_one(
        {"_id": request_id, "requestId": request_id, "bodySha256": body, "createdAt": AT, "expiresAt": AT}
    )


def likenesses(request_id: str = FIRST) -> list[Likeness]:
    return [row.likeness for row in read_similar(RequestLog.objects.get(pk=request_id)).rows]


def told(client: Client, request_id: str = FIRST) -> str:
    return page(client, f"/admin/proxy/requestlog/{request_id.replace('_', '_5F')}/change/")


def test_a_request_alone_was_charged_once(admin_client: Client, db: None) -> None:
    add(FIRST)
    add("req_other_model", 5, model="opus")
    add("req_other_endpoint", 5, endpoint="/v1/messages")
    add("req_other_account", 5, userId="bob")
    add("req_later", 61)
    assert likenesses() == []
    text = told(admin_client)
    assert "No other request of this account to this model and endpoint came within a minute of it." in text
    assert "It was charged once." in text


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        ({"outcome": "client_disconnected"}, 30),
        ({"latencyMs": 20_000}, 10),
        ({"isSuccess": False, "outcome": "upstream_timeout"}, 5),
    ],
)
def test_one_request_that_the_client_retried(
    admin_client: Client, db: None, first: dict[str, Any], seconds: int
) -> None:
    add(FIRST, **first)
    second = add("req_" + "22" * 16, seconds)
    assert likenesses(FIRST) == likenesses(second) == [Likeness.RETRY]
    for text in (told(admin_client), told(admin_client, second)):
        assert "One request, sent twice by the client: each sending was answered and charged, $0.04 together." in text
        assert "Without an Idempotency-Key each sending is a request of its own, and is billed." in text


def test_a_retry_of_what_failed_at_no_cost_was_charged_once(admin_client: Client, db: None) -> None:
    add(FIRST, isSuccess=False, statusCode=502, creditsCost=0, inputTokens=0, outputTokens=0, outcome="upstream_error")
    second = add("req_" + "22" * 16, 3)
    for request_id in (FIRST, second):
        assert "It was sent twice, and charged once." in told(admin_client, request_id)


def test_the_same_asked_again_after_the_answer(admin_client: Client, db: None) -> None:
    add(FIRST)
    add("req_" + "22" * 16, 20)
    assert likenesses() == [Likeness.REPEAT]
    text = told(admin_client)
    assert "2 requests of this minute look the same, and each was charged: $0.04 together." in text
    assert "Equal numbers of tokens do not prove that the texts were equal" in text


def test_two_different_requests(admin_client: Client, db: None) -> None:
    add(FIRST)
    add("req_" + "22" * 16, 20, inputTokens=1240)
    assert likenesses() == [Likeness.DIFFERENT]
    text = told(admin_client)
    assert "Nothing in the same minute is this request once more: their inputs are different." in text
    assert "20.0 s later" in text


def test_idempotency_keys_decide(admin_client: Client, db: None) -> None:
    add(FIRST)
    second = add("req_" + "22" * 16, 1)
    with_key(FIRST, "same")
    with_key(second, "same")
    assert likenesses() == [Likeness.TWO_KEYS]
    assert "2 requests under idempotency keys of their own, with the same body: $0.04 together." in told(admin_client)
    assert "retries with it were answered free, and not logged" in told(admin_client)
    connection.database["idempotent_requests"].update_one({"_id": second}, {"$set": {"bodySha256": "other"}})
    assert likenesses() == [Likeness.DIFFERENT]


def test_refusals_of_the_minute_stand_beside_it(admin_client: Client, db: None) -> None:
    add(FIRST)
    refused = refusal("req_" + "33" * 16, model="haiku", createdAt=AT + timedelta(seconds=9))
    connection.database["refused_requests"].insert_one(refused)
    assert "Refused in the same minute, at no cost: req_333333333333…" in told(admin_client)


def test_odd_and_many_requests_do_no_harm(admin_client: Client, db: None) -> None:
    connection.database["request_logs"].insert_one({"_id": "req_bare"})
    add("req_odd", latencyMs="long", outcome=5, creditsCost="a lot", statusCode="ok")
    add("req_odd_too", 1, inputTokens="many", isSuccess=3)
    assert told(admin_client, "req_bare")
    assert told(admin_client, "req_odd")
    add(FIRST, 100)
    for index in range(30):
        add(f"req_{index:032d}", 100 + index)
    found = read_similar(RequestLog.objects.get(pk=FIRST))
    assert (len(found.rows), found.is_cut) == (20, True)
    assert "There are more in this minute; the nearest are shown." in told(admin_client)
