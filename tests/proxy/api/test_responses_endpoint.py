"""`POST /v1/responses` over HTTP: what is refused, what is left out, and what is not there."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.formats.members import Refused
from proxy.formats.openai_responses import MEMBERS
from proxy.formats.openai_responses_input import Off
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import RESPONSES, assert_reconciles, post, respond
from tests.serving import Server


def refused() -> Iterator[tuple[str, dict[str, Any]]]:
    """Members that are refused, with the name that the answer gives."""
    for name, rule in MEMBERS.items():
        if isinstance(rule, Refused):
            yield name, {name: True if isinstance(rule, Off) else "x"}
    yield "shiny_new_option", {"shiny_new_option": 1}
    yield "messages", {"messages": [{"role": "user", "content": "x"}]}
    yield "input", {"input": [{"type": "item_reference", "id": "msg_1"}]}
    yield "input", {"input": [{"id": "msg_1"}]}
    yield "input.type=hologram", {"input": [{"type": "hologram"}]}
    yield "input.content.image_url", image("https://example.com/x.png")
    yield (
        "input.content.file_id",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]},
    )
    yield "tools.type=mcp", {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://example.com"}]}
    yield "tools.type=time_machine", {"tools": [{"type": "time_machine"}]}
    yield "service_tier", {"service_tier": "priority"}
    yield "reasoning.mode", {"reasoning": {"mode": "pro"}}
    yield "moderation", {"moderation": {"model": "x"}}
    yield "metadata.tags", {"metadata": {"tags": ["x"]}}


def image(url: str) -> dict[str, Any]:
    part = {"type": "input_image", "detail": "auto", "image_url": url}
    return {"input": [{"role": "user", "content": [part]}]}


def test_no_refused_member_reaches_the_upstream(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50, requestsPerMinute=100_000)
    for name, member in refused():
        response = post(server, {**respond(), **member}, path=RESPONSES)
        assert response.status == 400, f"{member} was forwarded"
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_parameter", name), member
        assert repr(name) in error["message"]
    assert not upstream.requests
    assert Account.objects.get().credits_new == 50
    assert_reconciles()


def test_a_tool_of_the_upstream_is_left_out_and_named(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    mine = {"type": "function", "name": "mine", "parameters": {"type": "object", "properties": {}}}
    hosted = [{"type": "web_search", "external_web_access": True}, {"type": "code_interpreter", "container": "c"}]
    for is_stream in (False, True):
        body = respond(tools=[hosted[0], mine, hosted[1]], stream=is_stream, include=["web_search_call.results"])
        response = post(server, body, path=RESPONSES)
        assert (response.status, response.headers["X-Removed-Tools"]) == (200, "web_search, code_interpreter")
        assert json.loads(upstream.requests[-1].body)["tools"] == [mine]
    alone = post(server, respond(tools=hosted, tool_choice="auto"), path=RESPONSES)
    assert alone.status == 200
    assert not {"tools", "tool_choice"} & json.loads(upstream.requests[-1].body).keys()
    demanded = post(server, respond(tools=hosted, tool_choice={"type": "web_search"}), path=RESPONSES)
    assert (demanded.status, demanded.json()["error"]["param"]) == (400, "tool_choice")
    assert_reconciles()


def test_the_answer_has_the_headers_of_every_format(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, respond(), path=RESPONSES)
    log = RequestLog.objects.get()
    assert response.headers["X-Request-Id"] == log.pk
    assert response.headers["X-Credits-Cost"] == f"{log.cost:.8f}"
    assert response.headers["X-Credits-Balance"] == f"{Account.objects.get().credits_new:.8f}"
    receipt = server.http.request(
        "GET", f"{server.openhands}/v1/requests/{log.pk}", headers={"x-api-key": key_of("alice")}
    )
    assert receipt.json()["cost"] == f"{log.cost:.8f}"
    assert_reconciles()


def test_who_cannot_pay_is_told_in_the_shape_of_the_vendor(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.0001)
    response = post(server, respond(max_output_tokens=50_000, stream=True), path=RESPONSES)
    error = response.json()["error"]
    assert (response.status, error["code"], error["type"]) == (402, "insufficient_credits", "insufficient_credits")
    assert post(server, respond(), path=RESPONSES, username=None).json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items?limit=5"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1/conversations"),
        ("GET", "/v1/conversations/conv_1/items"),
    ],
)
def test_what_is_stored_elsewhere_is_not_there(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, method: str, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    response = server.http.request(method, f"{server.openhands}{path}", headers=headers)
    error = response.json()["error"]
    assert (response.status, error["code"]) == (404, "not_found")
    assert "not stored here" in error["message"]
    assert not upstream.requests
    assert not RequestLog.objects.exists()


def test_another_method_is_a_405(server: Server) -> None:
    response = server.http.request("GET", f"{server.openhands}/v1/responses")
    assert (response.status, response.headers["Allow"]) == (405, "POST")


def test_an_upstream_without_the_endpoint_is_a_404_that_says_so(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1, credits=1)
    server = serve_with(GUNICORN_WORKERS="1", OPENHANDS_MISSING_ENDPOINTS="responses")
    response = post(server, respond(), path=RESPONSES)
    error = response.json()["error"]
    assert (response.status, error["code"]) == (404, "not_found")
    assert "OpenHands has no /v1/responses" in error["message"]
    assert "/v1/chat/completions" in error["message"]
    assert not upstream.requests
    assert post(server, respond(), base=server.ohmygpt, path=RESPONSES).status == 200
    assert_reconciles()


@pytest.mark.parametrize(
    ("asked", "included"),
    [
        ({"reasoning": {"effort": "low"}}, ["reasoning.encrypted_content"]),
        ({"reasoning": {}, "include": ["message.output_text.logprobs"]}, None),
        (
            {"reasoning": {"effort": "low"}, "include": ["message.output_text.logprobs"]},
            ["message.output_text.logprobs", "reasoning.encrypted_content"],
        ),
        ({"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}, None),
        ({"reasoning": {"effort": "low"}, "store": False}, None),
        ({"reasoning": {"effort": "low"}, "include": "text"}, None),
        ({}, None),
    ],
)
def test_reasoning_that_a_client_believes_stored_comes_whole(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, asked: dict[str, Any], included: list[str] | None
) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, {**respond(), **asked}, path=RESPONSES).status == 200
    assert upstream.requests[-1].json().get("include") == (included or asked.get("include"))
    assert upstream.requests[-1].json()["store"] is False
    assert_reconciles()


def test_the_refusal_names_the_limit_of_the_format(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.001)
    error = post(server, respond(max_output_tokens=5000), path=RESPONSES).json()["error"]
    assert f"set max_output_tokens to at most {error['affordable_max_tokens']}" in error["message"].lower()
