"""Takes expired credits off the balances. (Spending them is refused at once; this is the book-keeping.)"""

from collections.abc import Iterator
from datetime import datetime

from django.utils import timezone

from accounts import credits
from accounts.models import Account, Balance
from mongo.collections import Document, collection_of
from mongo.each_item import sum_one_by_one
from mongo.fields import LAST_TIME
from mongo.times import aware


def sweep_expired_accounts(*, now: datetime | None = None) -> int:
    """Expire every account whose `expiresAt` has passed and that still has credits; returns how many had.

    Conditional on the `expiresAt` that was seen: a purchase in between is never wiped. Safe to run in parallel. An
    account that fails does not keep the others: raises `SomeFailed` after the last one.
    """

    def expire(document: Document) -> int:
        seen = aware(document["expiresAt"]) or LAST_TIME  # A list with a time in it: `expire` says so.
        return credits.expire(username=document["_id"], seen_expires_at=seen, now=now) is not None

    return sum_one_by_one(_find_due(now or timezone.now()), expire, name=lambda document: f"account {document['_id']}")


def _find_due(now: datetime) -> Iterator[Document]:
    for balance in Balance:
        due = collection_of(Account).find(
            {"expiresAt": {"$lte": now}, balance.field: {"$gt": 0}}, projection={"expiresAt": 1}
        )
        # Told, not left to the planner: the index of all expiry dates has every account that ever expired.
        yield from due.hint(f"{balance.value}_expiry")
