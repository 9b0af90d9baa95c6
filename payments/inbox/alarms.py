"""What says that money may be missed: silent webhooks, pulls that fail, a queue that nobody works on. Reads only.

Plain values, for the dashboard and for whatever measures the site.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from payments.models import PullState, WebhookEvent
from payments.providers import all_providers
from payments.providers.base import Provider

Source = WebhookEvent.Source

LATE_QUEUE = timedelta(minutes=5)
"""A sweeper looks for due events several times a minute; one that is due for longer has none."""
LATE_PULLS = 3
"""A pull may take long, or fail once: so many intervals without one are too many."""
MOST_COUNTED = 1_000


@dataclass(frozen=True)
class WebhookHealth:
    """Whether a provider's webhooks arrive."""

    provider: str
    last_at: datetime | None
    """The latest one; None if none ever came."""
    pulled_since: int
    """How many events only the pull has found since then, at most `MOST_COUNTED`."""
    is_silent: bool


@dataclass(frozen=True)
class PullHealth:
    """Whether a provider answers the pull, and whether anybody asks."""

    provider: str
    succeeded_at: datetime | None
    failing_since: datetime | None
    error: str
    is_overdue: bool


@dataclass(frozen=True)
class QueueHealth:
    """The events that are still to be processed, at most `MOST_COUNTED`."""

    waiting: int
    """All of them, with those that are tried again later."""
    due: int
    oldest_due_at: datetime | None
    """Since when the one that is due the longest is."""
    is_stuck: bool


@dataclass(frozen=True)
class InboxHealth:
    """All of it, as it was at `at`."""

    at: datetime
    webhooks: tuple[WebhookHealth, ...]
    pulls: tuple[PullHealth, ...]
    queue: QueueHealth


def read_health(*, now: datetime | None = None) -> InboxHealth:
    """How the inbox is. A few look-ups by indexes; raises what the database raises."""
    now = now or timezone.now()
    return InboxHealth(
        at=now,
        webhooks=tuple(_webhooks_of(provider, now) for provider in all_providers() if provider.is_enabled()),
        pulls=tuple(_pulls_of(provider, now) for provider in all_providers() if provider.can_pull()),
        queue=_queue(now),
    )


def _webhooks_of(provider: Provider, now: datetime) -> WebhookHealth:
    """Silence alone is no alarm, as nobody may have paid: the pull says whether somebody did."""
    events = WebhookEvent.objects.filter(provider=provider.name).order_by("-received_at")
    last_at = events.filter(source=Source.WEBHOOK).values_list("received_at", flat=True).first()
    pulled = events.filter(source=Source.PULL)
    if last_at is not None:
        pulled = pulled.filter(received_at__gt=last_at)
    pulled_since = pulled[:MOST_COUNTED].count()
    is_long = last_at is None or now - last_at > timedelta(minutes=settings.WEBHOOK_SILENCE_MINUTES)
    return WebhookHealth(provider.name, last_at, pulled_since, is_silent=bool(pulled_since) and is_long)


def _pulls_of(provider: Provider, now: datetime) -> PullHealth:
    state = PullState.objects.filter(pk=provider.name).first()
    if state is None:
        return PullHealth(provider.name, None, None, "", is_overdue=True)
    interval = timedelta(minutes=settings.PULL_INTERVAL_MINUTES)
    times = [state.next_at - interval, state.succeeded_at]  # Whoever asks writes when it is the next one's turn.
    latest = LATE_PULLS * interval
    is_unasked = now - max(filter(None, times)) > latest
    is_unfinished = not state.failing_since and state.succeeded_at is not None and now - state.succeeded_at > latest
    return PullHealth(
        provider.name,
        state.succeeded_at,
        state.failing_since,
        state.error or "",
        is_overdue=is_unasked or is_unfinished,
    )


def _queue(now: datetime) -> QueueHealth:
    received = WebhookEvent.objects.filter(status=WebhookEvent.Status.RECEIVED)
    due = received.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    oldest_at = due.values_list("next_attempt_at", flat=True).first()
    return QueueHealth(
        waiting=received[:MOST_COUNTED].count(),
        due=due[:MOST_COUNTED].count(),
        oldest_due_at=oldest_at,
        is_stuck=oldest_at is not None and now - oldest_at > LATE_QUEUE,
    )
