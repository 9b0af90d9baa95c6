"""The life of a metered request's credits: reserve (hold) → record (write-ahead log) → settle, and the sweep.

A request's log is inserted once, by its `_id`: whoever inserts it (the request, or the sweeper that gave it up)
decides the cost; everyone settles by that. So a crash at any point neither loses credits nor charges twice.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone
from pymongo.errors import DuplicateKeyError, PyMongoError

from accounts import credits
from accounts.errors import CreditsExpired, InsufficientCredits
from accounts.keys import mask_key
from accounts.models import Account, Balance
from money.amounts import ZERO, from_bson, to_bson, usd_text
from mongo.collections import Document, collection_of, insert_one
from mongo.each_item import sum_one_by_one
from mongo.errors import DATABASE_FAILURES
from mongo.times import as_utc
from proxy.billing.pricing import Price, Usage
from proxy.billing.refusals import count_refusal
from proxy.errors import CannotAfford, ServiceUnavailable
from proxy.formats.api_format import Call, UsageReport
from proxy.models import RequestLog

logger = logging.getLogger(__name__)

ESTIMATED_BYTES_PER_TOKEN = 4
"""For usage that the upstream did not tell: about what tokenizers make of English text."""
RECORD_ATTEMPTS = 4


@dataclass(frozen=True)
class Reservation:
    """A request that may be forwarded: its hold, its price, and the output bound that the hold pays for."""

    request_id: str
    endpoint: str
    key_prefix: str
    call: Call
    price: Price
    hold: credits.Hold
    max_output_tokens: int
    started_at: datetime
    started: float

    @property
    def username(self) -> str:
        return self.hold.username


@dataclass(frozen=True)
class Receipt:
    """What a finished request cost. USD. `balance_after` is None if the sweeper had already closed the request."""

    cost: Decimal
    uncollected: Decimal
    balance_after: Decimal | None

    @property
    def headers(self) -> dict[str, str]:
        """`X-Credits-Cost` and `X-Credits-Balance`, in USD with 8 places."""
        headers = {"X-Credits-Cost": usd_text(self.cost)}
        return headers if self.balance_after is None else headers | {"X-Credits-Balance": usd_text(self.balance_after)}


def reserve(*, request_id: str, api_key: str, balance: Balance, endpoint: str, call: Call, price: Price) -> Reservation:
    """Authenticate and hold the worst case of `call`, in one database round trip.

    A call without an output bound holds the model's maximum, or what the balance affords if that is still useful.
    Raises `InvalidApiKey`, `AccountDisabled`, `CreditsExpired`, `RateLimitExceeded`, `CannotAfford`. Refusals for want
    of credits are counted for the dashboard.
    """
    most = call.max_output_tokens or price.max_output_tokens
    least = call.max_output_tokens or min(most, settings.MIN_USEFUL_OUTPUT_TOKENS)
    started_at, started = timezone.now(), time.monotonic()
    minimum = price.worst_case(call.input_bound_tokens, least * call.choices)
    maximum = minimum if least == most else price.worst_case(call.input_bound_tokens, most * call.choices)
    try:
        hold = credits.hold(
            api_key=api_key,
            balance=balance,
            request_id=request_id,
            minimum=minimum,
            maximum=maximum,
            now=started_at,
        )
    except CreditsExpired as error:
        count_refusal(upstream=balance, code=error.code)
        raise
    except InsufficientCredits as error:
        count_refusal(upstream=balance, code=error.code)
        affordable = price.affordable_output_tokens(call.input_bound_tokens, error.available)
        raise CannotAfford(
            balance=balance,
            required=error.required,
            available=error.available,
            held=error.held,
            affordable_max_tokens=affordable // call.choices,
        ) from error
    if hold.amount < maximum:
        most = min(most, price.affordable_output_tokens(call.input_bound_tokens, hold.amount) // call.choices)
    return Reservation(
        request_id=request_id,
        endpoint=endpoint,
        key_prefix=mask_key(api_key),
        call=call,
        price=price,
        hold=hold,
        max_output_tokens=most,
        started_at=started_at,
        started=started,
    )


def charge(reservation: Reservation, *, report: UsageReport, output_text_bytes: int, outcome: str = "ok") -> Receipt:
    """Bill a request that was answered, in full or in part. Safe to call once a reservation.

    Usage that is missing or impossible is estimated from the text, and marked so; else the text's size is not used.
    """
    usage, source = report.usage, RequestLog.UsageSource.UPSTREAM
    if usage is None or report.problem:
        usage, source = estimate(reservation.call, report.usage, output_text_bytes), RequestLog.UsageSource.ESTIMATED
        logger.warning("request %s: usage %s, estimated", reservation.request_id, report.problem)
    return _finish(reservation, usage, source=source, problem=report.problem, status=200, outcome=outcome)


def release(reservation: Reservation, *, status: int, outcome: str) -> None:
    """Give the whole hold back: the upstream failed before any output, or refused the request. Cost 0."""
    source = RequestLog.UsageSource.NONE
    _finish(reservation, Usage(), source=source, problem=None, status=status, outcome=outcome)


def estimate(call: Call, known: Usage | None, output_text_bytes: int) -> Usage:
    """Usage from the bytes of the texts, at least what the upstream told before it broke off."""
    output = -(-output_text_bytes // ESTIMATED_BYTES_PER_TOKEN)
    if known is None:
        return Usage(input_tokens=max(1, -(-call.text_bytes // ESTIMATED_BYTES_PER_TOKEN)), output_tokens=output)
    return Usage(
        known.input_tokens, max(output, known.output_tokens), known.cache_write_tokens, known.cache_read_tokens
    )


@dataclass(frozen=True)
class FreeRequest:
    """A request that is forwarded at no charge and without a hold."""

    request_id: str
    username: str
    key_prefix: str
    balance: Balance
    model: str


def log_free(request: FreeRequest, *, endpoint: str, status: int, outcome: str, started_at: datetime) -> None:
    """Record a free request that reached the upstream."""
    collection_of(RequestLog).insert_one(
        {
            "_id": request.request_id,
            "userId": request.username,
            "apiKeyPrefix": request.key_prefix,
            "creditType": request.balance.value,
            "endpoint": endpoint,
            "model": request.model,
            "isStream": False,
            "inputTokens": 0,
            "outputTokens": 0,
            "tokensUsed": 0,
            "creditsCost": 0.0,
            "usageSource": RequestLog.UsageSource.NONE.value,
            "outcome": outcome,
            "statusCode": status,
            "isSuccess": outcome == "ok",
            "latencyMs": int((timezone.now() - started_at) / timedelta(milliseconds=1)),
            "createdAt": started_at,
        }
    )


def _finish(
    reservation: Reservation, usage: Usage, *, source: str, problem: str | None, status: int, outcome: str
) -> Receipt:
    full_cost = reservation.price.cost(usage)
    cost = min(full_cost, reservation.hold.amount)
    hold = reservation.hold
    document = {
        "_id": reservation.request_id,
        "userId": hold.username,
        "apiKeyPrefix": reservation.key_prefix,
        "creditType": hold.balance.value,
        "endpoint": reservation.endpoint,
        "model": reservation.price.model_id,
        "isStream": reservation.call.is_stream,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cacheWriteTokens": usage.cache_write_tokens,
        "cacheHitTokens": usage.cache_read_tokens,
        "tokensUsed": usage.total_tokens,
        "creditsCost": to_bson(cost),
        "uncollected": to_bson(full_cost - cost),
        "hold": to_bson(hold.amount),
        "price": reservation.price.snapshot,
        "usageSource": source,
        "usageProblem": problem,
        "outcome": outcome,
        "statusCode": status,
        "isSuccess": outcome == "ok",
        "latencyMs": int((time.monotonic() - reservation.started) * 1000),
        "createdAt": reservation.started_at,
    }
    if not _record(document):
        logger.error("request %s had been given up by the sweeper when it ended", reservation.request_id)
        return Receipt(ZERO, full_cost, None)
    try:
        settlement = credits.settle(
            username=hold.username,
            request_id=reservation.request_id,
            balance=hold.balance,
            cost=cost,
            input_tokens=usage.total_input_tokens,
            output_tokens=usage.output_tokens,
        )
    except DATABASE_FAILURES as error:
        # It is recorded, so it is billed: the sweeper settles by the record.
        logger.error("request %s is recorded but not settled yet: %s", reservation.request_id, error)
        return Receipt(cost, full_cost - cost, None)
    return Receipt(cost, full_cost - cost, settlement.balance_after)


def _record(document: Document) -> bool:
    """Insert the write-ahead record; False if the request has one. Raises `ServiceUnavailable` if it cannot be kept.

    Tried several times over a change of the primary: an answer must not go unbilled for a moment without database.
    """
    for attempt in range(RECORD_ATTEMPTS):
        try:
            insert_one(RequestLog, document)
        except DuplicateKeyError:
            # A retry of ours that had arrived is the same document; anything else was written by the sweeper.
            stored = collection_of(RequestLog).find_one({"_id": document["_id"]}, projection={"outcome": 1})
            return stored is not None and stored["outcome"] == document["outcome"]
        except PyMongoError as error:
            logger.error("request %s cannot be recorded: %s", document["_id"], error)
            if attempt + 1 == RECORD_ATTEMPTS:
                raise ServiceUnavailable(f"request {document['_id']} could not be recorded") from error
            time.sleep(0.2 * 2**attempt)
        else:
            return True
    raise AssertionError("unreachable")


# --- The sweep ---------------------------------------------------------------------------------------------------

ABANDONED = "abandoned"
"""Outcome of a request whose process died before it could record one: nothing is charged."""


def sweep_holds(*, now: datetime | None = None) -> int:
    """Settle or release every hold older than the longest request; returns how many were closed.

    Safe to run in parallel with itself and with the requests: the log's key and the hold's existence decide. A hold
    that fails does not keep the others: raises `SomeFailed` after the last one.
    """
    deadline = (now or timezone.now()) - timedelta(seconds=settings.HOLD_MAX_AGE_SECONDS)

    def close_stale(found: tuple[str, str, dict[str, Any]]) -> int:
        username, request_id, hold = found
        return _close(username, request_id, hold) if as_utc(hold["at"]) <= deadline else 0

    return sum_one_by_one(_find_held(deadline), close_stale, name=lambda found: f"hold {found[1]} of {found[0]}")


def _find_held(deadline: datetime) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every hold, with its account and request, of the accounts that held something before `deadline`."""
    for account in collection_of(Account).find({"heldSince": {"$lte": deadline}}, projection={"holds": 1}):
        for request_id, hold in (account.get("holds") or {}).items():
            yield account["_id"], request_id, hold


def _close(username: str, request_id: str, hold: dict[str, Any]) -> int:
    """Close one stale hold by its log, or by a log of an abandoned request that is written here."""
    logs = collection_of(RequestLog)
    abandoned = {
        "_id": request_id,
        "userId": username,
        "creditType": hold["balance"],
        "inputTokens": 0,
        "outputTokens": 0,
        "tokensUsed": 0,
        "creditsCost": 0.0,
        "uncollected": 0.0,
        "hold": hold["amount"],
        "usageSource": RequestLog.UsageSource.NONE.value,
        "outcome": ABANDONED,
        "statusCode": 500,
        "isSuccess": False,
        "createdAt": hold["at"],
    }
    try:
        logs.insert_one(abandoned)
        log: Document = abandoned
    except DuplicateKeyError:
        log = logs.find_one({"_id": request_id}) or abandoned
    settlement = credits.settle(
        username=username,
        request_id=request_id,
        balance=Balance(hold["balance"]),
        cost=from_bson(log["creditsCost"]),
        input_tokens=int(log["inputTokens"]) + int(log.get("cacheWriteTokens", 0)) + int(log.get("cacheHitTokens", 0)),
        output_tokens=int(log["outputTokens"]),
    )
    return int(settlement.balance_after is not None)
