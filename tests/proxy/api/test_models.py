"""The list of models, in the shape of who asks. By the official SDKs and over raw sockets."""

from datetime import UTC, datetime
from typing import Any

import pytest
import urllib3

from mongo.collections import collection_of
from proxy.models import ModelPrice
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import chat, post
from tests.serving import Server

VERSION = {"anthropic-version": "2023-06-01"}
ROWS: list[dict[str, Any]] = [
    {
        "_id": "vendor",
        "modelId": "vendor/family/model-1",
        "aliases": ["model-one", "alias/with-slash"],
        "displayName": "Model One",
        "inputPricePerMTok": 3,
        "outputPricePerMTok": 15,
        "cacheWritePricePerMTok": 3.75,
        "cacheHitPricePerMTok": 0.3,
        "multiplier": 2,
        "maxOutputTokens": 64_000,
        "tiers": [{"above": 200_000, "input": "6", "output": "22.5"}],
        "createdAt": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    },
    {"_id": "embedding", "modelId": "embedder", "inputPricePerMTok": 0.02, "outputPricePerMTok": 0},
    {"_id": "other", "modelId": "elsewhere", "inputPricePerMTok": 1, "outputPricePerMTok": 1, "upstream": "ohmygpt"},
    {"_id": "off", "modelId": "gone", "inputPricePerMTok": 1, "outputPricePerMTok": 1, "isActive": False},
    {"_id": "damaged", "modelId": "damaged", "inputPricePerMTok": "1", "outputPricePerMTok": 1},
    {
        "_id": "odd name",
        "modelId": "shown-as-nothing",
        "inputPricePerMTok": 1,
        "outputPricePerMTok": 1,
        "displayName": 5,
    },
]
NAMES = ["alias/with-slash", "embedder", "model-one", "shown-as-nothing", "vendor/family/model-1"]


@pytest.fixture
def shop(serve_with: ServeWith, insert_user: InsertUser) -> Server:
    """A server whose price rows are these; the first port is OpenHands."""
    insert_user("alice", creditsNew=1)
    collection = collection_of(ModelPrice)
    collection.delete_many({})
    collection.insert_many(ROWS)
    return serve_with(GUNICORN_WORKERS="1")


