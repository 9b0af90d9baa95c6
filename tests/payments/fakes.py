"""The providers' own servers, faked over HTTP on loopback: what they answer, and how they insist."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import requests

from tests.factories import Deliver
from tests.payments.senders import send_stripe, session, stripe_event


class Fake:
    """A loopback HTTP server whose `answer` gives the status, the JSON and the headers."""

    def __init__(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                url = urlsplit(self.path)
                fake.requests.append(f"{self.command} {self.path}")
                status, answer, headers = fake.answer(self.command, url.path, parse_qs(url.query), body, self.headers)
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.requests: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: str, headers: Any
    ) -> tuple[int, Any, dict[str, str]]:
        raise NotImplementedError

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class FakeSePay(Fake):
    """SePay's list API v2, and its delivery of webhooks: eight attempts, until 200 or 201 with `success: true`."""

    RETRY_GAPS_MINUTES: ClassVar = (1, 1, 2, 3, 5, 8, 13)

    def __init__(self) -> None:
        super().__init__()
        self.token = "sepay-api-token"
        self.transfers: list[dict[str, Any]] = []
        self.slow_downs = 0
        self.page_size = 100
        self._ids = itertools.count(1)

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: str, headers: Any
    ) -> tuple[int, Any, dict[str, str]]:
        if headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"error_code": "unauthorized"}, {}
        if self.slow_downs:
            self.slow_downs -= 1
            return 429, {}, {"Retry-After": "0.1"}
        if (method, path) != ("GET", "/v2/transactions"):
            return 404, {}, {}
        since, until = query["transaction_date_from"][0], query["transaction_date_to"][0]
        found = sorted(
            (item for item in self.transfers if since <= item["transaction_date"] <= until),
            key=lambda item: str(item["transaction_date"]),
        )
        page, size = int(query["page"][0]), min(int(query["per_page"][0]), self.page_size)
        rows = found[(page - 1) * size : page * size]
        pagination = {"total": len(found), "current_page": page, "has_more": page * size < len(found)}
        return 200, {"status": "success", "data": rows, "meta": {"pagination": pagination}}, {}

    def add(self, payload: dict[str, Any]) -> None:
        """List the transfer that a webhook payload tells of, under the list's own id and names."""
        is_in = payload["transferType"] == "in"
        self.transfers.append(
            {
                "id": f"07ad3dc9-0000-0000-0000-{next(self._ids):012d}",
                "transaction_date": payload["transactionDate"],
                "account_number": payload["accountNumber"],
                "va": payload["subAccount"] or "",
                "transfer_type": payload["transferType"],
                "amount_in": payload["transferAmount"] if is_in else 0,
                "amount_out": 0 if is_in else payload["transferAmount"],
                "accumulated": 0,
                "transaction_content": payload["content"],
                "reference_number": payload["referenceCode"],
                "code": payload["code"],
                "bank_brand_name": "Vietcombank",
            }
        )

    def insist(self, deliver: Deliver, between: Callable[[int], None]) -> int:
        """Deliver as SePay does, calling `between(minutes)` instead of waiting; return the attempts that it took.

        Raises `TimeoutError` after the last attempt.
        """
        for attempt, gap in enumerate((*self.RETRY_GAPS_MINUTES, 0), start=1):
            try:
                response = deliver()
                if response.status_code in (200, 201) and response.json() == {"success": True}:
                    return attempt
            except requests.RequestException:
                pass
            between(gap)
        raise TimeoutError("SePay gave up")


class FakeStripe(Fake):
    """Stripe's Checkout sessions (with idempotency keys), its list of events, and signed deliveries of them."""

    def __init__(self) -> None:
        super().__init__()
        self.key = "sk_test_fake"
        self.sessions: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.parameters: dict[str, dict[str, str]] = {}
        self.events: list[dict[str, Any]] = []
        self.is_down = False
        self._by_idempotency_key: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def answer(
        self, method: str, path: str, query: dict[str, list[str]], body: str, headers: Any
    ) -> tuple[int, Any, dict[str, str]]:
        if self.is_down:
            return 503, {"error": {"type": "api_error", "message": "down"}}, {"Stripe-Should-Retry": "false"}
        if headers.get("Authorization") != f"Bearer {self.key}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key"}}, {}
        if (method, path) == ("POST", "/v1/checkout/sessions"):
            with self._lock:
                return self._create(body, headers.get("Idempotency-Key"))
        if (method, path) == ("GET", "/v1/events"):
            return self._list_events(query)
        kind, _, identifier = path.rpartition("/")
        kept = {"/v1/checkout/sessions": self.sessions, "/v1/charges": self.charges}.get(kind, {})
        if method == "GET" and identifier in kept:
            return 200, kept[identifier], {}
        return 404, {"error": {"type": "invalid_request_error", "message": "No such thing"}}, {}

    def _create(self, body: str, key: str | None) -> tuple[int, Any, dict[str, str]]:
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        if key in self._by_idempotency_key:
            first_body, identifier = self._by_idempotency_key[key]
            if first_body != body:
                return 400, {"error": {"type": "idempotency_error", "message": "other parameters"}}, {}
            return 200, self.sessions[identifier], {}
        expires_at = int(asked.get("expires_at", time.time() + 86400))
        if not 30 * 60 <= expires_at - time.time() <= 24 * 3600:
            return 400, {"error": {"type": "invalid_request_error", "message": "expires_at: 30 min to 24 h"}}, {}
        intent = f"pi_fake_{len(self.sessions) + 1}"
        amount = int(asked["line_items[0][price_data][unit_amount]"])
        made = session(
            asked["client_reference_id"],
            intent,
            amount,
            status="open",
            payment_status="unpaid",
            currency=asked["line_items[0][price_data][currency]"],
            url=f"https://checkout.stripe.test/c/{intent}",
            created=int(time.time()),
            livemode=True,
            expires_at=expires_at,
        )
        self.sessions[made["id"]] = made
        self.parameters[made["id"]] = asked
        if key is not None:
            self._by_idempotency_key[key] = (body, made["id"])
        return 200, made, {}

    def _list_events(self, query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        since, until = int(query["created[gte]"][0]), int(query["created[lte]"][0])
        wanted = set(query.get("types[]", []))
        rows = [
            event
            for event in reversed(self.events)
            if since <= event["created"] <= until and (not wanted or event["type"] in wanted)
        ]
        if "starting_after" in query:
            ids = [event["id"] for event in rows]
            rows = rows[ids.index(query["starting_after"][0]) + 1 :]
        size = min(int(query["limit"][0]), 3)
        return 200, {"object": "list", "data": rows[:size], "has_more": len(rows) > size}, {}

    def pay(self, session_id: str) -> dict[str, Any]:
        """The customer pays the page: the event that Stripe would deliver, and lists."""
        self.sessions[session_id] |= {"status": "complete", "payment_status": "paid"}
        return self.emit("checkout.session.completed", self.sessions[session_id])

    def emit(self, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Note an event, and return it."""
        event = stripe_event(kind, dict(obj))
        self.events.append(event)
        return event

    def deliver(self, site: str, event: dict[str, Any]) -> requests.Response:
        """Deliver an event, signed, in Stripe's own layout of JSON."""
        return send_stripe(site, json.dumps(event, indent=2).encode())
