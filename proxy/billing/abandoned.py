"""Requests whose process died: the sweep closes their holds, by their log if they left one, else at cost 0."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from pymongo.errors import DuplicateKeyError

from accounts import credits
from accounts.models import Account, Balance
from money.amounts import from_bson
from mongo.collections import Document, collection_of
from mongo.each_item import sum_one_by_one
from mongo.times import as_utc
from proxy.billing.request_log import log_document
from proxy.models import INPUT_TOKENS, OUTPUT_TOKENS, RequestLog

ABANDONED = "abandoned"
"""Outcome of a request whose process died before it could record one: nothing is charged."""


def sweep_holds(*, now: datetime | None = None) -> int:
    """Settle or release every hold older than the longest request; returns how many were closed.

    Safe to repeat, and to run beside itself and the requests: the log's key and the hold's existence decide. A hold
    that fails does not keep the others from being closed: raises `SomeFailed` after the last one.
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
    logs, balance = collection_of(RequestLog), Balance(hold["balance"])
    log: Document = log_document(
        request_id=request_id,
        username=username,
        balance=balance,
        hold=from_bson(hold["amount"]),
        status=500,
        outcome=ABANDONED,
        created_at=hold["at"],
    )
    try:
        logs.insert_one(log)
    except DuplicateKeyError:
        log = logs.find_one({"_id": request_id}) or log
    settlement = credits.settle(
        username=username,
        request_id=request_id,
        balance=balance,
        cost=from_bson(log["creditsCost"]),
        input_tokens=sum(_count(log, name) for name in INPUT_TOKENS.values()),
        output_tokens=sum(_count(log, name) for name in OUTPUT_TOKENS.values()),
    )
    return int(settlement.balance_after is not None)


def _count(log: Document, name: str) -> int:
    """A count of tokens in a raw log, which an old program may have written; what is not a number counts as 0."""
    return int(from_bson(log.get(name)))
