"""Does what staff ask for together with its audit entry: both or neither, and only once."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import BillingError
from accounts.keys import mask_keys_in
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
    thing: str | None = None,
    part_of: Callable[[Result | None], str | None] = lambda result: None,
) -> Result:
    """Run `change` and record who did it, why, and the state before and after, in one transaction.

    `thing` is what `things.thing_of` calls the target; `part_of` says which API key of it a result is about, and with
    None which one a refused attempt is about.

    A change that handles its own failures (`is_atomic=False`) must be safe to repeat: its entry is written after it.

    Raises `AlreadyDone` on a second call with the same `operation`. What `change` raises as `BillingError` is
    recorded as a refused attempt and raised again; then nothing has changed. `NotFinished` when the database gave up:
    then nobody knows yet, and another call with the same operation says it.
    """
    fields: dict[str, Any] = {
        "actor": actor,
        "action": action,
        "target": target,
        "reason": reason,
        "thing": thing,
    }

    def run() -> Result:
        if AuditEntry.objects.filter(pk=operation).exists():
            raise AlreadyDone  # Before `change` judges what it finds, which is what it did itself.
        before = read_state()
        result = change()
        after = read_state()
        _insert(AuditEntry.Outcome.DONE, operation, before=before, after=after, part=part_of(result), **fields)
        return result

    try:
        return run_in_transaction(run) if is_atomic else run()
    except IntegrityError as error:
        # Two at once: the unique key let one of them through.
        raise AlreadyDone from error
    except AlreadyDone:
        raise
    except BillingError as error:
        record_refusal(error=str(error), part=part_of(None), **fields)
        raise
    except DATABASE_FAILURES as error:
        logger.exception("%s of %s was not finished", action, target)
        with contextlib.suppress(*DATABASE_FAILURES):  # Perhaps nothing can be written at all.
            record_refusal(error="The database did not finish it.", part=part_of(None), **fields)
        raise NotFinished from error


def record(
    *,
    actor: str,
    action: str,
    target: str,
    reason: str = "",
    before: State = None,
    after: State = None,
    thing: str | None = None,
) -> None:
    """Record something that was done elsewhere. Every call is another entry."""
    fields = {"actor": actor, "action": action, "target": target, "reason": reason, "thing": thing}
    _insert(AuditEntry.Outcome.DONE, _new_entry(), before=before, after=after, **fields)


def record_all(*, actor: str, action: str, reason: str, changes: Iterable[tuple[str, State, State]]) -> None:
    """Record many things that were done alike: of each its target, and the state before and after. One insertion.

    Takes part in the transaction that this thread is in. Every call is that many entries.
    """
    AuditEntry.objects.bulk_create(
        AuditEntry(
            id=_new_entry(),
            at=timezone.now(),
            outcome=AuditEntry.Outcome.DONE,
            **_without_keys(
                {"actor": actor, "action": action, "target": target, "reason": reason, "before": old, "after": new}
            ),
        )
        for target, old, new in changes
    )


def record_refusal(
    *,
    actor: str,
    action: str,
    target: str,
    error: str,
    reason: str = "",
    thing: str | None = None,
    part: str | None = None,
) -> None:
    """Record an attempt that was refused, outside of any transaction that was rolled back."""
    fields = {"actor": actor, "action": action, "target": target, "reason": reason, "thing": thing, "part": part}
    _insert(AuditEntry.Outcome.REFUSED, _new_entry(), error=mask_keys_in(error)[:500], **fields)


def _new_entry() -> str:
    return f"entry:{secrets.token_hex(12)}"


def _insert(outcome: AuditEntry.Outcome, key: str, **fields: Any) -> None:
    """Write an entry. It is kept for good, so no API key stands in it, whatever people typed or an address held."""
    AuditEntry(id=key, at=timezone.now(), outcome=outcome, **_without_keys(fields)).save()


def _without_keys(value: Any) -> Any:
    match value:
        case str():
            return mask_keys_in(value)
        case dict():
            return {name: _without_keys(part) for name, part in value.items()}
        case list() | tuple():
            return [_without_keys(part) for part in value]
    return value
