"""Refused requests in the admin: the list, the search, and the page that says why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.factories import InsertUser
from tests.pages import page, text_of

REFUSALS = "/admin/proxy/refusedrequest/"
REQUESTS = "/admin/proxy/requestlog/"
ID = "req_" + "ab12" * 8
OTHER = "req_" + "ab99" * 8


def refusal(request_id: str = ID, **fields: Any) -> dict[str, Any]:
    """A document as `proxy/billing/refused_requests.py` writes it."""
    return {
        "_id": request_id,
        "userId": "alice",
        "createdAt": timezone.now(),
        "upstream": "openhands",
        "endpoint": "/v1/chat/completions",
        "model": "claude-haiku-4-5",
        "code": "insufficient_credits",
        "statusCode": 402,
        "message": "insufficient credits for request. Cost: $0.08, Balance: $0.03.",
        "needed": 0.0755,
        "available": 0.02,
        "held": 0.01,
        "worstCase": {
            "input": 100,
            "output": 5000,
            "choices": 1,
            "isLimited": True,
            "text": "the most that this request can come to: 100 input tokens and 5,000 output tokens",
            "limit": 5000,
            "price": {"input": "1", "output": "5", "multiplier": "1.1"},
        },
        "balances": {"openhands": "0.02000000", "ohmygpt": "25.00000000"},
        "holds": [{"id": "req_holder", "amount": "0.01000000", "since": "2026-11-27T10:00:00.123000+00:00"}],
        "holdsCount": 1,
        "apiKeyPrefix": "sk-trollllm-616c…",
        "expiresAt": timezone.now() + timedelta(days=30),
        **fields,
    }


@pytest.fixture
def refusals(db: None, insert_user: InsertUser) -> Any:
    insert_user("alice", creditsNew=0.02, credits=25, holds={"req_runs": {"balance": "openhands", "amount": 0.01}})
    collection = connection.database["refused_requests"]
    collection.insert_many(
        [
            refusal(),
            refusal(
                OTHER,
                code="rate_limit_exceeded",
                statusCode=429,
                upstream="ohmygpt",
                model=None,
                worstCase=None,
                needed=None,
                holds=[],
                holdsCount=0,
                createdAt=timezone.now() - timedelta(days=2),
            ),
            refusal("req_" + "cd00" * 8, userId="bob"),
        ]
    )
    return collection


def test_the_page_says_in_words_why(admin_client: Client, refusals: Any) -> None:
    connection.database["request_logs"].insert_one(
        {"_id": "req_holder", "userId": "alice", "creditsCost": 0.004, "createdAt": timezone.now()}
    )
    text = page(admin_client, f"{REFUSALS}{ID.replace('_', '_5F')}/change/")
    for words in (
        "The OpenHands balance was short by $0.0555: the request needed $0.0755, and $0.02 of that balance was "
        "available.",
        "Another $0.01 of it was held by 1 request that ran then; even with that it would have been too little.",
        "The OhMyGPT balance had $25.00 then, which pays for OhMyGPT requests only.",
        "the most that this request can come to: 100 input tokens and 5,000 output tokens",
        "The client set its output limit to 5,000 tokens.",
        "$1.00 for a million input tokens and $5.00 for a million output tokens, times 1.1;",
        "It was not forwarded, and cost nothing.",
        "cost $0.004, the rest was given back",
        "insufficient credits for request. Cost: $0.08",
    ):
        assert words in text


def test_what_is_not_known_is_not_claimed(admin_client: Client, refusals: Any) -> None:
    refusals.update_one({"_id": ID}, {"$set": {"balances": {"openhands": None, "ohmygpt": None}, "available": None}})
    text = page(admin_client, f"{REFUSALS}{ID.replace('_', '_5F')}/change/")
    assert "What the OhMyGPT balance had cannot be read." in text
    assert "ended, and left no record" in text
    text = page(admin_client, f"{REFUSALS}{OTHER.replace('_', '_5F')}/change/")
    assert "Too many requests." in text
    assert "It was refused before its body was read, so its model is not known." in text
    refusals.update_one({"_id": OTHER}, {"$set": {"code": "credits_expired"}})
    text = page(admin_client, f"{REFUSALS}{OTHER.replace('_', '_5F')}/change/")
    expired = "The account had $0.02 OpenHands and $25.00 OhMyGPT credits then, all of which had expired"
    assert expired in text
    refusals.insert_one({"_id": "req_bare", "userId": "alice", "upstream": "openhands", "code": "new_code"})
    assert "new_code" in page(admin_client, f"{REFUSALS}req_5Fbare/change/")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "Alice"}, [ID, OTHER]),
        ({"q": ID}, [ID]),
        ({"q": "REQ_AB12ab12…"}, [ID]),
        ({"q": "req_ab"}, [ID, OTHER]),
        ({"q": "alice", "code": "rate_limit_exceeded"}, [OTHER]),
        ({"upstream": "ohmygpt"}, [OTHER]),
        ({"q": "alice", "model": "claude-haiku-4-5"}, [ID]),
        ({"q": "alice", "created_at_from": f"{datetime.now(UTC):%Y-%m-%d}"}, [ID]),
        ({"q": "zoe"}, []),
    ],
)
def test_search_and_filters(admin_client: Client, refusals: Any, query: dict[str, str], found: list[str]) -> None:
    response = admin_client.get(REFUSALS, query)
    assert [one.pk for one in response.context["cl"].result_list] == found


def test_how_many_were_not_kept_is_said(admin_client: Client, refusals: Any) -> None:
    assert "Search for an account to see how many" in page(admin_client, REFUSALS)
    assert "Of alice none were left out." in page(admin_client, f"{REFUSALS}?q=alice")
    today = datetime.now(UTC).date().isoformat()
    connection.database["refusal_counts"].insert_one({"_id": f"{today}:alice", "kept": 10, "notKept": 71})
    assert "At least 71 more refusals of alice were only counted." in page(admin_client, f"{REFUSALS}?q=alice")


def test_the_search_of_requests_finds_a_refusal(admin_client: Client, refusals: Any) -> None:
    for text in (ID, ID[:12], f" {ID[:14].upper()}… "):
        response = admin_client.get(REQUESTS, {"q": text}, follow=True)
        assert response.redirect_chain == [(f"{REFUSALS}{ID.replace('_', '_5F')}/change/", 302)], text
        assert "Why this request was refused" in text_of(response)
    response = admin_client.get(REQUESTS, {"q": "req_ab"}, follow=True)
    assert response.redirect_chain == [(f"{REFUSALS}?q=req_ab", 302)]
    assert admin_client.get(REQUESTS, {"q": "req_zz"}).status_code == 200


def test_refusals_cannot_be_changed(admin_client: Client, refusals: Any) -> None:
    address = f"{REFUSALS}{ID.replace('_', '_5F')}"
    assert admin_client.post(f"{address}/change/", {"code": "x"}).status_code == 403
    assert admin_client.post(f"{address}/delete/", {"post": "yes"}).status_code == 403
