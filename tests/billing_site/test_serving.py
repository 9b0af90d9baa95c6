"""How gunicorn serves connections that are kept open, over real sockets: each in its turn, whoever else keeps one."""

import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.conftest import key_of
from tests.factories import ServeWith
from tests.processes import wait_for
from tests.serving import HOST, Server, serve

REQUEST = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Client:
    """One connection that stays open."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection((HOST, server.ports["OPENHANDS_PORT"]), timeout=10)
        self._read = self.socket.makefile("rb")

    def send(self, times: int = 1) -> None:
        self.socket.sendall(REQUEST * times)

    def receive(self) -> dict[str, str]:
        """The header of the next answer, whose body is read too."""
        assert self._read.readline() == b"HTTP/1.1 200 OK\r\n"
        lines = iter(self._read.readline, b"\r\n")
        fields = (line.decode().partition(":") for line in lines)
        header = {name.lower(): value.strip() for name, _, value in fields}
        assert b'"status":"ok"' in self._read.read(int(header["content-length"])).replace(b" ", b"")
        return header

    def is_closed(self) -> bool:
        return self._read.read(1) == b""


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker with four threads, so that connections outnumber them."""
    few = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "4"}
    with django_db_blocker.unblock(), serve(tmp_path_factory.mktemp("gunicorn"), few) as running:
        yield running


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:

        def make(to: Server = server) -> Client:
            client = Client(to)
            stack.enter_context(client.socket)
            return client

        yield make


@pytest.mark.parametrize("pause", [0, 0.5], ids=["at once", "after a pause"])
def test_a_connection_is_served_again(connect: Callable[..., Client], pause: float) -> None:
    client = connect()
    for _ in range(5 if pause else 50):
        client.send()
        client.receive()
        time.sleep(pause)


def test_requests_sent_in_one_piece_are_answered_in_turn(connect: Callable[..., Client]) -> None:
    client = connect()
    client.send(times=5)
    for _ in range(5):
        client.receive()


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    ids=["length", "chunked"],
)
def test_a_body_that_nobody_read_is_not_taken_for_the_next_request(connect: Callable[..., Client], body: bytes) -> None:
    client = connect()
    for _ in range(3):
        client.socket.sendall(b"POST /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + body)
        client.receive()
        client.send()
        client.receive()


def test_an_answer_comes_in_one_piece(connect: Callable[..., Client]) -> None:
    client = connect()
    for _ in range(20):
        client.send()
        _, separator, body = client.socket.recv(65536).partition(b"\r\n\r\n")
        assert separator
        assert json.loads(body)["status"] == "ok"


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("openhands", "/v1/models"),
        ("openhands", "/health"),
        ("site", "/openhands/health"),
        ("site", "/healthz"),
        ("site", "/api/docs"),
        ("site", "/static/admin/css/base.css"),
    ],
)
def test_the_head_alone_is_sent_without_a_warning(server: Server, base: str, path: str) -> None:
    response = server.http.request("HEAD", getattr(server, base) + path, redirect=False)
    assert response.data == b""
    assert int(response.headers["Content-Length"]) > 0
    assert "WARNING gunicorn" not in server.log()


def test_the_date_is_that_of_the_answer(connect: Callable[..., Client]) -> None:
    client = connect()
    for _ in range(3):
        before = int(time.time())
        client.send()
        date = parsedate_to_datetime(client.receive()["date"])
        assert before <= date.timestamp() <= time.time()
        time.sleep(0.7)


def test_open_connections_keep_nobody_waiting(connect: Callable[..., Client]) -> None:
    clients = [connect() for _ in range(20)]
    started = time.monotonic()
    for _ in range(5):
        for client in clients:
            client.send()
            client.receive()
    # Each of the 100 would wait, if the threads stayed with connections that send nothing.
    assert time.monotonic() - started < 5


def test_busy_connections_leave_room_for_a_new_one(connect: Callable[..., Client]) -> None:
    stop = time.monotonic() + 2

    def keep_asking(client: Client) -> int:
        count = 0
        while time.monotonic() < stop:
            client.send()
            client.receive()
            count += 1
        return count

    with ThreadPoolExecutor(20) as threads:
        counts = threads.map(keep_asking, [connect() for _ in range(20)])
        time.sleep(0.5)
        newcomer = connect()
        newcomer.send()
        newcomer.receive()
        assert time.monotonic() < stop, "it was served while the others kept asking"
        assert min(counts) > 0


def test_a_stopping_worker_answers_what_comes_and_closes(serve_with: ServeWith, connect: Callable[..., Client]) -> None:
    server = serve_with(GUNICORN_WORKERS="1")
    clients = [connect(server) for _ in range(3)]
    for client in clients:
        client.send()
        client.receive()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    clients[0].send()
    assert clients[0].receive()["connection"] == "close"
    assert all(client.is_closed() for client in clients)
    assert server.process.wait(10) == 0


def test_the_access_log_has_no_key(serve_with: ServeWith, tmp_path: Path) -> None:
    log, key = tmp_path / "access.log", key_of("alice")
    server = serve_with(ACCESS_LOG=str(log), GUNICORN_WORKERS="1")
    headers = {"Referer": f"{server.site}/admin/?q={key}", "Authorization": basic_auth_header(key)}
    server.http.request("GET", f"{server.site}/admin/accounts/account/?q={key}", headers=headers, redirect=False)
    server.http.request("GET", f"{server.openhands}/v1/balance?key={key}", headers=headers)
    # A line is written after its answer was sent.
    for line in ('"GET /admin/accounts/account/ HTTP/1.1" 302', '"GET /openhands/v1/balance HTTP/1.1" 401'):
        wait_for(lambda line=line: line in log.read_text())
    written = log.read_text()
    assert key[:20] not in written


def basic_auth_header(name: str) -> str:
    return urllib3.make_headers(basic_auth=f"{name}:")["authorization"]
