"""Accounts whose requests cost the operator more than they paid: braked above a limit a day, until staff clear them.

What a request costs beyond its hold is never collected, and an answer that timed out at the upstream may have cost
something that nobody told. Each is rare: an account that has many of them in a day is refused until staff have looked.
"""

import logging
from datetime import UTC, datetime
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from accounts.errors import AccountNotFound
from accounts.models import Account
from money.amounts import ZERO, to_bson
from money.expressions import number, rounded
from mongo.collections import Document, collection_of, current_session, find_one_and_update
from mongo.errors import DATABASE_FAILURES
from mongo.unreadable import id_of_text

logger = logging.getLogger(__name__)

SINCE, DAY, UNCOLLECTED, TIMEOUTS = "reviewSince", "uncollectedDay", "uncollectedUsd", "unbilledTimeouts"
"""Document fields: since when an account is under review; what was counted of it on which day (UTC)."""

_MOST_COUNTED = 1e9


def note_uncollected(*, username: str, amount: Decimal, now: datetime | None = None) -> None:
    """Count what a request cost beyond its hold, in USD. Every call counts. Never raises: the answer is on its way."""
    _note(username, amount=amount, timeouts=0, now=now or timezone.now())


def note_unbilled_timeout(*, username: str, now: datetime | None = None) -> None:
    """Count an answer that the upstream did not finish in time, unbilled. Every call counts. Never raises."""
    _note(username, amount=ZERO, timeouts=1, now=now or timezone.now())


def _note(username: str, *, amount: Decimal, timeouts: int, now: datetime) -> None:
    day = now.astimezone(UTC).date().isoformat()
    is_today = {"$eq": [f"${DAY}", day]}

    def counted(field: str, more: float | int) -> Document:
        return {"$add": [{"$cond": [is_today, number(field), 0.0]}, more]}

    is_too_much = {
        "$or": [
            {"$gt": [f"${UNCOLLECTED}", to_bson(settings.UNCOLLECTED_LIMIT_USD)]},
            {"$gt": [f"${TIMEOUTS}", settings.UNBILLED_TIMEOUTS_LIMIT]},
        ]
    }
    was_before = {"$ifNull": [f"${SINCE}", "$$REMOVE"]}
    update: list[Document] = [
        {
            "$set": {
                UNCOLLECTED: rounded(counted(UNCOLLECTED, to_bson(amount))),
                TIMEOUTS: {"$min": [counted(TIMEOUTS, timeouts), _MOST_COUNTED]},
                DAY: day,
            }
        },
        {"$set": {SINCE: {"$cond": [is_too_much, {"$ifNull": [f"${SINCE}", now]}, was_before]}}},
    ]
    try:
        after = find_one_and_update(Account, {"_id": username}, update, fields=(SINCE,))
    except DATABASE_FAILURES as error:
        logger.error("account %s: what was not collected could not be counted: %s", username, error)
        return
    if after is not None and after.get(SINCE) is not None:
        logger.error("account %s is under review: its requests cost more than they held", username)


def clear_review(*, username: str) -> None:
    """Let the account be used again, and count from zero. Raises `AccountNotFound`. Safe to repeat."""
    fields = dict.fromkeys((SINCE, DAY, UNCOLLECTED, TIMEOUTS), "")
    updated = collection_of(Account).update_one(
        {"_id": id_of_text(username)}, {"$unset": fields}, session=current_session()
    )
    if not updated.matched_count:
        raise AccountNotFound(username)
