"""`POST /v1/embeddings`: billed by its input alone, whatever form that has. By the official SDK and raw sockets."""

import json
import re
import time
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import urllib3

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from mongo.collections import collection_of
from proxy.formats.members import GATEWAY_MEMBERS, Refused
from proxy.formats.openai_embeddings import MEMBERS, OpenAiEmbeddings, read_embedding_usage
from proxy.models import ModelPrice, RequestLog
from tests import sdks
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.raw_upstream import RawUpstream, events, http_answer
from tests.proxy.requests import MODEL, assert_reconciles, chat, post
from tests.serving import Server

EMBEDDINGS = "/v1/embeddings"
INPUT_PRICE = Decimal(1) * Decimal("1.05") / 10**6
"""Of Haiku, in USD a token."""


def body(value: Any = "Hello there", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": value, **fields}


def answer(usage: object = None, *, vectors: int = 1, **members: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": [0.5, 0.25]} for index in range(vectors)]
    return {"object": "list", "data": data, "model": MODEL, "usage": usage, **members}


@pytest.fixture
def client(server: Server, insert_user: InsertUser) -> Any:
    insert_user("alice", creditsNew=1)
    with sdks.openai.OpenAI(base_url=f"{server.openhands}/v1", api_key=key_of("alice"), max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("value", "vectors", "tokens"),
    [("Hello there", 1, 3), (["one text", "another"], 2, 4), ([15339, 1070], 1, 2), ([[1, 2, 3], [4]], 2, 4)],
)
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"dimensions": 3, "user": "u"}])
def test_the_sdk_gets_its_vectors_and_pays_for_the_input(
    client: "sdks.openai.OpenAI", upstream: FakeUpstream, value: Any, vectors: int, tokens: int, options: dict[str, Any]
) -> None:
    result = client.embeddings.create(model=MODEL, input=value, **options)
    assert [item.embedding[0] for item in result.data] == [0.25 + index for index in range(vectors)]
    assert len(result.data[0].embedding) == options.get("dimensions", 8)
    assert result.usage.prompt_tokens == tokens
    sent = upstream.requests[-1].json()
    assert (sent["input"], sent["model"]) == (value, "claude-haiku-4-5-20251001")
    assert ("max_tokens" in sent, "stream_options" in sent) == (False, False)
    log = RequestLog.objects.get()
    assert (log.input_tokens, log.output_tokens, log.endpoint) == (tokens, 0, EMBEDDINGS)
    assert (log.usage_source, log.usage_problem, log.outcome) == ("upstream", None, "ok")
    assert log.cost == (tokens * INPUT_PRICE).quantize(Decimal("1e-8"))
    assert log.cost <= log.hold
    assert_reconciles()


def test_base64_is_what_the_sdk_asks_for_by_itself(client: "sdks.openai.OpenAI", upstream: FakeUpstream) -> None:
    client.embeddings.create(model=MODEL, input="x")
    assert upstream.requests[-1].json()["encoding_format"] == "base64"


def test_tokens_are_held_for_exactly_and_texts_by_their_bytes(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    frame = len(json.dumps(body([])).encode())

    def held(value: Any) -> int:
        assert post(server, json.dumps(body(value), separators=(", ", ": ")).encode(), path=EMBEDDINGS).status == 200
        log = RequestLog.objects.order_by("-created_at")[0]
        dearest = Decimal("1.25") * Decimal("1.05") / 10**6  # A write to the cache.
        return int(log.hold / dearest)

    tokens = [100_000] * 5000
    # A space after each comma is no digit, and counts as text: half a token.
    assert 5000 <= held(tokens) <= 5000 + 2500 + frame
    assert held("x" * 10_000) >= 5000
    assert held(["a"] * 2000) >= 2000 * 3
    assert_reconciles()


def test_an_input_that_the_balance_does_not_cover_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=0.0001)
    assert post(server, body("short"), path=EMBEDDINGS).status == 200
    upstream.clear()
    response = post(server, body("long " * 1000), path=EMBEDDINGS)
    error = response.json()["error"]
    assert (response.status, error["code"], error["affordable_max_tokens"]) == (402, "insufficient_credits", 0)
    assert not upstream.requests
    assert_reconciles()


