"""How many deliveries were refused for their signature: counted by day, as nothing else is kept of them."""

from datetime import date, datetime

from mongo import daily_counts

COLLECTION = "bad_signatures"


def count_bad_signature(*, provider: str, now: datetime | None = None) -> None:
    """Count one refused delivery. One small update; every call counts. Never raises."""
    daily_counts.count(COLLECTION, provider, now=now)


def read_bad_signatures(*, day: date) -> dict[str, int]:
    """The refused deliveries of one day (UTC), by provider."""
    return daily_counts.read_counts(COLLECTION, day=day)
