"""Large bodies: read only for who may be served, counted while they are kept, and gone when they have been sent."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

from accounts.models import Account
from border.strict_json import MOST_NODES
from development.fake_upstream.server import FakeUpstream
from mongo.collections import collection_of
from proxy.api.request_body import Room
from proxy.errors import Busy
from proxy.models import ModelPrice
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.raw_upstream import RawUpstream, events, http_answer
from tests.proxy.relay.test_border_answers import completion
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

MIB = 1024 * 1024
COUNT_TOKENS = f"{MESSAGES}/count_tokens"
EACH_BILLED = pytest.mark.parametrize("path", [CHAT, MESSAGES])


def large(size: int = 300_000, **fields: Any) -> dict[str, Any]:
    return chat("word " * (size // 5), **fields)


def post_in_chunks(server: Server, body: bytes, *, path: str = CHAT) -> urllib3.BaseHTTPResponse:
    """Without the length of the body in a header."""
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    pieces = iter([body[:1000], body[1000:]])
    return server.http.request("POST", server.openhands + path, body=pieces, headers=headers, chunked=True, timeout=30)


# --- The room ---------------------------------------------------------------------------------------------------------


def test_a_room_takes_what_fits_and_no_more() -> None:
    room = Room(100)
    room.take(60, key="alice")
    room.take(40, key="bob")
    with pytest.raises(Busy):
        room.take(1, key="carol")
    room.give_back(40, key="bob")
    room.take(40, key="carol")
    assert room.used == 100


def test_one_key_gets_its_share_of_the_room() -> None:
    room = Room(100, share=50)
    room.take(50, key="alice")
    with pytest.raises(Busy):
        room.take(1, key="alice")
    room.take(50, key="bob")


def test_more_than_the_room_is_taken_alone() -> None:
    room = Room(100)
    room.take(1000, key="alice")
    with pytest.raises(Busy):
        room.take(1, key="bob")
    room.give_back(1000, key="alice")
    room.take(1, key="bob")
    with pytest.raises(Busy):
        room.take(1000, key="alice")


def test_a_room_is_waited_for() -> None:
    room = Room(100)
    room.take(100, key="alice")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(room.take, 50, key="bob", wait_seconds=20)
        time.sleep(0.1)
        assert not waiting.done()
        room.give_back(100, key="alice")
        waiting.result(20)
    assert room.used == 50


# --- Who is read ------------------------------------------------------------------------------------------------------


@EACH_BILLED
@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 402, "insufficient_credits"),
        ({"creditsNew": 5, "isActive": False}, 403, "account_disabled"),
        ({"creditsNew": 5, "reviewSince": datetime(2026, 1, 1, tzinfo=UTC)}, 403, "account_under_review"),
        ({"creditsNew": 5, "migration": False}, 403, "account_not_converted"),
        ({"creditsNew": 5, "requestsPerMinute": 0}, 429, "rate_limit_exceeded"),
        ({"creditsNew": 5, "concurrentRequests": 0}, 429, "rate_limit_exceeded"),
    ],
)
def test_a_large_body_is_not_parsed_for_who_cannot_be_served(
    raw_server: Server, insert_user: InsertUser, path: str, fields: dict[str, Any], status: int, code: str
) -> None:
    """The body is none at all, which would be a 400; and its sender gets to read the answer, however it is sent."""
    insert_user("alice", **fields)
    body = b"no JSON " * 50_000
    whole = post(raw_server, body, path=path)
    error = whole.json()["error"]
    assert (whole.status, error["code"]) == (status, code)
    assert ("Retry-After" in whole.headers) == (status == 429)
    if status == 402:
        assert (error["balance"], error["held"], error["affordable_max_tokens"]) == ("0.00000000", "0.00000000", 0)
    if code != "account_disabled":  # Whose body is not read off if nobody knows how long it is.
        assert post_in_chunks(raw_server, body, path=path).status == status
    assert post(raw_server, body, path=path, username="nobody").status == 401


def test_a_large_count_of_tokens_needs_no_credits(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice")
    assert post(server, large(), path=COUNT_TOKENS).status == 200
    collection_of(Account).update_one({"_id": "alice"}, {"$set": {"requestsPerMinute": 0}})
    assert post(server, b"no JSON " * 50_000, path=COUNT_TOKENS).status == 429


def test_a_large_request_to_a_free_model_needs_no_credits(
    serve_with: ServeWith, upstream: FakeUpstream, prices: None, insert_user: InsertUser
) -> None:
    insert_user("alice")
    free = dict.fromkeys(
        ("inputPricePerMTok", "outputPricePerMTok", "cacheWritePricePerMTok", "cacheHitPricePerMTok"), 0
    )
    collection_of(ModelPrice).update_many({}, {"$set": free})
    server = serve_with(GUNICORN_WORKERS="1")
    assert post(server, large()).status == 200
    collection_of(Account).update_one({"_id": "alice"}, {"$set": {"creditsNew": -1.0}})
    assert post(server, large()).status == 402
    assert Account.objects.get().holds == {}


def test_a_large_retry_gets_the_stored_answer_when_the_credits_are_gone(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=5)
    key = {"Idempotency-Key": "one"}
    first = post(server, large(), headers=key)
    assert first.status == 200
    collection_of(Account).update_one({"_id": "alice"}, {"$set": {"creditsNew": 0.0}})
    again = post(server, large(), headers=key)
    assert (again.status, again.headers["Idempotent-Replayed"], again.data) == (200, "true", first.data)
    assert post(server, large(), headers={"Idempotency-Key": "two"}).status == 402


# --- How much is kept -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_room(serve_with: ServeWith, raw_upstream: RawUpstream, prices: None) -> Server:
    """A process with room for a few large bodies, half of it for one key."""
    urls = {"OPENHANDS_BASE_URL": raw_upstream.url, "OHMYGPT_BASE_URL": raw_upstream.url}
    limits = {"MAX_REQUEST_BYTES": "500000", "BODIES_IN_FLIGHT_BYTES": "1000000"}
    return serve_with(GUNICORN_WORKERS="1", **urls, **limits)


def _wait_for(raw_upstream: RawUpstream, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(raw_upstream.requests) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_bodies_beyond_the_room_are_told_to_come_again(
    small_room: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    insert_user("bob", creditsNew=50)
    answer = http_answer(completion({"prompt_tokens": 1, "completion_tokens": 1}))
    raw_upstream.play(4.0, answer)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, small_room, large())
        _wait_for(raw_upstream, 1)
        raw_upstream.play(answer)
        refused = post(small_room, large())
        assert (refused.status, refused.json()["error"]["code"], refused.headers["Retry-After"]) == (503, "busy", "2")
        assert post_in_chunks(small_room, json.dumps(large()).encode()).status == 503
        assert post(small_room, chat()).status == 200, "a small one passes"
        assert post(small_room, large(), username="bob").status == 200, "and a large one of somebody else"
        assert first.result().status == 200
    assert post(small_room, large()).status == 200
    assert_reconciles("alice")
    assert_reconciles("bob")


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_body_that_has_been_sent_is_not_kept_while_the_answer_comes(
    small_room: Server, raw_upstream: RawUpstream, insert_user: InsertUser, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=50)
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    body = events(chunk, {**chunk, "choices": [], "usage": usage}, "[DONE]")
    answer = http_answer(body, content_type="text/event-stream") if is_stream else http_answer(completion(usage))
    start = answer.index(b"\r\n\r\n") + 4
    raw_upstream.play(answer[:start], 4.0, answer[start:])
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, small_room, large(stream=is_stream))
        _wait_for(raw_upstream, 1)
        raw_upstream.play(answer)
        deadline = time.monotonic() + 3
        while (second := post(small_room, large(stream=is_stream))).status == 503 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert second.status == 200
        assert not first.done()
        assert first.result().status == 200
    assert_reconciles()


@pytest.mark.parametrize(
    "answer", [http_answer("no", status=500), http_answer({"error": {"message": "no"}}, status=400), b""]
)
def test_the_room_is_given_back_however_a_request_ends(
    small_room: Server, raw_upstream: RawUpstream, insert_user: InsertUser, answer: bytes
) -> None:
    insert_user("alice", creditsNew=50)
    for _ in range(3):
        raw_upstream.play(answer)
        assert post(small_room, large()).status in {400, 502}
        assert post(small_room, large(nonsense=1)).status == 400
        assert post(small_room, large(model="unknown")).status == 404
        assert post(small_room, b"[" * 300_000).status == 400
        assert post(small_room, large(450_000, max_tokens=2**31 - 1)).status == 402
        assert post(small_room, b"x" * 600_000).status == 413
    raw_upstream.play(http_answer(completion({"prompt_tokens": 1, "completion_tokens": 1})))
    assert post(small_room, large(450_000)).status == 200
    assert_reconciles()


def _memory(server: Server, name: str) -> int:
    """MiB of the one worker: `VmRSS` now, `VmHWM` at most so far."""
    status = Path(f"/proc/{server.worker_pids()[0]}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))) // 1024


EMPTY = b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":[' + b",".join([b"{}"] * (8 * MIB // 3)) + b"]}"
DEAR = (
    b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":['
    + b",".join([b"{}"] * (MOST_NODES // 2 - 20))
    + b',{"role":"user","content":"'
    + b"a" * (7 * MIB)
    + '\U0001f600"}]}'.encode()
)


@pytest.mark.parametrize(("credits", "body", "status"), [(0, EMPTY, 402), (5, EMPTY, 400), (5, DEAR, 402)])
def test_dear_bodies_do_not_fill_the_memory(
    serve_with: ServeWith, prices: None, insert_user: InsertUser, credits: int, body: bytes, status: int
) -> None:
    """Six of the first took a worker to 1.4 GB once."""
    insert_user("alice", creditsNew=credits)
    insert_user("bob", creditsNew=credits)
    server = serve_with(GUNICORN_WORKERS="1")
    before = _memory(server, "VmRSS")
    with ThreadPoolExecutor(8) as pool:
        answers: list[urllib3.BaseHTTPResponse] = list(
            pool.map(lambda name: post(server, body, username=name, timeout=120), ["alice", "bob"] * 4)
        )
    assert {answer.status for answer in answers} <= {status, 503}
    assert [answer.status for answer in answers].count(status) >= 4
    assert _memory(server, "VmHWM") - before < 450
    assert _memory(server, "VmRSS") - before < 100
    assert post(server, chat(), username="alice").status in {200, 402, 502}
