"""What upstreams answer to `/v1/responses`, and how it ends: as in `test_border_answers.py`, raw bytes and Haiku."""

import json
import time
from typing import Any

import pytest

from mongo.collections import collection_of
from proxy.models import ModelPrice, RequestLog
from tests.factories import InsertUser
from tests.proxy.raw_upstream import RawUpstream, events, http_answer
from tests.proxy.relay.test_border_answers import (
    BUDGET,
    HAIKU,
    LARGE,
    LONG,
    SSE,
    TOO_LONG,
    Row,
    assert_ends_as_it_should,
    cost,
)
from tests.proxy.requests import RESPONSES, assert_reconciles, post, respond
from tests.serving import Server

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 8},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 15},
    "total_tokens": 120,
}
COST = cost(input=32, read=60, write=8, output=20)
TEXT: dict[str, Any] = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello there", "annotations": []}],
}
POLICY = {"code": "invalid_prompt", "message": "The prompt violates the content policy."}


def response(status: str = "completed", usage: object = USAGE, **members: Any) -> dict[str, Any]:
    frame = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": None, "model": HAIKU}
    return {**frame, "output": [TEXT], "usage": usage, **members}


def stream(*last: object, named: bool = True, text: str = "Hello there") -> bytes:
    pieces = [
        {"type": "response.created", "response": response("in_progress", None, output=[]), "sequence_number": 0},
        {"type": "response.output_text.delta", "delta": text, "sequence_number": 1},
    ]
    return events(*(pieces if text else pieces[:1]), *last, named=named)


