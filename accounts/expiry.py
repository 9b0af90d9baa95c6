"""Takes expired credits off the balances. (Spending them is refused at once; this is the book-keeping.)"""

from datetime import UTC, datetime

from django.utils import timezone

from accounts import credits
from accounts.models import Account, Balance
from billing_site.database import collection_of


def sweep_expired_accounts(*, now: datetime | None = None) -> int:
    """Expire every account whose `expiresAt` has passed and that still has credits; returns how many had.

    Conditional on the `expiresAt` that was seen: a purchase in between is never wiped. Safe to run in parallel.
    """
    now = now or timezone.now()
    has_credits = {"$or": [{balance.field: {"$gt": 0}} for balance in Balance]}
    due = collection_of(Account).find({"expiresAt": {"$lte": now}, **has_credits}, projection={"expiresAt": 1})
    expired = 0
    for document in due:
        seen = document["expiresAt"].replace(tzinfo=UTC)
        expired += credits.expire(username=document["_id"], seen_expires_at=seen, now=now) is not None
    return expired
