"""The socket of a client: what it sent before a thread served it, and how long a thread waits for it.

gunicorn's own sockets wait for a client for as long as it likes. This one has patience: a client that neither sends nor
takes a minimum of bytes a second is given up, and so is the one that keeps a thread waiting the longest when many do.
"""

import contextlib
import errno
import logging
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

logger = logging.getLogger(__name__)

MOST_EARLY_BYTES = 64 * 1024
"""What is read of a request before a thread has it: its header, and a body if both are no longer than this."""
READ_BYTES = 16 * 1024
FILE_BYTES = 64 * 1024

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


@dataclass(frozen=True)
class Limits:
    """How long is waited for a client, in seconds; `bytes_per_second` is what it must send or take in the long run."""

    header_seconds: float
    body_seconds: float
    patience_seconds: float
    bytes_per_second: float


class WaitingThreads:
    """The clients for which a thread waits at this moment, at most so many: one more, and the first of them is cut.

    So slow clients cannot take all threads of a process, however many there are. Who is cut has kept its thread waiting
    for the longest without a byte.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._clients: dict[ClientSocket, None] = {}

    def enter(self, client: "ClientSocket") -> None:
        """A thread begins to wait for this client."""
        with self._lock:
            if len(self._clients) >= self._most:
                slowest = next(iter(self._clients))
                del self._clients[slowest]
                slowest.cut()
            self._clients[client] = None

    def leave(self, client: "ClientSocket") -> None:
        """It waits no longer."""
        with self._lock:
            self._clients.pop(client, None)


class ClientSocket(socket.socket):
    """A client's connection, as gunicorn's threads use it: `recv`, `send`, `sendall` and `sendfile` wait with patience.

    Patience is spent by waiting and comes back with every byte; when it is at an end, the call raises
    `ConnectionResetError`, as if the client had gone. Until a thread has it, `read_early` reads without waiting.
    """

    def __init__(self, accepted: socket.socket, limits: Limits, waiting: WaitingThreads) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._timeout: float | None = None
        self.has_no_thread = False
        """Whether the request has to be refused, since the process has no thread for it."""
        self._limits = limits
        self._waiting = waiting
        self._early = bytearray()
        self._searched = 0  # So many of the early bytes hold no end of a header.
        self._header_bytes: int | None = None
        self._share = 0  # So many of the early bytes are the request's that a thread serves; what follows is the next.
        self.is_given_up = False
        """Whether it does not read what it asked for, or was cut: what is still to be sent would never arrive."""
        self._patience = {select.POLLIN: 0.0, select.POLLOUT: 0.0}
        self._has_waited = True  # And so has less patience than in the beginning.
        self._body_deadline = float("inf")
        self._early_deadline = time.monotonic() + limits.header_seconds

    # --- Before a thread has it ---

    @property
    def early_bytes(self) -> int:
        """How much has been read that no thread has taken."""
        return len(self._early)

    @property
    def early_deadline(self) -> float:
        """When the header, or a body that is read early, has to be there, on the monotonic clock."""
        return self._early_deadline

    @property
    def has_header(self) -> bool:
        """Whether all of a header has been read, or enough to see that it is none."""
        return self._header_bytes is not None

    @property
    def is_full(self) -> bool:
        """Whether no more is read early."""
        return len(self._early) >= MOST_EARLY_BYTES

    def read_early(self) -> bool:
        """Read what is there, without waiting. False if that was the end of what the client sends."""
        while not self.is_full:
            try:
                data = super().recv(READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._add_early(data)
            if len(data) < READ_BYTES:
                return True
        return True

    def has_request(self) -> bool:
        """Whether a thread can serve what has been read without waiting for the client: header and body, or a header
        whose body is too large to be read early."""
        return self._header_bytes is not None and len(self._early) >= self._share

    def begin_request(self, *, has_no_thread: bool) -> None:
        """A thread takes the request that has been read. From now on the socket waits, with fresh patience."""
        self.has_no_thread = has_no_thread
        self._share = min(self._share, len(self._early))
        if self._has_waited:
            self._patience = dict.fromkeys(self._patience, self._limits.patience_seconds)
            self._has_waited = False
        self._body_deadline = min(self._body_deadline, time.monotonic() + self._limits.body_seconds)

    def stop_waiting(self) -> None:
        """The body did not come in time: the thread that gets the request does not wait for the rest."""
        self._body_deadline = time.monotonic()

    def end_request(self, unread: bytes) -> None:
        """The request has been answered; `unread` is what the thread read too much: it begins the next request."""
        rest = unread + self._early if unread or self._early else b""
        self._searched, self._share, self._header_bytes = 0, 0, None
        self._body_deadline = float("inf")
        if rest:
            self._early = bytearray()
            self._early_deadline = time.monotonic() + self._limits.header_seconds
            self._add_early(rest)

    def begin_waiting(self) -> None:
        """An idle connection has something to read: the time for its next header begins."""
        self._early_deadline = time.monotonic() + self._limits.header_seconds

    def _add_early(self, data: bytes) -> None:
        self._early += data
        if self._header_bytes is None:
            self._look_for_header()
        else:
            self._set_body_deadline(len(data))

    def _look_for_header(self) -> None:
        early, start = self._early, max(0, self._searched - 3)
        end = early.find(b"\r\n\r\n", start)
        self._searched = len(early)
        if end < 0:
            # A line feed alone ends no line: gunicorn refuses that at once, and nothing is to be waited for.
            if _BARE_LINE_FEED.search(early, max(0, start - 1)):
                self._header_bytes = self._share = len(early)
            return
        self._header_bytes = self._share = end + 4
        length = _CONTENT_LENGTH.search(early, 0, self._share)
        whole = self._share + (int(length[1]) if length else 0)
        # Who expects an answer before the body would wait for it without end.
        if whole <= MOST_EARLY_BYTES and not _EXPECT.search(early, 0, self._share):
            self._share = whole
            self._early_deadline = time.monotonic() + self._limits.patience_seconds
            self._set_body_deadline(len(early) - self._header_bytes)

    def _set_body_deadline(self, more_bytes: int) -> None:
        latest = time.monotonic() + self._limits.patience_seconds
        self._early_deadline = min(latest, self._early_deadline + more_bytes / self._limits.bytes_per_second)

    # --- What gunicorn and the application call in a thread ---

    def settimeout(self, value: float | None) -> None:
        """See `socket.settimeout`. No call of ours waits in the system: there, each byte would begin a new time-out."""
        self._timeout = value

    def gettimeout(self) -> float | None:
        """See `socket.gettimeout`."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """See `socket.setblocking`."""
        self._timeout = None if flag else 0.0

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """See `socket.recv`. What was read early comes first, one request at a time."""
        early = self._early
        if early:
            size = min(bufsize, self._share or bufsize)
            if size >= len(early):
                self._early, self._share = bytearray(), 0
                return bytes(early)
            data = bytes(early[:size])
            del early[:size]
            self._share = max(0, self._share - size)
            return data
        received: bytes = self._with_patience(select.POLLIN, super().recv, bufsize, flags | socket.MSG_DONTWAIT)
        return received

    def send(self, data: Any, flags: int = 0) -> int:
        """See `socket.send`."""
        sent: int = self._with_patience(select.POLLOUT, super().send, data, flags | socket.MSG_DONTWAIT)
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """See `socket.sendall`."""
        sent = 0
        if not self._has_waited:  # Nearly always the system takes all of it at once.
            with contextlib.suppress(BlockingIOError):
                sent = super().send(data, flags | socket.MSG_DONTWAIT)
            if sent == len(data):
                return
        rest = memoryview(data)[sent:]
        while rest:
            rest = rest[self.send(rest, flags) :]

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """See `socket.sendfile`. It reads the file: the system's own way would wait for the client without end."""
        file.seek(offset)
        sent = 0
        while count is None or sent < count:
            data = file.read(FILE_BYTES if count is None else min(FILE_BYTES, count - sent))
            if not data:
                break
            self.sendall(data)
            sent += len(data)
        return sent

    def abort(self) -> None:
        """Let the system forget the connection when it is closed, and what it would still send."""
        with contextlib.suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def cut(self) -> None:
        """Give this client up, from another thread: who waits for it wakes."""
        self.is_given_up = True
        with contextlib.suppress(OSError):  # It may have gone by itself.
            self.shutdown(socket.SHUT_RDWR)

    def _with_patience(self, event: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """A call that does not wait, repeated as the client becomes ready. Raises `ConnectionResetError`."""
        while True:
            try:
                result = call(*arguments)
            except BlockingIOError:
                if self._timeout == 0:
                    raise
                self._wait(event)
                continue
            if self._has_waited:
                patience, most = self._patience[event], self._limits.patience_seconds
                size = result if event == select.POLLOUT else len(result)
                self._patience[event] = min(most, patience + size / self._limits.bytes_per_second)
            return result

    def _wait(self, event: int) -> None:
        started = time.monotonic()
        self._has_waited = True
        patience = self._patience[event]
        if event == select.POLLIN:
            patience = min(patience, self._body_deadline - started)
        timeout = self._timeout
        poll = select.poll()
        poll.register(self, event)
        self._waiting.enter(self)
        try:
            seconds = max(0.0, patience if timeout is None else min(patience, timeout))
            is_ready = bool(poll.poll(seconds * 1000))
        finally:
            self._waiting.leave(self)
        self._patience[event] = patience - (time.monotonic() - started)
        if self.is_given_up:
            logger.info("a client was given up: it kept a thread waiting for longer than all others")
        elif is_ready:
            return
        else:
            logger.info("a client was given up: it %s too slowly", "sends" if event == select.POLLIN else "reads")
            self.is_given_up = event == select.POLLOUT
        raise ConnectionResetError(errno.ECONNRESET, "the client is too slow")