def end(status: str = "completed", usage: object = USAGE, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": response(status, usage, **members), "sequence_number": 2}


def plain(name: str, answer: object, **fields: Any) -> Row:
    return Row(name, http_answer(answer), RESPONSES, **fields)


def streamed(name: str, answer: bytes, label: str = SSE, **fields: Any) -> Row:
    return Row(
        name, http_answer(answer, content_type=label), RESPONSES, **{"is_stream": True, "content_type": SSE, **fields}
    )


def each_way(name: str, answer: object) -> list[Row]:
    rows = [
        Row(f"{name}, {kind}", http_answer(answer), RESPONSES, kind == "streamed") for kind in ("plain", "streamed")
    ]
    return [Row(**{**row.__dict__, "status": 502}) for row in rows]


FAILED = {"status": 200, "has": ("response.failed", '"type": "error"', "broke off")}
ROWS = [
    *each_way("an error in a 200", BUDGET),
    *each_way("an error about the request in a 200", TOO_LONG),
    *each_way("an empty object", {}),
    *each_way("a completion", {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1}}),
    *each_way("nothing in it", response(usage=None, output=[])),
    *each_way("queued", response("queued", None, output=[])),
    *each_way("failed", response("failed", None, output=[], error={"code": "server_error", "message": "team"})),
    *each_way("failed with usage", response("failed", error={"code": "server_error", "message": "organization"})),
    *each_way("a page", "<html>litellm"),
    *each_way("a large page", "<p>" + "x" * LARGE),
    plain("plain", response(), cost=COST),
    plain("plain and incomplete", response("incomplete"), cost=COST),
    plain("cost of the operator", response(usage={**USAGE, "cost": 3.5}), cost=COST, has_not=("3.5",)),
    plain("plain, without usage", response(usage=None), cost=None, has_problem=True),
    plain("large", response(instructions="x " * LARGE), cost=COST),
    plain("plain to a stream", response(), is_stream=True, cost=COST),
    streamed("completed", stream(end()), cost=COST),
    streamed("incomplete", stream(end("incomplete")), cost=COST),
    streamed("cancelled", stream(end("cancelled")), cost=COST),
    streamed("without names of events", stream(end(), named=False), cost=COST),
    streamed("labelled as JSON", stream(end()), "application/json", cost=COST),
    streamed("with the end of chat streams", stream(end()) + b"data: [DONE]\n\n", cost=COST),
    streamed("cost in a stream", stream(end(usage={**USAGE, "cost": 3.5})), cost=COST, has_not=("3.5",)),
    streamed("a stream without usage", stream(end(usage=None)), cost=None, has_problem=True),
    streamed(
        "usage of nothing", stream(end(usage={"input_tokens": 0, "output_tokens": 0})), cost=None, has_problem=True
    ),
    streamed(
        "long instructions",
        events(
            {"type": "response.created", "response": response("in_progress", None, instructions="x" * LARGE)},
            {"type": "response.completed", "response": {"instructions": "x" * LARGE, **response()}},
            named=True,
        ),
        cost=COST,
    ),
    streamed("cut before the end", stream(), cost=None, has_problem=True, **FAILED),
    streamed("cut before any output", stream(text=""), **FAILED),
    streamed(
        "an error at the start",
        events({"type": "error", "code": "server_error", "message": "team", "param": None}),
        status=502,
        content_type="application/json",
    ),
    streamed(
        "an error in the middle",
        stream({"type": "error", "code": "server_error", "message": "litellm: team", "param": None}),
        cost=None,
        has_problem=True,
        **FAILED,
    ),
    streamed(
        "an error about the request",
        stream({"type": "error", "error": {"type": "invalid_request_error", **POLICY}}, text=""),
        has=("violates the content policy", '"code": "invalid_prompt"', '"response.failed"'),
    ),
    streamed(
        "a flat error about the request",
        stream({"type": "error", "param": None, **POLICY}, text=""),
        has=("violates the content policy", '"code": "invalid_prompt"'),
    ),
    streamed(
        "failed before any output", stream(end("failed", None, output=[], error=BUDGET["error"]), text=""), **FAILED
    ),
    streamed(
        "failed, and billed as told", stream(end("failed", output=[], error=BUDGET["error"])), cost=COST, **FAILED
    ),
    streamed("failed, billed though nothing came", stream(end("failed", output=[]), text=""), cost=COST, **FAILED),
    streamed(
        "failed for what the request says",
        stream(end("failed", None, output=[], error=POLICY), text=""),
        has=("violates the content policy", '"code": "invalid_prompt"', '"response.failed"'),
    ),
    streamed(
        "chunks of the chat format",
        events({"object": "chat.completion.chunk", "choices": [{"delta": {"content": "x"}}]}),
        status=502,
        content_type="application/json",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_response_ends_as_it_should(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, row: Row
) -> None:
    insert_user("alice", creditsNew=1)
    request = respond(LONG, max_output_tokens=5000, stream=row.is_stream)
    assert_ends_as_it_should(raw_server, raw_upstream, row, request)


# --- What is held, and tools that have a price -------------------------------------------------------------------


def test_the_hold_covers_the_worst_case(raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    request = respond([{"role": "user", "content": [{"type": "input_text", "text": LONG}]}], max_output_tokens=3000)
    tokens = len(json.dumps(request)) // 2
    raw_upstream.play(http_answer(response(usage={"input_tokens": tokens, "output_tokens": 3000})))
    assert post(raw_server, request, path=RESPONSES).status == 200
    log = RequestLog.objects.get()
    assert (log.cost, log.uncollected) == (cost(input=tokens, output=3000), 0)
    assert_reconciles()


def test_without_a_limit_the_affordable_output_is_forwarded(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=0.01)
    raw_upstream.play(http_answer(response(usage={"input_tokens": 5, "output_tokens": 5})))
    assert post(raw_server, respond(max_output_tokens=None), path=RESPONSES).status == 200
    sent = raw_upstream.requests[0].json()
    assert 256 <= sent["max_output_tokens"] < 64_000
    assert RequestLog.objects.get().hold <= 0.01
    assert_reconciles()


CACHE_SECONDS = 0.3
"""A little more than the server's `PRICE_CACHE_SECONDS`."""
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("kind", ["web_search", "mcp"])
def test_a_tool_with_a_fee_is_forwarded_and_its_uses_are_billed(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, kind: str, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=5)
    fee = {"usd": "0.01", "maxUses": 4, "inputTokens": 1000}
    collection_of(ModelPrice).update_many({}, {"$set": {"toolFees": {kind: fee}}})
    time.sleep(CACHE_SECONDS)
    used = {**SEARCH, "type": f"{kind}_call"}
    told = {"usage": USAGE, "output": [used, used, TEXT]}
    answer = http_answer(response(**told))
    if is_stream:
        done = [{"type": "response.output_item.done", "item": item} for item in told["output"]]
        answer = http_answer(stream(*done, end(**told)), content_type=SSE)
    raw_upstream.play(answer)
    tool = {"type": kind, "server_label": "x", "server_url": "https://example.com"}
    request = respond(tools=[tool], tool_choice="required", stream=is_stream)
    reply = post(raw_server, request, path=RESPONSES)
    assert (reply.status, reply.headers.get("X-Removed-Tools")) == (200, None)
    assert raw_upstream.requests[0].json()["tools"] == [tool]
    assert reply.data
    log = RequestLog.objects.get()
    assert (float(log.cost), log.uncollected) == (pytest.approx(float(COST) + 2 * 0.01 * 1.05, abs=1e-8), 0)
    assert_reconciles()
