"""The one way to change a balance with its ledger entries: the guarded update, and what must hold after it.

Everything here runs inside the caller's transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from pymongo.collection import Collection

from accounts.errors import AccountNotFound, InsufficientCredits
from accounts.invariants import check_balance, check_entries
from accounts.models import Account, Balance, LedgerEntry, sum_holds
from accounts.needs_repair import check
from money.amounts import ZERO, from_bson
from money.expressions import at_least, plus
from mongo.collections import Document, collection_of, current_session, find_one_and_update
from mongo.unreadable import id_of_text

Kind = LedgerEntry.Kind


@dataclass(frozen=True)
class Movement:
    """What an operation did, or had done before when `is_repeat`."""

    entries: tuple[LedgerEntry, ...]
    is_repeat: bool

    def amount(self, balance: Balance) -> Decimal:
        """The sum that this operation moved on `balance`, in USD."""
        return sum((entry.amount for entry in self.entries if entry.balance == balance), ZERO)

    def balance_after(self, balance: Balance) -> Decimal:
        """The balance right after the operation, in USD; raises `KeyError` if it did not touch it."""
        for entry in reversed(self.entries):
            if entry.balance == balance:
                return entry.balance_after
        raise KeyError(balance)


@dataclass(frozen=True)
class Change:
    """One entry to be: a signed amount of one balance, in USD."""

    balance: Balance
    kind: Kind
    amount: Decimal


@dataclass(frozen=True)
class Moved:
    """What was moved while somebody watched."""

    changes: list[Change] = field(default_factory=list)

    @property
    def amount(self) -> Decimal:
        """What was given or what was taken, whichever is more; a transfer gives what it takes. USD.

        What had expired does not count: the rules take it off, whoever comes first.
        """
        amounts = [change.amount for change in self.changes if change.kind is not Kind.EXPIRY]
        return max(sum((amount for amount in amounts if sign * amount > 0), ZERO) * sign for sign in (1, -1))


_watching: ContextVar[Moved | None] = ContextVar("watching", default=None)


@contextmanager
def watch() -> Iterator[Moved]:
    """Collect what this thread moves meanwhile. Use it inside a transaction, whose every attempt watches anew."""
    moved = Moved()
    token = _watching.set(moved)
    try:
        yield moved
    finally:
        _watching.reset(token)


@dataclass(frozen=True)
class Cause:
    """What every entry of one operation has in common."""

    operation: str
    actor: str
    reason: str
    at: datetime


def accounts() -> "Collection[Document]":
    """The raw collection of accounts."""
    return collection_of(Account)


def read_account(username: str) -> Document:
    """The raw document, as the caller's transaction sees it. Raises `AccountNotFound`, `AccountNeedsRepair`."""
    document: Document | None = accounts().find_one({"_id": id_of_text(username)}, session=current_session())
    if document is None:
        raise AccountNotFound(username)
    check(document)
    return document


def held_of(document: Document, balance: Balance) -> Decimal:
    """What requests in flight have set aside of `balance`, in USD."""
    return sum_holds(document.get("holds") or {}, balance)


def post(
    username: str,
    changes: Sequence[Change],
    cause: Cause,
    *,
    set_fields: Document | None = None,
    allow_debt: bool = False,
) -> Movement:
    """Update the balances and write the entries. `set_fields` are expressions for other fields of the account. USD.

    Without `allow_debt` what takes more than there is raises `InsufficientCredits`. Raises `AccountNotFound`,
    `AccountNeedsRepair`, and `BrokenInvariant` if the database did something else than was asked for. Not safe to
    repeat: `operation` is unique, and the caller looks for it first.
    """
    totals: dict[Balance, Decimal] = {}
    for change in changes:
        totals[change.balance] = totals.get(change.balance, ZERO) + change.amount
    before = read_account(username)
    guards = [at_least(balance.field, -total) for balance, total in totals.items() if total < 0 and not allow_debt]
    query: Document = {"_id": username, **({"$expr": {"$and": guards}} if guards else {})}
    update: Document = {balance.field: plus(balance.field, total) for balance, total in totals.items()}
    after = find_one_and_update(
        Account, query, [{"$set": update | (set_fields or {})}], fields=[balance.field for balance in totals]
    )
    if after is None:
        raise _shortage(before, totals)
    running = {balance: from_bson(before.get(balance.field)) for balance in totals}
    entries = []
    for change in changes:
        running[change.balance] += change.amount
        entries.append(write_entry(username, change, running[change.balance], cause))
    for balance, total in totals.items():
        there = from_bson(after[balance.field])
        check_entries(balance.label, there, before=from_bson(before.get(balance.field)), entries=total)
        check_balance(balance.label, there, moved=total, may_be_debt=allow_debt)
    if (moved := _watching.get()) is not None:
        moved.changes.extend(changes)
    return Movement(tuple(entries), is_repeat=False)


def _shortage(document: Document, totals: dict[Balance, Decimal]) -> InsufficientCredits:
    taken = [balance for balance, total in totals.items() if total < 0]
    # The database has refused one; should Python read the balance otherwise, it is still a refusal.
    short = next((b for b in taken if from_bson(document.get(b.field)) < -totals[b]), taken[0])
    return InsufficientCredits(
        balance_name=short.label,
        required=-totals[short],
        available=from_bson(document.get(short.field)),
        held=held_of(document, short),
    )


def write_entry(username: str, change: Change, balance_after: Decimal, cause: Cause) -> LedgerEntry:
    """Insert one ledger entry. A second one of the same operation, balance and kind violates the unique key."""
    entry = LedgerEntry(
        account_id=username,
        balance=change.balance,
        kind=change.kind,
        amount=change.amount,
        balance_after=balance_after,
        actor=cause.actor,
        reason=cause.reason,
        operation=cause.operation,
        created_at=cause.at,
    )
    entry.save(force_insert=True)
    return entry
