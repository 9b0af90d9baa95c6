"""Refused log-ins: anybody can cause as many as they like, so the audit keeps the first of a day, and their number.

An entry for each staff user (all names that nobody has are one), problem and day; the rest is counted.
"""

import contextlib
import hashlib
from datetime import date, datetime
from enum import StrEnum

from django.db import IntegrityError
from django.utils import timezone

from mongo import daily_counts
from mongo.days import day_of
from support.audit.actors import actor_of_log_in
from support.models import AuditEntry

COLLECTION = "refused_log_ins"
PREFIX = "log-in"


class Problem(StrEnum):
    """Why a log-in was refused; the name is that of the counter."""

    WRONG = "Wrong name or password"
    WRONG_CODE = "Wrong code"
    LOCKED = "Locked after wrong passwords"


def record_refused_log_in(*, name: str, problem: Problem, address: str, now: datetime | None = None) -> None:
    """Count a refused log-in, and record it if it is the day's first of its kind."""
    now = now or timezone.now()
    actor = actor_of_log_in(name)
    day = day_of(now)
    daily_counts.count(COLLECTION, problem.name, part=_part(actor), now=now)
    entry = AuditEntry(
        id=f"{PREFIX}:{day.isoformat()}:{problem.name}:{_part(actor)}",
        at=now,
        actor=actor,
        action="log-in",
        outcome=AuditEntry.Outcome.REFUSED,
        error=problem.value,
        after={"address": address},
    )
    with contextlib.suppress(IntegrityError):  # It was not the first.
        entry.save()


def times_of(entry: AuditEntry) -> int | None:
    """How often what an entry says was refused on its day; None if it is not about refused log-ins."""
    kind, *parts = entry.pk.split(":")
    if kind != PREFIX or len(parts) != 3:
        return None
    day, problem, part = parts
    return daily_counts.read_counts(COLLECTION, day=date.fromisoformat(day), part=part).get(problem, 0)


def _part(actor: str) -> str:
    """An actor in few characters, none of which means anything in a key."""
    return hashlib.sha256(actor.encode()).hexdigest()[:32]
