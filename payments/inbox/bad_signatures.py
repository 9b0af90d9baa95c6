"""How many deliveries were refused for their signature: counted by day, as nothing else is kept of them."""

import logging
from datetime import UTC, date, datetime

from django.db import DatabaseError
from django.utils import timezone
from pymongo.errors import PyMongoError

from mongo.collections import wrapper

logger = logging.getLogger(__name__)

COLLECTION = "bad_signatures"


def count_bad_signature(*, provider: str, now: datetime | None = None) -> None:
    """Count one refused delivery. Never raises: the answer is the same whether it could be counted or not."""
    day = (now or timezone.now()).astimezone(UTC).date()
    try:
        wrapper().get_collection(COLLECTION).update_one({"_id": day.isoformat()}, {"$inc": {provider: 1}}, upsert=True)
    except (DatabaseError, PyMongoError) as error:
        logger.warning("A bad signature of %s was not counted: %s", provider, error)


def read_bad_signatures(*, day: date) -> dict[str, int]:
    """The refused deliveries of one day (UTC), by provider."""
    found = wrapper().get_collection(COLLECTION).find_one({"_id": day.isoformat()}) or {}
    return {provider: int(count) for provider, count in found.items() if provider != "_id"}
