"""The measurements: which requests go which way with how many clients, and what each process spends on them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice

from benchmarks.load import HOST, Load, run_load
from benchmarks.processes import cpu_seconds, memory_mb, with_children
from benchmarks.servers import Platform

MODEL = "claude-haiku-4-5"
PROMPT = "You are a terse assistant. " * 35 + "What is a ledger?"
CLIENTS = (1, 16, 64)
STREAM_CHUNKS, STREAM_CHUNK_SECONDS = 20, 0.02
OPEN_STREAMS = 500
OPEN_STREAM_CHUNKS, OPEN_STREAM_CHUNK_SECONDS = 11, 0.5
WARM_UP_SECONDS = 0.7


@dataclass(frozen=True)
class Kind:
    """One kind of request: what it is called, its prompt, and whether one account pays for all of them."""

    name: str
    prompt: str
    is_stream: bool = False
    has_one_account: bool = False

    @property
    def as_seen_upstream(self) -> "Kind":
        """The kind that it is for the mock upstream and for nginx, which know no accounts."""
        return PLAIN if self.has_one_account else self

    def requests(self, count: int, api_keys: list[str], port: int) -> list[bytes]:
        """The bytes that `count` clients send, each with its own account's key while there are enough."""
        keys = api_keys[:1] if self.has_one_account else api_keys
        body = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": self.prompt}]}
        data = json.dumps(body | ({"stream": True} if self.is_stream else {})).encode()
        return [_request(port, key, data) for key in islice(cycle(keys), count)]


def _request(port: int, api_key: str, body: bytes) -> bytes:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {api_key}\r\n"
        f"Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: benchmark\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _paced(chunks: int, seconds: float) -> str:
    return f"[[fake chunks={chunks} chunk_delay={seconds}]] {PROMPT}"


PLAIN = Kind("plain", PROMPT)
PLAIN_ONE_ACCOUNT = Kind("plain, one account", PROMPT, has_one_account=True)
STREAM = Kind("stream", _paced(STREAM_CHUNKS, STREAM_CHUNK_SECONDS), is_stream=True)
OPEN_STREAM = Kind("open streams", _paced(OPEN_STREAM_CHUNKS, OPEN_STREAM_CHUNK_SECONDS), is_stream=True)


@dataclass
class Measurement:
    """All rounds of one kind of request, one way, with one number of clients. CPU in seconds by part."""

    kind: Kind
    clients: int
    way: str
    load: Load = field(default_factory=Load)
    cpu: dict[str, float] = field(default_factory=dict)

    def cpu_ms(self, part: str) -> float:
        """CPU of a part a request, in ms; of the way itself by its name."""
        return 1000 * self.cpu[part] / self.load.requests

    @property
    def load_cpu_ms(self) -> float:
        return 1000 * self.load.cpu_seconds / self.load.requests


@dataclass(frozen=True)
class Memory:
    """MB of all processes of one way: idle after the load, and while `OPEN_STREAMS` are open. PSS None: unreadable."""

    way: str
    idle: tuple[float, float | None]
    open: tuple[float, float | None]


class Measuring:
    """Takes the measurements on a running platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        ports = {"direct": platform.upstream.port, "nginx": platform.nginx and platform.nginx.port}
        ports |= {"reference": platform.reference.port, "gateway": platform.gateway.port}
        self._ports = {way: port for way, port in ports.items() if port}
        self.sent = 0
        """Requests that the gateway answered, all of them billed."""

    def ways_of(self, kind: Kind) -> list[str]:
        """How a kind of request can go: `direct` to the mock upstream, through `nginx` if there is one, the `reference`
        (which knows no streams), and the `gateway`."""
        return [way for way in self._ports if way != "reference" or not kind.is_stream]

    def warm_up(self) -> None:
        """Open pools, read prices, fill caches."""
        for kind in (PLAIN, STREAM):
            for way in self.ways_of(kind):
                self._run(way, kind, max(CLIENTS), WARM_UP_SECONDS)

    def measure(self, *, rounds: int, seconds: float) -> list[Measurement]:
        """Every kind, way and number of clients, `seconds` a round.

        The ways take turns within a round, so that what else the machine does hits them alike.
        """
        cases = [(kind, clients, way) for kind in (PLAIN, STREAM) for clients in CLIENTS for way in self.ways_of(kind)]
        cases.insert(len(CLIENTS) * len(self.ways_of(PLAIN)), (PLAIN_ONE_ACCOUNT, max(CLIENTS), "gateway"))
        measurements = [Measurement(*case) for case in cases]
        for _ in range(rounds):
            for measurement in measurements:
                self._measure_round(measurement, seconds)
        return measurements

    def _measure_round(self, measurement: Measurement, seconds: float) -> None:
        pids = self._pids()
        before = {part: cpu_seconds(pids[part]) for part in pids}
        measurement.load.add(self._run(measurement.way, measurement.kind, measurement.clients, seconds))
        for part in pids:
            spent = cpu_seconds(pids[part]) - before[part]
            measurement.cpu[part] = measurement.cpu.get(part, 0.0) + spent

    def measure_memory(self) -> list[Memory]:
        """Memory of nginx and of the gateway with `OPEN_STREAMS` open, each of which has its first byte."""
        return [self._measure_memory(way) for way in self.ways_of(OPEN_STREAM) if way != "direct"]

    def _measure_memory(self, way: str) -> Memory:
        pids = self._pids()[way]
        idle, seen = memory_mb(pids), []
        self._run(way, OPEN_STREAM, OPEN_STREAMS, 0, on_all_answering=lambda: seen.append(memory_mb(pids)))
        return Memory(way, idle, seen[0])

    def _run(
        self,
        way: str,
        kind: Kind,
        clients: int,
        seconds: float,
        *,
        on_all_answering: Callable[[], None] | None = None,
    ) -> Load:
        port = self._ports[way]
        requests = kind.requests(clients, self._platform.api_keys, port)
        load = run_load(port=port, requests=requests, seconds=seconds, on_all_answering=on_all_answering)
        self.sent += load.requests if way == "gateway" else 0
        return load

    def _pids(self) -> dict[str, list[int]]:
        platform = self._platform
        pids = {"direct": [platform.upstream.pid], "gateway": with_children(platform.gateway.pid)}
        pids["reference"] = with_children(platform.reference.pid)
        if platform.nginx:
            pids["nginx"] = with_children(platform.nginx.pid)
        return pids | {"database": [platform.mongod.pid or 0]}
