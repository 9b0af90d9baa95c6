"""One HTTP exchange over a connection of its own, and what its answer says. Loopback only."""

import contextlib
import http.client
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from development.mongod import HOST

LAST_EVENTS = {"/v1/chat/completions": b"data: [DONE]", "/v1/messages": b"event: message_stop"}
ERROR_EVENTS = (b'data: {"error"', b"event: error")


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is None if no answer began; `broken` says why it did not come whole."""

    at: float
    seconds: float
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    broken: str = ""

    @property
    def request_id(self) -> str | None:
        return self.headers.get("x-request-id")

    @property
    def retry_after(self) -> str | None:
        return self.headers.get("retry-after")

    @property
    def is_ok(self) -> bool:
        """A whole 200."""
        return self.status == 200 and not self.broken

    def json(self) -> Any:
        """The body as JSON, None if it is none."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None

    @property
    def error(self) -> tuple[str, str]:
        """Code and text of an error in any of the documented shapes; two empty texts if it has none of them."""
        body = self.json()
        if not isinstance(body, dict):
            return "", ""
        inner = body.get("error")
        if isinstance(inner, dict):  # The proxy: OpenAI's shape, and Anthropic's.
            code = inner.get("code") or inner.get("type")
            return str(code or ""), str(inner.get("message") or "")
        return str(body.get("code") or ""), str(inner or "")  # The payment API, and the webhooks.


def exchange(
    port: int,
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    timeout: float = 120.0,
    leave_after: float | None = None,
) -> Answer:
    """Send one request and read its answer whole; with `leave_after`, hang up after so many seconds. Never raises."""
    at, started = time.time(), time.monotonic()
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    status, received, read, broken = None, {}, b"", ""
    try:
        connection.request(method, path, body or None, headers or {})
        if leave_after is not None and connection.sock is not None:
            connection.sock.settimeout(leave_after)
        response = connection.getresponse()
        status = response.status
        received = {name.lower(): value for name, value in response.getheaders()}
        while data := response.read1(65536):
            read += data
            if leave_after is not None and time.monotonic() - started > leave_after:
                raise TimeoutError
        if response.length:
            broken = "cut"
    except TimeoutError:
        broken = "timed out" if leave_after is None else "left"
    except (OSError, http.client.HTTPException) as error:
        broken = type(error).__name__
    finally:
        connection.close()
    seconds = time.monotonic() - started
    if status == 200 and not broken and path in LAST_EVENTS and "event-stream" in received.get("content-type", ""):
        broken = _problem_of_stream(read, LAST_EVENTS[path])
    return Answer(at, seconds, status, received, read, broken)


def _problem_of_stream(read: bytes, last: bytes) -> str:
    """Why a stream is no whole answer; empty if it is."""
    if any(event in read for event in ERROR_EVENTS):
        return "error event"
    return "" if last in read else "no last event"


def is_listening(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((HOST, port), timeout=0.5).close()
    except OSError:
        return False
    return True
