"""Usage that nobody reported: estimated from the text as it reads, attachments by their bounds. Over real sockets."""

import base64
import json
import struct
from typing import Any

import pytest

from proxy.models import RequestLog
from tests.factories import InsertUser
from tests.proxy.raw_upstream import RawUpstream, events, http_answer
from tests.proxy.requests import CHAT, MESSAGES, RESPONSES, ask, assert_reconciles, chat, post
from tests.serving import Server

VIETNAMESE = "Tiếng Việt có dấu, và dài. " * 20
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1000, 750) + bytes(700_000)
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 300


def estimated(
    server: Server,
    upstream: RawUpstream,
    request: dict[str, Any],
    *,
    path: str = CHAT,
    text: str = "Hi",
    **options: Any,
) -> RequestLog:
    """What is logged of a request whose answer reports no usage."""
    if path == CHAT:
        answer: Any = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
    elif path == RESPONSES:
        answer = {
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
        }
    else:
        answer = {"type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
    upstream.play(http_answer(answer))
    body = json.dumps(request, **options).encode()
    assert post(server, body, path=path).status == 200
    log = RequestLog.objects.order_by("-created_at").first()
    assert log is not None
    assert (log.usage_source, log.usage_problem, log.uncollected) == ("estimated", "missing", 0)
    assert_reconciles()
    return log


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_letter_costs_the_same_however_it_is_spelled(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    request = ask(path, VIETNAMESE)
    logs = [
        estimated(raw_server, raw_upstream, request, path=path, text=VIETNAMESE, ensure_ascii=is_ascii)
        for is_ascii in (True, False)
    ]
    assert {log.input_tokens for log in logs} == {-(-len(json.dumps(request, ensure_ascii=False).encode()) // 4)}
    assert {log.output_tokens for log in logs} == {min(-(-len(VIETNAMESE.encode()) // 4), 100)}


def image(path: str) -> dict[str, Any]:
    data = base64.b64encode(PNG).decode()
    if path == CHAT:
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    if path == RESPONSES:
        return {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{data}"}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def document(path: str, data: str) -> dict[str, Any]:
    if path == CHAT:
        return {"type": "file", "file": {"filename": "x.pdf", "file_data": f"data:application/pdf;base64,{data}"}}
    if path == RESPONSES:
        return {"type": "input_file", "filename": "x.pdf", "file_data": f"data:application/pdf;base64,{data}"}
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}


def asking(path: str, part: dict[str, Any]) -> dict[str, Any]:
    """A request with one content part."""
    return {**ask(path), "input" if path == RESPONSES else "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_an_image_counts_by_its_pixels_and_not_by_its_bytes(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=50)
    request = asking(path, image(path))
    log = estimated(raw_server, raw_upstream, request, path=path)
    assert 1000 <= log.input_tokens <= 1000 + 100  # 1,000 x 750 pixels / 750, and the text around it.


@pytest.mark.parametrize(("size", "tokens"), [(1, 25_600), (20, 100_000)])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_file_never_counts_as_more_than_its_bound(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, path: str, size: int, tokens: int
) -> None:
    insert_user("alice", creditsNew=50)
    data = base64.b64encode(PDF * size).decode()
    request = asking(path, document(path, data))
    log = estimated(raw_server, raw_upstream, request, path=path)
    assert tokens < log.input_tokens < tokens + 200


def test_an_estimate_is_never_above_the_hold(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    log = estimated(raw_server, raw_upstream, chat("x", max_tokens=10), text="word " * 50_000)
    assert log.output_tokens == 10
    assert 0 < log.cost <= log.hold


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 50, "prompt_tokens_details": {"cached_tokens": 40}}, (10, 40, 5)),
        ({"completion_tokens": 7, "prompt_tokens": None}, (None, 0, 7)),
        ({"prompt_tokens": 50, "completion_tokens": 0}, (50, 0, 5)),
        ({"prompt_tokens": 50, "completion_tokens": -3}, (50, 0, 5)),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_only_what_is_missing_is_estimated(
    raw_server: Server,
    raw_upstream: RawUpstream,
    insert_user: InsertUser,
    usage: dict[str, Any],
    expected: tuple[int | None, int, int],
    is_stream: bool,
) -> None:
    insert_user("alice", creditsNew=1)
    text = "twenty letters long!"
    choice = {"index": 0, "finish_reason": "stop"}
    plain = http_answer({"choices": [{**choice, "message": {"role": "assistant", "content": text}}], "usage": usage})
    streamed = events({"choices": [{**choice, "delta": {"content": text}}], "usage": usage}, "[DONE]")
    raw_upstream.play(http_answer(streamed, content_type="text/event-stream") if is_stream else plain)
    request = chat("a request that holds enough " * 10, stream=is_stream)
    assert post(raw_server, request).status == 200
    log = RequestLog.objects.get()
    size = -(-len(json.dumps(request)) // 4)
    assert (log.input_tokens, log.cache_read_tokens, log.output_tokens) == (expected[0] or size, *expected[1:])
    assert log.usage_source == "estimated"
    assert log.usage_problem
    assert_reconciles()


def test_an_answer_of_nothing_that_says_so_is_no_estimate(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    choice = {"message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}
    raw_upstream.play(http_answer({"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 0}}))
    assert post(raw_server, chat("a request that holds enough " * 10)).status == 200
    log = RequestLog.objects.get()
    assert (log.input_tokens, log.output_tokens, log.usage_source, log.usage_problem) == (50, 0, "upstream", None)
