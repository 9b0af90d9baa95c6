"""Answers as upstreams may send them, byte for byte over a real socket, and what is made of the connection."""

import gzip
import socket
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from threading import Thread

import pytest
from urllib3.util import parse_url

from development.mongod import HOST, free_port
from proxy.upstream import http
from proxy.upstream.http import (
    BrokenAnswer,
    CannotConnect,
    InvalidHeader,
    NothingInTime,
    UpstreamAnswer,
    UpstreamServer,
)
from tests.proxy.raw_upstream import Piece, RawUpstream

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CLOSE = b""
"""As the last piece: the peer closes the connection."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Peer:
    """Listens on one port, takes requests, and answers each with the next of `answers`, in pieces; then closes."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(0.5)
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        while self.answers:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(0.5)
                while self.answers and (request := connection.recv(65536)):
                    self.requests.append(request)
                    pieces = self.answers.pop(0)
                    for piece in pieces:
                        connection.sendall(piece)
                    if pieces[-1] == CLOSE:
                        break

    def close(self) -> None:
        self._listener.close()


Answering = Callable[..., tuple[Peer, Callable[[], UpstreamAnswer]]]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A peer that answers with these lists of pieces, one a request; returns it and a function that sends one."""
    peer, answers = Peer(), []
    server = _server(f"http://{HOST}:{peer.port}")

    def send() -> UpstreamAnswer:
        answers.append(_post(server))
        return answers[-1]

    def start(*pieces: list[bytes]) -> tuple[Peer, Callable[[], UpstreamAnswer]]:
        peer.answers = list(pieces)
        thread.start()
        return peer, send

    thread = Thread(target=peer.serve)
    yield start
    for answer in answers:
        answer.close()
    server.close()
    thread.join(10)
    peer.close()


def _server(url: str) -> UpstreamServer:
    return UpstreamServer(parse_url(url), most_idle=1)


def _post(server: UpstreamServer, *, within: float = 60, **headers: str) -> UpstreamAnswer:
    deadline = time.monotonic() + within
    return http.post(server, "/v1/x", b"{}", headers, connect_seconds=1, read_seconds=1, deadline=deadline)


def read_all(answer: UpstreamAnswer) -> bytes:
    return b"".join(iter(lambda: answer.read1(65536), b""))


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        pytest.param([HELLO], b"hello", id="length"),
        pytest.param([bytes([byte]) for byte in HELLO], b"hello", id="byte-by-byte"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", HELLO], b"hello", id="continue-first"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HELLO], b"hello", id="hints-first"),
        pytest.param([CHUNKED, b"5\r\nhello\r\n", b"6\r\n world\r\n0\r\n\r\n"], b"hello world", id="chunked"),
        pytest.param([CHUNKED, b"5;a=b\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"], b"hello", id="extension-and-trailer"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", id="no-content"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], b"", id="empty"),
        pytest.param([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhel", b"lo"], b"hello", id="until-closed"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\nhello"], b"hello", id="http-1.0"),
    ],
)
def test_a_body_is_read_to_its_end_however_it_is_framed(answering: Answering, pieces: list[bytes], body: bytes) -> None:
    _, send = answering(pieces)
    answer = send()
    assert (answer.status, read_all(answer), answer.read1(1)) == (204 if b" 204 " in pieces[0] else 200, body, b"")
    assert "link" not in answer.headers
    answer.release_conn()
    answer.release_conn()


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_a_compressed_body_is_unpacked_piece_by_piece(answering: Answering, name: str) -> None:
    text = b"0123456789" * 500_000
    packed = zlib.compress(text) if name == "deflate" else gzip.compress(text)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    _, send = answering([head + packed])
    answer = send()
    pieces = list(iter(lambda: answer.read1(65536), b""))
    assert b"".join(pieces) == text
    assert max(map(len, pieces)) <= 65536, "5 MB came in 20 kB: unpacked at once they would fill the memory"


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", CLOSE], "closed in the middle", id="too-short"
        ),
        pytest.param([CHUNKED + b"5\r\nhello\r\n", CLOSE], "closed in the middle", id="no-last-chunk"),
        pytest.param([CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n"], "not an HTTP answer", id="no-chunk-length"),
        pytest.param([CLOSE], "closed in the middle", id="closed-at-once"),
        pytest.param([b"HTTP/1.1 200 OK\r\nConte", CLOSE], "closed in the middle", id="closed-in-the-header"),
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n"], "not an HTTP answer", id="not-http"),
        pytest.param([HELLO + HELLO], "not an HTTP answer", id="two-answers"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + HELLO], "not an HTTP answer", id="endless-continue"),
        pytest.param(
            [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], "not an HTTP answer"
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"], "not an HTTP answer", id="endless-header"
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"], "compressed as 'br'", id="br"
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"], "not an HTTP answer"
        ),
    ],
)
def test_a_broken_answer_is_an_error_and_its_connection_is_not_used_again(
    answering: Answering, pieces: list[bytes], message: str
) -> None:
    peer, send = answering(pieces, [HELLO])

    def read_it() -> None:
        answer = send()
        try:
            read_all(answer)
        finally:
            answer.release_conn()

    with pytest.raises(BrokenAnswer, match=message):
        read_it()
    assert read_all(send()) == b"hello"
    assert peer.connections == 2


@pytest.mark.parametrize(
    ("packed", "message"),
    [(b"hello", "not compressed as it says"), (gzip.compress(b"hello", mtime=0)[:9], "broke off")],
)
def test_a_body_that_is_not_packed_as_it_says_is_an_error(answering: Answering, packed: bytes, message: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    _, send = answering([head + packed])
    answer = send()
    with pytest.raises(BrokenAnswer, match=message):
        read_all(answer)


SLOW_HEADER = [piece for byte in HELLO for piece in (bytes([byte]), 0.1)]
SLOW_INTERIM = [b"HTTP/1.1 100 Continue\r\n\r\n", 0.1] * 15
SLOW_BODY = [CHUNKED, *[b"1\r\nx\r\n", 0.1] * 30]
SLOW_FRAMING = [CHUNKED + b"5;", *[b"x", 0.1] * 30]


@pytest.mark.parametrize("pieces", [SLOW_HEADER, SLOW_INTERIM, SLOW_BODY, SLOW_FRAMING])
def test_an_upstream_that_is_slow_but_never_silent_is_given_up_at_the_deadline(pieces: list[Piece]) -> None:
    started = time.monotonic()
    with RawUpstream() as upstream:
        upstream.play(*pieces)
        with pytest.raises(NothingInTime):
            _read_to_its_end(_post(_server(upstream.url), within=0.45))
    assert 0.4 < time.monotonic() - started < 1.3


def test_the_end_of_an_answer_that_trickles_is_not_waited_for() -> None:
    with RawUpstream() as upstream:
        upstream.play(CHUNKED + b"5\r\nhello\r\n1;", *[b"x", 0.04] * 40)
        answer = _post(_server(upstream.url))
        assert answer.read1(5) == b"hello"
        started = time.monotonic()
        answer.finish_within(0.1)
        assert time.monotonic() - started < 0.8


def _read_to_its_end(answer: UpstreamAnswer) -> None:
    try:
        read_all(answer)
    finally:
        answer.close()


def test_a_connection_is_used_again_after_a_whole_answer_and_one_that_was_drained(
    answering: Answering,
) -> None:
    peer, send = answering([HELLO], [CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"], [HELLO])
    answer = send()
    assert read_all(answer) == b"hello"
    answer.release_conn()
    send().drain_conn()
    assert read_all(send()) == b"hello"
    assert (peer.connections, len(peer.requests)) == (1, 3)


def test_a_connection_is_not_used_again_when_the_upstream_closes_it(
    answering: Answering,
) -> None:
    closing = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    peer, send = answering([closing], [HELLO])
    answer = send()
    assert read_all(answer) == b"hello"
    answer.release_conn()
    assert read_all(send()) == b"hello"
    assert peer.connections == 2


def test_a_connection_that_was_closed_while_it_was_idle_is_not_used_again(answering: Answering) -> None:
    peer, send = answering([HELLO, CLOSE], [HELLO])
    answer = send()
    assert read_all(answer) == b"hello"
    answer.release_conn()
    time.sleep(0.2)  # Its end has arrived by then.
    assert read_all(send()) == b"hello"
    assert peer.connections == 2


def test_more_requests_at_once_than_connections_are_kept_get_their_own(answering: Answering) -> None:
    peer, send = answering([HELLO, CLOSE], [HELLO], [HELLO])
    first = send()
    assert read_all(first) == b"hello"
    second = send()
    assert read_all(second) == b"hello"
    second.release_conn()
    first.release_conn()
    assert read_all(send()) == b"hello"
    assert (peer.connections, len(peer.requests)) == (2, 3)


def test_an_answer_closed_early_costs_its_connection(
    answering: Answering,
) -> None:
    peer, send = answering([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"], [HELLO])
    send().release_conn()
    assert read_all(send()) == b"hello"
    assert peer.connections == 2


def test_an_answer_that_ends_at_once_keeps_its_connection(answering: Answering) -> None:
    peer, send = answering([CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"], [HELLO])
    answer = send()
    assert answer.read1(5) == b"hello"
    answer.finish_within(0.5)
    assert read_all(send()) == b"hello"
    assert peer.connections == 1


def test_an_answer_that_stays_open_costs_its_connection(answering: Answering) -> None:
    peer, send = answering([CHUNKED, b"5\r\nhello\r\n"], [HELLO])
    answer = send()
    assert answer.read1(5) == b"hello"
    answer.finish_within(0.05)
    answer.finish_within(0.05)
    assert read_all(send()) == b"hello"
    assert peer.connections == 2


def test_the_request_is_one_piece_with_its_host_and_length(
    answering: Answering,
) -> None:
    peer, send = answering([HELLO])
    send()
    head = f"POST /v1/x HTTP/1.1\r\nHost: {HOST}:{peer.port}\r\nContent-Length: 2\r\n\r\n"
    assert peer.requests == [head.encode() + b"{}"]


def test_a_line_break_in_a_header_is_never_sent() -> None:
    server = _server(f"http://{HOST}:{free_port()}")
    with pytest.raises(InvalidHeader):
        _post(server, **{"anthropic-beta": "a\r\nX-Injected: 1"})


def test_an_error_about_a_header_never_shows_the_headers() -> None:
    """An upstream's key with a strange character is a mistake of the operator's: the log must not have the key."""
    key = "key" * 3 + "€"
    with pytest.raises(InvalidHeader) as caught:
        _post(_server(f"http://{HOST}:{free_port()}"), Authorization=f"Bearer {key}")
    assert key not in "".join(traceback.format_exception(caught.value))


def test_a_refused_connection_is_told_apart_as_nothing_was_sent() -> None:
    with pytest.raises(CannotConnect):
        _post(_server(f"http://{HOST}:{free_port()}"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com:8443", "example.com:8443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_host_header_names_a_port_only_where_it_is_not_the_usual_one(url: str, host: str) -> None:
    assert _server(url).host_header == host
