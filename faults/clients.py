"""The load: customers, a shop that reports payments, staff. Each does the next thing at random, from the seed."""

import base64
import contextlib
import hashlib
import hmac
import json
import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pymongo.errors import PyMongoError

from faults.answers import Answer, exchange
from faults.journal import Account, Journal, Order, Request, Transfer
from faults.staff import Staff

MODEL = "claude-haiku-4-5-20251001"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
CHUNKS = 8
MAX_TOKENS = 8000
"""What is held for it pays for more than any request of a campaign costs."""
RETRIED = {409, 429, 500, 502, 503, 504, None}
ERRORS_IN_A_FAULT = {409, 429, 502, 503, 504}
"""Statuses of errors that customers may see while something fails, all with a documented code."""
ORDER_CREDITS = 20


@dataclass(frozen=True)
class Ports:
    """Where the platform listens."""

    site: int
    openhands: int
    ohmygpt: int

    def of(self, account: Account) -> int:
        """The port whose requests this account pays for."""
        return self.openhands if account.upstream == "openhands" else self.ohmygpt


@dataclass(frozen=True)
class Cast:
    """The accounts by what is done with them."""

    spenders: list[Account]
    rotating: list[Account]
    expiring: list[Account]
    prober: Account


class Clients:
    """The threads, and what they do. `pause` lets what is under way end; only retries go on then."""

    def __init__(
        self, *, journal: Journal, ports: Ports, cast: Cast, staff: Staff, usersnew: Any, webhook_secret: str, seed: int
    ) -> None:
        self.journal = journal
        self.ports = ports
        self.cast = cast
        self._staff = staff
        self._usersnew = usersnew
        self._secret = base64.b64decode(webhook_secret.removeprefix("whsec_"))
        self._seed = seed
        self._is_paused = threading.Event()
        self._is_stopped = threading.Event()
        self._busy = 0
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, count: int, *, pause_seconds: float) -> None:
        """Let so many clients work, each with a pause of about so long after each thing it did."""
        for number in range(count):
            thread = threading.Thread(target=self._run, args=(number, pause_seconds), daemon=True)
            self._threads.append(thread)
            thread.start()

    def pause(self) -> None:
        """Begin nothing new; retries go on."""
        self._is_paused.set()

    def resume(self) -> None:
        self._is_paused.clear()

    def stop(self) -> None:
        """Begin nothing any more. Does not wait."""
        self._is_stopped.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing is to be tried again."""
        return self._busy == 0 and not len(self.journal.later)

    def _run(self, number: int, pause_seconds: float) -> None:
        chance = random.Random(f"client {self._seed} {number}")
        while not self._is_stopped.wait(pause_seconds * (0.5 + chance.random())):
            with self._lock:
                self._busy += 1
            try:
                action = self.journal.later.take()
                if action is None and not self._is_paused.is_set():
                    action = self._choose(chance)
                if action is not None:
                    action()
            except Exception as error:  # The outermost: a mistake of the campaign must not pass for quiet.
                self.journal.violation("a mistake of the campaign", repr(error))
            finally:
                with self._lock:
                    self._busy -= 1

    def _choose(self, chance: random.Random) -> Callable[[], None]:
        account = chance.choice(self.cast.spenders)
        choices: list[tuple[int, Callable[[], None]]] = [
            (30, partial(self.ask_with_key, account, chance)),
            (20, partial(self.ask, account, chance, is_stream=False)),
            (25, partial(self.ask, account, chance, is_stream=True)),
            (10, partial(self.buy, account, chance)),
            (8, partial(self.look, account, chance)),
            (6, partial(self.transfer, account, chance)),
            (3, partial(self.rotate, chance.choice(self.cast.rotating))),
            (3, partial(self.buy_at_expiry, chance.choice(self.cast.expiring), chance)),
        ]
        return chance.choices([action for _, action in choices], [weight for weight, _ in choices])[0]

    # --- Requests that are billed ---------------------------------------------------------------------------------

    def ask(self, account: Account, chance: random.Random, *, is_stream: bool) -> None:
        """A request without a key, tried once; one in six clients leaves in the middle."""
        output = chance.randint(1, 30)
        path = chance.choice((CHAT, MESSAGES))
        request = self.journal.new_request(account, path=path, is_stream=is_stream, output_tokens=output)
        leave = chance.uniform(0.01, 0.5) if chance.random() < 1 / 6 else None
        delay = chance.choice((0.0, 0.02, 0.3))  # The last: some are always under way when a process dies.
        self._send(request, _question(request, output, delay), leave_after=leave)

    def ask_with_key(self, account: Account, chance: random.Random) -> None:
        """A request with a key, tried until there is an answer; some clients leave and come back for it."""
        output, path = chance.randint(1, 30), chance.choice((CHAT, MESSAGES))
        key = f"key-{chance.getrandbits(64):x}"
        request = self.journal.new_request(account, path=path, is_stream=False, output_tokens=output, key=key)
        leave = chance.uniform(0.01, 0.3) if chance.random() < 1 / 10 else None
        self._try_key(request, _question(request, output, chance.choice((0.0, 0.02, 0.3))), leave)

    def _try_key(self, request: Request, body: bytes, leave_after: float | None = None) -> None:
        answer = self._send(request, body, leave_after=leave_after)
        if answer.broken or answer.status in RETRIED:
            self.journal.later.add(_wait_of(answer), partial(self._try_key, request, body))

    def _send(self, request: Request, body: bytes, *, leave_after: float | None = None) -> Answer:
        headers = dict(request.account.headers)
        if request.idempotency_key:
            headers["Idempotency-Key"] = request.idempotency_key
        port = self.ports.of(request.account)
        answer = exchange(port, "POST", request.path, headers=headers, body=body, leave_after=leave_after)
        self.journal.add_attempt(request, answer)
        self.check_error(answer, request.name, also=402 if request.account.may_expire else None)
        return answer

    def probe(self) -> bool:
        """One small request of the account for probes; whether it was answered, and so billed."""
        request = self.journal.new_request(self.cast.prober, path=CHAT, is_stream=False, output_tokens=1)
        answer = exchange(
            self.ports.openhands, "POST", CHAT, headers=self.cast.prober.headers, body=_question(request, 1), timeout=5
        )
        self.journal.add_attempt(request, answer)
        return answer.is_ok

    # --- Payments -------------------------------------------------------------------------------------------------

    def buy(self, account: Account, chance: random.Random) -> None:
        """Order credits and pay them: the shop reports it until it is acknowledged, now and then once more."""
        order = self.order(account)
        if order is not None:
            self._deliver(order, chance.random() < 0.2)

    def buy_now(self, account: Account) -> str:
        """Order and pay at once, in a probe; what went wrong, or nothing. It is tried again like others."""
        order = self.order(account)
        if order is None:
            return "no order"
        self._deliver(order, False)
        return "" if order.acknowledged_at else "the webhook was not acknowledged"

    def order(self, account: Account) -> Order | None:
        """An order, or None if it was not taken."""
        body = json.dumps({"credits": ORDER_CREDITS}).encode()
        answer = exchange(self.ports.site, "POST", "/api/payment/checkout", headers=account.headers, body=body)
        self.journal.write("checkout", account=account.name, status=answer.status, broken=answer.broken)
        self.check_error(answer, f"checkout of {account.name}")
        if not answer.is_ok:
            return None
        made = answer.json()
        event_id = f"evt-{secrets.token_hex(8)}"
        order = Order(account, made["orderCode"], made["credits"], int(made["amount"]), event_id)
        self.journal.orders.append(order)
        return order

    def _deliver(self, order: Order, is_repeated: bool) -> None:
        moment = datetime.fromtimestamp(order.began_at, UTC).isoformat()
        data = {
            "payment_id": f"pay-{order.event_id}",
            "order_code": order.code,
            "amount": order.amount,
            "currency": "VND",
        }
        body = json.dumps({"type": "payment.succeeded", "timestamp": moment, "data": data}).encode()
        seconds = str(int(time.time()))
        message = b".".join((order.event_id.encode(), seconds.encode(), body))
        signature = "v1," + base64.b64encode(hmac.new(self._secret, message, hashlib.sha256).digest()).decode()
        headers = {"webhook-id": order.event_id, "webhook-timestamp": seconds, "webhook-signature": signature}
        answer = exchange(
            self.ports.site, "POST", "/api/payment/webhook/standard", headers=headers, body=body, timeout=40
        )
        order.attempts += 1
        self.journal.write(
            "webhook", order=order.code, event=order.event_id, status=answer.status, broken=answer.broken
        )
        self.check_error(answer, f"webhook {order.event_id}")
        if answer.is_ok and order.acknowledged_at is None:
            order.acknowledged_at = time.time()
            if is_repeated:
                self.journal.later.add(0.5, partial(self._deliver, order, False))
        elif not answer.is_ok:
            self.journal.later.add(1.0, partial(self._deliver, order, is_repeated))

    def buy_at_expiry(self, account: Account, chance: random.Random) -> None:
        """Credits are paid for in the second in which the account's others expire, while a request holds some."""
        order = self.order(account)
        if order is None:
            return
        left = chance.uniform(0.5, 1.5)
        expires_at = datetime.now(UTC) + timedelta(seconds=left)
        with contextlib.suppress(PyMongoError):  # It expires later, or not: the purchase counts all the same.
            self._usersnew.update_one({"_id": account.name}, {"$set": {"expiresAt": expires_at}})
        self.journal.later.add(0.0, partial(self.ask, account, random.Random(chance.random()), is_stream=True))
        self.journal.later.add(left + chance.uniform(-0.3, 0.3), partial(self._deliver, order, False))

    # --- What is not billed ---------------------------------------------------------------------------------------

    def look(self, account: Account, chance: random.Random) -> None:
        """A page or an answer that only reads."""
        port, path = chance.choice(
            [
                (self.ports.of(account), "/v1/balance"),
                (self.ports.of(account), "/v1/usage"),
                (self.ports.of(account), "/v1/models"),
                (self.ports.site, "/api/payment/history"),
                (self.ports.site, "/api/payment/config"),
                (self.ports.site, "/healthz"),
            ]
        )
        self.check_error(exchange(port, "GET", path, headers=account.headers), f"GET {path}")

    def transfer(self, account: Account, chance: random.Random) -> None:
        """Staff move credits between the balances, and repeat the operation until it is known to be done."""
        operation = f"faults:{chance.getrandbits(64):x}"
        question = {
            "do": "transfer",
            "username": account.name,
            "source": chance.choice(("openhands", "ohmygpt")),
            "amount": f"0.{chance.randint(1, 99):02}",
            "operation": operation,
        }
        moved = Transfer(account, operation, question)
        self.journal.transfers.append(moved)
        self._try_transfer(moved)

    def _try_transfer(self, moved: Transfer) -> None:
        answer = self._staff.ask(moved.question)
        self.journal.write("transfer", operation=moved.operation, answer=answer)
        moved.is_done = answer is not None and answer["ok"]
        if not moved.is_done:
            self.journal.later.add(1.0, partial(self._try_transfer, moved))

    def rotate(self, account: Account) -> None:
        """A new key. The old one must stop at once, in every process; a key that got lost is replaced by staff."""
        if not account.lock.acquire(blocking=False):
            return
        try:
            self._rotate(account)
        finally:
            account.lock.release()

    def _rotate(self, account: Account) -> None:
        old, port = dict(account.headers), self.ports.of(account)
        known = exchange(port, "GET", "/v1/balance", headers=old)
        self.check_error(known, f"balance of {account.name}", also=401)
        if known.status == 401:  # An answer with a new key was lost.
            key = f"sk-trollllm-{secrets.token_hex(32)}"
            done = self._staff.ask({"do": "rotate", "username": account.name, "new_key": key})
            if done is not None and done["ok"]:
                account.api_key = key
            return
        answer = exchange(port, "POST", "/v1/keys/rotate", headers=old)
        self.journal.write("rotation", account=account.name, status=answer.status, broken=answer.broken)
        self.check_error(answer, f"rotation of {account.name}", also=401)
        if not answer.is_ok:
            return
        account.api_key = answer.json()["api_key"]
        for _ in range(4):
            stale = exchange(port, "GET", "/v1/balance", headers=old)
            if stale.status == 200:
                self.journal.violation("a key works after its rotation", account.name, f"at {stale.at:.3f}")

    # --- What every answer must be --------------------------------------------------------------------------------

    def check_error(self, answer: Answer, name: str, *, also: int | None = None) -> None:
        """Note an answer that customers must never see: a 500, an error without a code, a wait without its length."""
        if answer.status in (None, 200, also) or answer.broken:
            return
        code, text = answer.error
        detail = f"{answer.status} {code!r} {text[:150]!r} {answer.request_id or ''} at {answer.at:.3f}"
        if answer.status not in ERRORS_IN_A_FAULT:
            self.journal.violation(f"an answer {answer.status}", f"{name} at {answer.at:.3f}", detail)
        elif not (code and text):
            self.journal.violation("an error without the documented shape", f"{name} at {answer.at:.3f}", detail)
        elif answer.status in (409, 429) and not answer.retry_after:
            self.journal.violation(f"{answer.status} without Retry-After", name, detail)


def _question(request: Request, output_tokens: int, delay: float = 0.0) -> bytes:
    """A body for which the fake upstream reports the request's number as input tokens, and these output tokens.

    It takes `CHUNKS` times `delay` (seconds) for its answer.
    """
    asked = f"prompt_tokens={request.serial} completion_tokens={output_tokens} chunks={CHUNKS}"
    asked += f" chunk_delay={delay:.3f}" if request.is_stream else f" delay={CHUNKS * delay:.3f}"
    content = f"[[fake {asked}]] word"
    body: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": content}],
    }
    if request.is_stream:
        body["stream"] = True
    return json.dumps(body).encode()


def _wait_of(answer: Answer) -> float:
    """How long a patient customer waits before the next try: as told, else a second."""
    told = answer.retry_after or ""
    return min(float(told), 10.0) if told.isdecimal() else 1.0
