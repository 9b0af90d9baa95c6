"""How many requests were refused for want of credits: counted by day, as nothing else is kept of them."""

from datetime import UTC, date, datetime

from django.utils import timezone

from accounts.models import Balance
from mongo.collections import wrapper

COLLECTION = "refusals"


def count_refusal(*, upstream: Balance, code: str, now: datetime | None = None) -> None:
    """Count one refused request under its error code. One small update; every call counts."""
    day = (now or timezone.now()).astimezone(UTC).date()
    key = f"{day.isoformat()}:{upstream.value}"
    wrapper().get_collection(COLLECTION).update_one({"_id": key}, {"$inc": {code: 1}}, upsert=True)


def read_refusals(*, upstream: Balance, day: date) -> dict[str, int]:
    """The refusals of one day (UTC) on one upstream, by error code."""
    found = wrapper().get_collection(COLLECTION).find_one({"_id": f"{day.isoformat()}:{upstream.value}"}) or {}
    return {code: int(count) for code, count in found.items() if code != "_id"}
