"""The load: a fixed number of keep-alive clients in one thread, each sending its next request when it has its answer.

Raw sockets and epoll, because the clients share the machine with what they measure: about 0.05 ms of CPU a request.
Loopback only, bounded in time and in number.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
MOST_CLIENTS = 1000
MOST_SECONDS = 60.0
PATIENCE_SECONDS = 30.0
"""A server that sends nothing to any client for so long is stuck."""

_LAST_CHUNK = b"\r\n0\r\n\r\n"


class LoadError(Exception):
    """An answer that is not the expected one: a figure taken over errors would mean nothing."""


@dataclass
class Load:
    """What the clients saw. Times in seconds; one entry per request in both lists."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    first_bytes: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.totals)

    def add(self, other: "Load") -> None:
        """Take in another round of the same measurement."""
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.first_bytes += other.first_bytes
        self.totals += other.totals


class _Client:
    """One connection with at most one request under way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._begin()

    def _begin(self) -> None:
        self._head = b""
        self._is_in_body = False
        self._missing: int | None = None
        self._tail = b""
        self.started = time.perf_counter()
        self.first_byte = 0.0

    def send(self) -> None:
        self._begin()
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Take what has arrived; returns whether the answer is complete."""
        data = self.socket.recv(256 * 1024)
        if not data:
            raise LoadError("the server closed a connection in the middle of an answer")
        if not self._is_in_body:
            self.first_byte = self.first_byte or time.perf_counter()
            head, separator, data = (self._head + data).partition(b"\r\n\r\n")
            if not separator:
                self._head = head
                return False
            self._read_head(head, data)
        if self._missing is not None:
            self._missing -= len(data)
            return self._missing <= 0
        self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
        return self._tail == _LAST_CHUNK

    def _read_head(self, head: bytes, body: bytes) -> None:
        lines = head.split(b"\r\n")
        if lines[0].split(b" ")[1:2] != [b"200"]:
            raise LoadError(f"not the expected answer: {head[:200]!r} {body[:500]!r}")
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self._missing = int(value)
        self._is_in_body = True


def run_load(
    *, port: int, requests: Sequence[bytes], seconds: float, on_all_answering: Callable[[], None] | None = None
) -> Load:
    """One client for each of `requests` repeats it for `seconds`, then finishes what is under way.

    With `seconds` 0 each sends one. `on_all_answering` is called once, when every client has its first byte and none
    its last. Raises `LoadError` on any answer but a whole 200, and if there is no such moment.
    """
    if len(requests) > MOST_CLIENTS or seconds > MOST_SECONDS:
        raise ValueError(f"a load has at most {MOST_CLIENTS} clients and lasts at most {MOST_SECONDS} s")
    clients = {client.socket.fileno(): client for client in [_Client(port, request) for request in requests]}
    try:
        with select.epoll() as poll:
            for number in clients:
                poll.register(number, select.EPOLLIN)
            return _run(clients, poll, seconds, on_all_answering)
    finally:
        for client in clients.values():
            client.socket.close()


def _run(
    clients: dict[int, _Client], poll: select.epoll, seconds: float, on_all_answering: Callable[[], None] | None
) -> Load:
    load, waiting, running = Load(), set(clients), len(clients)
    cpu, started = time.process_time(), time.perf_counter()
    for client in clients.values():
        client.send()
    while running:
        ready = poll.poll(PATIENCE_SECONDS)
        if not ready:
            raise LoadError(f"no byte came for {PATIENCE_SECONDS} s; {running} requests are under way")
        for number, _ in ready:
            client = clients[number]
            is_complete = client.receive()
            waiting.discard(number)
            if not is_complete:
                continue
            if on_all_answering is not None:
                raise LoadError(
                    f"an answer ended while {len(waiting)} clients still waited for the first byte of theirs"
                )
            now = time.perf_counter()
            load.first_bytes.append(client.first_byte - client.started)
            load.totals.append(now - client.started)
            if now - started < seconds:
                client.send()
            else:
                running -= 1
        if on_all_answering is not None and not waiting:
            on_all_answering()
            on_all_answering = None
    load.seconds = time.perf_counter() - started
    load.cpu_seconds = time.process_time() - cpu
    return load
