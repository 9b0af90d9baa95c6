"""What customers can read of their money: balances, the receipt of a request, use by day or model."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from time import monotonic

from django.conf import settings
from django.utils import timezone
from pymongo.errors import ExecutionTimeout

from accounts import throttle
from accounts.models import Account, Balance
from money.amounts import ZERO, from_bson, usd_text
from money.expressions import exact, whole
from mongo.collections import IS_NO_LIST, Document, collection_of
from mongo.times import as_utc
from mongo.unreadable import Unreadable
from proxy.billing.credit_type import balance_expression
from proxy.errors import InvalidRequest, NotFound
from proxy.formats.json_body import JsonObject
from proxy.models import OUTPUT_TOKENS, RefusedRequest, RequestLog

LONGEST_PERIOD_DAYS = 366
DEFAULT_PERIOD_DAYS = 30
FIRST_YEAR, LAST_YEAR = 1970, 9000
"""Of dates in a query: there is room for a period before and after each."""


class Group(StrEnum):
    """What use is added up by."""

    DAY = "day"
    MODEL = "model"


def balance_statement(account: Account, *, now: datetime | None = None) -> JsonObject:
    """Both balances of an account in USD (as text, 8 places), what is held of them, and when they expire."""
    now = now or timezone.now()
    expires_at = account.expiry
    left = None if expires_at is None else max(expires_at - now, timedelta(0))
    return {
        "object": "balance",
        "currency": "USD",
        "balances": {
            balance.value: {
                "available": usd_text(account.balance(balance)),
                "held": usd_text(account.held(balance)),
                "used": usd_text(account.credits_new_used if balance is Balance.OPENHANDS else account.credits_used),
            }
            for balance in Balance
        },
        "expires_at": _time(expires_at),
        "days_left": None if left is None else round(left / timedelta(days=1), 2),
        "is_expired": account.is_expired(now),
    }


_FEW_HAVE = {
    "cache_write_1h": "cache_write_1h_tokens",
    "input_audio": "input_audio_tokens",
    "input_image": "input_image_tokens",
    "output_audio": "output_audio_tokens",
    "output_image": "output_image_tokens",
}
"""Kinds of tokens that a receipt names only where there are any."""


def receipt(*, account: Account, request_id: str) -> JsonObject:
    """The receipt of one request of this account; raises `NotFound`, also for somebody else's.

    A request that is not closed yet has the outcome `open` and no cost. One that was refused before it was forwarded
    has the outcome `refused`, costs 0 and says why, as long as that is kept. The `price` names what of the price row
    applied: with the tokens it is enough to reckon the cost once more.
    """
    log = RequestLog.objects.filter(pk=request_id, user_id=account.pk).first()
    if log is None and request_id in account.holds:
        return _open_receipt(request_id, account.holds[request_id])
    if log is None and (refused := RefusedRequest.objects.filter(pk=request_id, user_id=account.pk).first()):
        return _refused_receipt(refused)
    if log is None or log.user_id != account.pk:  # A list of names would match too.
        raise NotFound(f"There is no request {request_id[:60]!r} of yours.")
    return {
        "object": "request",
        "id": log.pk,
        "created_at": _time(log.created_at),
        "latency_ms": log.latency_ms,
        "endpoint": log.endpoint,
        "model": log.model,
        "stream": log.is_stream,
        "status": log.status_code,
        "outcome": log.outcome,
        "balance": log.credit_type,
        "tokens": {
            "input": log.input_tokens,
            "cache_write": log.cache_write_tokens,
            "cache_read": log.cache_read_tokens,
            "output": log.output_tokens,
            **{name: count for name, attribute in _FEW_HAVE.items() if (count := getattr(log, attribute))},
        },
        "tool_uses": log.tool_uses or {},
        "price": log.price,
        "hold": None if log.hold is None else usd_text(log.hold),
        "max_tokens_lowered": log.max_tokens_lowered,
        "cost": usd_text(log.cost),
        "usage_source": log.usage_source,
    }


def _open_receipt(request_id: str, hold: Document) -> JsonObject:
    """Of a request that runs, or whose end is not known yet: what is held for it, and no cost."""
    return {
        "object": "request",
        "id": request_id,
        "created_at": _time(as_utc(hold["at"])),
        "outcome": "open",
        "balance": hold["balance"],
        "hold": usd_text(from_bson(hold["amount"])),
        "cost": None,
    }


def _refused_receipt(refused: RefusedRequest) -> JsonObject:
    """Of a request that was refused before it was forwarded: what its answer said, and what there was. It is free."""
    return {
        "object": "request",
        "id": refused.pk,
        "created_at": _time(refused.created_at),
        "endpoint": refused.endpoint,
        "model": refused.model,
        "status": refused.status_code,
        "outcome": "refused",
        "code": refused.code,
        "message": refused.message,
        "balance": refused.upstream,
        "required": _usd(refused.needed),
        "available": _usd(refused.available),
        "held": _usd(refused.held),
        "cost": usd_text(ZERO),
    }


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else usd_text(amount)


def usage_statement(*, account: Account, start: str | None, end: str | None, group: str | None) -> JsonObject:
    """Requests, tokens and cost of an account from `start` up to and including `end` (dates, UTC), grouped.

    Default: the last 30 days by day. Raises `InvalidRequest` for what is no date, a period that is backwards or
    longer than a year, or an unknown group, and for a period with more requests than the database adds up in
    STATEMENT_MAX_SECONDS. Raises `RequestThrottled` where the account's statements were too much work of late.
    """
    last = _date("to", end) or timezone.now().date()
    first = _date("from", start) or last - timedelta(days=DEFAULT_PERIOD_DAYS - 1)
    if not 0 <= (last - first).days < LONGEST_PERIOD_DAYS:
        raise InvalidRequest(f"'from' must not be after 'to', nor more than {LONGEST_PERIOD_DAYS} days before it.")
    try:
        by = Group(group or Group.DAY)
    except ValueError as error:
        raise InvalidRequest("'group' must be day or model.", param="group") from error
    throttle.STATEMENTS.take(account.pk)
    started = monotonic()
    try:
        rows = _aggregate(account.pk, first, last, by)
    except ExecutionTimeout as error:
        raise InvalidRequest("There are too many requests in this period. Ask for a shorter one.") from error
    finally:
        throttle.STATEMENTS.count(account.pk, (monotonic() - started) * throttle.DATABASE_SECOND)
    return {
        "object": "usage",
        "from": first.isoformat(),
        "to": last.isoformat(),
        "group": by.value,
        "data": [_usage_row(row, by) for row in rows],
    }


_TOKENS_BY_KIND = {
    "input": ("inputTokens", "inputAudioTokens", "inputImageTokens"),
    "cache_write": ("cacheWriteTokens", "cacheWrite1hTokens"),
    "cache_read": ("cacheHitTokens",),
    "output": tuple(OUTPUT_TOKENS.values()),
}
"""What is added up over many requests, each from these counts of their logs."""


def _aggregate(username: str, first: date, last: date, by: Group) -> list[Document]:
    start = datetime.combine(first, time(), UTC)
    end = datetime.combine(last + timedelta(days=1), time(), UTC)
    day = {"$dateToString": {"date": "$createdAt", "format": "%Y-%m-%d"}}
    tokens = {kind: {"$sum": {"$add": [whole(name) for name in names]}} for kind, names in _TOKENS_BY_KIND.items()}
    pipeline: list[Document] = [
        # A list with such a value in it would match too, and no day can be made of it.
        {
            "$match": {
                "userId": {"$eq": username, **IS_NO_LIST},
                "createdAt": {"$gte": start, "$lt": end, **IS_NO_LIST},
            }
        },
        {
            "$group": {
                "_id": {
                    "key": day if by is Group.DAY else "$model",
                    "balance": balance_expression(),
                },
                "requests": {"$sum": 1},
                "cost": {"$sum": exact("creditsCost")},
                **tokens,
            }
        },
        {"$sort": {"_id": 1}},
    ]
    limit_ms = int(settings.STATEMENT_MAX_SECONDS * 1000)
    return list(collection_of(RequestLog).aggregate(pipeline, maxTimeMS=limit_ms))


def _usage_row(row: Document, by: Group) -> JsonObject:
    key = row["_id"].get("key")
    return {
        by.value: key if key is None or type(key) is str else str(Unreadable.of(key)),
        "balance": row["_id"]["balance"],
        "requests": row["requests"],
        "tokens": {kind: int(from_bson(row[kind])) for kind in _TOKENS_BY_KIND},
        "cost": usd_text(from_bson(row["cost"])),
    }


def _date(name: str, text: str | None) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{name!r} must be a date such as 2026-01-31.", param=name) from error
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise InvalidRequest(f"{name!r} must be a date from {FIRST_YEAR} to {LAST_YEAR}.", param=name)
    return day


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
