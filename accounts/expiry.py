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
    expired = 0
    for balance in Balance:
        due = collection_of(Account).find(
            {"expiresAt": {"$lte": now}, balance.field: {"$gt": 0}}, projection={"expiresAt": 1}
        )
        # Told, not left to the planner: the index of all expiry dates has every account that ever expired.
        for document in due.hint(f"{balance.value}_expiry"):
            seen = document["expiresAt"].replace(tzinfo=UTC)
            expired += credits.expire(username=document["_id"], seen_expires_at=seen, now=now) is not None
    return expired
