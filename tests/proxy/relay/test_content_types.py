"""The type of an answer is ours to say: an upstream's `text/html` never makes a page of what a browser is shown."""

import pytest

from tests.conftest import key_of
from tests.factories import InsertUser
from tests.proxy.raw_upstream import RawUpstream, events, http_answer
from tests.proxy.requests import MESSAGES, chat, post
from tests.serving import Server

PLAIN = {
    "id": "1",
    "object": "chat.completion",
    "model": "claude-haiku-4-5",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "<script>"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}
STREAM = events(
    {"id": "1", "choices": [{"index": 0, "delta": {"content": "<script>"}, "finish_reason": None}]},
    {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    "[DONE]",
)
ERROR = {"error": {"type": "invalid_request_error", "message": "messages: <script> is no message"}}


@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8", "image/svg+xml", None])
def test_the_type_of_a_relayed_answer_is_ours(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, content_type: str | None
) -> None:
    insert_user("alice", creditsNew=20)
    large = {**PLAIN, "padding": "x" * 1_500_000}
    cases = [
        (PLAIN, 200, {}, 200, "application/json"),
        (large, 200, {}, 200, "application/json"),
        (STREAM, 200, {"stream": True}, 200, "text/event-stream"),
        (PLAIN, 200, {"stream": True}, 200, "application/json"),
        (ERROR, 400, {}, 400, "application/json"),
        (b"<html><script>", 200, {}, 502, "application/json"),
        (b"<html><script>", 500, {}, 502, "application/json"),
    ]
    for body, upstream_status, members, status, expected in cases:
        raw_upstream.play(http_answer(body, content_type=content_type, status=upstream_status))
        response = post(raw_server, chat(**members))
        assert (response.status, response.headers["Content-Type"]) == (status, expected)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    raw_upstream.play(http_answer({"input_tokens": 5}, content_type=content_type))
    response = post(raw_server, chat(), path=f"{MESSAGES}/count_tokens", headers={"x-api-key": key_of("alice")})
    assert response.headers["Content-Type"] == "application/json"