def get(server: Server, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    sent = {"Authorization": f"Bearer {key_of('alice')}", **headers}
    return server.http.request("GET", server.openhands + path, headers=sent, timeout=20)


def test_both_sdks_list_and_retrieve_every_model(shop: Server) -> None:
    with sdks.openai.OpenAI(base_url=f"{shop.openhands}/v1", api_key=key_of("alice"), max_retries=0) as client:
        models = list(client.models.list())
        assert [model.id for model in models] == NAMES
        assert {model.object for model in models} == {"model"}
        for name in NAMES:
            assert client.models.retrieve(name).id == name
        assert client.models.retrieve("model-one").created == 1767323045
        with pytest.raises(sdks.openai.NotFoundError) as missing:
            client.models.retrieve("gone")
        assert missing.value.code == "model_not_found"
    with sdks.anthropic.Anthropic(base_url=shop.openhands, api_key=key_of("alice"), max_retries=0) as anthropic:
        for size in (1, 2, 3, 5, 1000):
            assert [model.id for model in anthropic.models.list(limit=size)] == NAMES
        first = anthropic.models.list(limit=2)
        assert (first.has_more, first.first_id, first.last_id) == (True, NAMES[0], NAMES[1])
        before = anthropic.models.list(limit=2, before_id=NAMES[4])
        assert ([model.id for model in before.data], before.has_more) == (NAMES[2:4], True)
        found = anthropic.models.retrieve("vendor/family/model-1")
        assert (found.type, found.id, found.display_name) == ("model", "vendor/family/model-1", "Model One")
        assert found.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        nameless = anthropic.models.retrieve("shown-as-nothing")
        assert (nameless.display_name, nameless.created_at.year) == ("shown-as-nothing", 1970)
        with pytest.raises(sdks.anthropic.NotFoundError):
            anthropic.models.retrieve("elsewhere")


def test_a_model_is_found_however_its_slashes_are_written(shop: Server) -> None:
    for path in (
        "vendor/family/model-1",
        "vendor%2Ffamily%2Fmodel-1",
        "vendor%2ffamily/model-1/",
        "alias%2Fwith-slash",
    ):
        for before in ("/v1/models/", "/models/", "/v1/v1/models/"):
            assert get(shop, before + path).status == 200, before + path
    for name in ("elsewhere", "gone", "damaged", "vendor", "VENDOR/family/model-1", "x%00y"):
        ours, theirs = get(shop, f"/v1/models/{name}"), get(shop, f"/v1/models/{name}", **VERSION)
        assert (ours.status, ours.json()["error"]["code"]) == (404, "model_not_found")
        assert (theirs.status, theirs.json()["error"]["type"]) == (404, "not_found_error")
    assert post(shop, chat(model="alias/with-slash")).status == 200


def test_pages_in_both_directions(shop: Server) -> None:
    pages: list[tuple[str, list[str], bool]] = [
        ("", NAMES, False),
        ("limit=4", NAMES[:4], True),
        ("limit=5", NAMES, False),
        (f"after_id={NAMES[1]}&limit=2", NAMES[2:4], True),
        (f"after_id={NAMES[2]}&limit=2", NAMES[3:], False),
        (f"after_id={NAMES[4]}", [], False),
        (f"before_id={NAMES[2]}&limit=2", NAMES[:2], False),
        (f"before_id={NAMES[0]}", [], False),
    ]
    for query, ids, has_more in pages:
        body = get(shop, f"/v1/models?{query}", **VERSION).json()
        assert ([model["id"] for model in body["data"]], body["has_more"]) == (ids, has_more), query
        assert (body["first_id"], body["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    for wrong in ("limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "after_id=nobody", "before_id=gone"):
        response = get(shop, f"/v1/models?{wrong}", **VERSION)
        assert (response.status, response.json()["error"]["type"]) == (400, "invalid_request_error"), wrong
    assert get(shop, f"/v1/models?after_id={NAMES[0]}&before_id={NAMES[1]}", **VERSION).status == 400
    assert get(shop, f"/v1/models?{'x&' * 1500}", **VERSION).status == 200


def test_model_info_has_our_prices_as_litellms_clients_read_them(shop: Server) -> None:
    for path in ("/v1/model/info", "/model/info"):
        entries = {entry["model_name"]: entry for entry in get(shop, path).json()["data"]}
        assert sorted(entries) == NAMES
    info = entries["model-one"]["model_info"]
    assert entries["model-one"]["litellm_params"] == {"model": "vendor/family/model-1"}
    assert info == {
        "id": "model-one",
        "mode": "chat",
        "max_tokens": 64_000,
        "max_input_tokens": None,
        "max_output_tokens": 64_000,
        "input_cost_per_token": 6e-06,
        "output_cost_per_token": 3e-05,
        "cache_read_input_token_cost": 6e-07,
        "cache_creation_input_token_cost": 7.5e-06,
        "input_cost_per_token_above_200k_tokens": 1.2e-05,
        "output_cost_per_token_above_200k_tokens": 4.5e-05,
        "cache_read_input_token_cost_above_200k_tokens": 6e-07,
        "cache_creation_input_token_cost_above_200k_tokens": 7.5e-06,
    }
    assert entries["embedder"]["model_info"]["mode"] == "embedding"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/embedder", "/v1/model/info"])
def test_each_list_needs_a_key_and_is_within_the_limit_of_what_is_free(
    serve_with: ServeWith, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice")
    server = serve_with(GUNICORN_WORKERS="1", FREE_REQUESTS_PER_MINUTE="2")
    assert server.http.request("GET", server.openhands + path).status == 401
    statuses = [get(server, path).status for _ in range(3)]
    assert statuses[2] == 429
    assert 429 not in statuses[:2]
    assert get(server, path, **VERSION).status == 429
    assert server.http.request("POST", server.openhands + path).status == 405
