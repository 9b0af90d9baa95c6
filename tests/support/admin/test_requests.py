"""The request log and the price list of the admin, on documents as they really occur."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from proxy.models import ModelPrice
from tests.conftest import key_of
from tests.pages import page, save, text_of

LOGS = "/admin/proxy/requestlog/"
PRICES = "/admin/proxy/modelprice/"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
OLD_LOG = ObjectId("65a000000000000000000001")


@pytest.fixture
def logs(db: None) -> Any:
    """A request of ours, one of the replaced system (ObjectId key, a full API key in it), and an empty document."""
    collection = connection.database["request_logs"]
    collection.insert_many(
        [
            {
                "_id": "req-1",
                "userId": "alice",
                "apiKeyPrefix": "sk-trollllm-616c…",
                "creditType": "openhands",
                "model": "claude-sonnet-4-5",
                "inputTokens": Int64(1200),
                "cacheHitTokens": 300,
                "cacheWriteTokens": 0,
                "outputTokens": 50,
                "creditsCost": 0.00435,
                "uncollected": 0.5,
                "hold": 0.2,
                "price": {"input": "3", "output": "14"},
                "usageSource": "upstream",
                "statusCode": 200,
                "isSuccess": True,
                "latencyMs": 1500,
                "createdAt": NOW,
            },
            {
                "_id": OLD_LOG,
                "userId": "bob",
                "userKeyId": key_of("bob"),
                "model": "claude-opus",
                "inputTokens": 100.0,
                "creditsCost": Decimal128("0.25"),
                "statusCode": 502,
                "isSuccess": False,
                "latencyMs": 12,
                "createdAt": NOW,
            },
            {"_id": ObjectId("65a000000000000000000002")},
        ]
    )
    return collection


@pytest.fixture
def prices(db: None) -> Iterator[Any]:
    collection = connection.database["model_pricing"]
    kept = list(collection.find())  # The prices that other tests share.
    collection.delete_many({})
    collection.insert_many(
        [
            {"_id": "old", "modelId": "gpt-old", "inputPricePerMTok": 5, "outputPricePerMTok": Decimal128("25")},
            {
                "_id": "openhands:sonnet",
                "modelId": "sonnet",
                "upstream": "openhands",
                "inputPricePerMTok": 3.0,
                "outputPricePerMTok": Int64(14),
                "cacheHitPricePerMTok": 0.3,
                "multiplier": 1.02,
                "isActive": False,
                "aliases": ["claude-sonnet"],
                "kept": {"unknown": True},
            },
        ]
    )
    yield collection
    collection.delete_many({})
    if kept:
        collection.insert_many(kept)


def price_form(**fields: Any) -> dict[str, Any]:
    return {
        "model_id": "haiku",
        "upstream": "ohmygpt",
        "aliases": "[]",
        "input_price": "1",
        "output_price": "5",
        "multiplier": "1.15",
        "is_active": "on",
        "reason": "asked",
        **fields,
    }


def test_list_of_requests(admin_client: Client, logs: Any) -> None:
    text = page(admin_client, LOGS)
    for shown in ("1,500", "$0.00435", "$0.25", "$0.50", "claude-opus", "1.5 s", "502", "OpenHands", "OhMyGPT"):
        assert shown in text
    assert "3 request logs" in text


@pytest.mark.parametrize("key", ["req-1", str(OLD_LOG), "65a000000000000000000002"])
def test_page_of_every_request(admin_client: Client, logs: Any, key: str) -> None:
    response = admin_client.get(f"{LOGS}{key.replace('_', '_5F')}/change/")
    assert response.status_code == 200
    assert key in text_of(response)
    assert key_of("bob") not in response.content.decode()


def test_page_of_a_request_shows_the_price_it_was_billed_at(admin_client: Client, logs: Any) -> None:
    text = page(admin_client, f"{LOGS}req-1/change/")
    assert "&quot;output&quot;: &quot;14&quot;" in text
    assert "Reported by the upstream" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "Alice"}, ["req-1"]),
        ({"q": "req-1"}, ["req-1"]),
        ({"q": str(OLD_LOG)}, [str(OLD_LOG)]),
        ({"q": "zoe"}, []),
        ({"result": "failed"}, [str(OLD_LOG)]),
        ({"result": "ok"}, ["req-1"]),
        ({"upstream": "openhands"}, ["req-1"]),
        ({"upstream": "ohmygpt"}, [str(OLD_LOG), "65a000000000000000000002"]),
        ({"upstream": "ohmygpt", "model": "claude-opus"}, [str(OLD_LOG)]),
        ({"upstream": "openhands", "model": "claude-opus"}, []),
        ({"model": "claude-opus"}, [str(OLD_LOG)]),
    ],
)
def test_search_and_filters_of_requests(
    admin_client: Client, logs: Any, query: dict[str, str], found: list[str]
) -> None:
    response = admin_client.get(LOGS, query)
    assert [log.pk for log in response.context["cl"].result_list] == found


def test_requests_cannot_be_changed(admin_client: Client, logs: Any) -> None:
    assert admin_client.post(f"{LOGS}req-1/change/", {"cost": "0"}).status_code == 403
    assert admin_client.post(f"{LOGS}req-1/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{LOGS}add/").status_code == 403


def test_list_and_pages_of_prices(admin_client: Client, prices: Any) -> None:
    text = page(admin_client, PRICES)
    for shown in ("gpt-old", "Both", "$25.00", "$14.00", "$0.30", "× 1.02", "Inactive"):
        assert shown in text
    for key in ("old", "openhands_3Asonnet"):
        assert "USD per million tokens" in page(admin_client, f"{PRICES}{key}/change/")


def test_a_price_change_keeps_everything_else(admin_client: Client, prices: Any) -> None:
    before = prices.find_one({"_id": "openhands:sonnet"})
    form = price_form(
        input_price="3.00000000",
        output_price="15.5",
        cache_read_price="0.30000000",
        multiplier="1.02000000",
        aliases='["claude-sonnet"]',
        model_id="other",
        upstream="ohmygpt",
    )
    del form["is_active"]
    response = save(admin_client, f"{PRICES}openhands_3Asonnet/change/", form)
    assert response.status_code == 302, text_of(response)
    after = prices.find_one({"_id": "openhands:sonnet"})
    assert after.pop("updatedAt")
    assert after == {**before, "outputPricePerMTok": 15.5}


def test_a_new_price(admin_client: Client, prices: Any) -> None:
    assert save(admin_client, f"{PRICES}add/", price_form()).status_code == 302
    price = ModelPrice.objects.get(pk="ohmygpt:haiku")
    assert (price.input_price, price.output_price, price.multiplier) == (1, 5, Decimal("1.15"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_price": "-1"}, "greater than or equal to 0"),
        ({"input_price": "NaN"}, "Enter a number"),
        ({"output_price": "1e400"}, "digits"),
        ({"multiplier": "-0.5"}, "greater than or equal to 0"),
        ({"max_output_tokens": "0"}, "greater than or equal to 1"),
        ({"aliases": '{"a": 1}'}, "list of names"),
        ({"aliases": "[1]"}, "list of names"),
        ({"model_id": "sonnet", "upstream": "openhands"}, "There is a price row for sonnet on this upstream"),
        ({"model_id": "gpt-old", "upstream": ""}, "There is a price row for gpt-old on this upstream"),
    ],
)
def test_a_wrong_price_is_refused_in_words(
    admin_client: Client, prices: Any, fields: dict[str, str], message: str
) -> None:
    response = save(admin_client, f"{PRICES}add/", price_form(**fields))
    assert response.status_code == 200
    assert message in text_of(response)
    assert prices.count_documents({}) == 2


def test_prices_need_the_permission(client: Client, prices: Any) -> None:
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_modelprice"))
    client.force_login(viewer)
    assert "gpt-old" in page(client, PRICES)
    assert client.post(f"{PRICES}old/change/", price_form(output_price="0")).status_code == 403
    assert client.post(f"{PRICES}add/", price_form()).status_code == 403
    assert client.post(f"{PRICES}old/delete/", {"post": "yes"}).status_code == 403
    assert prices.find_one({"_id": "old"})["outputPricePerMTok"] == Decimal128("25")
