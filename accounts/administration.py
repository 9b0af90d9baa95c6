"""What staff change on an account beside its balances: the expiry, and whether it may be used at all.

Who did it and why is recorded by the caller, in the same transaction.
"""

from datetime import datetime, timedelta

from django.utils import timezone

from accounts import credits
from accounts.errors import AccountNotFound, ExpiryChanged, InvalidExpiry
from accounts.models import Account
from accounts.needs_repair import check
from accounts.undecided import expiry_fields, expiry_of
from mongo.collections import collection_of, current_session
from mongo.transactions import run_in_transaction
from mongo.unreadable import id_of_text

LONGEST_EXPIRY = timedelta(days=3650)


def set_expiry(
    *, username: str, expires_at: datetime | None, seen_expires_at: datetime | None, now: datetime | None = None
) -> None:
    """Set when the credits of both balances expire (UTC); None = never.

    Both dates where a later version of the replaced system wrote a second one (`accounts/undecided.py`). Only if the
    expiry is still the one that was seen, so that a purchase in between is not undone. Credits that have
    expired do not come back: they are taken off the balances first, had the sweeper been here or not. Raises
    `AccountNotFound`, `AccountNeedsRepair`, `InvalidExpiry` (not in the future, or more than ten years away),
    `ExpiryChanged`. A repeat raises `ExpiryChanged`, unless nothing would change.
    """
    now = now or timezone.now()
    if expires_at is not None and not now < expires_at <= now + LONGEST_EXPIRY:
        raise InvalidExpiry("The expiry must be in the future, and at most ten years away.")

    def run() -> None:
        accounts, session, key = collection_of(Account), current_session(), id_of_text(username)
        document = accounts.find_one({"_id": key}, session=session)
        if document is None:
            raise AccountNotFound(username)
        check(document)
        if expiry_of(document) != seen_expires_at:
            raise ExpiryChanged("The expiry was changed meanwhile, perhaps by a purchase. Look at it again.")
        if seen_expires_at is not None and seen_expires_at <= now:
            credits.expire(username=username, seen_expires_at=seen_expires_at, now=now)
        accounts.update_one({"_id": key}, [{"$set": expiry_fields(expires_at)}], session=session)

    run_in_transaction(run)


def set_active(*, username: str, is_active: bool) -> None:
    """Disable an account (its key is refused at once; requests in flight end as usual) or enable it again.

    Raises `AccountNotFound`. Safe to repeat.
    """
    matched = collection_of(Account).update_one(
        {"_id": id_of_text(username)}, {"$set": {"isActive": is_active}}, session=current_session()
    )
    if not matched.matched_count:
        raise AccountNotFound(username)


def set_limits(*, username: str, requests_per_minute: int | None, concurrent_requests: int | None) -> None:
    """Give an account its own limits; None = the platform's again. Raises `AccountNotFound`. Safe to repeat."""
    limits = {"requestsPerMinute": requests_per_minute, "concurrentRequests": concurrent_requests}
    own = {name: value for name, value in limits.items() if value is not None}
    update = {"$set": own, "$unset": dict.fromkeys(limits.keys() - own.keys(), "")}
    matched = collection_of(Account).update_one(
        {"_id": id_of_text(username)},
        {operator: fields for operator, fields in update.items() if fields},
        session=current_session(),
    )
    if not matched.matched_count:
        raise AccountNotFound(username)
