"""`make flood`: thousands of silent, slow and greedy clients, and what everybody else notices of them.

    python -m benchmarks.flood

Prints a Markdown table: how long others waited while each flood went on, and when the flood's own connections were
closed. The site and the API are served as shipped, by processes of their own. Fails if somebody else is refused on the
site, or waits longer than MOST_SECONDS, or if a connection outlives its deadline by far.
"""

import contextlib
import json
import select
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import urllib3
from pymongo import MongoClient

from benchmarks.servers import (
    DATABASE,
    insert_accounts,
    manage,
    platform_environment,
    raise_file_limit,
    start_gunicorn,
    start_upstream,
)
from development.mongod import HOST, Mongod

SOCKETS, STREAMS = 1600, 1200
STREAM_SECONDS = 30
MOST_SECONDS = 5.0
GIVE_UP_SECONDS = 75.0
STATIC = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
MODEL = "claude-haiku-4-5"
HEADER = b"Host: 127.0.0.1\r\n"


@dataclass(frozen=True)
class Flood:
    """What its clients send at once, in turns, and then, a byte a second; which of them go to the API's port."""

    name: str
    at_once: tuple[bytes, ...] = (b"",)
    then: bytes = b""
    is_on_api: Callable[[int], bool] = lambda index: index % 2 == 0
    count: int = SOCKETS
    seconds: float = GIVE_UP_SECONDS


