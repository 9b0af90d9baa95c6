"""Does what staff ask for together with its audit entry: both or neither, and only once."""

import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import BillingError
from mongo.errors import DATABASE_FAILURES
from mongo.transactions import run_in_transaction
from support.errors import AlreadyDone, NotFinished
from support.models import AuditEntry

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
State = dict[str, Any] | None


def new_operation() -> str:
    """The id of one thing that a staff member is about to do. It is done at most once."""
    return f"staff:{secrets.token_hex(12)}"


def perform(
    *,
    operation: str,
    actor: str,
    action: str,
    target: str,
    reason: str,
    change: Callable[[], Result],
    read_state: Callable[[], State] = lambda: None,
    is_atomic: bool = True,
) -> Result:
    """Run `change` and record who did it, why, and the state before and after, in one transaction.

    A change that handles its own failures (`is_atomic=False`) must be safe to repeat: its entry is written after it.

    Raises `AlreadyDone` on a second call with the same `operation`. What `change` raises as `BillingError` is
    recorded as a refused attempt and raised again; then nothing has changed. `NotFinished` when the database gave up:
    then nobody knows yet, and another call with the same operation says it.
    """
    fields = {"actor": actor, "action": action, "target": target, "reason": reason}

    def run() -> Result:
        before = read_state()
        result = change()
        done = AuditEntry.Outcome.DONE
        AuditEntry(id=operation, at=timezone.now(), outcome=done, before=before, after=read_state(), **fields).save()
        return result

    try:
        if AuditEntry.objects.filter(pk=operation).exists():
            raise AlreadyDone
        return run_in_transaction(run) if is_atomic else run()
    except IntegrityError as error:
        # Two at once: the unique key let one of them through.
        raise AlreadyDone from error
    except AlreadyDone:
        raise
    except BillingError as error:
        record_refusal(error=str(error), **fields)
        raise
    except DATABASE_FAILURES as error:
        logger.exception("%s of %s was not finished", action, target)
        with contextlib.suppress(*DATABASE_FAILURES):  # Perhaps nothing can be written at all.
            record_refusal(error="The database did not finish it.", **fields)
        raise NotFinished from error


def record(
    *, actor: str, action: str, target: str, reason: str = "", before: State = None, after: State = None
) -> None:
    """Record something that was done elsewhere. Every call is another entry."""
    _insert(
        AuditEntry.Outcome.DONE, actor=actor, action=action, target=target, reason=reason, before=before, after=after
    )


def record_refusal(*, actor: str, action: str, target: str, error: str, reason: str = "") -> None:
    """Record an attempt that was refused, outside of any transaction that was rolled back."""
    _insert(AuditEntry.Outcome.REFUSED, actor=actor, action=action, target=target, reason=reason, error=error[:500])


def _insert(outcome: AuditEntry.Outcome, **fields: Any) -> None:
    AuditEntry(id=f"entry:{secrets.token_hex(12)}", at=timezone.now(), outcome=outcome, **fields).save()
