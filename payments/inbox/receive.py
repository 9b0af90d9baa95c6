"""Receives what providers send: verifies it, stores it as it came, and hands it on to be processed."""

import logging
from collections.abc import Mapping
from datetime import datetime

from django.utils import timezone

from payments.errors import EndpointOff, InvalidSignature, MalformedEvent, StaleSignature
from payments.inbox.bad_signatures import count_bad_signature
from payments.inbox.events import Delivery, body_fields, insert_or_count
from payments.inbox.process import process_event
from payments.models import WebhookEvent
from payments.providers.base import Provider
from payments.providers.events import Fact, MoneyReceived, NoMoney, ProviderEvent
from payments.rules.twins import is_reported, keep_up, money_fields

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status
Source = WebhookEvent.Source

_COMMON_HEADERS = ("User-Agent", "Content-Type")
_MAX_HEADER_LENGTH = 200
_KEPT_BYTES = 16 * 1024
"""Of a body that is too large; enough to see what it is about."""


def receive(
    *, provider: Provider, body: bytes, headers: Mapping[str, str], now: datetime | None = None
) -> WebhookEvent:
    """Verify, store and process one delivery; when this returns, it is stored and may be acknowledged.

    Raises `EndpointOff`, `InvalidSignature`, `MalformedEvent` (which staff find in the review queue), and
    `StorageUnavailable`. Safe to repeat: the provider's event id makes an event one event. A failure of the
    processing is no failure of the delivery: the sweeper tries again.
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
        provider_event = provider.read(body=body, headers=stored_headers)
    except MalformedEvent as error:
        _store_unreadable(provider, error, body=body, headers=stored_headers, now=now, source=Source.WEBHOOK)
        raise
    delivery = store(provider=provider, provider_event=provider_event, body=body, headers=stored_headers, now=now)
    process_event(event_key=delivery.event.pk, now=now)
    return delivery.event


def record_too_large(
    *, provider: Provider, body: bytes, headers: Mapping[str, str], is_whole: bool, now: datetime | None = None
) -> None:
    """Keep, for review, that a signed body came which is larger than is read: it may be money.

    Its size, hash, time and beginning are kept. `is_whole` is False if even `body` is only the beginning: then a
    signature over all of it cannot be checked, and only a key in a header vouches for it. Others are counted, as
    anybody can send them. Safe to repeat. Raises `StorageUnavailable`.
    """
    now = now or timezone.now()
    if not provider.is_enabled():
        return
    is_verified = True
    try:
        provider.verify(body=body, headers=headers, now=now)
    except InvalidSignature as error:
        count_bad_signature(provider=provider.name, now=now)
        if not (isinstance(error, StaleSignature) and provider.keeps_stale):
            return
        is_verified = False
    size = f"{len(body)} bytes" if is_whole else f"more than {len(body) - 1} bytes"
    fields = body_fields(body) | {"body": body[:_KEPT_BYTES]}
    event = WebhookEvent(
        provider=provider.name,
        event_id=f"too-large:{fields['body_sha256']}",
        headers=_pick_headers(provider, headers),
        is_verified=is_verified,
        status=Status.REVIEW,
        error=f"The body has {size}; {provider.max_body_bytes} are read. Its beginning is kept. See at the provider.",
        received_at=now,
        **fields,
        **money_fields(provider.name, provider.guess(body=body, headers=headers)),
    )
    logger.error("%s sent a body of %s: kept for review", provider.name, size)
    _insert_waiting(event, now)


def receive_pulled(*, provider: Provider, body: bytes) -> bool:
    """Store and process an event that the pull found; returns whether it was new. Safe to repeat, and beside webhooks.

    What moves no money, and what a webhook has brought already, is not stored again. Raises `StorageUnavailable`.
    """
    now = timezone.now()  # Not when the pull began: the provider may have taken minutes to answer.
    try:
        provider_event = provider.read(body=body, headers={})
    except MalformedEvent as error:
        return _store_unreadable(provider, error, body=body, headers={}, now=now, source=Source.PULL).is_new
    if isinstance(provider_event.fact, NoMoney):
        return False
    event = _event_of(provider, provider_event, body=body, headers={}, now=now, source=Source.PULL)
    if _is_known(event, provider_event.fact):
        return False
    delivery = _store(provider, provider_event, event)
    process_event(event_key=delivery.event.pk, now=now)
    return delivery.is_new


def store(
    *,
    provider: Provider,
    provider_event: ProviderEvent,
    body: bytes,
    headers: dict[str, str],
    now: datetime,
    source: WebhookEvent.Source = Source.WEBHOOK,
) -> Delivery:
    """Store a verified event, or count another delivery of a stored one. Safe to repeat. Raises `StorageUnavailable`.

    The same event id with another meaning is kept as an event of its own, for review.
    """
    event = _event_of(provider, provider_event, body=body, headers=headers, now=now, source=source)
    return _store(provider, provider_event, event)


def _event_of(
    provider: Provider,
    provider_event: ProviderEvent,
    *,
    body: bytes,
    headers: dict[str, str],
    now: datetime,
    source: WebhookEvent.Source,
) -> WebhookEvent:
    """A verified event that is to be processed, not yet stored."""
    fact = provider_event.fact
    return WebhookEvent(
        provider=provider.name,
        event_id=provider_event.event_id,
        kind=provider_event.kind[:100],
        source=source,
        transfer_key=provider_event.transfer_key(provider.name),
        headers=headers,
        is_verified=True,
        status=Status.RECEIVED,
        received_at=now,
        next_attempt_at=now,
        **body_fields(body),
        **money_fields(provider.name, fact if isinstance(fact, MoneyReceived) else None),
    )


def _store(provider: Provider, provider_event: ProviderEvent, event: WebhookEvent) -> Delivery:
    delivery = insert_or_count(event)
    stored = delivery.event
    if delivery.is_new:
        return delivery
    if stored.body_sha256 != event.body_sha256 and not _says_the_same(provider, provider_event, stored):
        _store_conflict(event, stored)
    elif not stored.is_verified:
        # It was kept for review because its signature was old; now it came with a fresh one.
        fields = {
            "is_verified": True,
            "status": Status.RECEIVED,
            "error": "",
            "next_attempt_at": event.next_attempt_at,
        }
        WebhookEvent.objects.filter(pk=stored.pk, is_verified=False, status=Status.REVIEW).update(**fields)
    return delivery


def _says_the_same(provider: Provider, provider_event: ProviderEvent, stored: WebhookEvent) -> bool:
    """Whether an event means what the stored one of its id does, however the two are written.

    Retries count up what nothing depends on, and a webhook and the pull write JSON differently.
    """
    try:
        return provider.read(body=bytes(stored.body), headers=stored.headers) == provider_event
    except MalformedEvent:
        return False


def _is_known(event: WebhookEvent, fact: Fact) -> bool:
    """Whether what the pull found was reported already: under its own id, or as the same money by another report."""
    known = WebhookEvent.objects.filter(provider=event.provider, is_verified=True)
    if known.filter(event_id=event.event_id).exists():
        return True
    return isinstance(fact, MoneyReceived) and is_reported(event, fact)


def _pick_headers(provider: Provider, headers: Mapping[str, str]) -> dict[str, str]:
    names = (*_COMMON_HEADERS, *provider.stored_headers)
    return {name: headers[name][:_MAX_HEADER_LENGTH] for name in names if name in headers}


def _store_conflict(event: WebhookEvent, stored: WebhookEvent) -> None:
    """Keep, for review, an event whose id came before with another body."""
    logger.error("%s was delivered again with another body: kept for review", stored)
    event.event_id = f"{event.event_id}#{event.body_sha256[:12]}"
    event.status = Status.REVIEW
    event.next_attempt_at = None
    event.error = "The same event id came before with another body. Compare the two, then dismiss or match this one."
    event.pk = None
    insert_or_count(event)


def _store_unreadable(
    provider: Provider,
    error: MalformedEvent,
    *,
    body: bytes,
    headers: dict[str, str],
    now: datetime,
    source: WebhookEvent.Source,
) -> Delivery:
    """Keep a signed body that cannot be read: it may be money, so staff must see it, unless that was credited."""
    fields = body_fields(body)
    event = WebhookEvent(
        provider=provider.name,
        event_id=f"unreadable:{fields['body_sha256']}",
        source=source,
        headers=headers,
        is_verified=True,
        status=Status.REVIEW,
        error=f"The body could not be read: {error}",
        received_at=now,
        **fields,
        **money_fields(provider.name, provider.guess(body=body, headers=headers)),
    )
    return _insert_waiting(event, now)


def _insert_waiting(event: WebhookEvent, now: datetime) -> Delivery:
    """Store an event that waits for staff from the start; it closes itself if its money was credited already."""
    delivery = insert_or_count(event)
    keep_up(event_key=delivery.event.pk, now=now)
    return delivery


def _store_stale(provider: Provider, body: bytes, headers: dict[str, str], error: str, now: datetime) -> None:
    """Keep an event whose signature is right but old, unverified, unless the event is known already."""
    try:
        provider_event = provider.read(body=body, headers=headers)
    except MalformedEvent:
        return
    fact = provider_event.fact
    event = WebhookEvent(
        provider=provider.name,
        event_id=provider_event.event_id,
        kind=provider_event.kind[:100],
        transfer_key=provider_event.transfer_key(provider.name),
        headers=headers,
        is_verified=False,
        status=Status.REVIEW,
        error=f"{error} Confirm it with the provider, then match it.",
        received_at=now,
        **body_fields(body),
        **money_fields(provider.name, fact if isinstance(fact, MoneyReceived) else None),
    )
    _insert_waiting(event, now)
