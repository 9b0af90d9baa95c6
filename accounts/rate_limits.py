"""How many requests an API key may make: a minute, and at once. Decided inside the update that holds the credits.

Requests a minute are a token bucket kept in one number, the time at which the bucket will be full again (GCRA,
https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm): a burst of the whole minute's allowance, then an even rate.
Requests at once are the open holds. So neither costs a round trip or a write of its own, and both are exact over any
number of processes and machines.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from bson.raw_bson import RawBSONDocument
from django.conf import settings
from django.utils import timezone

from accounts.authentication import find_account_by_key
from accounts.errors import RateLimitExceeded
from accounts.key_limits import KeyInUse, Use, unusable_key, use_refusal
from accounts.keys import key_filter
from accounts.models import Account
from accounts.needs_repair import check, is_readable
from accounts.processes import take_census
from money.amounts import from_bson
from money.expressions import is_finite
from mongo.collections import Document, collection_of, encoded, find_one_and_update

MINUTE_SECONDS = 60.0
FULL_AT = "rateFullAt"
"""Document field: when the bucket is full again, in seconds since 1970."""
PER_MINUTE, CONCURRENT = "requestsPerMinute", "concurrentRequests"
"""Document fields that override the settings for one account."""


@dataclass(frozen=True)
class RateLimit:
    """Where a key stands after a request. Truthful: it is what the next request will be judged by."""

    limit: int
    remaining: int
    reset_seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """Requests per minute, how many could be made now, and when all of them can: in our names and both vendors'.

        OpenAI's clients read a duration such as `6m0s`, Anthropic's a time of RFC 3339.
        """
        limit, remaining, seconds = str(self.limit), str(self.remaining), self.reset_seconds
        reset_at = timezone.now() + timedelta(seconds=seconds)
        return {
            "X-RateLimit-Limit": limit,
            "X-RateLimit-Remaining": remaining,
            "X-RateLimit-Reset": str(seconds),
            "X-RateLimit-Limit-Requests": limit,
            "X-RateLimit-Remaining-Requests": remaining,
            "X-RateLimit-Reset-Requests": f"{seconds // 60}m{seconds % 60}s" if seconds >= 60 else f"{seconds}s",
            "anthropic-ratelimit-requests-limit": limit,
            "anthropic-ratelimit-requests-remaining": remaining,
            "anthropic-ratelimit-requests-reset": reset_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


@cache
def _own_or(field: str, default: float) -> RawBSONDocument:
    """Expression: the field if it is a number. Whatever else it holds is judged elsewhere; here it raises no error."""
    return encoded({"$cond": [is_finite(f"${field}"), f"${field}", default]})


@cache
def _seconds_of_one(default_per_minute: int) -> RawBSONDocument:
    """Expression: by how much one request empties the bucket."""
    return encoded({"$divide": [MINUTE_SECONDS, {"$max": [_own_or(PER_MINUTE, default_per_minute), 1]}]})


LATEST_SECONDS = 1e11
"""Since 1970. A bucket that would be full again after it, in three thousand years, was none: it counts as full now."""


@cache
def _full_at() -> RawBSONDocument:
    field = f"${FULL_AT}"
    is_time = {"$and": [{"$gte": [field, 0]}, {"$lte": [field, LATEST_SECONDS]}]}
    return encoded({"$cond": [is_time, field, 0]})


def _read_full_at(document: Document) -> float:
    seconds = float(from_bson(document.get(FULL_AT)))
    return seconds if 0 <= seconds <= LATEST_SECONDS else 0.0


def _next_full_at(now: datetime) -> Document:
    """When the bucket would be full again after one more request."""
    full_at = {"$max": [_full_at(), now.timestamp()]}
    return {"$add": [full_at, _seconds_of_one(settings.REQUESTS_PER_MINUTE)]}


def rate_allows(now: datetime) -> Document:
    """Expression: one more request fits into this minute."""
    fits = {"$lte": [_next_full_at(now), now.timestamp() + MINUTE_SECONDS]}
    return {"$and": [{"$gt": [_own_or(PER_MINUTE, settings.REQUESTS_PER_MINUTE), 0]}, fits]}


def concurrency_allows() -> RawBSONDocument:
    """Expression: one more request may run beside those that hold credits."""
    return _concurrency_allows(settings.CONCURRENT_REQUESTS)


@cache
def _concurrency_allows(default: int) -> RawBSONDocument:
    is_object = {"$eq": [{"$type": "$holds"}, "object"]}
    open_holds = {"$cond": [is_object, {"$size": {"$objectToArray": "$holds"}}, 0]}
    return encoded({"$lt": [open_holds, _own_or(CONCURRENT, default)]})


def rate_update(now: datetime) -> Document:
    """Fields of an update that counts one request."""
    return {FULL_AT: _next_full_at(now)}


RATE_FIELDS = (FULL_AT, PER_MINUTE)


def read_rate(document: Document, now: datetime) -> RateLimit:
    """Where the key stands, from a document with `RATE_FIELDS`."""
    limit = _limit(document, PER_MINUTE, settings.REQUESTS_PER_MINUTE)
    busy_seconds = max(_read_full_at(document) - now.timestamp(), 0.0)
    if limit <= 0:
        return RateLimit(0, 0, int(MINUTE_SECONDS))
    # A hair is forgiven, so that rounding of the time does not hide a request that would pass.
    remaining = int((MINUTE_SECONDS - busy_seconds) * limit / MINUTE_SECONDS + 1e-6)
    return RateLimit(limit, max(min(remaining, limit), 0), math.ceil(busy_seconds))


def refusal_of(document: Document, now: datetime) -> RateLimitExceeded | None:
    """Why the limit of requests a minute refuses one more of this account now, or None if it does not."""
    rate = read_rate(document, now)
    if rate.remaining < 1:
        interval = MINUTE_SECONDS / rate.limit if rate.limit else MINUTE_SECONDS
        wait = _read_full_at(document) + interval - MINUTE_SECONDS - now.timestamp()
        return RateLimitExceeded(
            f"You may make {rate.limit} requests per minute.",
            rate=rate,
            retry_seconds=max(math.ceil(wait), 1),
            helps_to_wait=rate.limit > 0,
        )
    return None


def concurrency_refusal_of(document: Document, now: datetime) -> RateLimitExceeded | None:
    """Why the limit of requests at once refuses one more of this account now, or None if it does not."""
    concurrent, holds = _limit(document, CONCURRENT, settings.CONCURRENT_REQUESTS), document.get("holds") or {}
    if len(holds) < concurrent:
        return None
    waits = sorted(seconds or 1 for seconds in take_census().seconds_until_closed(holds).values())
    return RateLimitExceeded(
        f"You may run {concurrent} requests at once. Wait until one has finished.",
        rate=read_rate(document, now),
        # As many must end as are above the limit, and one more; without room for any, no end helps.
        retry_seconds=waits[len(holds) - concurrent] if concurrent > 0 else int(MINUTE_SECONDS),
        helps_to_wait=concurrent > 0,
    )


def take_one(api_key: str, *, use: Use | None = None, now: datetime | None = None) -> tuple[str, RateLimit]:
    """Count a request that costs nothing; returns the account's name and where the key stands.

    One update. With `use` only if the key may be used for that. Raises `InvalidApiKey`, `AccountNeedsRepair`,
    `KeyDisabled`, `KeyExpired`, `AccountDisabled`, `ModelNotAllowed`, `RateLimitExceeded`. Every call counts.
    """
    now = now or timezone.now()
    key_in_use = KeyInUse(api_key, now=now)
    key_allows = key_in_use.may_be_used(use) if use else key_in_use.is_usable()
    query = {
        **key_filter(api_key),
        "isActive": {"$ne": False},
        "$expr": {"$and": [is_readable(), rate_allows(now), key_allows]},
    }
    for _ in range(2):
        after = find_one_and_update(Account, query, [{"$set": rate_update(now)}], fields=RATE_FIELDS)
        if after is not None:
            return str(after["_id"]), read_rate(after, now)
        find_account_by_key(api_key)
        document = collection_of(Account).find_one(key_filter(api_key)) or {"_id": "gone"}
        check(document)
        if unusable := unusable_key(document["_id"], document.get("keys"), api_key, now=now):
            raise unusable
        if use and (not_allowed := use_refusal(document.get("keys"), api_key, use)):
            raise not_allowed
        if refusal := refusal_of(document, now):
            raise refusal
    raise RateLimitExceeded("Try again.", rate=read_rate(document, now), retry_seconds=1)


def check_rate(api_key: str, *, now: datetime | None = None) -> None:
    """Raise what `take_one` would raise now, counting nothing. One round trip. Safe to repeat."""
    now = now or timezone.now()
    document = collection_of(Account).find_one(key_filter(api_key))
    if document is None or document.get("isActive") is False:
        find_account_by_key(api_key)
    check(document or {"_id": "gone"})
    if document and (unusable := unusable_key(document["_id"], document.get("keys"), api_key, now=now)):
        raise unusable
    if refusal := refusal_of(document or {}, now):
        raise refusal


def _limit(document: Document, field: str, default: int) -> int:
    value = document.get(field)
    return default if value is None else int(from_bson(value))
