"""Processes stored events: claims an attempt, applies the rules in one transaction, and tries again later."""

import logging
from datetime import datetime, timedelta

from bson import ObjectId
from django.db.models import F
from django.utils import timezone

from accounts.errors import BillingError
from mongo.each_item import sum_one_by_one
from mongo.errors import DATABASE_FAILURES
from mongo.transactions import run_in_transaction
from payments.errors import ChangedMeanwhile, ProviderUnavailable
from payments.inbox.events import finish, record_failure
from payments.models import WebhookEvent
from payments.providers import get_provider
from payments.providers.base import Provider
from payments.providers.events import ProviderEvent, reversal_key
from payments.rules.apply import PaymentNotYetKnown, apply_event
from payments.rules.receipts import Outcome
from payments.rules.twins import keep_up

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status

FIRST_DELAY = timedelta(minutes=1)
"""Between the first attempt and the second; also how long a claimed event is left to the process that claimed it."""
MAX_DELAY = timedelta(hours=2)


def process_event(*, event_key: ObjectId, now: datetime | None = None) -> bool:
    """Process a received event if it is due and nobody else does; returns whether this call finished it.

    Safe to repeat and to run in parallel: a conditional update claims the attempt, and the transaction that moves
    credits also moves the event on. Raises nothing: an error is recorded with the event, whose next attempt comes
    later, and a database that fails is logged and left to the sweeper.
    """
    now = now or timezone.now()
    try:
        return _process(event_key, now)
    except DATABASE_FAILURES:
        logger.exception("event %s could not be processed now; the sweeper will try again", event_key)
        return False


def process_due_events(*, now: datetime | None = None, limit: int = 500) -> int:
    """Process up to `limit` received events that are due, oldest first; returns how many were finished.

    Safe to repeat and to run in parallel. One event's failure does not keep the others (`SomeFailed` is raised after
    the last one); a database that is not there raises `DatabaseError`, instead of being waited for once an event.
    """
    due = WebhookEvent.objects.filter(status=Status.RECEIVED, next_attempt_at__lte=now or timezone.now())
    keys = list(due.order_by("next_attempt_at").values_list("pk", flat=True)[:limit])
    # Each at its own time: the last one may come minutes after the first, and credits expire meanwhile.
    return sum_one_by_one(keys, lambda key: _process(key, now or timezone.now()), name=lambda key: f"event {key}")


def _process(event_key: ObjectId, now: datetime) -> bool:
    """As `process_event`, but a database that is not there raises."""
    event = _claim(event_key, now)
    if event is None or not _attempt(event, now):
        return False
    keep_up(event_key=event.pk, now=now)
    _process_waiting(event, now)
    return True


def _process_waiting(event: WebhookEvent, now: datetime) -> None:
    """Process the refunds that came before this payment, so that refunded credits are not spent meanwhile."""
    if event.payment is None or event.transfer_key is None or not event.payment.provider_transaction_id:
        return
    key = reversal_key(event.provider, event.payment.provider_transaction_id)
    for waiting in WebhookEvent.objects.filter(transfer_key=key, status=Status.RECEIVED).exclude(pk=event.pk):
        _process(waiting.pk, now)


def _claim(event_key: ObjectId, now: datetime) -> WebhookEvent | None:
    """Take the next attempt of an event: one conditional update, so one process gets it."""
    event = WebhookEvent.objects.filter(pk=event_key).first()
    if event is None or event.status != Status.RECEIVED or event.next_attempt_at is None or event.next_attempt_at > now:
        return None
    claimed = WebhookEvent.objects.filter(
        pk=event_key, status=Status.RECEIVED, next_attempt_at=event.next_attempt_at
    ).update(attempts=F("attempts") + 1, next_attempt_at=now + _delay(event.attempts))
    event.attempts += 1
    return event if claimed else None


def _delay(attempts: int) -> timedelta:
    return min(FIRST_DELAY * (1 << attempts), MAX_DELAY)


def _attempt(event: WebhookEvent, now: datetime) -> bool:
    """Make the claimed attempt; returns whether it moved the event on."""
    try:
        _apply_or_refuse(event, now)
    except ChangedMeanwhile as error:  # Another process did it: nothing failed here, and nobody needs to look.
        logger.info("%s", error)
        return False
    except PaymentNotYetKnown as error:
        logger.info("%s waits: %s", event, error)
        record_failure(event, error)
        return False
    except Exception as error:  # The outermost border of one event: whatever happens, record it and go on.
        logger.exception("%s failed at attempt %s", event, event.attempts)
        record_failure(event, error)
        return False
    return True


def _apply_or_refuse(event: WebhookEvent, now: datetime) -> None:
    """Apply the rules; what they refuse waits for review, as trying again would not help."""
    try:
        provider = get_provider(event.provider)
        provider_event = provider.read(body=bytes(event.body or b""), headers=event.headers)
        try:
            run_in_transaction(lambda: _apply(event, provider_event, now))
        except PaymentNotYetKnown:
            resolved = _resolve(provider, provider_event)
            if resolved == provider_event:
                raise
            run_in_transaction(lambda: _apply(event, resolved, now))
    except ChangedMeanwhile:
        raise
    except BillingError as error:
        finish(event=event, outcome=Outcome(Status.REVIEW, str(error)), now=now)


def _resolve(provider: Provider, provider_event: ProviderEvent) -> ProviderEvent:
    """The event with what the provider adds to it; the same if it does not answer: then the event waits."""
    try:
        return provider.resolve(provider_event)
    except ProviderUnavailable as error:
        logger.warning("%s could not be asked about event %s: %s", provider.name, provider_event.event_id, error)
        return provider_event


def _apply(event: WebhookEvent, provider_event: ProviderEvent, now: datetime) -> None:
    """Move the credits and the event on, in the caller's transaction."""
    outcome = apply_event(event=event, provider_event=provider_event, now=now)
    finish(event=event, outcome=outcome, now=now)
