"""Asks the providers for what their webhooks missed, and feeds it to the same inbox."""

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from payments.errors import ProviderUnavailable
from payments.inbox.receive import receive_pulled
from payments.models import Payment, PullState
from payments.providers import all_providers
from payments.providers.base import Provider

logger = logging.getLogger(__name__)


def pull_due_payments(*, now: datetime | None = None) -> int:
    """Pull from each provider that is configured for it and was not asked for `PULL_INTERVAL_MINUTES`.

    For the sweeper: several may call it, one asks. Returns how many events were new. A provider that does not answer
    is logged, and asked again when it is due: the next window reaches back over this one.
    """
    now = now or timezone.now()
    due = [provider for provider in all_providers() if provider.can_pull() and _claim(provider, now)]
    found, _ = _pull_all(due, now, timedelta(hours=settings.PULL_WINDOW_HOURS))
    return found


def pull_payments(*, now: datetime | None = None, window: timedelta | None = None) -> int:
    """Pull from every configured provider what happened in the window before `now`; return how many events were new.

    One provider's failure does not keep the others; `ProviderUnavailable` is raised after all were asked. Safe to
    repeat, to overlap, and to run beside webhooks: the inbox knows what it has seen.
    """
    providers = [provider for provider in all_providers() if provider.can_pull()]
    window = window or timedelta(hours=settings.PULL_WINDOW_HOURS)
    found, failures = _pull_all(providers, now or timezone.now(), window)
    if failures:
        raise ProviderUnavailable("; ".join(failures))
    return found


def _pull_all(providers: list[Provider], now: datetime, window: timedelta) -> tuple[int, list[str]]:
    """How many events were new, and what went wrong with which provider."""
    found, failures = 0, []
    for provider in providers:
        bodies = provider.pull(since=now - window, until=now, open_sessions=_open_sessions(provider, now - window))
        new = 0
        try:
            for body in bodies:
                new += receive_pulled(provider=provider, body=body)
        except ProviderUnavailable as error:  # What came before it is stored, and counts.
            logger.warning("pull from %s failed: %s", provider.name, error)
            failures.append(f"{provider.name}: {error}")
            _note_failure(provider, error)
        else:
            _note_success(provider)
        if new:
            logger.warning("the pull from %s found %s events that no webhook brought", provider.name, new)
        found += new
    return found, failures


def _note_success(provider: Provider) -> None:
    """Write that the provider answered, for the alarms."""
    _note(provider, succeeded_at=timezone.now(), failing_since=None, error=None)


def _note_failure(provider: Provider, error: ProviderUnavailable) -> None:
    """Write what the provider answered, and since when it fails, for the alarms."""
    now = timezone.now()
    _note(provider, error=str(error)[:500])
    PullState.objects.filter(pk=provider.name, failing_since=None).update(failing_since=now)


def _note(provider: Provider, **fields: Any) -> None:
    if PullState.objects.filter(pk=provider.name).update(**fields):
        return
    with contextlib.suppress(IntegrityError):  # Somebody else's is as new.
        PullState(provider=provider.name, next_at=timezone.now(), **fields).save(force_insert=True)


def _open_sessions(provider: Provider, since: datetime) -> Iterator[str]:
    """The payment pages of all orders of the window that are not paid; the oldest, which is over first, comes first.

    Read when the first is asked for: the events before have paid some.
    """
    unpaid = [Payment.Status.PENDING, Payment.Status.EXPIRED, Payment.Status.FAILED]
    orders = Payment.objects.filter(created_at__gte=since, payment_method=provider.name, status__in=unpaid)
    keys = orders.exclude(session_id=None).order_by("created_at").values_list("session_id", flat=True)
    yield from (key for key in keys if key and isinstance(key, str))


def _claim(provider: Provider, now: datetime) -> bool:
    """Take this provider's turn: one conditional update, so one process asks."""
    next_at = now + timedelta(minutes=settings.PULL_INTERVAL_MINUTES)
    if PullState.objects.filter(pk=provider.name, next_at__lte=now).update(next_at=next_at):
        return True
    try:
        PullState(provider=provider.name, next_at=next_at).save(force_insert=True)
    except IntegrityError:
        return False
    return True
