"""What later versions of the replaced system wrote into accounts, and nobody has decided yet.

Two things, which `manage.py take_over` decides (docs/takeover.md): a second expiry, and credits that were never divided
when the price of a credit changed. Until then nobody may lose by them:

- `expiresAtNew` is the date that a later version gave to what was bought since, beside an `expiresAt` that it left null
  or old. Both balances have one date, so it is the later of the two, wherever a date is asked for. While the stored
  `expiresAt` is the earlier one, the sweep leaves the account alone.
- `migration: false` says that the credits still have to be divided by 2.5. They cannot be spent or moved.

What this platform writes as the expiry of an account it writes to both fields, where there are both: so an old second
date never comes back, and a purchase of an old program that runs beside it is seen at once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from accounts.errors import AccountNotConverted
from mongo.collections import Document
from mongo.times import aware

EXPIRY_FIELDS = ("expiresAt", "expiresAtNew")
IS_SPLIT: Document = {"$and": [{"$gt": ["$expiresAtNew", None]}, {"$gt": ["$expiresAtNew", "$expiresAt"]}]}
"""Expression: whether `expiresAtNew` is there and later than `expiresAt`, or `expiresAt` is missing or null."""
NOT_CONVERTED: Document = {"migration": False}
"""Filter: accounts whose credits were never divided."""


def later_date(first: datetime | None, second: datetime | None) -> datetime | None:
    """The one date of two fields: the later of those that are there."""
    return max((date for date in (first, second) if date is not None), default=None)


def expiry_of(document: Mapping[str, Any]) -> datetime | None:
    """When the credits of a raw account expire; None = never."""
    return later_date(*(aware(document.get(name)) for name in EXPIRY_FIELDS))


def not_expired(now: datetime) -> Document:
    """Filter: accounts whose credits have not expired. (A list passes it: `needs_repair.is_readable` asks for none.)"""
    return {
        "$or": [
            {"expiresAt": {"$gt": now}},
            {"expiresAtNew": {"$gt": now}},
            dict.fromkeys(EXPIRY_FIELDS),
        ]
    }


def expiry_fields(date: Any) -> Document:
    """What to set, in a pipeline, so that `date` (an expression) is the expiry: both fields where both are there."""
    return {
        "expiresAt": date,
        "expiresAtNew": {"$cond": [{"$gt": ["$expiresAtNew", None]}, date, "$expiresAtNew"]},
    }


def check_converted(username: str, is_migrated: bool | None) -> None:
    """Raise `AccountNotConverted` for an account whose document says `migration: false`. Absent and null are no no."""
    if is_migrated is False:
        raise AccountNotConverted(username)