def test_a_row_of_an_embedding_model_has_an_output_price_of_0(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    row = {"_id": "small", "modelId": "text-embedding-3-small", "aliases": ["ada"], "inputPricePerMTok": 0.02}
    collection_of(ModelPrice).insert_one({**row, "outputPricePerMTok": 0, "multiplier": 2})
    server = serve_with(GUNICORN_WORKERS="1")
    response = post(server, body("[[fake prompt_tokens=1000000]]", model="ada"), path=EMBEDDINGS)
    log = RequestLog.objects.get()
    assert (response.status, log.model, log.input_tokens) == (200, "text-embedding-3-small", 1_000_000)
    assert log.cost + log.uncollected == Decimal("0.04")
    assert log.cost == log.hold, "no more than was held"
    assert_reconciles()


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", "invalid_request"),
        ({"input": []}, "input", "invalid_request"),
        ({"input": ""}, "input", "invalid_request"),
        ({"input": [[]]}, "input", "invalid_request"),
        ({"input": {"text": "x"}}, "input", "invalid_request"),
        ({"input": [{"type": "image_url"}]}, "input", "invalid_request"),
        ({"Input": "x"}, "Input", "invalid_request"),
        ({"model": None}, "model", "invalid_request"),
        ({"stream": True}, "stream", "unsupported_parameter"),
        ({"input_type": "query"}, "input_type", "unsupported_parameter"),
        ({"messages": []}, "messages", "unsupported_parameter"),
    ],
)
def test_what_cannot_be_billed_is_refused_by_name(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, fields: dict[str, Any], param: str, code: str
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, body(**{"value": "x", **fields} if "input" not in fields else {}) | fields, path=EMBEDDINGS)
    error = response.json()["error"]
    assert (response.status, error["code"], error["param"]) == (400, code, param)
    assert not upstream.requests


def test_no_member_that_is_refused_reaches_the_upstream(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=100_000)
    for name in [name for name, rule in MEMBERS.items() if isinstance(rule, Refused)]:
        response = post(server, body(**{name: "x"}), path=EMBEDDINGS)
        assert (response.status, response.json()["error"]["param"]) == (400, name)
    assert not upstream.requests
    assert Account.objects.get().credits_new == 1


def test_every_member_of_the_sdk_is_classified() -> None:
    from openai.types.embedding_create_params import EmbeddingCreateParams

    assert typing.get_type_hints(EmbeddingCreateParams).keys() <= MEMBERS.keys()


def test_the_documentation_lists_every_member() -> None:
    page = (Path(__file__).parents[3] / "docs" / "proxy.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| `/v1/embeddings` |"))
    passing, refused = (set(re.findall(r"`([^`]+)`", cell)) for cell in row.split("|")[2:4])
    own = {name: isinstance(rule, Refused) for name, rule in MEMBERS.items() if name not in GATEWAY_MEMBERS}
    assert passing == {name for name, is_refused in own.items() if not is_refused}
    assert refused == {name for name, is_refused in own.items() if is_refused}


@pytest.mark.parametrize("name", ["embeddings", "completions"])
def test_an_upstream_without_the_endpoint_is_told_of(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser, name: str
) -> None:
    insert_user("alice", creditsNew=1, credits=1)
    server = serve_with(GUNICORN_WORKERS="1", OPENHANDS_MISSING_ENDPOINTS="embeddings, completions")
    sent = {"model": MODEL, "input" if name == "embeddings" else "prompt": "x"}
    response = post(server, sent, path=f"/v1/{name}")
    error = response.json()["error"]
    assert (response.status, error["code"], response.headers["X-Should-Retry"]) == (404, "not_found", "false")
    assert error["message"].startswith(f"OpenHands has no /v1/{name}.")
    assert not upstream.requests
    assert post(server, sent, base=server.ohmygpt, path=f"/v1/{name}").status == 200


