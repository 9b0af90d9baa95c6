"""How many deliveries were refused for their signature: counted by day, as nothing else is kept of them."""

import threading
from collections import Counter
from datetime import date, datetime

from accounts import throttle
from accounts.errors import RequestThrottled
from mongo import daily_counts

COLLECTION = "bad_signatures"

_waiting: Counter[str] = Counter()
_lock = threading.Lock()


def count_bad_signature(*, provider: str, now: datetime | None = None) -> None:
    """Count one refused delivery. One small update; every call counts. Never raises.

    Anybody can send these: in a flood, what this process has not written yet is written together, with a later one.
    """
    with _lock:
        _waiting[provider] += 1
    try:
        throttle.UNKNOWN_KEYS.take(f"signatures of {provider}")
    except RequestThrottled:
        return
    with _lock:
        count = _waiting.pop(provider, 0)
    if count:
        daily_counts.count(COLLECTION, provider, by=count, now=now)


def read_bad_signatures(*, day: date) -> dict[str, int]:
    """The refused deliveries of one day, by provider."""
    return daily_counts.read_counts(COLLECTION, day=day)
