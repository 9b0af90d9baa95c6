"""The campaign's own books: what was asked, what came back, and what is wrong with it. Shared by all threads."""

import heapq
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from faults.answers import Answer

PLACES = Decimal("0.00000001")


@dataclass(frozen=True)
class Price:
    """The price row of the model that all requests ask for. USD per million tokens."""

    input: Decimal
    output: Decimal
    multiplier: Decimal

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """USD, reckoned apart from the platform's own code."""
        exact = (input_tokens * self.input + output_tokens * self.output) / 10**6 * self.multiplier
        return exact.quantize(PLACES, ROUND_HALF_UP)


@dataclass
class Account:
    """An account as its customer knows it. Its requests are told apart by their input tokens, a number of its own."""

    name: str
    api_key: str
    upstream: str
    opening: Decimal
    may_expire: bool = False
    requests: dict[int, "Request"] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}


@dataclass
class Request:
    """One request of a customer, with every attempt at it. Only one with an idempotency key is tried again."""

    account: Account
    path: str
    is_stream: bool
    serial: int
    cost: Decimal
    idempotency_key: str | None = None
    began_at: float = field(default_factory=time.time)
    attempts: list[Answer] = field(default_factory=list)

    @property
    def name(self) -> str:
        kind = "stream" if self.is_stream else "keyed" if self.idempotency_key else "plain"
        return f"{kind} {self.path} #{self.serial} of {self.account.name}"

    @property
    def answer(self) -> Answer | None:
        """The whole answer that the customer got."""
        return next((attempt for attempt in self.attempts if attempt.is_ok), None)


@dataclass
class Order:
    """An order of credits, and the delivery that says that it was paid: credited once if it was acknowledged."""

    account: Account
    code: str
    credits: Decimal
    amount: int
    event_id: str
    began_at: float = field(default_factory=time.time)
    attempts: int = 0
    acknowledged_at: float | None = None


@dataclass
class Transfer:
    """Credits that staff move from one balance of an account to the other."""

    account: Account
    operation: str
    question: dict[str, Any]
    began_at: float = field(default_factory=time.time)
    is_done: bool = False


class Later:
    """What is to be tried again, and when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def add(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it in so many seconds."""
        with self._lock:
            self._count += 1
            heapq.heappush(self._entries, (time.monotonic() + seconds, self._count, action))

    def take(self) -> Callable[[], None] | None:
        """What is due now."""
        with self._lock:
            if self._entries and self._entries[0][0] <= time.monotonic():
                return heapq.heappop(self._entries)[2]
        return None

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)


class Journal:
    """Everything together, and the violations: by kind, each told once."""

    def __init__(self, directory: Path) -> None:
        self.accounts: list[Account] = []
        self.prices: dict[str, Price] = {}
        self.orders: list[Order] = []
        self.transfers: list[Transfer] = []
        self.later = Later()
        self.violations: dict[str, list[str]] = {}
        self.events: Counter[str] = Counter()
        self.first_billed_seconds: list[float] = []
        self.well_seconds: list[float] = []
        self.gap_seconds: list[float] = []
        self.billed_at: list[float] = []
        self.uncollected: Counter[str] = Counter()
        self._seen: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._file = (directory / "journal.jsonl").open("a")

    def violation(self, kind: str, name: str, detail: str = "") -> None:
        """Note what must not be. The same `name` counts once for a kind."""
        with self._lock:
            if (kind, name) in self._seen:
                return
            self._seen.add((kind, name))
            self.violations.setdefault(kind, []).append(f"{name}: {detail}" if detail else name)
        self.write("violation", kind=kind, name=name, detail=detail)

    def write(self, what: str, **details: object) -> None:
        """One line of the file in which everything is found again."""
        line = json.dumps({"at": round(time.time(), 3), "what": what, **details}, default=str)
        with self._lock:
            if not self._file.closed:  # A client that ends late has nothing more to say.
                self._file.write(line + "\n")
                self._file.flush()

    def longest_gap(self, since: float) -> float:
        """The longest time without a billed answer since then (of the monotonic clock), in seconds."""
        moments = [since, *sorted(at for at in list(self.billed_at) if at > since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def close(self) -> None:
        """Write nothing any more."""
        with self._lock:
            self._file.close()

    def new_request(
        self, account: Account, *, path: str, is_stream: bool, output_tokens: int, key: str | None = None
    ) -> Request:
        """A request with the next number of its account."""
        with account.lock:
            serial = len(account.requests) + 1
            cost = self.prices[account.upstream].cost(serial, output_tokens)
            request = Request(account, path, is_stream, serial, cost, key)
            account.requests[serial] = request
        return request

    def add_attempt(self, request: Request, answer: Answer) -> None:
        """Note how an attempt at a request ended."""
        request.attempts.append(answer)
        if answer.is_ok:
            self.billed_at.append(time.monotonic())
        code, text = answer.error if answer.status != 200 else ("", "")
        self.write(
            "request",
            name=request.name,
            status=answer.status,
            broken=answer.broken,
            seconds=round(answer.seconds, 2),
            id=answer.request_id,
            code=code,
            text=text[:120],
            replayed=answer.headers.get("idempotent-replayed"),
        )