# --- What upstreams answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "tokens", "has_problem"),
    [
        ({"prompt_tokens": 8, "total_tokens": 8}, 8, False),
        ({"total_tokens": 8}, 8, False),
        ({"prompt_tokens": 8}, 8, False),
        ({"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}, 8, False),
        ({"prompt_tokens": 8, "total_tokens": 20}, 20, True),
        ({"prompt_tokens": "8", "total_tokens": 8.0}, 8, False),
        ({"prompt_tokens": 0, "total_tokens": 0}, None, True),
        ({"prompt_tokens": -3}, None, True),
        ({}, None, True),
    ],
)
def test_usage_is_read_as_input(usage: dict[str, Any], tokens: int | None, has_problem: bool) -> None:
    report = read_embedding_usage([usage])
    assert (report.usage.input_tokens if report.usage else None) == tokens
    assert report.usage is None or report.usage.total_output_tokens == 0
    assert bool(report.problem) == has_problem


@pytest.mark.parametrize(
    "sent",
    [
        {"error": {"message": "no"}},
        {"data": []},
        answer(data=[{"object": "embedding", "embedding": None}]),
        answer(data=["x"]),
        {"object": "list"},
    ],
)
def test_what_is_no_answer_costs_nothing(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, sent: Any
) -> None:
    insert_user("alice", creditsNew=1)
    raw_upstream.play(http_answer(sent))
    response = post(raw_server, body(), path=EMBEDDINGS)
    assert (response.status, response.json()["error"]["code"]) == (502, "upstream_error")
    assert Account.objects.get().credits_new == 1
    assert_reconciles()


def test_a_stream_is_no_answer(raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    raw_upstream.play(http_answer(events(answer(), "[DONE]"), content_type="text/event-stream"))
    assert post(raw_server, body(), path=EMBEDDINGS).status == 502
    assert_reconciles()


def test_usage_that_is_missing_is_estimated(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    raw_upstream.play(http_answer(answer()))
    assert post(raw_server, body("word " * 400), path=EMBEDDINGS).status == 200
    assert post(raw_server, body([7] * 400), path=EMBEDDINGS).status == 200
    text, tokens = RequestLog.objects.order_by("created_at")
    assert (text.usage_source, tokens.usage_source) == ("estimated", "estimated")
    assert 500 <= text.input_tokens <= 530
    assert 400 <= tokens.input_tokens <= 530
    assert (text.output_tokens, tokens.output_tokens) == (0, 0)
    assert_reconciles()


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("usage", [{"prompt_tokens": 70, "total_tokens": 70}, None])
def test_a_large_answer_passes_and_is_billed(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, encoding: str, usage: Any
) -> None:
    insert_user("alice", creditsNew=1)
    vector: Any = [0.123456789] * 3000 if encoding == "float" else "A" * 40_000
    sent = answer(usage, data=[{"object": "embedding", "index": n, "embedding": vector} for n in range(60)])
    raw_upstream.play(http_answer(sent))
    response = post(raw_server, body(["x"] * 60), path=EMBEDDINGS)
    assert (response.status, response.json()) == (200, sent)
    log = RequestLog.objects.get()
    assert (log.outcome, log.output_tokens, log.uncollected) == ("ok", 0, 0)
    assert log.input_tokens == 70 if usage else log.input_tokens > 60
    assert_reconciles()


def test_a_large_answer_that_breaks_off_is_billed_by_what_was_sent(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    vectors = [{"object": "embedding", "index": n, "embedding": [0.123456789] * 3000} for n in range(60)]
    whole = http_answer(answer({"prompt_tokens": 70, "total_tokens": 70}, data=vectors))
    raw_upstream.play(whole[: len(whole) * 3 // 4])
    with pytest.raises(urllib3.exceptions.HTTPError):
        post(raw_server, body("word " * 400), path=EMBEDDINGS)
    deadline = time.monotonic() + 20
    while not RequestLog.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    log = RequestLog.objects.get()
    assert (log.usage_source, log.outcome, log.output_tokens) == ("estimated", "upstream_error", 0)
    assert 500 <= log.input_tokens <= 530


def test_what_it_cost_the_operator_is_not_told(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    raw_upstream.play(http_answer(answer({"prompt_tokens": 5, "total_tokens": 5, "cost": 0.001}), x_litellm_cost="1"))
    response = post(raw_server, body(), path=EMBEDDINGS)
    assert b"cost" not in response.data
    assert RequestLog.objects.get().own_cost == Decimal("0.001")


def test_a_retry_with_the_same_key_is_not_billed_again(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    first, again = (post(server, body(), path=EMBEDDINGS, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.data, again.headers["Idempotent-Replayed"]) == (again.data, "true")
    assert RequestLog.objects.count() == 1
    other = post(server, chat(), headers={"Idempotency-Key": "k"})
    assert other.status == 200, "the key belongs to the endpoint"


def test_an_error_about_the_request_passes(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    message = "This model does not support specifying dimensions."
    refusal = {"error": {"message": message, "type": "invalid_request_error", "param": "dimensions", "code": None}}
    raw_upstream.play(http_answer(refusal, status=400))
    response = post(raw_server, body(dimensions=5), path=EMBEDDINGS)
    assert (response.status, response.json()["error"]["message"]) == (400, message)
    assert_reconciles()


def test_only_input_is_read_of_a_format_without_output() -> None:
    call = OpenAiEmbeddings().parse(body(), 100)
    assert (call.has_output, call.is_stream, call.max_output_tokens) == (False, False, None)
