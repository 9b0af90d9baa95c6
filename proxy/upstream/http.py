"""HTTP/1.1 on connections of `urllib3`, with answers parsed by `httptools`, the parser of uvicorn, in C.

`urllib3` connects, does TLS, and tells which connection is stale. What it and the standard library do beside that to
send a request and to read an answer (pools, URLs, an email parser for the header, several layers of readers) is most of
the CPU of a forwarded request; docs/performance.md has the figures.
"""

import contextlib
import time
import zlib
from collections.abc import Mapping
from typing import Any

import httptools
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Url

RECEIVE_BYTES = 64 * 1024
MOST_HEADER_BYTES = 64 * 1024
MOST_DRAINED_BYTES = 64 * 1024
MOST_INTERIM_ANSWERS = 20
"""As many "100 Continue" and "103 Early Hints" may come before an answer."""
DECODED = frozenset(("gzip", "x-gzip", "deflate"))
NOT_DECODED = frozenset(("br", "zstd", "compress", "x-compress", "dcb", "dcz"))
"""Other names ("none", "utf-8") compress nothing: servers write them into the header by mistake."""
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class TransportError(Exception):
    """What can go wrong between us and an upstream."""


class CannotConnect(TransportError):
    """No connection could be made, or its certificate is not trusted: nothing of the request was sent."""


class NothingInTime(TransportError):
    """The upstream sent nothing for as long as it is waited for, or its answer took longer than one may."""


class BrokenAnswer(TransportError):
    """The answer broke off, is not HTTP, or is not compressed as it says."""


class InvalidHeader(TransportError):
    """A header of the request has a line break, or a character that HTTP cannot carry: nothing was sent."""


