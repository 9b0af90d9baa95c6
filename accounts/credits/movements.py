"""Movements of credits: top-up, adjustment, transfer, reversal, reinstatement, expiry.

Each runs in one transaction with its ledger entries. `operation` makes it happen exactly once. All arithmetic happens
in the database, on what the document holds at that moment; absent and null count as 0.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from accounts.credits.posting import Cause, Change, Kind, Movement, accounts, held_of, post, read_account
from accounts.errors import CreditsExpired, InvalidAmount, OperationConflict
from accounts.models import Balance, LedgerEntry
from accounts.undecided import check_converted, expiry_fields, expiry_of
from money.amounts import MAX_AMOUNT, ZERO, from_bson, round_usd
from mongo.collections import Document, current_session
from mongo.transactions import run_in_transaction

_CENT = Decimal("0.01")


def check_amount(amount: Decimal) -> Decimal:
    """Return `amount` (USD) with 8 places; raise `InvalidAmount` unless it is finite, above 0, exact and not huge."""
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise InvalidAmount("An amount must be a finite number.")
    if not ZERO < amount <= MAX_AMOUNT:
        raise InvalidAmount(f"An amount must be above 0 and at most {MAX_AMOUNT} USD.")
    if round_usd(amount) != amount:
        raise InvalidAmount("An amount has at most 8 decimal places.")
    return round_usd(amount)


def check_not_expired(username: str, expires_at: datetime | None, now: datetime) -> None:
    """Raise `CreditsExpired` if the credits have expired: nothing may be moved, added or deducted then.

    What is added to an expired account would be taken off again at once, with all the rest of it.
    """
    if expires_at is not None and expires_at <= now:
        raise CreditsExpired(username, format_time(expires_at))


def top_up(
    *,
    username: str,
    amount: Decimal,
    operation: str,
    actor: str,
    bonus: Decimal = ZERO,
    reason: str = "",
    renews_expiry: bool = True,
    now: datetime | None = None,
) -> Movement:
    """Credit a purchase (and its bonus) to the OpenHands balance and restart the expiry of both balances. USD.

    Credits that had expired are removed first, so a purchase never revives them. One that does not renew the expiry
    leaves the date (`starts_expiry` is the exception), and raises `CreditsExpired` if that has come: what it brings
    would be taken off at once. Raises `AccountNotFound`, `InvalidAmount`, `OperationConflict`. Safe to repeat with the
    same `operation`.
    """
    now = now or timezone.now()
    changes = [Change(Balance.OPENHANDS, Kind.PURCHASE, check_amount(amount))]
    if bonus:
        changes.append(Change(Balance.OPENHANDS, Kind.BONUS, check_amount(bonus)))

    def run() -> Movement:
        if repeat := _find_repeat(username, changes, operation):
            return repeat
        is_restart = renews_expiry or _prepare_small_purchase(username, amount + bonus, now)
        _expire_if_due(username=username, now=now)
        dates = _purchase_dates(now) if is_restart else None
        return post(username, changes, Cause(operation, actor, reason, now), set_fields=dates)

    return run_in_transaction(run)


def starts_expiry(*, expires_at: datetime | None, present: Decimal, amount: Decimal) -> bool:
    """Whether a purchase of `amount` that is too small to restart the expiry gives an account its first date. USD.

    Without a date credits never expire. So where nothing is `present` yet on both balances, paying a little less than
    an order would buy credits for ever. Where there are some, they and what is added to them keep having no date. Less
    than a cent is nothing.
    """
    return expires_at is None and present < _CENT <= amount


def _prepare_small_purchase(username: str, amount: Decimal, now: datetime) -> bool:
    """Whether a purchase that does not renew the expiry starts it all the same. Raises `CreditsExpired`."""
    document = read_account(username)
    expires_at = expiry_of(document)
    check_not_expired(username, expires_at, now)
    balances = [from_bson(document.get(balance.field)) + held_of(document, balance) for balance in Balance]
    return starts_expiry(expires_at=expires_at, present=sum((max(one, ZERO) for one in balances), ZERO), amount=amount)


def _purchase_dates(now: datetime) -> Document:
    """Restart the expiry, unless a newer purchase has: a purchase that waited for its turn may commit after it."""
    is_newer_there = {"$and": [{"$gt": ["$purchasedAt", now]}, {"$gt": ["$expiresAt", now]}]}
    until = now + timedelta(days=settings.CREDIT_VALIDITY_DAYS)
    return {
        "purchasedAt": {"$cond": [is_newer_there, "$purchasedAt", now]},
        **expiry_fields({"$cond": [is_newer_there, "$expiresAt", until]}),
    }


def adjust(
    *,
    username: str,
    balance: Balance,
    amount: Decimal,
    operation: str,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> Movement:
    """Staff add (positive) or deduct (negative) credits of one balance; a deduction cannot go below zero. USD.

    The expiry stays as it is, and expired credits are not adjusted, nor those that were never converted. Raises
    `AccountNotFound`, `AccountNotConverted`, `CreditsExpired`, `InsufficientCredits`, `InvalidAmount`,
    `OperationConflict`. Safe to repeat with the same `operation`.
    """
    changes = [Change(balance, Kind.ADJUSTMENT, check_amount(abs(amount)).copy_sign(amount))]
    return _move_unexpired(username, changes, Cause(operation, actor, reason, now or timezone.now()))


def transfer(
    *,
    username: str,
    source: Balance,
    amount: Decimal,
    operation: str,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> Movement:
    """Move credits of one account from `source` to its other balance. USD.

    Held credits cannot be moved, nor can expired ones, nor those that were never converted. Raises `AccountNotFound`,
    `AccountNotConverted`, `CreditsExpired`, `InsufficientCredits`, `InvalidAmount`, `OperationConflict`. Safe to
    repeat with the same `operation`.
    """
    amount = check_amount(amount)
    changes = [Change(source, Kind.TRANSFER, -amount), Change(source.other, Kind.TRANSFER, amount)]
    return _move_unexpired(username, changes, Cause(operation, actor, reason, now or timezone.now()))


def reverse(
    *,
    username: str,
    amount: Decimal,
    kind: LedgerEntry.Kind,
    operation: str,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> Movement:
    """Take a refunded or charged-back purchase out of the OpenHands balance, below zero if need be. USD.

    The one movement that can make a debt; a negative balance blocks spending until it is paid. Raises
    `AccountNotFound`, `InvalidAmount`, `OperationConflict`, and `ValueError` for another kind. Safe to repeat with the
    same `operation`.
    """
    changes = [Change(Balance.OPENHANDS, _reversal_kind(kind), -check_amount(amount))]
    return _move(username, changes, Cause(operation, actor, reason, now or timezone.now()), allow_debt=True)


def reinstate(
    *,
    username: str,
    amount: Decimal,
    kind: LedgerEntry.Kind,
    operation: str,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> Movement:
    """Return to the OpenHands balance what `reverse` took: the refund failed, or the dispute was won. USD.

    The expiry stays as it is: nothing was bought. Raises `AccountNotFound`, `InvalidAmount`, `OperationConflict`, and
    `ValueError` for another kind. Safe to repeat with the same `operation`.
    """
    changes = [Change(Balance.OPENHANDS, _reversal_kind(kind), check_amount(amount))]
    return _move(username, changes, Cause(operation, actor, reason, now or timezone.now()))


def _reversal_kind(kind: LedgerEntry.Kind) -> LedgerEntry.Kind:
    if kind not in (Kind.REFUND, Kind.CHARGEBACK):
        raise ValueError(f"only a refund or a chargeback is reversed and reinstated, not {kind}")
    return kind


def expire(*, username: str, seen_expires_at: datetime, now: datetime | None = None) -> Movement | None:
    """Remove what is left on both balances if the credits expired and the expiry is still the one that was seen. USD.

    Returns what was removed; None if a purchase in between has changed the expiry, if it has not come yet, or if
    nothing is left. Debts stay. Raises `AccountNotFound`. Safe to repeat and to run in parallel.
    """
    now = now or timezone.now()
    return run_in_transaction(lambda: _expire_if_due(username=username, now=now, seen=seen_expires_at))


def _move(username: str, changes: Sequence[Change], cause: Cause, *, allow_debt: bool = False) -> Movement:
    def run() -> Movement:
        repeat = _find_repeat(username, changes, cause.operation)
        return repeat or post(username, changes, cause, allow_debt=allow_debt)

    return run_in_transaction(run)


def _move_unexpired(username: str, changes: Sequence[Change], cause: Cause) -> Movement:
    def run() -> Movement:
        if repeat := _find_repeat(username, changes, cause.operation):
            return repeat
        document = read_account(username)
        check_not_expired(username, expiry_of(document), cause.at)
        if any(change.balance is Balance.OHMYGPT for change in changes):
            check_converted(username, document.get("migration"))
        return post(username, changes, cause)

    return run_in_transaction(run)


def _find_repeat(username: str, changes: Sequence[Change], operation: str) -> Movement | None:
    """The movement that `operation` already made, or None; `OperationConflict` if it made another one."""
    found = {(entry.balance, entry.kind): entry for entry in LedgerEntry.objects.filter(operation=operation)}
    if not found:
        return None
    asked = {(change.balance.value, change.kind.value): change.amount for change in changes}
    if {key: entry.amount for key, entry in found.items()} != asked or any(
        entry.account_id != username for entry in found.values()
    ):
        raise OperationConflict(f"operation {operation!r} was already used for another movement")
    return Movement(tuple(found[key] for key in asked), is_repeat=True)


def _expire_if_due(*, username: str, now: datetime, seen: datetime | None = None) -> Movement | None:
    """Expire both balances inside the caller's transaction; open holds are marked, their rest will expire too."""
    document = read_account(username)
    expires_at = expiry_of(document)
    if expires_at is None or expires_at > now or (seen is not None and seen != expires_at):
        return None
    changes = [
        Change(balance, Kind.EXPIRY, -amount)
        for balance in Balance
        if (amount := from_bson(document.get(balance.field))) > 0
    ]
    open_holds = [key for key, hold in (document.get("holds") or {}).items() if not hold.get("isExpired")]
    if not changes and not open_holds:
        return None
    marks: Document = {f"holds.{key}.isExpired": True for key in open_holds}
    # Credits that a settlement gave back after an earlier expiry of the same date are a new operation.
    operation = f"expiry:{username}:{expires_at.isoformat()}:{now.isoformat()}"
    cause = Cause(operation, "system", f"Credits expired at {format_time(expires_at)}", now)
    if not changes:
        accounts().update_one({"_id": username}, {"$set": marks}, session=current_session())
        return None
    return post(username, changes, cause, set_fields=marks)


def format_time(value: datetime) -> str:
    """A time for a message: UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
