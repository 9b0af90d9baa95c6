"""How often a password may be guessed: failed log-ins of a name are counted, and too many lock it for a while."""

import hashlib
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from pymongo import ReturnDocument

from mongo.collections import wrapper

MAX_FAILURES = 5
LOCK_TIME = timedelta(minutes=15)
COLLECTION = "login_attempts"


def count_attempt(name: str, *, now: datetime | None = None) -> bool:
    """Count an attempt before its password is looked at; False if the name is locked.

    One update: guesses at the same time cannot slip through. A lock ends `LOCK_TIME` after the last counted attempt.
    """
    now = now or timezone.now()
    key = _key(name)
    collection = wrapper().get_collection(COLLECTION)
    is_old = {"$lt": ["$lastAt", now - LOCK_TIME]}
    is_locked = {"$and": [{"$gte": ["$failures", MAX_FAILURES]}, {"$not": [is_old]}]}
    after = collection.find_one_and_update(
        {"_id": key},
        [
            {"$set": {"isLocked": {"$cond": [is_locked, True, False]}}},
            {
                "$set": {
                    "failures": {
                        "$switch": {
                            "branches": [
                                {"case": "$isLocked", "then": "$failures"},
                                {"case": {"$or": [is_old, {"$not": ["$failures"]}]}, "then": 1},
                            ],
                            "default": {"$add": ["$failures", 1]},
                        }
                    },
                    "lastAt": {"$cond": ["$isLocked", "$lastAt", now.astimezone(UTC)]},
                }
            },
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return not after["isLocked"]


def forget_attempts(name: str) -> None:
    """The password was right: count from zero again."""
    wrapper().get_collection(COLLECTION).delete_one({"_id": _key(name)})


def _key(name: str) -> str:
    """A name as it is kept: hashed, as people type passwords into the name field."""
    return hashlib.sha256(name.casefold().encode()).hexdigest()