class Headers(dict[str, str]):
    """Header fields by name, whatever its case; of a repeated one the last."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class UpstreamAnswer:
    """An answer whose header has come and whose body is read as it comes. The reader releases or closes it.

    `seconds` are what sending the request and each read may wait; at `deadline`, on the monotonic clock, all of it has
    to be over: an upstream that sends a byte now and then is never silent. Reading raises `NothingInTime` and
    `BrokenAnswer`.
    """

    def __init__(
        self, server: "UpstreamServer", connection: HTTPConnection, *, seconds: float, deadline: float
    ) -> None:
        self.status = 0
        self.headers = Headers()
        self._server = server
        self._connection: HTTPConnection | None = connection
        self._socket: Any = connection.sock
        self._parser = httptools.HttpResponseParser(self)
        self._seconds = seconds
        self._deadline = deadline
        self._header_bytes = 0
        self._interim_answers = 0
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
        self._interim_answers += not self._has_header
        if self._interim_answers > MOST_INTERIM_ANSWERS:
            raise ValueError("too many answers come before the answer")

    def on_body(self, body: bytes) -> None:
        self._received.append(body)

    def on_message_complete(self) -> None:
        self._is_complete = self._has_ended = self._has_header
        self._can_be_reused = self._is_complete and self._parser.should_keep_alive()

    # --- Sending and reading ---

    def send(self, request: bytes) -> None:
        """Send the request that is answered."""
        if self._socket.gettimeout() != self._seconds:
            self._socket.settimeout(self._seconds)
        try:
            self._socket.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # An answer may have come before the whole body was taken.
        except TimeoutError as error:
            raise NothingInTime("the request was not taken in time") from error
        except OSError as error:
            raise BrokenAnswer(f"the connection broke: {error!r}") from error

    def receive_header(self) -> None:
        """Wait for the header. Called once, before anything else."""
        while not self._has_header:
            self._receive()
        encodings = [part.strip().lower() for part in self.headers.get("content-encoding", "identity").split(",")]
        packed = [encoding for encoding in encodings if encoding in DECODED or encoding in NOT_DECODED]
        if len(packed) == 1 and packed[0] in DECODED:
            self._decoder = zlib.decompressobj(GZIP_OR_ZLIB)
        elif packed:
            raise BrokenAnswer(f"the answer is compressed as {', '.join(packed)!r}, which was not asked for")

    def read1(self, size: int) -> bytes:
        """The next bytes of the body as soon as there are any, about `size` at most; empty at its end."""
        return self._read_received() if self._decoder is None else self._read_decoded(size)

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
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        try:
            has_more = bool(self.read1(RECEIVE_BYTES))
        except TransportError:
            has_more = True
        if has_more:
            self.close()
        else:
            self.release_conn()

    def drain_conn(self) -> None:
        """Read off a small rest, so that the connection can be used again; drop it where that fails."""
        with contextlib.suppress(TransportError):
            self.read(MOST_DRAINED_BYTES)
        self.release_conn()

    def release_conn(self) -> None:
        """Keep the connection for another request, or close it where more of this answer could come. Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._can_be_reused:
            self._server.keep(connection)
        else:
            connection.close()

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
            try:
                data: bytes = self._decoder.decompress(packed, size)
            except zlib.error as error:
                raise BrokenAnswer(f"the answer is not compressed as it says: {error}") from error
            if data or self._decoder.eof:
                return data
            if not packed:
                raise BrokenAnswer("the compressed answer broke off")

    def _receive(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NothingInTime("the answer took longer than it may")
        if left < self._seconds:
            self._socket.settimeout(left)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise NothingInTime("nothing came in time") from error
        except OSError as error:
            raise BrokenAnswer(f"the connection broke: {error!r}") from error
        if data:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                raise BrokenAnswer(f"not an HTTP answer: {error}") from error
        elif self._has_header and not self.headers.keys() & {"content-length", "transfer-encoding"}:
            self._has_ended = True  # The end of the connection is the end of such a body.
        else:
            raise BrokenAnswer("the connection was closed in the middle of an answer")


class UpstreamServer:
    """One server, and the idle connections to it, for all threads of the process. At most `most_idle` are kept."""

    def __init__(self, url: Url, *, most_idle: int) -> None:
        if not url.host:
            raise ValueError(f"{url} names no host")
        self._connection_class = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self._host, self._port = url.host.strip("[]"), url.port
        self._most_idle = most_idle
        # Threads share it without a lock: `append` and `pop` are atomic, and one connection more than the most is fine.
        self._idle: list[HTTPConnection] = []
        is_usual_port = url.port in (None, self._connection_class.default_port)
        self.host_header = url.host if is_usual_port else f"{url.host}:{url.port}"

    def take(self, *, connect_seconds: float) -> HTTPConnection:
        """The connection used last that still stands, or a new one. Raises `CannotConnect`."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break  # Another thread was faster.
            if connection.is_connected:
                return connection
            connection.close()
        connection = self._connection_class(self._host, self._port, timeout=connect_seconds)
        try:
            connection.connect()
        except (HTTPError, OSError) as error:
            connection.close()
            raise CannotConnect(str(error)) from error
        return connection

    def keep(self, connection: HTTPConnection) -> None:
        """Keep a connection on which nothing is under way for the next request."""
        if len(self._idle) < self._most_idle:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()


def post(
    server: UpstreamServer,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    connect_seconds: float,
    read_seconds: float,
    deadline: float,
) -> UpstreamAnswer:
    """Send a request and wait for the header of its answer. See `UpstreamAnswer` for the times.

    Raises `CannotConnect` and `InvalidHeader` if nothing was sent, `NothingInTime`, `BrokenAnswer`.
    """
    lines = [f"POST {path} HTTP/1.1", f"Host: {server.host_header}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise InvalidHeader("a header has a line break")
    try:
        start = f"{head}\r\n\r\n".encode("latin-1")
    except UnicodeEncodeError:
        # Without its cause, whose text has all headers, the upstream's key among them.
        raise InvalidHeader("a header has a character that HTTP cannot carry") from None
    connection = server.take(connect_seconds=connect_seconds)
    try:
        answer = UpstreamAnswer(server, connection, seconds=read_seconds, deadline=deadline)
        answer.send(start + body)  # In one piece, which is not kept until the answer comes.
        answer.receive_header()
    except BaseException:
        connection.close()
        raise
    return answer
