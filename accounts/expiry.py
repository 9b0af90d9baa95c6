"""Takes expired credits off the balances. (Spending them is refused at once; this is the book-keeping.)"""

import logging
from collections.abc import Iterator
from datetime import datetime

from django.utils import timezone

from accounts import credits
from accounts.models import Account, Balance
from accounts.undecided import IS_SPLIT, NOT_CONVERTED
from mongo.collections import Document, collection_of
from mongo.each_item import sum_one_by_one
from mongo.fields import FIRST_TIME, LAST_TIME
from mongo.times import aware

logger = logging.getLogger(__name__)


def sweep_expired_accounts(*, now: datetime | None = None) -> int:
    """Expire every account whose `expiresAt` has passed and that still has credits; returns how many had.

    Conditional on the `expiresAt` that was seen: a purchase in between is never wiped. Safe to run in parallel. An
    account that fails does not keep the others: raises `SomeFailed` after the last one. An account with a second, later
    date that nobody has decided on (`accounts/undecided.py`) is left alone, and a line in the log says how many are.
    """
    now = now or timezone.now()

    def expire(document: Document) -> int:
        seen = aware(document["expiresAt"]) or LAST_TIME  # A list with a time in it: `expire` says so.
        return credits.expire(username=document["_id"], seen_expires_at=seen, now=now) is not None

    if count := _count_undecided(now):
        logger.warning(
            "%d accounts are left alone though their expiresAt has passed: a later version of the replaced system gave "
            "them a later expiresAtNew, and nobody has decided yet. Run manage.py take_over.",
            count,
        )
    return sum_one_by_one(_find_due(now), expire, name=lambda document: f"account {document['_id']}")


def count_undecided() -> tuple[int, int]:
    """How many accounts have a second, later date, and how many were never converted. Looks through all of them.

    Raises `PyMongoError`.
    """
    accounts = collection_of(Account)
    split = {"expiresAtNew": {"$gt": FIRST_TIME}, "$expr": IS_SPLIT}
    return accounts.count_documents(split), accounts.count_documents(NOT_CONVERTED)


def _find_due(now: datetime) -> Iterator[Document]:
    is_decided = {"$expr": {"$not": [IS_SPLIT]}}  # `expire` would leave the others too, each in a transaction.
    for balance in Balance:
        due = collection_of(Account).find(_has_passed(now, balance) | is_decided, projection={"expiresAt": 1})
        # Told, not left to the planner: the index of all expiry dates has every account that ever expired.
        yield from due.hint(_index(balance))


def _count_undecided(now: datetime) -> int:
    first, second = Balance
    conditions = {first: {}, second: {first.field: {"$not": {"$gt": 0}}}}  # Who has credits on both is counted once.
    return sum(
        collection_of(Account).count_documents(
            _has_passed(now, balance) | condition | {"$expr": IS_SPLIT}, hint=_index(balance)
        )
        for balance, condition in conditions.items()
    )


def _has_passed(now: datetime, balance: Balance) -> Document:
    return {"expiresAt": {"$lte": now}, balance.field: {"$gt": 0}}


def _index(balance: Balance) -> str:
    return f"{balance.value}_expiry"
