"""The stored event's own transitions: inserted or counted, finished, or its failure recorded."""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError
from django.db.models import F, Q

from mongo.errors import DATABASE_FAILURES
from payments.errors import ChangedMeanwhile, StorageUnavailable
from payments.models import WebhookEvent
from payments.rules.receipts import Outcome

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status

MAX_ATTEMPTS = 12
"""After these an event is dead and waits for staff: with the delays of `process.py`, after about ten hours."""

_MAX_ERROR_LENGTH = 2000


@dataclass(frozen=True)
class Delivery:
    """What became of a delivery: its stored event, and whether it was new."""

    event: WebhookEvent
    is_new: bool


def body_fields(body: bytes) -> dict[str, Any]:
    """The fields of an event that hold its body and the body's fingerprint."""
    return {"body": body, "body_sha256": hashlib.sha256(body).hexdigest()}


# What an older release stored says it by its status alone, as long as it waits.
NEEDED = {
    "review": Q(needed_review=True) | Q(status=Status.REVIEW),
    "dead": Q(gave_up=True) | Q(status=Status.DEAD),
}
"""The events that needed review, and those that were given up, whatever became of them since."""
MOST_COUNTED = 10_000


def count_needed(*, start: datetime, end: datetime) -> dict[str, int]:
    """How many of each came from `start` up to, not including, `end`: at most `MOST_COUNTED`."""
    came = WebhookEvent.objects.filter(received_at__gte=start, received_at__lt=end).order_by()
    return {name: came.filter(is_meant)[:MOST_COUNTED].count() for name, is_meant in NEEDED.items()}


def insert_or_count(event: WebhookEvent) -> Delivery:
    """Insert `event`; if the unique key says that it is stored already, count the delivery and return what is stored.

    Safe to repeat. Raises `StorageUnavailable` when the database fails: then the delivery must not be acknowledged.
    """
    event.needed_review = event.status == Status.REVIEW
    try:
        try:
            event.save(force_insert=True)
        except IntegrityError:
            known = WebhookEvent.objects.filter(provider=event.provider, event_id=event.event_id)
            known.update(deliveries=F("deliveries") + 1)
            return Delivery(known.get(), is_new=False)
    except DATABASE_FAILURES as error:
        logger.exception("could not store %s", event)
        raise StorageUnavailable from error
    return Delivery(event, is_new=True)


def finish(*, event: WebhookEvent, outcome: Outcome, now: datetime, **fields: Any) -> None:
    """Move an event on to what became of it, with its payment, in the transaction that moved the credits.

    Raises `ChangedMeanwhile`, which rolls that transaction back, if the event is no longer in the status that was
    read: another process, or a person, has moved it on. So a second call raises, and nothing is done twice.
    """
    if outcome.status == Status.REVIEW:
        fields["needed_review"] = True
    moved = WebhookEvent.objects.filter(pk=event.pk, status=event.status).update(
        status=outcome.status,
        error=outcome.reason,
        payment_id=outcome.payment.pk if outcome.payment else None,
        processed_at=now,
        next_attempt_at=None,
        **fields,
    )
    if not moved:
        raise ChangedMeanwhile(f"Event {event}")
    event.payment = outcome.payment
    if outcome.status == Status.REVIEW:
        logger.warning("%s waits for review: %s", event, outcome.reason)


def record_failure(event: WebhookEvent, error: Exception) -> None:
    """Write why an attempt failed, outside the transaction that was rolled back, so that staff see it.

    After `MAX_ATTEMPTS` the event is dead. An event that another process has moved on is left alone.
    """
    fields: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"[:_MAX_ERROR_LENGTH]}
    if event.attempts >= MAX_ATTEMPTS:
        fields |= {"status": Status.DEAD, "gave_up": True, "next_attempt_at": None}
    WebhookEvent.objects.filter(pk=event.pk, status=Status.RECEIVED).update(**fields)
