"""A fake LLM upstream for the try-out run, the tests and the benchmarks: real HTTP on 127.0.0.1, no Django, no money.

    python -m development.fake_upstream.server --port 9000 --api-key secret
    with FakeUpstream(api_key="secret") as upstream: ...  # the same in the process of a test

It answers `GET /v1/models`, `POST /v1/chat/completions`, `/v1/responses`, `/v1/completions` and `/v1/embeddings`
(OpenAI), `POST /v1/messages` and `/v1/messages/count_tokens` (Anthropic), plain and streaming. The answer follows from
the request alone: prompt tokens are `count_prompt_tokens`, a quarter of the text's UTF-8 bytes; the reply repeats the
words of the last user message, 16 words, or as many as `max_tokens` allows, and each word is one completion token and
one chunk of a stream.

Directives in the last user message, prompt or input change that, for example `[[fake chunks=50 chunk_delay=0.02]]`:

    status=500              answer with this status, and an error in the shape of the API (3xx: with a Location)
    once                    with `status`: only the first time that this body comes
    broke                   with `status`: the error of an upstream whose account is empty
    retry_after=3           with `status`: the header Retry-After
    delay=2.0               seconds before the first byte
    chunks=50               words in the reply, still at most `max_tokens`
    chunk_delay=0.05        seconds before each word of a stream, and before its end
    big=20000000            bytes of text in the reply, spread evenly over its words
    tool                    call the first tool of the request
    tools=20                call a tool until 20 results have come after this message: it lasts, with all beside it
    call=Bash,Read          with `tools`: call these in turns, not the first of the request
    calls=2                 with `tool`, in a response: call it so often at once
    reasoning               in a response: an item of reasoning before the rest
    refusal                 in a response: refuse, with the words of the reply
    incomplete, failed      in a response: end in this status
    prompt_tokens=1000      report this as `prompt_tokens` or `input_tokens`
    completion_tokens=500   report this as `completion_tokens` or `output_tokens`, beyond `max_tokens` too
    cached_tokens=200       report as `prompt_tokens_details.cached_tokens` or `cache_read_input_tokens`
    cache_creation_tokens=5 report as `prompt_tokens_details.cache_creation_tokens` or `cache_creation_input_tokens`
    usage=missing           report no usage; `zero`, `negative`, `absurd`, `fraction`, `text`, `null`: every count is so
    usage=partial           report no count that tells the output
    stray                   report the usage of a stream on another event: the one with the finish reason, or the last
    gzip                    compress the answer
    garbage                 status 200 with a body, or a stream event, that is not JSON
    deep                    status 200 with a plain body of more nested lists than a parser takes
    stream_error=3          after 3 words of a stream an error event, then the end
    cut=3                   close the connection after 3 words of a stream, or after half of a plain body
    stall=3                 after 3 words of a stream, or half of a plain body, send nothing until the client leaves
    linger                  after the last event of a stream keep the connection open until the client leaves
    refuse                  close the connection without an answer

`GET /_fake/requests` lists what was received, `DELETE /_fake/requests` forgets it; both are open to everybody.
"""

import argparse
import contextlib
import gzip
import json
import signal
import socket
import socketserver
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import responses
from types import TracebackType
from typing import Any, Self

from development.fake_upstream.older_formats import Completions, Embeddings
from development.fake_upstream.replies import (
    MODELS,
    Anthropic,
    BadRequestError,
    Directives,
    OpenAI,
    Reply,
    Stream,
    build_reply,
)
from development.fake_upstream.responses import Responses, as_chat
from development.fake_upstream.tool_calls import JsonObject

Api = type[OpenAI] | type[Anthropic] | type[Responses]

_MAX_BODY_BYTES = 64 * 1024 * 1024
_RECORDED_REQUESTS = 1000
_RECORDED_BODY_BYTES = 100_000
_LISTED_REQUESTS = 100
_STALL_SECONDS = 600.0


