"""What a request may do to what the upstream charges: refused, left out, or held for and billed. Over real sockets.

The model is Haiku on OpenHands: 1 / 5 / 1.25 / 0.1 USD a million tokens, an hour's cache writes at 2, x 1.05.
"""

import base64
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from proxy.models import RequestLog
from tests.factories import InsertUser
from tests.proxy.raw_upstream import RawUpstream, http_answer
from tests.proxy.relay.test_border_answers import completion, cost, message
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

TEXT = base64.b64encode(b"Not an image, but words that the model reads. " * 11_000).decode()
"""680 kB, which an upstream that forwards it as text bills as 170,000 tokens and more."""
EACH_FORMAT = pytest.mark.parametrize("path", [CHAT, MESSAGES])


def parts(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("fallbacks", {"fallbacks": ["claude-opus-4-5"]}),
    ("fallbacks", {"fallbacks": [{"model": "claude-opus-4-5", "max_tokens": 64_000, "messages": []}]}),
    *((name, {name: [{"claude-haiku-4-5": ["other"]}]}) for name in ("context_window_fallbacks", "model_list")),
    ("content_policy_fallbacks", {"content_policy_fallbacks": [{"a": ["b"]}]}),
    *((name, {name: ["x"]}) for name in ("models", "route", "provider", "plugins", "transforms")),
    *((name, {name: "x"}) for name in ("api_base", "base_url", "api_key", "custom_llm_provider", "user_config")),
    *((name, {name: "x"}) for name in ("mock_response", "mock_tool_calls", "litellm_metadata", "litellm_params")),
    *((name, {name: 3}) for name in ("tags", "num_retries", "cache")),
    *(("service_tier", {"service_tier": tier}) for tier in ("priority", "flex")),
    ("speed", {"speed": "fast"}),
    ("inference_geo", {"inference_geo": "us"}),
    ("mcp_servers", {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]}),
    ("web_search_options", {"web_search_options": {}}),
]
REFUSED_BY_ONE: list[tuple[str, str, dict[str, Any]]] = [
    (CHAT, "metadata", {"metadata": {"tags": ["cheap"], "model_group": "other"}}),
    (MESSAGES, "metadata.tags", {"metadata": {"tags": ["cheap"]}}),
    (CHAT, "modalities", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    (CHAT, "prediction", {"prediction": {"type": "content", "content": "x" * 1000}}),
    (
        CHAT,
        "messages.content.image_url.url",
        parts({"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}),
    ),
    (CHAT, "messages.content", parts({"type": "video_url", "video_url": {"url": "https://example.com/x.mp4"}})),
    (CHAT, "messages.content", parts({"type": "audio_url", "audio_url": {"url": "https://example.com/x.mp3"}})),
    (CHAT, "messages.content.file.file_id", parts({"type": "file", "file": {"file_id": "file-1"}})),
    (
        MESSAGES,
        "messages.content.source",
        parts({"type": "document", "source": {"type": "url", "url": "https://example.com/x.pdf"}}),
    ),
    (
        MESSAGES,
        "messages.content.source",
        parts({"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}}),
    ),
    (MESSAGES, "messages.content.source", parts({"type": "image", "source": {"type": "file", "file_id": "f"}})),
]


@pytest.mark.parametrize(
    ("path", "name", "member"),
    [*((path, name, member) for path in (CHAT, MESSAGES) for name, member in REFUSED), *REFUSED_BY_ONE],
)
def test_what_would_change_the_charge_is_refused(
    raw_server: Server,
    raw_upstream: RawUpstream,
    insert_user: InsertUser,
    path: str,
    name: str,
    member: dict[str, Any],
) -> None:
    insert_user("alice", creditsNew=5)
    raw_upstream.play(http_answer(completion({"prompt_tokens": 1, "completion_tokens": 1})))
    response = post(raw_server, {**chat(), **member}, path=path)
    error = response.json()["error"]
    assert (response.status, error["code"], error["param"]) == (400, "unsupported_parameter", name)
    assert not raw_upstream.requests
    assert Account.objects.get().credits_new == 5
    assert_reconciles()


@pytest.mark.parametrize(
    "beta", ["server-side-fallback-2026-06-01", "fast-mode-2026-02-01", "context-1m-2025-08-07", "new-2027-01-01"]
)
def test_a_beta_that_changes_the_charge_is_not_forwarded(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, beta: str
) -> None:
    insert_user("alice", creditsNew=5)
    raw_upstream.play(http_answer(message({"input_tokens": 10, "output_tokens": 5})))
    headers = {"anthropic-beta": f"interleaved-thinking-2025-05-14,{beta}"}
    assert post(raw_server, chat(), path=MESSAGES, headers=headers).status == 200
    assert raw_upstream.requests[0].headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"


@EACH_FORMAT
def test_another_size_of_the_context_is_another_model(raw_server: Server, insert_user: InsertUser, path: str) -> None:
    insert_user("alice", creditsNew=5)
    response = post(raw_server, chat(model="claude-haiku-4-5[1m]"), path=path)
    assert (response.status, response.json()["error"]["code"]) == (404, "model_not_found")


@EACH_FORMAT
@pytest.mark.parametrize(
    "kind",
    [
        *("web_search_20250305", "web_search_20990101", "web_fetch_20250910", "code_execution_20250825"),
        *("tool_search_tool_regex_20251119", "file_search", "image_generation", "code_interpreter"),
    ],
)
def test_a_tool_with_a_fee_is_left_out(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, path: str, kind: str
) -> None:
    insert_user("alice", creditsNew=5)
    answer = (
        completion({"prompt_tokens": 10, "completion_tokens": 5})
        if path == CHAT
        else message({"input_tokens": 10, "output_tokens": 5})
    )
    raw_upstream.play(http_answer(answer))
    response = post(raw_server, {**chat(), "tools": [{"type": kind, "name": "x"}]}, path=path)
    assert (response.status, response.headers["X-Removed-Tools"]) == (200, kind)
    assert "tools" not in raw_upstream.requests[0].json()
    assert RequestLog.objects.get().cost == cost(input=10, output=5)


def test_an_hour_in_the_cache_is_billed_at_its_price(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=5)
    written = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100_000}
    usage = {"input_tokens": 5, "output_tokens": 3, "cache_creation_input_tokens": 100_000, "cache_creation": written}
    raw_upstream.play(http_answer(message(usage)))
    kept = {"type": "text", "text": "word " * 40_100, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert post(raw_server, {**chat(), **parts(kept)}, path=MESSAGES).status == 200
    log = RequestLog.objects.get()
    assert (log.cost, log.uncollected or 0) == (cost(input=5, output=3, hour=100_000), 0)
    assert_reconciles()


def test_thinking_beyond_the_limit_is_held_for(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=5)
    raw_upstream.play(http_answer(message({"input_tokens": 10, "output_tokens": 50_000})))
    body = {**chat(), "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 50_000}}
    assert post(raw_server, body, path=MESSAGES).status == 200
    log = RequestLog.objects.get()
    assert (log.cost, log.uncollected or 0) == (cost(input=10, output=50_000), 0)
    assert_reconciles()


def url(data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data}}


@pytest.mark.parametrize(
    ("path", "part"),
    [
        (CHAT, url(f"data:image/png;base64,{TEXT}")),
        (CHAT, url(f"data:image/svg+xml,{TEXT}")),
        (CHAT, url(f"data:image/svg+xml;base64,{TEXT}")),
        (CHAT, {"type": "image_url", "image_url": f"data:text/plain;base64,{TEXT}"}),
        (MESSAGES, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}}),
        (MESSAGES, {"type": "image", "source": {"type": "base64", "media_type": "image/x-text", "data": TEXT}}),
        (MESSAGES, {"type": "search_result", "source": "x", "title": "x", "content": [{"type": "text", "text": TEXT}]}),
        (MESSAGES, {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": TEXT}}),
    ],
)
def test_text_in_other_clothes_is_held_for_as_text(
    raw_server: Server, raw_upstream: RawUpstream, insert_user: InsertUser, path: str, part: dict[str, Any]
) -> None:
    insert_user("alice", creditsNew=5)
    answer: Any = completion({"prompt_tokens": 170_000, "completion_tokens": 5})
    if path == MESSAGES:
        answer = message({"input_tokens": 170_000, "output_tokens": 5})
    raw_upstream.play(http_answer(answer))
    assert post(raw_server, {**chat(), **parts(part)}, path=path).status == 200
    log = RequestLog.objects.get()
    assert (log.cost, log.uncollected or 0) == (cost(input=170_000, output=5), 0)
    assert Account.objects.get().credits_new == Decimal(5) - log.cost
    assert_reconciles()
