"""What a request may not ask for never reaches the upstream, and the answer names it. Over real sockets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.formats import anthropic_messages, openai_chat
from proxy.formats.members import Refused
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

FORMATS = {CHAT: openai_chat.MEMBERS, MESSAGES: anthropic_messages.MEMBERS}
EACH_FORMAT = pytest.mark.parametrize("path", FORMATS)
TEXT = {"type": "text", "text": "x"}


def message(*parts: Any, **members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts) or "hi", **members}]}


def nested(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Members below the top that are refused, with the name that the answer gives."""
    yield "messages.hint", message(hint=1)
    yield "messages.content.type=hologram", message({"type": "hologram"})
    yield "messages.content.shine", message(TEXT | {"shine": 1})
    yield "messages.content.cache_control.ttl", message(TEXT | {"cache_control": {"type": "ephemeral", "ttl": "9h"}})
    yield "thinking.depth", {"thinking": {"type": "enabled", "depth": 1}}
    yield "tools.type=time_machine", {"tools": [{"type": "time_machine"}]}
    yield "service_tier", {"service_tier": "priority"}
    yield "speed", {"speed": "fast"}
    yield "inference_geo", {"inference_geo": "us"}
    if path == CHAT:
        yield "prediction", {"prediction": {"type": "content", "content": "x"}}
        yield "modalities", {"modalities": ["text", "audio"]}
        yield "modalities", {"modalities": ["video"]}
        yield "input_audio", message({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
        yield "messages.content.image_url.url", message({"type": "image_url", "image_url": {"url": "https://x/y.png"}})
        yield "messages.content.file.file_id", message({"type": "file", "file": {"file_id": "file_1"}})
        yield "messages.content", message({"type": "video_url", "video_url": {"url": "https://x/y.mp4"}})
        yield "stream_options.chunk_everything", {"stream_options": {"chunk_everything": True}}
        yield "metadata", {"metadata": {"tags": ["x"]}}
    else:
        yield "compaction", {"compaction": {"type": "summarize"}}
        yield "context_management.edits", {"context_management": {"edits": [{"type": "compact_20260112"}]}}
        yield "messages.content.source", message({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})
        yield "messages.content.source", message({"type": "document", "source": {"type": "file", "file_id": "f"}})
        yield "messages.content", message({"type": "container_upload", "file_id": "f"})
        yield "metadata.tags", {"metadata": {"tags": ["x"]}}
        yield "system.type=image", {"system": [{"type": "image"}]}


@EACH_FORMAT
def test_no_refused_member_reaches_the_upstream(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=50, requestsPerMinute=100_000)
    refused = [(name, {name: "x"}) for name, rule in FORMATS[path].items() if isinstance(rule, Refused)]
    unknown = [("shiny_new_option", {"shiny_new_option": 1}), ("Model", {"Model": "x"})]
    for name, member in (*refused, *unknown, *nested(path)):
        response = post(server, {**chat(), **member}, path=path)
        assert response.status == 400, f"{member} was forwarded"
        error = response.json()["error"]
        if name == "Model":
            assert (response.status, error["param"]) == (400, "Model")
            continue
        assert (response.status, error["code"], error["param"]) == (400, "unsupported_parameter", name), member
        assert repr(name) in error["message"]
    assert not upstream.requests
    assert Account.objects.get().credits_new == 50
    assert_reconciles()


SERVER_TOOLS = ("web_search_20250305", "web_fetch_20990909", "code_execution_20260521", "tool_search_tool_bm25")


@EACH_FORMAT
def test_a_server_tool_without_a_price_is_left_out_and_named(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=50)
    mine = {"name": "mine", "description": "stays", "input_schema": {"type": "object"}}
    tools = [{"type": SERVER_TOOLS[0], "name": "web_search"}, mine, *({"type": kind} for kind in SERVER_TOOLS[1:])]
    response = post(server, {**chat(), "tools": tools, "top_p": 0.5}, path=path)
    assert response.status == 200
    assert response.headers["X-Removed-Tools"] == ", ".join(SERVER_TOOLS)
    sent = json.loads(upstream.requests[-1].body)
    assert sent["tools"] == [mine]
    assert sent["top_p"] == 0.5
    stream = post(server, {**chat(), "tools": tools, "stream": True}, path=path)
    assert stream.headers["X-Removed-Tools"] == ", ".join(SERVER_TOOLS)
    assert_reconciles()


@EACH_FORMAT
def test_no_empty_list_of_tools_is_sent(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=50)
    choice = "auto" if path == CHAT else {"type": "auto"}
    body = {"tool_choice": choice, **chat(), "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    assert post(server, body, path=path).status == 200
    sent = json.loads(upstream.requests[-1].body)
    assert sent.keys() == body.keys() - {"tools", "tool_choice"}
    assert sent["messages"] == body["messages"]


@pytest.mark.parametrize(
    ("path", "choice"),
    [
        (CHAT, "required"),
        (CHAT, {"type": "function", "function": {"name": "web_search"}}),
        (CHAT, {"type": "web_search_20250305"}),
        (MESSAGES, {"type": "any"}),
        (MESSAGES, {"type": "tool", "name": "web_search"}),
    ],
)
def test_a_demanded_tool_without_a_price_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str, choice: Any
) -> None:
    insert_user("alice", creditsNew=50)
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    response = post(server, {**chat(), "tools": tools, "tool_choice": choice}, path=path)
    assert (response.status, response.json()["error"]["param"]) == (400, "tool_choice")
    assert "web_search_20250305" in response.json()["error"]["message"]
    assert not upstream.requests


def test_a_choice_among_the_tools_that_are_left_is_heeded(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    tools = [{"type": "web_search_20250305", "name": "web_search"}, {"name": "mine", "input_schema": {}}]
    body = {**chat(), "tools": tools, "tool_choice": {"type": "any"}}
    assert post(server, body, path=MESSAGES).status == 200
    assert json.loads(upstream.requests[-1].body)["tools"] == tools[1:]


def test_what_the_operator_lists_passes(serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=50)
    server = serve_with(GUNICORN_WORKERS="1", PASSED_MEMBERS="shiny_new_option, messages.hint")
    body = {**chat(), "shiny_new_option": {"any": 1}} | message(hint=1)
    assert post(server, body).status == 200
    sent = json.loads(upstream.requests[-1].body)
    assert (sent["shiny_new_option"], sent["messages"]) == ({"any": 1}, body["messages"])
    assert post(server, {**chat(), "another": 1}).status == 400
    assert post(server, {**chat(), "fallbacks": ["x"]}).status == 400, "what steers a gateway is refused all the same"


def test_betas_that_are_not_known_or_have_no_price_are_left_out(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    asked = "claude-code-20250219,fast-mode-2026-02-01, context-1m-2025-08-07,oauth-2025-04-20,brand-new-2027-01-01"
    assert post(server, chat(), path=MESSAGES, headers={"anthropic-beta": asked}).status == 200
    assert upstream.requests[-1].headers["anthropic-beta"] == "claude-code-20250219"
    assert post(server, chat(), path=MESSAGES, headers={"anthropic-beta": "fast-mode-2026-02-01"}).status == 200
    assert "anthropic-beta" not in upstream.requests[-1].headers
    assert server.log().count("brand-new-2027-01-01") == 1