@dataclass
class RecordedRequest:
    """One request as it arrived. `client_connected`: None while it is answered, then whether the client was there."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    body_bytes: int
    client_connected: bool | None = None
    counted: dict[str, int] | None = None
    """The tokens of the answer, in the words of the directives; None where nothing was generated."""
    is_tool_call: bool = False
    """Whether the answer is a call of a tool."""
    model: str | None = None
    """The model that answered."""

    def json(self) -> Any:
        """The body as JSON; raises ValueError if it is none, or longer than what is kept."""
        return json.loads(self.body)

    def as_json(self) -> JsonObject:
        return {**self.__dict__, "body": self.body.decode(errors="replace")}


class FakeUpstream:
    """The server. `port` 0 takes a free one; with `api_key`, requests need it as `Authorization: Bearer`."""

    def __init__(self, *, api_key: str | None = None, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), api_key)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Base URL without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[RecordedRequest]:
        """What was received, oldest first, at most the last 1000."""
        return list(self._server.recorded)

    def clear(self) -> None:
        """Forget what was received."""
        self._server.clear()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and drop every open connection; a client in the middle of an answer sees it cut."""
        self._server.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], api_key: str | None) -> None:
        self.api_key = api_key
        self.stopping = threading.Event()
        self.recorded: deque[RecordedRequest] = deque(maxlen=_RECORDED_REQUESTS)
        self.received = 0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def record(self, request: RecordedRequest) -> int:
        """Keep the request and return its number, from 1."""
        with self._lock:
            self.received += 1
            self.recorded.append(request)
            return self.received

    def has_come_before(self, request: RecordedRequest) -> bool:
        with self._lock:
            return sum(known.body == request.body for known in self.recorded) > 1

    def clear(self) -> None:
        with self._lock:
            self.received = 0
            self.recorded.clear()

    def listing(self) -> JsonObject:
        with self._lock:
            recent = list(self.recorded)[-_LISTED_REQUESTS:]
            return {"count": self.received, "requests": [request.as_json() for request in recent]}

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    """One client connection, kept alive. Its own HTTP parsing: http.server costs several times the CPU of the rest."""

    disable_nagle_algorithm = True
    server: _Server
    connection: socket.socket

    def handle(self) -> None:
        try:
            while (request := self._read_request()) is not None and self._answer(request):
                pass
        except (OSError, EOFError):
            pass  # the client left, or this server stops

    def _read_request(self) -> RecordedRequest | None:
        """The next request, or None at the end of the connection or for what is not HTTP."""
        start = self.rfile.readline(65536).decode("latin-1").split()
        if len(start) != 3:
            return None
        headers: dict[str, str] = {}
        while line := self.rfile.readline(65536).decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(self._read_chunks())
        else:
            body = self._read(_size(headers.get("content-length", "0"), base=10))
        return RecordedRequest(start[0], start[1], headers, body, len(body))

    def _read(self, size: int) -> bytes:
        if size > _MAX_BODY_BYTES:
            raise EOFError
        data = self.rfile.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _read_chunks(self) -> Iterator[bytes]:
        while size := _size(self.rfile.readline(100).decode("latin-1").partition(";")[0], base=16):
            yield self._read(size)
            self.rfile.readline(100)
        while self.rfile.readline(65536).strip():
            pass  # trailers

    def _answer(self, request: RecordedRequest) -> bool:
        """Answer one request; False if the connection is to be closed."""
        path = request.path.partition("?")[0]
        if path == "/_fake/requests":
            if request.method == "DELETE":
                self.server.clear()
            return self._send_json(200, self.server.listing())
        body = request.body
        request.body = body[:_RECORDED_BODY_BYTES]
        reply_id = f"fake{self.server.record(request):08d}"
        try:
            is_kept = self._route(request, path, body, reply_id)
            request.client_connected = self._is_client_connected()
        except OSError:
            request.client_connected = False
            raise
        return is_kept and request.headers.get("connection", "").lower() != "close"

    def _route(self, request: RecordedRequest, path: str, body: bytes, reply_id: str) -> bool:
        api: Api = _API_OF.get(path, OpenAI)
        expected = self.server.api_key
        if expected is not None and request.headers.get("authorization") != f"Bearer {expected}":
            return self._send_json(401, api.error(401, "Incorrect API key provided."))
        if (request.method, path) == ("GET", "/v1/models"):
            entries = [{"id": model, "object": "model", "created": 0, "owned_by": "fake"} for model in MODELS]
            return self._send_json(200, {"object": "list", "data": entries})
        if request.method != "POST" or path not in _POST_PATHS:
            return self._send_json(404, api.error(404, f"No {request.method} {path} here."))
        answering: Api | Completions | Embeddings = api
        try:
            payload = _parse_payload(body, path)
            if path in _OLDER_FORMATS:
                answering = older = _OLDER_FORMATS[path](payload)
                reply = older.reply(reply_id)
            else:
                reply = build_reply(as_chat(payload) if api is Responses else payload, reply_id)
        except BadRequestError as error:
            return self._send_json(400, api.error(400, str(error)))
        if path == "/v1/messages/count_tokens" and reply.directives.status is None:
            count = b"{not json" if reply.directives.garbage else b'{"input_tokens": %d}' % reply.prompt_tokens
            return self._send_body(200, count, {}, reply.directives)
        return self._send_reply(answering, reply, payload, request)

    def _send_reply(
        self, api: Api | Completions | Embeddings, reply: Reply, payload: JsonObject, request: RecordedRequest
    ) -> bool:
        directives = reply.directives
        self._pause(directives.delay)
        if directives.refuse:
            return False
        if directives.status is not None and not (directives.once and self.server.has_come_before(request)):
            headers = {"Location": "/_fake/requests"} if 300 <= directives.status < 400 else {}
            if directives.retry_after is not None:
                headers["Retry-After"] = str(directives.retry_after)
            is_about_request = directives.status in ABOUT_THE_REQUEST
            message = "messages: told to be refused" if is_about_request else "The fake upstream was told to fail."
            message = api.broke if directives.broke else message
            error = api.error(directives.status, message)
            return self._send_json(directives.status, error, headers)
        request.counted, request.is_tool_call, request.model = _counted(reply), reply.tool is not None, reply.model
        if payload.get("stream"):
            return self._send_stream(api.stream(reply, payload), reply)
        body = b"{not json" if directives.garbage else json.dumps(api.body(reply, payload)).encode()
        if directives.deep:
            body = b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"," + body[1:]
        return self._send_body(200, body, {"X-Request-Id": reply.id}, directives)

    def _send_json(self, status: int, data: JsonObject, headers: dict[str, str] | None = None) -> bool:
        return self._send_body(status, json.dumps(data).encode(), headers or {}, Directives())

    def _send_body(self, status: int, body: bytes, headers: dict[str, str], directives: Directives) -> bool:
        if directives.gzip:
            body = gzip.compress(body, compresslevel=1)
            headers = {**headers, "Content-Encoding": "gzip"}
        head = _head(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers})
        if directives.cut is None and directives.stall is None:
            self.connection.sendall(head + body)
            return True
        self.connection.sendall(head + body[: len(body) // 2])
        return self._break_off(directives)

    def _send_stream(self, stream: Stream, reply: Reply) -> bool:
        directives = reply.directives
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        headers |= {"Transfer-Encoding": "chunked", "X-Request-Id": reply.id}
        if directives.gzip:
            headers["Content-Encoding"] = "gzip"
        send = _ChunkedBody(self.connection, is_compressed=directives.gzip)
        self.connection.sendall(_head(200, headers))
        if directives.garbage:
            send.write(b"data: {not json\n\n")
            send.end()
            return True
        send.write(stream.head)
        for index, chunk in enumerate([*stream.chunks, stream.tail]):
            if index in (directives.cut, directives.stall):
                return self._break_off(directives)
            if index == directives.stream_error:
                send.write(stream.error)
                send.end()
                return True
            self._pause(directives.chunk_delay)
            send.write(chunk)
        if directives.linger:
            return self._break_off(directives)
        send.end()
        return True

    def _break_off(self, directives: Directives) -> bool:
        """Leave an answer unended: at once, or (stall, linger) when the client has left. The connection is closed."""
        waits = directives.stall is not None or directives.linger
        deadline = time.monotonic() + _STALL_SECONDS
        while waits and self._is_client_connected() and time.monotonic() < deadline:
            self._pause(0.05)
        return False

    def _pause(self, seconds: float) -> None:
        if seconds and self.server.stopping.wait(seconds):
            raise ConnectionAbortedError

    def _is_client_connected(self) -> bool:
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


ABOUT_THE_REQUEST = {400, 404, 413, 422}
"""Statuses whose error is, unless the directive `broke` says otherwise."""
_API_OF: dict[str, Api] = {
    "/v1/messages": Anthropic,
    "/v1/messages/count_tokens": Anthropic,
    "/v1/responses": Responses,
}
_OLDER_FORMATS: dict[str, type[Completions] | type[Embeddings]] = {
    "/v1/completions": Completions,
    "/v1/embeddings": Embeddings,
}
_POST_PATHS = {"/v1/chat/completions", *_API_OF, *_OLDER_FORMATS}


def _parse_payload(body: bytes, path: str) -> JsonObject:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"The body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise BadRequestError("The body must be a JSON object.")
    if path == "/v1/messages" and payload.get("max_tokens") is None:
        raise BadRequestError("max_tokens: field required")
    return payload


def _counted(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "cached_tokens": reply.directives.cached_tokens or 0,
        "cache_creation_tokens": reply.directives.cache_creation_tokens or 0,
    }


def _size(text: str, *, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise EOFError from None


class _ChunkedBody:
    """A body of unknown length, each write one HTTP chunk, compressed or not."""

    def __init__(self, connection: socket.socket, *, is_compressed: bool) -> None:
        self._connection = connection
        self._compressor = zlib.compressobj(level=1, wbits=31) if is_compressed else None

    def write(self, data: bytes) -> None:
        if self._compressor is not None:
            data = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        self._connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        if self._compressor is not None:
            data = self._compressor.flush()
            self._connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        self._connection.sendall(b"0\r\n\r\n")


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}\r\n{lines}\r\n".encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake LLM upstream on 127.0.0.1; see the module for its directives.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--api-key", help="refuse requests without this key")
    arguments = parser.parse_args()
    # Blocked before the threads start, so that none of them is interrupted; the main thread takes them below.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with FakeUpstream(api_key=arguments.api_key, port=arguments.port) as upstream:
        print(f"Fake upstream on {upstream.url}", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
