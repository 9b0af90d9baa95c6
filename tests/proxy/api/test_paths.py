"""The ways in which clients write the same paths, and what they are told where there is nothing. Over real sockets."""

from typing import Any

import pytest
import urllib3

from development.fake_upstream.server import FakeUpstream
from proxy.api.addresses import endpoint_path
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/messages", "/v1/messages"),
        ("messages", "/v1/messages"),
        ("/v1/v1/v1/messages/", "/v1/messages"),
        ("//v1//chat///completions//", "/v1/chat/completions"),
        ("/models/vendor/v1/name", "/v1/models/vendor/v1/name"),
        ("/health/", "/health"),
        ("", "/"),
        ("/v1/", "/"),
        ("/v1x", "/v1/v1x"),
        ("/V1/messages", "/v1/V1/messages"),
    ],
)
def test_the_path_that_is_meant(path: str, meant: str) -> None:
    assert endpoint_path(path) == meant


@pytest.mark.parametrize("place", ["port", "site", "prefix on the port"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("form", ["{short}", "/v1{path}", "/{path}", "{path}/", "/{path}//", "/v1/v1{path}/"])
def test_each_way_to_write_a_path_is_served_and_billed(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, place: str, path: str, form: str
) -> None:
    insert_user("alice", creditsNew=1)
    bases = {
        "port": server.openhands,
        "site": f"{server.site}/openhands",
        "prefix on the port": f"{server.openhands}/openhands",
    }
    written = form.format(path=path, short=path.removeprefix("/v1"))
    response = post(server, chat(), base=bases[place], path=written, redirect=False)
    assert response.status == 200, response.data
    assert [request.path for request in upstream.requests] == [path]
    assert [log.endpoint for log in RequestLog.objects.all()] == [path]
    assert_reconciles()


def test_slashes_before_the_prefix_do_not_count(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(), base=server.site, path=f"//openhands/{CHAT}").status == 200
    assert post(server, chat(), base=server.site, path=f"//admin/{CHAT}").status in (403, 404)


def ask(server: Server, method: str, url: str, **headers: str) -> urllib3.BaseHTTPResponse:
    return server.http.request(method, url, headers=headers, timeout=20, redirect=False)


def test_the_root_of_an_api_answers(server: Server) -> None:
    for url in (server.openhands, f"{server.openhands}/v1", f"{server.site}/openhands", f"{server.site}//openhands/"):
        assert ask(server, "HEAD", url).status == 200
        answer = ask(server, "GET", url)
        assert (answer.status, answer.json()["upstream"]) == (200, "openhands")
    assert ask(server, "HEAD", f"{server.site}/ohmygpt/").status == 200
    assert ask(server, "POST", f"{server.openhands}/").status == 404


def test_another_path_says_which_address_to_use(server: Server) -> None:
    here, other = server.openhands, server.ohmygpt
    error = ask(server, "POST", f"{here}/v2/chat").json()["error"]
    assert (error["code"], error["type"]) == ("not_found", "invalid_request_error")
    assert error["message"] == (
        f"There is no POST /v2/chat here. For OpenHands use the base address {here}/v1 in OpenAI-style clients, and "
        f"{here} (without /v1) in Anthropic-style clients. For OhMyGPT use the base address {other}/v1 in OpenAI-style "
        f"clients, and {other} (without /v1) in Anthropic-style clients."
    )
    below = ask(server, "GET", f"{server.site}/ohmygpt/v1/files").json()["error"]["message"]
    assert f"base address {server.site}/ohmygpt/v1 " in below
    assert f"{server.site}/openhands (without /v1)" in below


@pytest.mark.parametrize(
    ("path", "headers", "is_anthropic"),
    [
        ("/v1/files", {}, False),
        ("/v1/files", {"anthropic-version": "2023-06-01"}, True),
        ("/v1/files", {"x-api-key": "k"}, True),
        ("/v1/files", {"x-api-key": "k", "Authorization": "Bearer k"}, False),
        ("/v1/files", {"User-Agent": "Anthropic/Python 0.50"}, True),
        ("/v1/messages/batches", {}, True),
    ],
)
def test_the_shape_of_the_error_is_that_of_the_vendor(
    server: Server, path: str, headers: dict[str, str], is_anthropic: bool
) -> None:
    body = ask(server, "POST", server.openhands + path, **headers).json()
    assert (body.get("type") == "error") == is_anthropic
    assert body["error"]["type"] == ("not_found_error" if is_anthropic else "invalid_request_error")


def test_a_host_that_is_none_and_a_key_in_a_path_are_not_repeated(server: Server) -> None:
    message = ask(server, "GET", f"{server.openhands}/v9/{key_of('alice')}", Host='evil/"x').data.decode()
    assert "evil" not in message
    assert key_of("alice") not in message
    assert server.openhands in message


def test_the_configured_address_is_told(serve_with: ServeWith) -> None:
    urls: dict[str, Any] = {
        "OPENHANDS_PUBLIC_URL": "https://openhands.example.com/v1/",
        "OHMYGPT_PUBLIC_URL": "https://ohmygpt.example.com",
    }
    server = serve_with(GUNICORN_WORKERS="1", **urls)
    message = ask(server, "GET", f"{server.openhands}/v1/files").json()["error"]["message"]
    assert "https://openhands.example.com/v1 in OpenAI" in message
    assert "https://ohmygpt.example.com (without /v1)" in message
    assert server.openhands not in message
    assert b"https://ohmygpt.example.com/v1" in ask(server, "GET", server.site).data
