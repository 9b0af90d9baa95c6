"""Counters of a day (days.py), for what nothing else is kept of: one small document per day."""

import logging
from datetime import date, datetime

from django.utils import timezone

from mongo.collections import wrapper
from mongo.days import day_of
from mongo.errors import DATABASE_FAILURES

logger = logging.getLogger(__name__)


def count(collection: str, name: str, *, part: str = "", by: int = 1, now: datetime | None = None) -> None:
    """Add `by` to the counter `name` of today; `part` tells apart what is counted by day and, say, upstream.

    Every call counts. Never raises: what is counted has been answered already, and a counter that cannot be written is
    no reason to answer otherwise.
    """
    day = day_of(now or timezone.now())
    try:
        wrapper().get_collection(collection).update_one({"_id": _key(day, part)}, {"$inc": {name: by}}, upsert=True)
    except DATABASE_FAILURES as error:
        logger.warning("%s: %s %s not counted: %s", collection, by, name, error)


def read_counts(collection: str, *, day: date, part: str = "") -> dict[str, int]:
    """The counters of one day by name; empty if nothing was counted."""
    found = wrapper().get_collection(collection).find_one({"_id": _key(day, part)}) or {}
    return {name: int(count) for name, count in found.items() if name != "_id"}


def _key(day: date, part: str) -> str:
    return f"{day.isoformat()}:{part}" if part else day.isoformat()
