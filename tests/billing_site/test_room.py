"""Room: what one port is busy with keeps no other waiting, and who finds no thread is told so at once."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import urllib3

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.processes import wait_for
from tests.proxy.requests import MESSAGES, assert_reconciles, chat, post
from tests.serving import HOST, Server

STALLED = "[[fake chunks=2 chunk_delay=4]] Hi"


@pytest.fixture
def opens_ledger() -> bool:
    return True


@contextmanager
def open_streams(server: Server, upstream: FakeUpstream, count: int, *, base: str | None = None) -> Iterator[list[Any]]:
    """Streams in flight, whose upstream says nothing more for four seconds."""
    with ExitStack() as stack:
        streams = []
        for number in range(1, count + 1):
            response = post(server, chat(STALLED, stream=True), base=base, preload_content=False)
            stack.callback(response.close)
            assert response.status == 200
            streams.append(response)
            wait_for(lambda: len(upstream.requests) >= number)  # noqa: B023
        yield streams


def test_who_finds_no_thread_is_refused_at_once_in_its_own_format(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    server = serve_with(SERVE="api", GUNICORN_WORKERS="1", GUNICORN_THREADS="3", THREAD_WAIT_SECONDS="0.2")
    with open_streams(server, upstream, 3) as streams:
        started = time.monotonic()
        openai = post(server, chat())
        anthropic = post(server, chat("x" * 100_000), path=MESSAGES)  # More than is read early.
        models = server.http.request("GET", f"{server.ohmygpt}/v1/models")
        health = [server.http.request("GET", f"{server.openhands}{path}").status for path in ("/healthz", "/health")]
        assert time.monotonic() - started < 5
        assert health == [200, 200]
        assert {response.status for response in (openai, anthropic, models)} == {503}
        assert {int(response.headers["Retry-After"]) for response in (openai, anthropic, models)} == {2}
        assert openai.json()["error"]["code"] == "busy"
        assert anthropic.json()["type"] == "error"
        assert [stream.read().endswith(b"data: [DONE]\n\n") for stream in streams] == [True] * 3
    assert len(upstream.requests) == 3
    assert post(server, chat()).status == 200
    assert_reconciles()


def test_a_moment_without_a_thread_is_waited_for(serve_with: ServeWith, prices: None) -> None:
    server = serve_with(SERVE="api", GUNICORN_WORKERS="1", GUNICORN_THREADS="1", THREAD_WAIT_SECONDS="5")
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(server.http.request("GET", f"{server.openhands}/v1/models", timeout=10).status)

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [401] * 30


def test_requests_go_to_the_process_that_has_threads(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    server = serve_with(SERVE="api", GUNICORN_WORKERS="2", GUNICORN_THREADS="4")
    wait_for(lambda: server.log().count("Ready to serve") == 2, 30)
    server.http.clear()  # A connection that is kept stays with its process.
    with open_streams(server, upstream, 8):
        assert post(server, chat()).status == 503
    assert_reconciles_soon()


def assert_reconciles_soon() -> None:
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_in_one_process_the_api_leaves_threads_to_the_site(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    server = serve_with(GUNICORN_WORKERS="1", GUNICORN_THREADS="4")
    with open_streams(server, upstream, 3, base=f"{server.site}/openhands"):
        for base in (server.openhands, f"{server.site}/openhands"):
            response = post(server, chat(), base=base)
            assert (response.status, response.json()["error"]["code"]) == (503, "busy")
        started = time.monotonic()
        assert server.http.request("GET", f"{server.site}/admin/login/").status == 200
        webhook = server.http.request("POST", f"{server.site}/api/payment/webhook", body=b"{}")
        assert (webhook.status, webhook.json()["success"]) in ((401, False), (503, False))
        assert time.monotonic() - started < 2
    assert_reconciles_soon()
    assert post(server, chat()).status == 200


def test_a_page_without_a_thread_is_refused_with_its_headers(serve_with: ServeWith, prices: None) -> None:
    server = serve_with(
        SERVE="site", GUNICORN_WORKERS="1", GUNICORN_THREADS="1", CLIENT_TIMEOUT_SECONDS="20", THREAD_WAIT_SECONDS="0.1"
    )
    with socket.create_connection((HOST, server.ports["SITE_PORT"])) as slow:
        slow.sendall(b"POST /api/payment/webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99000\r\n\r\n")
        time.sleep(0.3)  # It has the only thread.
        for path in ("/", "/admin/login/", "/api/payment/webhook"):
            response = server.http.request("GET", f"{server.site}{path}", redirect=False)
            assert (response.status, response.json()["code"]) == (503, "busy")
            assert (response.headers["Retry-After"], response.headers["X-Content-Type-Options"]) == ("2", "nosniff")
        assert server.http.request("GET", f"{server.site}/healthz").status == 200
    wait_for(lambda: server.http.request("GET", f"{server.site}/admin/login/").status == 200)


@pytest.mark.parametrize("served", ["site", "api"])
def test_a_process_serves_what_it_is_told(
    serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser, served: str
) -> None:
    insert_user("alice", creditsNew=5)
    server = serve_with(SERVE=served, GUNICORN_WORKERS="1")
    site, api = [server.site], [server.openhands, server.ohmygpt]
    for base in site if served == "site" else api:
        for path in ("/healthz", "/readyz"):
            assert server.http.request("GET", base + path).status == 200
    for base in api if served == "site" else site:
        with pytest.raises(urllib3.exceptions.HTTPError):
            server.http.request("GET", f"{base}/healthz", timeout=1)
    # The prefix is served in both, so that a reverse proxy need not take it off; another port's prefix is not.
    own, other = (
        f"{server.site if served == 'site' else server.openhands}/{name}" for name in ("openhands", "ohmygpt")
    )
    assert post(server, chat(), base=own).status == 200
    assert json.loads(upstream.requests[-1].body)["model"]
    assert post(server, chat(), base=other).status == (402 if served == "site" else 404)
    if served == "api":
        assert server.http.request("GET", f"{server.openhands}/admin/").status == 404
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    assert server.http.request("GET", f"{own}/v1/models", headers=headers).status == 200


def test_an_unknown_choice_does_not_start(serve_with: ServeWith) -> None:
    with pytest.raises(AssertionError, match="SERVE=pages"):
        serve_with(SERVE="pages")