@dataclass
class Seen:
    """What somebody noticed: seconds a request, and how many were refused."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0

    def text(self) -> str:
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{1000 * median(self.seconds):.0f} / {1000 * max(self.seconds):.0f}{refused}"


class Flooded:
    """The two servers, and requests of others to them."""

    def __init__(self, *, site: int, api: int, api_keys: list[str]) -> None:
        self.site, self.api = site, api
        self.api_keys = api_keys
        self.http = urllib3.PoolManager(retries=False, timeout=30)

    def ask_others(self) -> Iterator[tuple[str, float, bool]]:
        """One request of each kind, by new connections: what it was, seconds, and whether it was served."""
        site, api = f"http://{HOST}:{self.site}", f"http://{HOST}:{self.api}"
        chat = json.dumps({"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]})
        key = {"Authorization": f"Bearer {self.api_keys[0]}"}
        for name, method, url, body, headers, status in (
            ("health", "GET", f"{site}/healthz", None, {}, 200),
            ("log-in page", "GET", f"{site}/admin/login/", None, {}, 200),
            ("webhook", "POST", f"{site}/api/payment/webhook/standard", "{}", {}, 503),  # It has no secret.
            ("billed request", "POST", f"{api}/v1/chat/completions", chat, key, 200),
        ):
            started = time.monotonic()
            response = self.http.request(method, url, body=body, headers={"Connection": "close", **headers})
            is_served = response.status == status and b'"busy"' not in response.data
            yield name, time.monotonic() - started, is_served


def floods(api_keys: list[str]) -> list[Flood]:
    """All kinds, each by itself."""
    webhook = b"POST /api/payment/webhook HTTP/1.1\r\n" + HEADER
    chat = b"POST /v1/chat/completions HTTP/1.1\r\n" + HEADER
    page = b"GET " + STATIC.encode() + b" HTTP/1.1\r\n" + HEADER + b"\r\n"
    bytes_later = b"x" * 100
    question = {"role": "user", "content": f"[[fake chunks=2 chunk_delay={STREAM_SECONDS}]] x"}
    body = json.dumps({"model": MODEL, "stream": True, "max_tokens": 100, "messages": [question]}).encode()
    length = f"Content-Length: {len(body)}\r\n\r\n".encode()
    streams = tuple(chat + f"Authorization: Bearer {key}\r\n".encode() + length + body for key in api_keys)

    def small(length: int) -> tuple[bytes]:
        return (webhook + f"Content-Length: {length}\r\n\r\n".encode(),)

    return [
        Flood("silent"),
        Flood("a header, a byte a second", then=b"GET / HTTP/1.1\r\nX-Name: " + bytes_later),
        Flood("a body of 500 bytes, a byte a second", small(500), bytes_later, lambda _: False),
        Flood("a body of 60 kB, a byte a second", small(60_000), bytes_later, lambda _: False),
        Flood(
            "a body of 500 kB, a byte a second",
            (chat + b"Content-Length: 500000\r\n\r\n",),
            bytes_later,
            lambda _: True,
        ),
        Flood("static files that nobody reads", (page * 8,), b"", lambda _: False),
        Flood("open streams", streams, b"", lambda _: True, STREAMS, STREAM_SECONDS),
    ]


def run(flood: Flood, flooded: Flooded) -> tuple[dict[str, Seen], list[float]]:
    """Let it go on until its connections are closed: what the others noticed, and when each was closed."""
    seen: dict[str, Seen] = {}
    closed: list[float] = []
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        clients = {}
        poll = select.poll()
        for index in range(flood.count):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.connect((HOST, flooded.api if flood.is_on_api(index) else flooded.site))
            client.setblocking(False)
            client.sendall(flood.at_once[index % len(flood.at_once)])
            clients[client.fileno()] = client
            poll.register(client, select.POLLRDHUP)
        sent = 0
        while clients and time.monotonic() - started < flood.seconds:
            for number, _ in poll.poll(0):
                poll.unregister(number)
                clients.pop(number).close()
                closed.append(time.monotonic() - started)
            if sent < min(len(flood.then), int(time.monotonic() - started)):
                for client in clients.values():
                    with contextlib.suppress(OSError):
                        client.send(flood.then[sent : sent + 1])
                sent += 1
            for name, seconds, is_served in flooded.ask_others():
                entry = seen.setdefault(name, Seen())
                entry.seconds.append(seconds)
                entry.refused += not is_served
            time.sleep(0.1)
    return seen, closed


def wait_for_settlements(mongod: Mongod) -> None:
    """The streams of clients that have gone are read to their end, and billed."""
    deadline = time.monotonic() + 4 * STREAM_SECONDS
    with MongoClient[dict[str, Any]](mongod.url) as client:
        while client[DATABASE]["usersNew"].count_documents({"holds": {"$nin": [None, {}]}}):
            if time.monotonic() > deadline:
                raise RuntimeError("requests of clients that have gone are not settled")
            time.sleep(1)


def failures(flood: Flood, seen: dict[str, Seen], closed: list[float]) -> Iterator[str]:
    """What must not be."""
    for name, entry in seen.items():
        if max(entry.seconds) > MOST_SECONDS:
            yield f"{flood.name}: {name} took {max(entry.seconds):.1f} s"
        if entry.refused and (name != "billed request" or flood.name != "open streams"):
            yield f"{flood.name}: {name} was refused {entry.refused} times"
    if flood.seconds == GIVE_UP_SECONDS and len(closed) < flood.count:
        yield f"{flood.name}: {flood.count - len(closed)} connections are open after {flood.seconds:.0f} s"


def main() -> int:
    raise_file_limit()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="billing-flood-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        mongod = stack.enter_context(Mongod(directory / "mongodb", cache_gb=0.5))
        upstream = start_upstream(stack, directory)
        environment = platform_environment(mongod, upstream_url=f"http://{HOST}:{upstream.port}")
        for command in ("migrate", "seed_prices"):
            manage(environment, command)
        api_keys = insert_accounts(mongod, 1 + STREAMS // 20)
        site = start_gunicorn(stack, directory, environment, port="SITE_PORT", name="site")
        api = start_gunicorn(stack, directory, environment, port="OPENHANDS_PORT", name="api")
        flooded = Flooded(site=site.port, api=api.port, api_keys=api_keys)
        print("| flood | clients | closed after s | health | log-in page | webhook | billed request |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for _ in range(5):  # The first requests of a process take longer.
            list(flooded.ask_others())
        for flood in [Flood("none", count=1, seconds=5), *floods(api_keys[1:])]:
            seen, closed = run(flood, flooded)
            when = f"{min(closed):.0f} to {max(closed):.0f} ({len(closed)})" if closed else "–"
            texts = " | ".join(entry.text() for entry in seen.values())
            print(f"| {flood.name} | {flood.count:,} | {when} | {texts} |", flush=True)
            problems += failures(flood, seen, closed)
        wait_for_settlements(mongod)
        manage(environment, "reconcile")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
