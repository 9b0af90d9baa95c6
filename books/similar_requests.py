"""Requests that may be the same one, sent more than once: of one account, model and endpoint, within a minute."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from money.amounts import ZERO
from mongo.times import later
from proxy.models import IdempotentRequest, RefusedRequest, RequestLog

MINUTE = timedelta(minutes=1)
MOST_READ = 200
"""Of the account's requests of the two minutes around one."""
MOST_SHOWN = 20
DISCONNECTED = "client_disconnected"
"""What the outcome of a request begins with whose client did not wait for the end."""


class Likeness(StrEnum):
    """What one request is to another one of the same account, model and endpoint in the same minute."""

    RETRY = "retry"
    """The same request once more: the earlier one failed, was broken off by the client, or was still running."""
    REPEAT = "repeat"
    """As many input tokens, after the earlier one had been answered in full: the same was asked for again."""
    TWO_KEYS = "two keys"
    """The same body under two idempotency keys: the client meant two requests."""
    DIFFERENT = "different"
    """Another input: these are two requests."""
    UNKNOWN = "unknown"
    """Without tokens to compare, nobody can tell."""


@dataclass(frozen=True)
class Similar:
    """Another request, beside the one that was asked about. `seconds` later it began (below 0: earlier). USD."""

    request_id: str
    seconds: float
    input_tokens: int
    output_tokens: int
    cost: Decimal
    status: int | None
    outcome: str
    has_idempotency_key: bool
    likeness: Likeness


@dataclass(frozen=True)
class SimilarRequests:
    """What `read_similar` found, the oldest first. `refused` are the ids of refusals, which cost nothing."""

    rows: tuple[Similar, ...]
    refused: tuple[str, ...]
    has_idempotency_key: bool
    is_cut: bool

    @property
    def alike(self) -> tuple[Similar, ...]:
        """Those that may be the same request."""
        return tuple(row for row in self.rows if row.likeness in (Likeness.RETRY, Likeness.REPEAT, Likeness.TWO_KEYS))


def read_similar(log: RequestLog) -> SimilarRequests:
    """What else the account asked of this model and endpoint within a minute of a request, before or after it.

    Reads at most `MOST_READ` logs, by the index of the account's times. Of an old log without an account or a time:
    nothing. An idempotency key is known for as long as its answer is kept, a day.
    """
    if not isinstance(log.user_id, str) or not isinstance(log.created_at, datetime):
        return SimilarRequests((), (), has_idempotency_key=False, is_cut=False)
    first, last = later(log.created_at, -MINUTE), later(log.created_at, MINUTE)
    same_minute = RequestLog.objects.filter(user_id=log.user_id, created_at__gte=first, created_at__lte=last)
    read = list(same_minute.order_by("created_at")[: MOST_READ + 1])
    others = [
        other
        for other in read[:MOST_READ]
        if other.pk != log.pk and (other.model, other.endpoint) == (log.model, log.endpoint)
    ]
    nearest = sorted(others, key=lambda other: abs(_seconds_after(log, other)))[:MOST_SHOWN]
    shown = sorted(nearest, key=lambda other: _seconds_after(log, other))
    bodies = _bodies_of([log.pk, *(other.pk for other in shown)])
    refused = RefusedRequest.objects.filter(user_id=log.user_id, created_at__gte=first, created_at__lte=last)
    refused_here = [one.pk for one in refused[:MOST_SHOWN] if one.model == log.model and one.endpoint == log.endpoint]
    return SimilarRequests(
        rows=tuple(_similar(log, other, bodies) for other in shown),
        refused=tuple(refused_here),
        has_idempotency_key=log.pk in bodies,
        is_cut=len(read) > MOST_READ or len(others) > MOST_SHOWN,
    )


def _bodies_of(keys: Iterable[str]) -> dict[str, str]:
    """The hash of the body of each request that came with an idempotency key, as far as that is still kept."""
    found = IdempotentRequest.objects.filter(request_id__in=list(keys))
    return dict(found.values_list("request_id", "body_sha256"))


def _seconds_after(log: RequestLog, other: RequestLog) -> float:
    return (other.created_at - log.created_at).total_seconds() if other.created_at and log.created_at else 0.0


def _similar(log: RequestLog, other: RequestLog, bodies: dict[str, str]) -> Similar:
    return Similar(
        request_id=other.pk,
        seconds=_seconds_after(log, other),
        input_tokens=other.total_input_tokens,
        output_tokens=other.total_output_tokens,
        cost=other.cost if isinstance(other.cost, Decimal) else ZERO,
        status=other.status_code if isinstance(other.status_code, int) else None,
        outcome=other.outcome if isinstance(other.outcome, str) else "",
        has_idempotency_key=other.pk in bodies,
        likeness=likeness_of(log, other, bodies),
    )


def likeness_of(log: RequestLog, other: RequestLog, bodies: dict[str, str]) -> Likeness:
    """What two requests of the same account, model, endpoint and minute are to each other. Pure.

    `bodies` are the hashes of the bodies of those that came with an idempotency key. Bodies that are known decide;
    else the number of input tokens does. A request that failed has none.
    """
    if log.pk in bodies and other.pk in bodies:
        return Likeness.TWO_KEYS if bodies[log.pk] == bodies[other.pk] else Likeness.DIFFERENT
    earlier, latter = (log, other) if _seconds_after(log, other) >= 0 else (other, log)
    if not earlier.total_input_tokens:
        return Likeness.RETRY if earlier.is_success is False else Likeness.UNKNOWN
    if not latter.total_input_tokens:
        return Likeness.UNKNOWN
    if earlier.total_input_tokens != latter.total_input_tokens:
        return Likeness.DIFFERENT
    ran_for = (earlier.latency_ms or 0) / 1000 if isinstance(earlier.latency_ms, int) else 0.0
    was_running = _seconds_after(earlier, latter) < ran_for
    was_broken_off = str(earlier.outcome or "").startswith(DISCONNECTED) or earlier.is_success is False
    return Likeness.RETRY if was_running or was_broken_off else Likeness.REPEAT
