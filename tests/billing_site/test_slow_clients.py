"""Clients that send or read slowly, or not at all: they are closed in time, and nobody else waits for them."""

import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests.conftest import key_of, upstream_environment
from tests.factories import InsertUser
from tests.processes import wait_for
from tests.proxy.requests import assert_reconciles, chat, post
from tests.serving import HOST, Server, serve

SECONDS = 1.5
"""The time for a header, and the patience with a body or a reader, on this server."""
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LARGEST_STATIC = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


WEBHOOK, MESSAGES = "/api/payment/webhook", "/v1/messages"
SILENT: dict[str, tuple[str, bytes, bytes]] = {
    "nothing": ("SITE_PORT", b"", b""),
    "nothing-openhands": ("OPENHANDS_PORT", b"", b""),
    "nothing-ohmygpt": ("OHMYGPT_PORT", b"", b""),
    "half-a-header": ("SITE_PORT", GET[:20], b""),
    "header-in-bytes": ("SITE_PORT", b"", GET[:-4] + b"\r\nX-Name: " + b"x" * 500),
    "header-in-bytes-api": ("OHMYGPT_PORT", b"", GET[:-4] + b"\r\nX-Name: " + b"x" * 500),
    "tls": ("OPENHANDS_PORT", bytes.fromhex("16030100c4010000c00303") + b"\x11" * 100, b""),
    "no-body": ("SITE_PORT", head(WEBHOOK, "Content-Length: 100"), b""),
    "no-large-body": ("SITE_PORT", head(WEBHOOK, "Content-Length: 100000"), b""),
    "no-chunk": ("SITE_PORT", head(WEBHOOK, "Transfer-Encoding: chunked"), b""),
    "no-body-after-continue": ("SITE_PORT", head(WEBHOOK, "Content-Length: 100", "Expect: 100-continue"), b""),
    "body-in-bytes": ("OPENHANDS_PORT", head(MESSAGES, "Content-Length: 1000", "x-api-key: x"), b"{" * 999),
    "large-body-in-bytes": ("OPENHANDS_PORT", head(MESSAGES, "Content-Length: 100000", "x-api-key: x"), b"{" * 999),
    "log-in-in-bytes": ("SITE_PORT", head("/admin/login/", "Content-Length: 500000"), b"a" * 999),
    "chunks-in-bytes": ("SITE_PORT", head(WEBHOOK, "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 200),
    "half-a-second-request": ("SITE_PORT", GET + GET[:20], b""),
}
"""What a client sends at once, and what it sends then, five bytes a second; to which port."""


@pytest.fixture
def opens_ledger() -> bool:
    return True


@pytest.fixture(scope="module")
def _slow_gunicorn(
    upstream: FakeUpstream, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One process with twelve threads, a third of those that clients of the first test would take."""
    environment = {
        "GUNICORN_WORKERS": "1",
        "GUNICORN_THREADS": "12",
        "THREAD_WAIT_SECONDS": "2",
        "CLIENT_HEADER_SECONDS": str(SECONDS),
        "CLIENT_TIMEOUT_SECONDS": str(SECONDS),
        "CLIENT_BODY_SECONDS": "10",
        "DATABASE_TIMEOUT_MS": "5000",
    }
    with (
        django_db_blocker.unblock(),
        serve(tmp_path_factory.mktemp("slow"), upstream_environment(upstream) | environment) as running,
    ):
        yield running


@pytest.fixture
def slow(_slow_gunicorn: Server, upstream: FakeUpstream, prices: None) -> Server:
    upstream.clear()
    _slow_gunicorn.http.clear()
    return _slow_gunicorn


@pytest.fixture
def connect(slow: Server) -> Iterator[Callable[..., socket.socket]]:
    with ExitStack() as stack:

        def open_connection(port: str = "SITE_PORT", receive_buffer: int | None = None) -> socket.socket:
            client = stack.enter_context(socket.socket())
            if receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.settimeout(10)
            client.connect((HOST, slow.ports[port]))
            return client

        yield open_connection


def assert_others_are_served(server: Server) -> None:
    """A page, an API call, and a body, all soon."""
    started = time.monotonic()
    assert server.http.request("GET", f"{server.site}/healthz", timeout=5).status == 200
    assert server.http.request("GET", f"{server.openhands}/v1/models", timeout=5).status == 401
    assert server.http.request("POST", f"{server.site}{WEBHOOK}", body=b"{}" * 40_000, timeout=5).status == 413
    assert time.monotonic() - started < 1.5


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed a connection; what it sent before is read off."""
    try:
        while select.select([client], [], [], 0)[0]:
            if not client.recv(65536):
                return True
    except OSError:
        return True
    return False


def test_who_sends_slowly_is_closed_in_time_and_keeps_nobody_waiting(
    slow: Server, connect: Callable[..., socket.socket]
) -> None:
    clients = []
    for name, (port, at_once, then) in SILENT.items():
        for _ in range(6):
            client = connect(port)
            client.sendall(at_once)
            clients.append((name, client, iter(then)))
    started = time.monotonic()
    seen: dict[str, float] = {}
    while clients and time.monotonic() - started < 8:
        for name, client, then in clients[:]:
            if is_closed(client):
                clients.remove((name, client, then))
                seen[name] = time.monotonic() - started
            elif (byte := next(then, None)) is not None:
                with suppress(OSError):  # Closed since.
                    client.sendall(bytes([byte]))
        assert_others_are_served(slow)
        time.sleep(0.2)
    assert {name for name, _, _ in clients} == set(), slow.log()[-3000:]
    assert seen.keys() == SILENT.keys()
    assert max(seen.values()) < SECONDS + 3.5, seen
    assert "Traceback" not in slow.log()


def test_who_does_not_read_a_page_keeps_nobody_waiting(slow: Server, connect: Callable[..., socket.socket]) -> None:
    ask = f"GET {LARGEST_STATIC} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 8
    clients = [connect(receive_buffer=4096) for _ in range(30)]
    for client in clients:
        client.sendall(ask)
    started = time.monotonic()
    closed = select.poll()
    for client in clients:
        closed.register(client, select.POLLHUP | select.POLLERR)
    while len(closed.poll(0)) < len(clients):
        assert_others_are_served(slow)
        assert time.monotonic() - started < 8, f"{len(closed.poll(0))} are closed"
        time.sleep(0.1)
    assert "Traceback" not in slow.log()


def test_who_reads_a_page_slowly_but_steadily_gets_all_of_it(connect: Callable[..., socket.socket]) -> None:
    client = connect(receive_buffer=4096)
    client.sendall(f"GET {LARGEST_STATIC} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    received = b""
    started = time.monotonic()
    while data := client.recv(32 * 1024):
        received += data
        if time.monotonic() - started < 2 * SECONDS:
            time.sleep(0.15)
    header, _, body = received.partition(b"\r\n\r\n")
    length = int(header.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(body) == length > 1_000_000


def test_a_stream_is_not_cut_while_the_upstream_is_slow(slow: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    response = post(slow, chat(f"[[fake chunks=2 chunk_delay={SECONDS + 1}]] Hi", stream=True))
    assert response.status == 200
    assert response.data.endswith(b"data: [DONE]\n\n")
    assert RequestLog.objects.get().outcome == "ok"


def test_who_does_not_read_a_stream_is_cut_and_pays_for_all_of_it(
    slow: Server, insert_user: InsertUser, connect: Callable[..., socket.socket]
) -> None:
    insert_user("alice", creditsNew=1000)
    body = json.dumps(chat("[[fake chunks=60000]] Hi", stream=True, max_tokens=60000)).encode()
    client = connect("OPENHANDS_PORT", receive_buffer=4096)
    length = f"Content-Length: {len(body)}"
    client.sendall(head("/v1/chat/completions", f"Authorization: Bearer {key_of('alice')}", length) + body)
    log = wait_for(RequestLog.objects.first)
    assert (log.outcome, log.usage_source) == ("client_disconnected", "upstream")
    assert log.output_tokens == 60000
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_a_client_that_has_only_ended_its_sending_is_answered(connect: Callable[..., socket.socket]) -> None:
    client = connect()
    client.sendall(GET)
    client.shutdown(socket.SHUT_WR)
    assert b'"ok"' in b"".join(iter(lambda: client.recv(65536), b""))


def test_a_client_that_ends_in_the_middle_is_closed_at_once(connect: Callable[..., socket.socket]) -> None:
    started = time.monotonic()
    for at_once in (b"", GET[:20], head(WEBHOOK, "Content-Length: 100") + b"x"):
        client = connect()
        client.sendall(at_once)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))  # noqa: B023
        assert answer == b"" or answer.startswith(b"HTTP/1.1 40")
    assert time.monotonic() - started < SECONDS


def test_who_does_not_close_after_the_last_answer_keeps_nobody_waiting(
    slow: Server, connect: Callable[..., socket.socket]
) -> None:
    clients = [connect() for _ in range(20)]
    for index, client in enumerate(clients):
        client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if index % 2 else b"nonsense\r\n\r\n")
    assert_others_are_served(slow)


def test_an_endless_header_is_refused(connect: Callable[..., socket.socket]) -> None:
    client = connect()
    client.sendall(GET[:-2] + b"X-Name: " + b"x" * 70_000)
    answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"nosniff" in answer
    assert b"application/json" in answer
