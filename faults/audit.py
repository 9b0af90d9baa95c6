"""The campaign's books against the database, when all is quiet."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

from faults.answers import Answer, exchange
from faults.clients import Ports
from faults.journal import PLACES, Account, Journal, Order, Request

STALLED_SECONDS = 30.0
"""A request that took longer stood still; the sweeper may have closed it meanwhile, at cost 0, and that stays."""
NOT_CHARGED = "not charged"
NOT_KNOWN = "not known"
"""What errors say of the bill, in every format."""
ABANDONED = "abandoned"

Document = dict[str, Any]


class Audit:
    """One comparison. Everything that does not add up becomes a violation of the journal."""

    def __init__(self, journal: Journal, database: Any, ports: Ports) -> None:
        self._journal = journal
        self._database = database
        self._ports = ports
        self._logs: dict[str, Document] = {}
        self._by_serial: dict[tuple[str, int], list[Document]] = defaultdict(list)
        self._costs: dict[str, Decimal] = defaultdict(Decimal)

    def run(self) -> None:
        """Compare everything since the beginning."""
        for log in self._database["request_logs"].find():
            self._logs[log["_id"]] = log
            cost = amount(log.get("creditsCost"))
            self._costs[log["userId"]] += cost
            if cost or log.get("outcome") == "ok":
                self._by_serial[log["userId"], log.get("inputTokens", 0)].append(log)
        entries: dict[str, list[Document]] = defaultdict(list)
        for entry in self._database["ledger_entries"].find():
            entries[entry["operation"]].append(entry)
        self._journal.uncollected.clear()
        for account in self._journal.accounts:
            for request in list(account.requests.values()):
                self._check_request(request)
        self._check_strangers()
        credited: dict[str, Decimal] = defaultdict(Decimal)
        for order in list(self._journal.orders):
            credited[order.account.name] += self._check_order(order, entries)
        for moved in list(self._journal.transfers):
            found = entries.get(moved.operation, [])
            total = sum((amount(entry["amount"]) for entry in found), Decimal(0))
            if len(found) not in ({2} if moved.is_done else {0, 2}) or total:
                self._journal.violation("a transfer is not whole", moved.operation, f"{len(found)} entries")
        for account in self._journal.accounts:
            if not account.may_expire:
                self._check_balance(account, credited[account.name])

    # --- Requests -------------------------------------------------------------------------------------------------

    def _check_request(self, request: Request) -> None:
        logs = self._by_serial.get((request.account.name, request.serial), [])
        billed = [log for log in logs if amount(log.get("creditsCost"))]
        told = f"{[log['_id'] for log in billed]} billed, attempts: {describe(request.attempts)}"
        if len(billed) > 1:
            self._journal.violation("billed twice", request.name, told)
        elif request.answer is not None and not billed:
            self._check_gift(request, request.answer)
        elif billed and request.answer is not None:
            log = billed[0]
            if amount(log["creditsCost"]) != request.cost or amount(log.get("uncollected")):
                self._journal.violation(
                    "a wrong cost", request.name, f"{log['creditsCost']} instead of {request.cost}; {told}"
                )
        elif not request.answer and not billed and any(attempt.status == 200 for attempt in request.attempts):
            reasons = ", ".join(sorted({attempt.broken for attempt in request.attempts if attempt.status == 200}))
            self._journal.uncollected[f"an answer that broke off ({reasons})"] += 1
        for attempt in request.attempts:
            self._check_error(request, attempt)

    def _check_gift(self, request: Request, answer: Answer) -> None:
        """A whole answer that nothing was taken for."""
        log = self._logs.get(answer.request_id or "", {})
        if request.account.may_expire and log.get("hold") == 0:
            return
        is_stalled = any(attempt.seconds > STALLED_SECONDS for attempt in request.attempts)
        if log.get("outcome") == ABANDONED and is_stalled:
            self._journal.uncollected["a request that stood still until the sweeper closed it"] += 1
            return
        seen = f"log of the answer: {log.get('outcome', 'none')}; attempts: {describe(request.attempts)}"
        kind = "replayed" if "idempotent-replayed" in answer.headers else "fresh"
        self._journal.violation(f"an answer given away ({kind})", request.name, seen)

    def _check_error(self, request: Request, attempt: Answer) -> None:
        """What an error said of the bill must be true."""
        if attempt.request_id is None or attempt.is_ok:
            return
        cost = amount(self._logs.get(attempt.request_id, {}).get("creditsCost"))
        text = attempt.body.decode(errors="replace") if attempt.status == 200 else attempt.error[1]
        if cost and (NOT_CHARGED in text or (attempt.status != 200 and NOT_KNOWN not in text)):
            kind = "told 'not charged', and billed" if NOT_CHARGED in text else "an error that was billed"
            self._journal.violation(kind, request.name, f"{attempt.request_id}, {attempt.status} {text[-80:]!r}")
        if NOT_KNOWN in text:
            self._check_receipt(request.account, attempt.request_id)

    def _check_receipt(self, account: Account, request_id: str) -> None:
        """The receipt to which the customer was sent says what the books say."""
        port = self._ports.of(account)
        answer = exchange(port, "GET", f"/v1/requests/{request_id}", headers=account.headers, timeout=20)
        log = self._logs.get(request_id)
        if log is None:
            if answer.status != 404:
                self._journal.violation("a receipt of nothing", request_id, f"{answer.status} {answer.body[:200]!r}")
        elif not answer.is_ok or Decimal(answer.json()["cost"]) != amount(log["creditsCost"]):
            self._journal.violation("a receipt that is not true", request_id, f"{answer.status} {answer.body[:200]!r}")

    def _check_strangers(self) -> None:
        """Nothing is billed that was not asked for."""
        asked = {(account.name, serial) for account in self._journal.accounts for serial in list(account.requests)}
        for (name, serial), logs in self._by_serial.items():
            if (name, serial) not in asked:
                ids = str([log["_id"] for log in logs])
                self._journal.violation("billed without a request", f"{name} #{serial}", ids)

    # --- Payments and balances ------------------------------------------------------------------------------------

    def _check_order(self, order: Order, entries: dict[str, list[Document]]) -> Decimal:
        """What an order brought, in USD: all of it once if its delivery was acknowledged, at most once otherwise."""
        payments = list(self._database["payments"].find({"orderCode": order.code}))
        found = [entry for payment in payments for entry in entries.get(f"payment:{payment['_id']}", [])]
        brought = sum((amount(entry["amount"]) for entry in found), Decimal(0))
        wanted = Decimal(order.credits)
        event = self._database["webhook_events"].find_one({"eventId": order.event_id})
        state = "none" if event is None else f"{event['status']} {event.get('error', '')[:200]}"
        told = f"{brought} USD in {len(found)} entries, event {state}, {order.attempts} deliveries"
        if not payments:
            self._journal.violation("an order that was taken is not there", order.code, told)
        if brought not in (0, wanted):
            self._journal.violation("a payment credited otherwise than once", order.code, told)
        is_waiting = event is not None and event["status"] == "received"
        if order.acknowledged_at is not None and not brought and not is_waiting:
            self._journal.violation("an acknowledged payment is lost", order.code, told)
        return brought

    def _check_balance(self, account: Account, credited: Decimal) -> None:
        found = self._database["usersNew"].find_one({"_id": account.name})
        held = sum((amount(hold["amount"]) for hold in (found.get("holds") or {}).values()), Decimal(0))
        has = amount(found["creditsNew"]) + amount(found["credits"]) + held
        # An open hold may belong to a request that is recorded already: its cost is still in the hold.
        unsettled = [self._logs[name] for name in found.get("holds") or {} if name in self._logs]
        spent = self._costs[account.name] - sum((amount(log["creditsCost"]) for log in unsettled), Decimal(0))
        should = account.opening + credited - spent
        if has != should:
            self._journal.violation(
                "a balance is not what the campaign's books say", f"{account.name}", f"{has} instead of {should}"
            )


def amount(value: Any) -> Decimal:
    """A stored amount in USD with 8 places; what is not there is 0."""
    return Decimal(str(value or 0)).quantize(PLACES)


def describe(attempts: list[Answer]) -> str:
    """The attempts in a line."""
    texts = []
    for attempt in attempts[-6:]:
        code = attempt.error[0] if attempt.status not in (None, 200) else ""
        parts = (attempt.status or "-", code, attempt.broken, f"{attempt.seconds:.1f} s", attempt.request_id or "")
        texts.append(" ".join(str(part) for part in parts if part))
    return "; ".join(texts)
