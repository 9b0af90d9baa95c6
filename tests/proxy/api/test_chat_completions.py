"""`POST /v1/chat/completions` over HTTP: what is forwarded, what is billed, and every refusal."""

import json
import socket
from bisect import bisect_left
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Account, Balance
from development.fake_upstream.replies import count_prompt_tokens
from development.fake_upstream.server import FakeUpstream
from proxy.billing.refusals import read_refusals
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, events, post
from tests.serving import Server

OPENHANDS_INPUT, OPENHANDS_OUTPUT = Decimal("1.05") / 10**6, Decimal("5.25") / 10**6
OHMYGPT_INPUT, OHMYGPT_OUTPUT = Decimal("1.15") / 10**6, Decimal("5.75") / 10**6
CACHE_SECONDS = 0.3
"""A little more than the server's `PRICE_CACHE_SECONDS`."""
FULL_NAME = "claude-haiku-4-5-20251001"


def test_a_request_is_forwarded_and_billed_exactly(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    body = chat()

    response = post(server, body)

    assert response.status == 200
    answer = response.json()
    prompt = count_prompt_tokens(body)
    assert answer["usage"]["prompt_tokens"] == prompt
    cost = prompt * OPENHANDS_INPUT + answer["usage"]["completion_tokens"] * OPENHANDS_OUTPUT
    account = Account.objects.get(pk="alice")
    assert account.credits_new == 1 - cost
    assert account.credits_new_used == cost
    assert account.tokens_user_new == answer["usage"]["total_tokens"]
    assert response.headers["X-Credits-Cost"] == f"{cost:.8f}"
    assert response.headers["X-Credits-Balance"] == f"{1 - cost:.8f}"
    log = RequestLog.objects.get(pk=response.headers["X-Request-Id"])
    assert (log.user_id, log.credit_type, log.cost, log.outcome) == ("alice", "openhands", cost, "ok")
    assert (log.input_tokens, log.output_tokens) == (prompt, answer["usage"]["completion_tokens"])
    assert (log.usage_source, log.status_code, log.is_success) == ("upstream", 200, True)
    assert log.price["multiplier"] == "1.05000000"
    assert key_of("alice") not in str(log.__dict__)
    assert_reconciles()

    (received,) = upstream.requests
    assert received.headers["authorization"] == "Bearer upstream-key"
    assert received.json() == body | {"model": "claude-haiku-4-5-20251001"}


def test_the_same_on_the_other_port_lowers_the_other_balance(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", credits=1)
    response = post(server, chat(), base=server.ohmygpt)
    usage = response.json()["usage"]
    cost = usage["prompt_tokens"] * OHMYGPT_INPUT + usage["completion_tokens"] * OHMYGPT_OUTPUT
    account = Account.objects.get(pk="alice")
    assert (account.credits, account.credits_used, account.credits_new) == (1 - cost, cost, 0)
    assert account.tokens_user_new == 0
    assert_reconciles()


@pytest.mark.parametrize("prefix", ["openhands", "ohmygpt"])
def test_the_prefixes_on_the_site_port_are_the_same(server: Server, insert_user: InsertUser, prefix: str) -> None:
    insert_user("alice", credits=1, creditsNew=1)
    response = post(server, chat(), base=server.site, path=f"/{prefix}/v1/chat/completions")
    assert response.status == 200
    assert RequestLog.objects.get().credit_type == prefix


@pytest.mark.parametrize(("prefix", "status"), [("openhands", 200), ("ohmygpt", 404), ("openhands/openhands", 404)])
def test_on_its_own_port_only_the_own_prefix_is_served(
    server: Server, insert_user: InsertUser, prefix: str, status: int
) -> None:
    insert_user("alice", credits=1, creditsNew=1)
    assert post(server, chat(), path=f"/{prefix}/v1/chat/completions").status == status
    assert [log.credit_type for log in RequestLog.objects.all()] == ["openhands"] * (status == 200)


def test_an_untouched_body_is_forwarded_byte_for_byte(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    body = (
        b'{ "temperature": 0, "stop": ["a\\u00e9"],\n "top_p": 1.0, "tool_choice": "auto", '
        b'"model":"claude-haiku-4-5-20251001", "max_tokens" : 5, "messages":[{"role":"user","content":"h\xc3\xa9"}] }'
    )
    assert post(server, body).status == 200
    assert upstream.requests[-1].body == body


def test_the_output_bound_is_put_in_front_and_nothing_else_changes(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1000)
    body = b'{"model":"claude-haiku-4-5-20251001","seed": 1e2,"messages":[{"role":"user","content":"x"}]}'
    assert post(server, body).status == 200
    assert upstream.requests[-1].body == b'{"max_tokens":64000,' + body[1:]


def test_an_alias_is_replaced_and_nothing_else_changes(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    body = b'{"seed": 1e2, "model" : "claude-haiku-4-5", "max_tokens":5,"messages":[{"role":"user","content":"x"}]}'
    assert post(server, body).status == 200
    assert upstream.requests[-1].body == body.replace(b"haiku-4-5", b"haiku-4-5-20251001")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_body_at_the_limit_of_nesting_leaves_no_hold(server: Server, insert_user: InsertUser, path: str) -> None:
    insert_user("alice", creditsNew=1)
    body = json.dumps(chat()).encode()[:-1]

    def is_refused(depth: int) -> bool:
        response = post(server, b'{"deep":' + b"[" * depth + b"]" * depth + b"," + body[1:] + b"}", path=path)
        assert response.status in {200, 400}
        return b"body is nested too deeply" in response.data

    limit = bisect_left(range(2000), True, key=is_refused)
    assert 500 < limit < 2000
    for depth in range(limit - 4, limit):
        is_refused(depth)
    assert_reconciles()


def test_without_max_tokens_the_balance_bounds_the_output(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=0.01)
    body = chat()
    del body["max_tokens"]
    assert post(server, body).status == 200
    forwarded = upstream.requests[-1].json()["max_tokens"]
    input_cost = -(-len(json.dumps(body)) // 2) * OPENHANDS_INPUT * Decimal("1.25")  # the cache write price
    assert forwarded == int((Decimal("0.005") - input_cost) / OPENHANDS_OUTPUT)
    assert_reconciles()


def test_a_stream_passes_through_and_is_billed(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    body = chat(stream=True)

    response = post(server, body)

    assert response.headers["Content-Type"].startswith("text/event-stream")
    received = events(response)
    assert received[-1] == "[DONE]"
    assert all(event["choices"] for event in received[:-1]), "the forced usage chunk is hidden"
    assert upstream.requests[-1].json()["stream_options"] == {"include_usage": True}
    log = RequestLog.objects.get(pk=response.headers["X-Request-Id"])
    assert log.input_tokens == count_prompt_tokens(body)
    assert log.cost == log.input_tokens * OPENHANDS_INPUT + log.output_tokens * OPENHANDS_OUTPUT
    assert (log.usage_source, log.is_stream) == ("upstream", True)
    assert Account.objects.get(pk="alice").credits_new == 1 - log.cost
    assert_reconciles()


def test_a_client_that_asks_for_usage_gets_its_chunk(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    received = events(post(server, chat(stream=True, stream_options={"include_usage": True})))
    assert received[-2]["choices"] == []
    assert received[-2]["usage"]["total_tokens"] > 0


def test_cached_tokens_are_billed_once_at_their_own_price(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat("[[fake prompt_tokens=1000 completion_tokens=10 cached_tokens=800]] hi"))
    log = RequestLog.objects.get(pk=response.headers["X-Request-Id"])
    assert (log.input_tokens, log.cache_read_tokens, log.output_tokens) == (200, 800, 10)
    assert log.cost == (200 * Decimal(1) + 800 * Decimal("0.1") + 10 * Decimal(5)) * Decimal("1.05") / 10**6


def test_a_full_other_balance_does_not_pay(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", credits=100)

    response = post(server, chat(max_tokens=1000))

    assert response.status == 402
    error = response.json()["error"]
    assert error["message"].startswith("insufficient credits for request. Cost: $0.01, Balance: $0.00. ")
    assert "the OhMyGPT balance does not apply" in error["message"]
    assert error["code"] == "insufficient_credits"
    assert (error["balance"], error["balance_name"]) == ("0.00000000", "openhands")
    assert "the OhMyGPT balance does not apply" in error["hint"]
    assert not upstream.requests
    assert post(server, chat(), base=server.ohmygpt).status == 200


def test_a_refusal_names_the_max_tokens_that_would_pass(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.002)
    error = post(server, chat(max_tokens=5000)).json()["error"]
    affordable = error["affordable_max_tokens"]
    assert 0 < affordable < 5000
    assert post(server, chat(max_tokens=affordable)).status == 200


def test_credits_that_are_only_held_say_when_to_retry(server: Server, usersnew: Any, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0, holds={"req_x": {"balance": "openhands", "amount": 1.0}})
    response = post(server, chat())
    assert response.status == 402
    assert response.headers["Retry-After"] == "5"
    assert response.json()["error"]["held"] == "1.00000000"


def test_an_expired_account_is_refused_with_no_sweeper(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, credits=5, expiresAt=timezone.now() - timedelta(milliseconds=5))
    for base in (server.openhands, server.ohmygpt):
        response = post(server, chat(), base=base)
        assert (response.status, response.json()["error"]["code"]) == (402, "credits_expired")
    assert Account.objects.get(pk="alice").balance(Balance.OPENHANDS) == 5


def test_a_disabled_account_is_refused(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, isActive=False)
    response = post(server, chat())
    assert (response.status, response.json()["error"]["code"]) == (403, "account_disabled")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer sk-trollllm-" + "0" * 64},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YWxpY2U6eA=="},
        {"Authorization": "Bearer " + "x" * 500},
        {"x-api-key": "wrong-key"},
    ],
)
def test_a_wrong_key_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, headers: dict[str, str]
) -> None:
    insert_user("alice", creditsNew=5)
    for body in (chat(), b"not json", chat(model="unknown")):
        response = post(server, body, username=None, headers=headers)
        assert (response.status, response.json()["error"]["code"]) == (401, "invalid_api_key")
        assert response.headers["X-Request-Id"].startswith("req_")
    assert not upstream.requests


def test_x_api_key_works_too(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    assert post(server, chat(), username=None, headers={"x-api-key": key_of("alice")}).status == 200


BAD_BODIES = [
    b"",
    b"{",
    b"not json",
    b"[]",
    b'"text"',
    b"null",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"{}",
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "x"}], "n": ' + b"9" * 5000 + b"}",
    b'{"model": "claude-haiku-4-5", "model": "claude-opus-4-5", "messages": [{"role": "user", "content": "x"}]}',
    *(
        json.dumps(chat(**fields)).encode()
        for fields in (
            {"max_tokens": -1},
            {"max_tokens": 0},
            {"max_tokens": "1e400"},
            {"max_tokens": 1.5},
            {"max_tokens": True},
            {"max_tokens": 2**31},
            {"max_tokens": [1]},
            {"max_completion_tokens": -5},
            {"n": 0},
            {"n": 129},
            {"n": "2"},
            {"stream": "yes"},
            {"model": 5},
            {"model": None},
            {"model": ""},
            {"model": "x" * 201},
            {"messages": []},
            {"messages": "hello"},
            {"messages": None},
        )
    ),
    *(
        json.dumps(chat()).replace('"max_tokens": 100', f'"max_tokens": {value}').encode()
        for value in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400")
    ),
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: body[:60].decode("latin1"))
def test_a_bad_body_is_explained(server: Server, upstream: FakeUpstream, insert_user: InsertUser, body: bytes) -> None:
    insert_user("alice", creditsNew=5)
    response = post(server, body)
    error = response.json()["error"]
    assert (response.status, error["code"], error["type"]) == (400, "invalid_request", "invalid_request_error")
    assert error["message"]
    assert response.headers["Content-Type"] == "application/json"
    assert not upstream.requests
    assert Account.objects.get(pk="alice").credits_new == 5


def test_a_50_mb_body_is_too_large(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    response = post(server, b'{"model": "' + b"x" * 50_000_000 + b'"}')
    assert (response.status, response.json()["error"]["code"]) == (413, "request_too_large")
    assert not upstream.requests


def test_an_unknown_or_inactive_model_is_never_forwarded(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=5)
    response = post(server, chat(model="gpt-4o"))
    assert (response.status, response.json()["error"]["code"]) == (404, "model_not_found")
    assert not upstream.requests


@pytest.mark.parametrize(
    "path", ["/v1/x%0Ay", "/v1/embeddings/x", "/v1/chat/completions/x", "/", "/admin/", "/v1/files", "/favicon.ico"]
)
def test_other_paths_are_json_404_and_never_forwarded(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=5)
    response = post(server, chat(), path=path)
    assert (response.status, response.json()["error"]["code"]) == (404, "not_found")
    assert not upstream.requests


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/messages", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/balance", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told(server: Server, upstream: FakeUpstream, method: str, path: str, allowed: str) -> None:
    response = server.http.request(method, server.openhands + path)
    assert (response.status, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.json()["error"]["message"] == f"{path} answers {allowed.partition(',')[0]} only."
    assert response.headers["Allow"] == allowed
    assert not upstream.requests


def test_head_answers_with_the_head_alone(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    request = f"HEAD /v1/balance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('alice')}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.ports["OPENHANDS_PORT"]), timeout=20) as client:
        for first in (request, request.replace(b"/v1/balance", b"/v1/messages")):
            client.sendall(first + request)
            answers = b""
            while answers.count(b"\r\n\r\n") < 2 and (data := client.recv(65536)):
                answers += data
            assert answers.count(b"HTTP/1.1 ") == 2
            assert b"{" not in answers, "a body would be read as the next answer"
    assert answers.startswith(b"HTTP/1.1 405 ")


def test_a_query_on_a_metered_path_changes_nothing(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    for path in ("/v1/messages", "/v1/chat/completions"):
        assert post(server, chat(), path=f"{path}?gamma=true").status == 200
        assert upstream.requests[-1].path == path
    assert_reconciles()


def test_headers_that_come_twice(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    body = json.dumps(chat()).encode()
    key = key_of("alice")

    def send(*headers: str) -> bytes:
        head = ["POST /v1/messages HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
        with socket.create_connection(("127.0.0.1", server.ports["OPENHANDS_PORT"]), timeout=20) as client:
            client.sendall("\r\n".join(head).encode() + body)
            return b"".join(iter(lambda: client.recv(65536), b""))

    length = f"Content-Length: {len(body)}"
    for name, other in (("x-api-key: ", key_of("bob")), ("Authorization: Bearer ", key)):
        assert send(length, name + key, name + other).startswith(b"HTTP/1.1 401 "), "which of the two is meant?"
    assert send(length, length, f"x-api-key: {key}").startswith(b"HTTP/1.1 400 ")
    assert not upstream.requests
    beta = ("anthropic-beta: effort-2025-11-24", "anthropic-beta: claude-code-20250219")
    assert send(length, f"x-api-key: {key}", *beta).startswith(b"HTTP/1.1 200 ")
    assert upstream.requests[-1].headers["anthropic-beta"] == "effort-2025-11-24,claude-code-20250219"
    assert_reconciles()


def test_models_lists_what_has_a_price_on_this_upstream(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    response = server.http.request("GET", f"{server.openhands}/v1/models", headers=headers)
    body = response.json()
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == [
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-opus-4-5",
        "claude-opus-4-5-20251101",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
    ]
    assert {model["object"] for model in body["data"]} == {"model"}
    assert server.http.request("GET", f"{server.openhands}/v1/models").status == 401


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("body", ["Content-Length: 2000000", "Transfer-Encoding: chunked"])
def test_a_large_body_is_not_read_without_a_good_key(
    server: Server, insert_user: InsertUser, path: str, body: str
) -> None:
    insert_user("alice", isActive=False)
    for username, answer in (("nobody", b"HTTP/1.1 401 "), ("alice", b"HTTP/1.1 403 ")):
        with socket.create_connection(("127.0.0.1", server.ports["OPENHANDS_PORT"]), timeout=20) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {key_of(username)}\r\n{body}\r\n\r\n"
            client.sendall(head.encode())  # Nothing of the body follows.
            assert client.recv(65536).startswith(answer)


def test_a_body_that_does_not_come_is_not_waited_for(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1", CLIENT_TIMEOUT_SECONDS="0.3")
    for body in (
        "Content-Length: 100\r\n\r\n{",
        "Content-Length: 2000000\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", server.ports["OPENHANDS_PORT"]), timeout=20) as client:
            head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {key_of('alice')}\r\n{body}"
            client.sendall(head.encode())
            answer = b""
            while b"}}" not in answer and (data := client.recv(65536)):
                answer += data
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"could not be read" in answer
    assert not upstream.requests


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_chunked_request_body_is_read(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=5)
    options = {"stream_options": {"include_usage": True}} if path == "/v1/chat/completions" else {}
    data = json.dumps(chat(stream=is_stream, model=FULL_NAME, **options)).encode()
    headers = {"Authorization": f"Bearer {key_of('alice')}", "Content-Type": "application/json"}
    response = server.http.request("POST", server.openhands + path, body=iter([data[:10], data[10:]]), headers=headers)
    assert response.status == 200
    assert upstream.requests[-1].body == data
    assert (RequestLog.objects.get().outcome, RequestLog.objects.get().usage_source) == ("ok", "upstream")
    assert_reconciles()


def test_the_anthropic_refusal_helps_as_much(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.001)
    server = serve_with(GUNICORN_WORKERS="1", PURCHASE_URL="https://shop.example/buy", LOWER_MAX_TOKENS="false")
    response = post(server, chat(max_tokens=5000), path="/v1/messages")
    body = response.json()
    assert (response.status, body["type"], body["error"]["type"]) == (402, "error", "billing_error")
    assert body["error"]["message"].startswith("insufficient credits for request. Cost: $0.03, Balance: $0.00")
    assert body["error"]["purchase_url"] == "https://shop.example/buy"
    assert 0 < body["error"]["affordable_max_tokens"] < 200
    usual = post(server, chat(max_tokens=5000))
    assert usual.json()["error"]["purchase_url"] == "https://shop.example/buy"


BETAS = "interleaved-thinking-2025-05-14,structured-outputs-2025-11-13"


def test_anthropic_headers_are_passed_on_and_ours_are_not(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": BETAS, "Cookie": "secret", "X-Other": "1"}
    assert post(server, chat(), path="/v1/messages", headers=headers).status == 200
    received = upstream.requests[-1].headers
    assert (received["anthropic-version"], received["anthropic-beta"]) == ("2023-06-01", BETAS)
    assert received["authorization"] == "Bearer upstream-key"
    assert not {"cookie", "x-other", "x-api-key"} & set(received)


def test_an_unknown_path_answers_in_the_callers_shape(server: Server) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    response = server.http.request("POST", f"{server.openhands}/v1/complete", headers=headers)
    assert (response.status, response.json()["type"]) == (404, "error")
    assert "error" in server.http.request("POST", f"{server.openhands}/v1/complete").json()


def test_no_key_is_in_the_servers_log(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    for directive in ("status=500", "garbage", "cut=1", "usage=missing"):
        post(server, chat(f"[[fake {directive}]] x"))
    assert "usage" in server.log()
    assert key_of("alice") not in server.log()
    assert "upstream-key" not in server.log()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("name", ["Model", "MAX_TOKENS", "Stream", "\u017ftream", "Messages"])
def test_a_name_that_ignores_case_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str, name: str
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat(**{name: "x"}), path=path)
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_request")
    assert response.json()["error"]["param"] == name
    assert not upstream.requests


def test_a_name_that_occurs_twice_and_is_no_text_is_explained(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = post(server, b'{"\\ud800":1,"\\ud800":2}')
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_request")
    assert response.json()["error"]["param"] == "\ud800"


def test_a_broken_chunk_of_a_request_is_explained(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('alice')}\r\n"
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.ports["OPENHANDS_PORT"]), timeout=20) as client:
        client.sendall(head.encode())
        answer = b""
        while b"}}" not in answer and (data := client.recv(65536)):
            answer += data
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"invalid_request"' in answer
    assert "a request body could not be read: " in server.log()
    assert not upstream.requests


def test_a_mistake_of_ours_is_told_as_json_and_holds_nothing(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    """Settings that nobody sets stand for what nobody has thought of: before the hold, and after it."""
    insert_user("alice", creditsNew=1)
    for wrong in ({"BYTES_PER_TOKEN": "0"}, {"UPSTREAM_READ_TIMEOUT_SECONDS": "-1"}):
        server = serve_with(GUNICORN_WORKERS="1", **wrong)
        for path in (CHAT, MESSAGES):
            response = post(server, chat(), path=path)
            assert (response.status, response.json()["error"]["code"]) == (500, "internal_error")
            assert "You were not charged" in response.json()["error"]["message"]
            assert_reconciles()
        assert "Traceback" in server.log()
    assert not upstream.requests
    logs = RequestLog.objects.all()
    assert [(log.cost, log.status_code, log.outcome) for log in logs] == 2 * [(0, 500, "internal_error")]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("directive", ["", "[[fake usage=missing]] "])
@pytest.mark.parametrize("is_stream", [False, True])
def test_half_a_surrogate_pair_in_the_text_passes_and_is_billed(
    server: Server, insert_user: InsertUser, path: str, directive: str, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat(f"{directive}\ud800", stream=is_stream), path=path)
    assert response.status == 200
    assert b"\\ud800" in response.data
    assert RequestLog.objects.get().usage_source == ("estimated" if directive else "upstream")
    assert RequestLog.objects.get().cost > 0
    assert_reconciles()


def test_refusals_for_want_of_credits_are_counted(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", credits=0.00001)
    insert_user("bob", credits=5, expiresAt=timezone.now())
    connection.database["refusals"].delete_many({})
    for base, username in ((server.openhands, "alice"), (server.openhands, "alice"), (server.ohmygpt, "bob")):
        assert post(server, chat(), base=base, username=username).status == 402
    today = timezone.now().date()
    assert read_refusals(upstream=Balance.OPENHANDS, day=today) == {"insufficient_credits": 2}
    assert read_refusals(upstream=Balance.OHMYGPT, day=today) == {"credits_expired": 1}
