"""An upstream that plays given bytes, whatever it is asked: for answers that no well-behaved server gives."""

import contextlib
import json
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

Piece = bytes | float
"""Bytes to send, or seconds to wait."""


@dataclass(frozen=True)
class Received:
    """One request as it arrived; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class RawUpstream:
    """Listens on loopback. Every request gets the pieces of the last `play`; then the connection is closed."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._pieces: tuple[Piece, ...] = ()
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.raw = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        """Base URL without `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def play(self, *pieces: Piece) -> None:
        """From now on answer with these pieces, each sent by itself, and forget what was received."""
        self._pieces = pieces
        self.requests.clear()

    def answer(self, connection: socket.socket, request: Received) -> None:
        self.requests.append(request)
        for piece in self._pieces:
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                time.sleep(piece)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    raw: RawUpstream


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            start = self.rfile.readline().decode("latin-1").split()
            headers = {}
            while line := self.rfile.readline().decode("latin-1").strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", "0")))
            if len(start) == 3:
                self.server.raw.answer(self.connection, Received(start[1], headers, body))


def http_answer(
    body: bytes | str | object, *, content_type: str | None = "application/json", status: int = 200, **headers: str
) -> bytes:
    """A whole answer with its length. What is no text is JSON; `x_name="value"` is a header `X-Name`."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} Some Reason", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def events(*data: object, named: bool = False) -> bytes:
    """Server-sent events, each with JSON or text as its data; `named` as Anthropic does, by the type."""
    parts = []
    for item in data:
        name = f"event: {item['type']}\n" if named and isinstance(item, dict) and "type" in item else ""
        parts.append(f"{name}data: {item if isinstance(item, str) else json.dumps(item)}\n\n")
    return "".join(parts).encode()
