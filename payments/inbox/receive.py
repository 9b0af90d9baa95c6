"""The inbox of the providers' events: stored as they came, then processed until done, ignored, in review or dead."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from django.db import DatabaseError, IntegrityError
from django.db.models import F
from django.utils import timezone

from accounts.errors import BillingError
from mongo.each_item import sum_one_by_one
from mongo.errors import DATABASE_FAILURES
from mongo.transactions import run_in_transaction
from payments.errors import EndpointOff, InvalidSignature, MalformedEvent, StaleSignature, StorageUnavailable
from payments.inbox.bad_signatures import count_bad_signature
from payments.models import WebhookEvent
from payments.providers import get_provider
from payments.providers.base import Provider
from payments.providers.events import NoMoney, Notice, Receipt, reversal_key
from payments.rules.receipts import Outcome, PaymentNotYetKnown, apply_notice

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status
Source = WebhookEvent.Source

MAX_ATTEMPTS = 12
"""After these an event is dead and waits for staff: with the delays below, after about ten hours."""
MAX_DELAY = timedelta(hours=2)
FIRST_DELAY = timedelta(minutes=1)
"""Also how long a claimed event is left to the process that claimed it."""

_COMMON_HEADERS = ("User-Agent", "Content-Type")
_MAX_HEADER_LENGTH = 200
_MAX_ERROR_LENGTH = 2000


@dataclass(frozen=True)
class Delivery:
    """What became of a delivery: its stored event, and whether it was new."""

    event: WebhookEvent
    is_new: bool


def receive(
    *, provider: Provider, body: bytes, headers: Mapping[str, str], now: datetime | None = None
) -> WebhookEvent:
    """Verify, store and process one delivery; when this returns, it is stored and may be acknowledged.

    Raises `EndpointOff`, `InvalidSignature`, `MalformedEvent` (which staff find in the review queue), and
    `StorageUnavailable`. Safe to repeat: the provider's event id makes an event one event. A failure of the
    processing is no failure of the delivery; the sweeper tries again.
    """
    now = now or timezone.now()
    if not provider.is_enabled():
        raise EndpointOff(provider.name)
    stored_headers = _pick_headers(provider, headers)
    try:
        provider.verify(body=body, headers=headers, now=now)
    except InvalidSignature as error:
        count_bad_signature(provider=provider.name, now=now)
        if isinstance(error, StaleSignature) and provider.keeps_stale:
            _store_stale(provider, body, stored_headers, str(error), now)
        raise
    try:
        notice = provider.read(body=body, headers=stored_headers)
    except MalformedEvent as error:
        _store_unreadable(provider, body, stored_headers, str(error), now)
        raise
    delivery = store(provider=provider, notice=notice, body=body, headers=stored_headers, now=now)
    process_event(event_key=delivery.event.pk, now=now)
    return delivery.event


def store(
    *,
    provider: Provider,
    notice: Notice,
    body: bytes,
    headers: dict[str, str],
    now: datetime,
    source: WebhookEvent.Source = Source.WEBHOOK,
) -> Delivery:
    """Store a verified event, or count another delivery of a stored one. Raises `StorageUnavailable`.

    The same event id with another body is kept as an event of its own, for review.
    """
    event = WebhookEvent(
        provider=provider.name,
        event_id=notice.event_id,
        kind=notice.kind[:100],
        source=source,
        transfer_key=notice.transfer_key(provider.name),
        headers=headers,
        is_verified=True,
        status=Status.RECEIVED,
        received_at=now,
        next_attempt_at=now,
        **_body_fields(body),
    )
    delivery = _insert_or_count(event)
    stored = delivery.event
    if delivery.is_new:
        return delivery
    if stored.body_sha256 != event.body_sha256 and not _says_the_same(provider, notice, event, stored):
        _store_conflict(event, stored)
    elif not stored.is_verified:
        # It was kept for review because its signature was old; now it came with a fresh one.
        fields = {"is_verified": True, "status": Status.RECEIVED, "error": "", "next_attempt_at": now}
        WebhookEvent.objects.filter(pk=stored.pk, is_verified=False, status=Status.REVIEW).update(**fields)
    return delivery


def _says_the_same(provider: Provider, notice: Notice, event: WebhookEvent, stored: WebhookEvent) -> bool:
    """Whether a pulled event and its webhook agree: their JSON is written differently, but means one thing."""
    if stored.source == event.source:
        return False
    return provider.read(body=bytes(stored.body), headers=stored.headers) == notice


def receive_pulled(*, provider: Provider, body: bytes) -> bool:
    """Store and process an event that the pull found; whether it was new. Safe to repeat, and beside webhooks.

    What moves no money, and what a webhook has brought already, is not stored again. Raises `StorageUnavailable`.
    """
    now = timezone.now()  # Not when the pull began: the provider may have taken minutes to answer.
    try:
        notice = provider.read(body=body, headers={})
    except MalformedEvent as error:
        return _store_unreadable(provider, body, {}, str(error), now).is_new
    if isinstance(notice.fact, NoMoney) or _is_known(provider, notice):
        return False
    delivery = store(provider=provider, notice=notice, body=body, headers={}, now=now, source=Source.PULL)
    process_event(event_key=delivery.event.pk, now=now)
    return delivery.is_new


def _is_known(provider: Provider, notice: Notice) -> bool:
    """Whether a verified event tells of this already, under its own id or as the same transfer."""
    known = WebhookEvent.objects.filter(is_verified=True)
    if known.filter(provider=provider.name, event_id=notice.event_id).exists():
        return True
    return (
        isinstance(notice.fact, Receipt)
        and known.filter(
            transfer_key=notice.fact.transfer_key, status__in=[Status.DONE, Status.IGNORED, Status.REVIEW]
        ).exists()
    )


def _body_fields(body: bytes) -> dict[str, Any]:
    return {"body": body, "body_sha256": hashlib.sha256(body).hexdigest()}


def _pick_headers(provider: Provider, headers: Mapping[str, str]) -> dict[str, str]:
    names = (*_COMMON_HEADERS, *provider.stored_headers)
    return {name: headers[name][:_MAX_HEADER_LENGTH] for name in names if name in headers}


def _insert_or_count(event: WebhookEvent) -> Delivery:
    """Insert `event`; if the unique key says it is stored already, count the delivery and return what is stored."""
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


def _store_conflict(event: WebhookEvent, stored: WebhookEvent) -> None:
    logger.error("%s was delivered again with another body: kept for review", stored)
    event.event_id = f"{event.event_id}#{event.body_sha256[:12]}"
    event.status = Status.REVIEW
    event.next_attempt_at = None
    event.error = "The same event id came before with another body. Compare the two, then dismiss or match this one."
    event.pk = None
    _insert_or_count(event)


def _store_unreadable(provider: Provider, body: bytes, headers: dict[str, str], error: str, now: datetime) -> Delivery:
    """Keep a signed body that cannot be read: it may be money, so staff must see it."""
    fields = _body_fields(body)
    event = WebhookEvent(
        provider=provider.name,
        event_id=f"unreadable:{fields['body_sha256']}",
        headers=headers,
        is_verified=True,
        status=Status.REVIEW,
        error=f"The body could not be read: {error}",
        received_at=now,
        **fields,
    )
    return _insert_or_count(event)


def _store_stale(provider: Provider, body: bytes, headers: dict[str, str], error: str, now: datetime) -> None:
    """Keep an event whose signature is right but old, unverified, unless the event is known already."""
    try:
        notice = provider.read(body=body, headers=headers)
    except MalformedEvent:
        return
    event = WebhookEvent(
        provider=provider.name,
        event_id=notice.event_id,
        kind=notice.kind[:100],
        transfer_key=notice.transfer_key(provider.name),
        headers=headers,
        is_verified=False,
        status=Status.REVIEW,
        error=f"{error} Confirm it with the provider, then match it.",
        received_at=now,
        **_body_fields(body),
    )
    _insert_or_count(event)


# --- Processing --------------------------------------------------------------------------------------------------


def process_event(*, event_key: ObjectId, now: datetime | None = None) -> bool:
    """Process a received event if it is due and nobody else does; whether this call finished it.

    Safe to repeat and to run in parallel: a conditional update claims the attempt, and the transaction that moves
    credits also moves the event on. An error is recorded with the event, whose next attempt comes later.
    """
    now = now or timezone.now()
    try:
        return _process(event_key, now)
    except DATABASE_FAILURES:
        logger.exception("event %s could not be processed now; the sweeper will try again", event_key)
        return False


def _process(event_key: ObjectId, now: datetime) -> bool:
    """As `process_event`, but a database that is not there raises."""
    event = _claim(event_key, now)
    if event is None or not _attempt(event, now):
        return False
    _process_waiting(event, now)
    return True


def process_due_events(*, now: datetime | None = None, limit: int = 500) -> int:
    """Process up to `limit` received events that are due, oldest first; return how many were finished.

    Safe to run in parallel. One event's failure does not keep the others (`SomeFailed` is raised after the last one);
    a database that is not there raises `DatabaseError`, instead of being waited for once an event.
    """
    due = WebhookEvent.objects.filter(status=Status.RECEIVED, next_attempt_at__lte=now or timezone.now())
    keys = list(due.order_by("next_attempt_at").values_list("pk", flat=True)[:limit])
    # Each at its own time: the last one may come minutes after the first, and credits expire meanwhile.
    return sum_one_by_one(keys, lambda key: _process(key, now or timezone.now()), name=lambda key: f"event {key}")


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
    try:
        notice = get_provider(event.provider).read(body=bytes(event.body), headers=event.headers)
        run_in_transaction(lambda: _apply(event, notice, now))
    except BillingError as error:  # Trying again would not help: a person decides.
        finish(event=event, outcome=Outcome(Status.REVIEW, str(error)), now=now)
    except PaymentNotYetKnown as error:
        logger.info("%s waits: %s", event, error)
        _record_failure(event, error)
        return False
    except Exception as error:  # The outermost border of one event: whatever happens, record it and go on.
        logger.exception("%s failed at attempt %s", event, event.attempts)
        _record_failure(event, error)
        return False
    return True


def _apply(event: WebhookEvent, notice: Notice, now: datetime) -> None:
    """Move the credits and the event on, in the caller's transaction."""
    outcome = apply_notice(event=event, notice=notice, now=now)
    finish(event=event, outcome=outcome, now=now)


def finish(*, event: WebhookEvent, outcome: Outcome, now: datetime, **fields: Any) -> None:
    """Move an event on to what became of it, unless another process did, which raises `DatabaseError`.

    Call it in the transaction that moved the credits.
    """
    moved = WebhookEvent.objects.filter(pk=event.pk, status=event.status).update(
        status=outcome.status,
        error=outcome.reason,
        payment_id=outcome.payment.pk if outcome.payment else None,
        processed_at=now,
        next_attempt_at=None,
        **fields,
    )
    if not moved:
        raise DatabaseError(f"{event} was processed by somebody else")
    event.payment = outcome.payment
    if outcome.status == Status.REVIEW:
        logger.warning("%s waits for review: %s", event, outcome.reason)


def _record_failure(event: WebhookEvent, error: Exception) -> None:
    """Write the error outside the transaction that was rolled back, so that staff see it."""
    fields: dict[str, Any] = {"error": f"{type(error).__name__}: {error}"[:_MAX_ERROR_LENGTH]}
    if event.attempts >= MAX_ATTEMPTS:
        fields |= {"status": Status.DEAD, "next_attempt_at": None}
    WebhookEvent.objects.filter(pk=event.pk, status=Status.RECEIVED).update(**fields)
