"""How often something may be guessed: attempts are counted by subject, and too many lock it for a while.

Who is counted as what, so that guessing is slow and yet nobody can lock out somebody else, is for the callers to say.
"""

import hashlib
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from pymongo import ReturnDocument

from mongo.collections import wrapper

MAX_FAILURES = 5
LOCK_TIME = timedelta(minutes=15)
COLLECTION = "login_attempts"


def count_attempt(subject: str, *, most: int = MAX_FAILURES, now: datetime | None = None) -> bool:
    """Count an attempt before it is looked at; False if the subject had `most` of them and is locked.

    One update: guesses at the same time cannot slip through. A lock ends `LOCK_TIME` after the last counted attempt.
    """
    now = now or timezone.now()
    key = _key(subject)
    collection = wrapper().get_collection(COLLECTION)
    is_old = {"$lt": ["$lastAt", now - LOCK_TIME]}
    is_locked = {"$and": [{"$gte": ["$failures", most]}, {"$not": [is_old]}]}
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


def forgive_attempt(subject: str) -> None:
    """Take one counted attempt back: it was right, or was not made after all."""
    wrapper().get_collection(COLLECTION).update_one(
        {"_id": _key(subject), "failures": {"$gt": 0}}, {"$inc": {"failures": -1}}
    )


def forget_attempts(subject: str) -> None:
    """It was guessed right: count from zero again."""
    wrapper().get_collection(COLLECTION).delete_one({"_id": _key(subject)})


def _key(subject: str) -> str:
    """A subject as it is kept: hashed, as people type passwords into the name field."""
    return hashlib.sha256(subject.casefold().encode()).hexdigest()
