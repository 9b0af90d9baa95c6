"""HTTP/1.1 on the connections of a `urllib3` pool, with answers parsed by `httptools`, the parser of uvicorn, in C.

`urllib3` keeps the pool, connects, does TLS, finds stale connections and names the errors. What it and the standard
library do beside that to send a request and to read an answer (URLs, an email parser for the header, several layers of
readers) is most of the CPU of a forwarded request; docs/performance.md has the figures.
"""

import contextlib
import queue
import zlib
from collections.abc import Mapping
from socket import socket
from typing import Any, TypeVar

import httptools
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import DecodeError, HTTPError, InvalidHeader, ProtocolError, ReadTimeoutError
from urllib3.util import Url

RECEIVE_BYTES = 64 * 1024
MOST_HEADER_BYTES = 64 * 1024
MOST_DRAINED_BYTES = 64 * 1024
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32

T = TypeVar("T")


class Headers(dict[str, str]):
    """Header fields by name, whatever its case; of a repeated one the last."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class UpstreamAnswer:
    """An answer whose header has come and whose body is read as it comes. The reader releases or closes it.

    Reading raises `ReadTimeoutError` when nothing comes in time, `ProtocolError` when the answer breaks off or is not
    HTTP, `DecodeError` when it is not compressed as it says.
    """

    def __init__(self, pool: HTTPConnectionPool, connection: HTTPConnection, path: str) -> None:
        self.status = 0
        self.headers = Headers()
        self._pool = pool
        self._connection: HTTPConnection | None = connection
        self._socket = connection.sock
        self._path = path
        self._parser = httptools.HttpResponseParser(self)
        self._header_bytes = 0
        self._received: list[bytes] = []
        self._has_header = self._is_complete = self._has_ended = self._can_be_reused = False
        self._decoder: Any = None

    # --- What the parser calls ---

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._can_be_reused = False
            raise ValueError("something follows the answer")
        self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MOST_HEADER_BYTES:
            raise ValueError("the header is too long")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        # "100 Continue" and its like come before the answer.
        self._has_header = self.status >= 200

    def on_body(self, body: bytes) -> None:
        self._received.append(body)

    def on_message_complete(self) -> None:
        self._is_complete = self._has_ended = self._has_header
        self._can_be_reused = self._is_complete and self._parser.should_keep_alive()

    # --- Reading ---

    def receive_header(self) -> None:
        """Wait for the header. Called once, before anything else. Raises `OSError` too."""
        while not self._has_header:
            self._receive()
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._decoder = zlib.decompressobj(GZIP_OR_ZLIB)
        elif encoding != "identity":
            raise DecodeError(f"the answer is compressed as {encoding!r}, which was not asked for")

    def read1(self, size: int) -> bytes:
        """The next bytes of the body as soon as there are any, about `size` at most; empty at its end."""
        try:
            return self._read_received() if self._decoder is None else self._read_decoded(size)
        except TimeoutError as error:
            raise ReadTimeoutError(self._pool, self._path, "Read timed out.") from error
        except OSError as error:
            raise ProtocolError(f"Connection broken: {error!r}", error) from error
        except zlib.error as error:
            raise DecodeError(f"the answer is not compressed as it says: {error}") from error

    def read(self, size: int) -> bytes:
        """The body, or what of it has come once that is `size` bytes."""
        data = b""
        while len(data) < size and (more := self.read1(size)):
            data += more
        return data

    def finish_within(self, seconds: float) -> None:
        """Give the connection back if the answer ends without another byte of body in that time; else drop it."""
        if self._connection is None:
            return
        self._socket.settimeout(seconds)
        try:
            has_more = bool(self.read1(RECEIVE_BYTES))
        except HTTPError:
            has_more = True
        if has_more:
            self.close()
        else:
            self.release_conn()

    def drain_conn(self) -> None:
        """Read off a small rest, so that the connection can be used again; drop it where that fails."""
        with contextlib.suppress(HTTPError):
            self.read(MOST_DRAINED_BYTES)
        self.release_conn()

    def release_conn(self) -> None:
        """Give the connection back to the pool, closed where more of this answer could come. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if not self._can_be_reused:
                connection.close()
            self._pool._put_conn(connection)

    def close(self) -> None:
        """Drop the connection. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read_received(self) -> bytes:
        while not self._received and not self._has_ended:
            self._receive()
        data = b"".join(self._received)
        self._received.clear()
        return data

    def _read_decoded(self, size: int) -> bytes:
        """As `_read_received`, unpacked: `size` bounds what a small piece can become."""
        while True:
            packed = self._decoder.unconsumed_tail or self._read_received()
            data: bytes = self._decoder.decompress(packed, size)
            if data or self._decoder.eof:
                return data
            if not packed:
                raise ProtocolError("the compressed answer broke off")

    def _receive(self) -> None:
        data = self._socket.recv(RECEIVE_BYTES)
        if data:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                raise ProtocolError(f"not an HTTP answer: {error}", error) from error
        elif self._has_header and not self.headers.keys() & {"content-length", "transfer-encoding"}:
            self._has_ended = True  # The end of the connection is the end of such a body.
        else:
            raise ProtocolError("Connection broken: it was closed in the middle of an answer")


class _IdleConnections(queue.LifoQueue[T]):
    """The connections that a pool keeps. Nobody ever waits for one, so the locks of a queue have nothing to guard."""

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        if len(self.queue) >= self.maxsize:
            raise queue.Full
        self.queue.append(item)


class _HttpPool(HTTPConnectionPool):
    QueueCls = _IdleConnections


class _HttpsPool(HTTPSConnectionPool):
    QueueCls = _IdleConnections


def make_pool(url: Url, *, maxsize: int) -> HTTPConnectionPool:
    """The pool of a server; a connection is made where none is idle, `maxsize` of them are kept."""
    pool_class = _HttpsPool if url.scheme == "https" else _HttpPool
    return pool_class(url.host or "", url.port, maxsize=maxsize, block=False)


def post(
    pool: HTTPConnectionPool,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    connect_seconds: float,
    read_seconds: float,
) -> UpstreamAnswer:
    """Send a request on a connection of `pool` and wait for the header of its answer.

    Raises `NewConnectionError` and `ConnectTimeoutError` if nothing was sent, `ReadTimeoutError`, and any other
    `HTTPError`.
    """
    lines = [f"POST {path} HTTP/1.1", f"Host: {_host_of(pool)}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise InvalidHeader("a header has a line break")
    connection: Any = pool._get_conn()
    try:
        if connection.sock is None:
            connection.timeout = connect_seconds
            connection.connect()
        channel: socket = connection.sock
        if channel.gettimeout() != read_seconds:
            channel.settimeout(read_seconds)
        # An answer may have come before the whole body was taken.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            channel.sendall(f"{head}\r\n\r\n".encode("latin-1") + body)
        answer = UpstreamAnswer(pool, connection, path)
        answer.receive_header()
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise ReadTimeoutError(pool, path, "Read timed out.") from error
        if isinstance(error, OSError):
            raise ProtocolError(f"Connection broken: {error!r}", error) from error
        raise
    return answer


def _host_of(pool: HTTPConnectionPool) -> str:
    host = f"[{pool.host}]" if ":" in pool.host else pool.host
    return host if pool.port in (None, pool.ConnectionCls.default_port) else f"{host}:{pool.port}"
