"""How many requests were refused for want of credits: counted by day, as nothing else is kept of them."""

from datetime import date, datetime

from accounts.models import Balance
from mongo import daily_counts

COLLECTION = "refusals"


def count_refusal(*, upstream: Balance, code: str, now: datetime | None = None) -> None:
    """Count one refused request under its error code. One small update; every call counts. Never raises."""
    daily_counts.count(COLLECTION, code, part=upstream.value, now=now)


def read_refusals(*, upstream: Balance, day: date) -> dict[str, int]:
    """The refusals of one day on one upstream, by error code."""
    return daily_counts.read_counts(COLLECTION, day=day, part=upstream.value)
