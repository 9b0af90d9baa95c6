"""Every change of a balance, and the only module that makes one.

Two families, as docs/credits.md explains:

* *Movements* (top-up, adjustment, transfer, expiry, take-back) run in one transaction with their ledger entries.
  `operation` makes each happen exactly once: a repeat returns the first entries and changes nothing.
* *Holds* are single-document updates for the proxy's hot path: `hold` sets the worst case aside, `settle` takes the
  cost and gives the rest back. What was spent stands in the request log.

All arithmetic happens in the database, on what the document holds at that moment; absent and null count as 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

from bson import Int64
from bson.raw_bson import RawBSONDocument
from django.conf import settings
from django.utils import timezone
from pymongo.collection import Collection

from accounts.errors import (
    AccountDisabled,
    AccountNotFound,
    CreditsExpired,
    InsufficientCredits,
    InvalidAmount,
    InvalidApiKey,
    OperationConflict,
    RateLimitExceeded,
)
from accounts.keys import key_filter
from accounts.models import Account, Balance, LedgerEntry, sum_holds
from accounts.rate_limits import (
    RATE_FIELDS,
    RateLimit,
    concurrency_allows,
    rate_allows,
    rate_update,
    read_rate,
    refusal_of,
)
from money.amounts import LARGEST_DOUBLE, MAX_AMOUNT, ZERO, from_bson, round_usd, to_bson
from mongo.collections import Document, collection_of, current_session, encoded, find_one_and_update
from mongo.transactions import run_in_transaction

Kind = LedgerEntry.Kind


def _accounts() -> "Collection[Document]":
    return collection_of(Account)


# --- Expressions for update pipelines ----------------------------------------------------------------------------


@cache
def _number(path: str) -> RawBSONDocument:
    """The field as `money.from_bson` reads it: a finite number rounded to 8 places; anything else is 0.

    Rounded before anything is added, so that what Python read plus what was added is what is there.
    """
    field = f"${path}"
    is_finite = {"$and": [{"$isNumber": field}, {"$gte": [field, -LARGEST_DOUBLE]}, {"$lte": [field, LARGEST_DOUBLE]}]}
    return encoded({"$cond": [is_finite, _rounded({"$toDouble": field}), 0.0]})


def _rounded(expression: Document) -> Document:
    return {"$round": [expression, 8]}


def _plus(path: str, amount: Decimal) -> Document:
    return _rounded({"$add": [_number(path), to_bson(amount)]})


@cache
def _count(path: str) -> RawBSONDocument:
    return encoded({"$toLong": _number(path)})


def _count_plus(path: str, count: int) -> Document:
    return {"$add": [_count(path), Int64(count)]}


def _at_least(path: str, amount: Decimal) -> Document:
    return {"$gte": [_number(path), to_bson(amount)]}


def _not_expired(now: datetime) -> Document:
    return {"$or": [{"expiresAt": None}, {"expiresAt": {"$gt": now}}]}


def _aware(value: object) -> datetime | None:
    """A date of a raw document (the driver returns naive UTC)."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


# --- Movements: one transaction, exactly once --------------------------------------------------------------------


@dataclass(frozen=True)
class Movement:
    """What an operation did, or had done before when `is_repeat`."""

    entries: tuple[LedgerEntry, ...]
    is_repeat: bool

    def amount(self, balance: Balance) -> Decimal:
        """The sum that this operation moved on `balance`, in USD."""
        return sum((entry.amount for entry in self.entries if entry.balance == balance), ZERO)

    def balance_after(self, balance: Balance) -> Decimal:
        """The balance right after the operation; raises `KeyError` if it did not touch it."""
        for entry in reversed(self.entries):
            if entry.balance == balance:
                return entry.balance_after
        raise KeyError(balance)


@dataclass(frozen=True)
class _Change:
    balance: Balance
    kind: Kind
    amount: Decimal


@dataclass(frozen=True)
class _Cause:
    """What every entry of one operation has in common."""

    operation: str
    actor: str
    reason: str
    at: datetime


def check_amount(amount: Decimal) -> Decimal:
    """Return `amount` with 8 places; raise `InvalidAmount` unless it is finite, above 0, exact and not huge."""
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise InvalidAmount("An amount must be a finite number.")
    if not ZERO < amount <= MAX_AMOUNT:
        raise InvalidAmount(f"An amount must be above 0 and at most {MAX_AMOUNT} USD.")
    if round_usd(amount) != amount:
        raise InvalidAmount("An amount has at most 8 decimal places.")
    return round_usd(amount)


def top_up(
    *,
    username: str,
    amount: Decimal,
    operation: str,
    actor: str,
    bonus: Decimal = ZERO,
    reason: str = "",
    now: datetime | None = None,
) -> Movement:
    """Credit a purchase (and its bonus) to the OpenHands balance and restart the expiry of both balances.

    Credits that had expired are removed first, so a purchase never revives them. USD. Raises `AccountNotFound`,
    `InvalidAmount`, `OperationConflict`. Safe to repeat with the same `operation`.
    """
    now = now or timezone.now()
    changes = [_Change(Balance.OPENHANDS, Kind.PURCHASE, check_amount(amount))]
    if bonus:
        changes.append(_Change(Balance.OPENHANDS, Kind.BONUS, check_amount(bonus)))

    def run() -> Movement:
        if repeat := _find_repeat(username, changes, operation):
            return repeat
        _expire_if_due(username=username, now=now)
        return _apply(username, changes, _Cause(operation, actor, reason, now), set_fields=_purchase_dates(now))

    return run_in_transaction(run)


def _purchase_dates(now: datetime) -> Document:
    """Restart the expiry, unless a newer purchase has: one that waited for its turn may commit after it."""
    is_newer_there = {"$and": [{"$gt": ["$purchasedAt", now]}, {"$gt": ["$expiresAt", now]}]}
    dates = {"purchasedAt": now, "expiresAt": now + timedelta(days=settings.CREDIT_VALIDITY_DAYS)}
    return {field: {"$cond": [is_newer_there, f"${field}", date]} for field, date in dates.items()}


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

    Raises `AccountNotFound`, `InvalidAmount`, `InsufficientCredits`, `OperationConflict`. Safe to repeat.
    """
    signed = check_amount(abs(amount)).copy_sign(amount)
    changes = [_Change(balance, Kind.ADJUSTMENT, signed)]
    return _move(username, changes, _Cause(operation, actor, reason, now or timezone.now()))


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

    Held credits cannot be moved, expired ones neither. Raises `AccountNotFound`, `CreditsExpired`,
    `InsufficientCredits`, `InvalidAmount`, `OperationConflict`. Safe to repeat.
    """
    amount = check_amount(amount)
    changes = [_Change(source, Kind.TRANSFER, -amount), _Change(source.other, Kind.TRANSFER, amount)]
    now = now or timezone.now()

    def run() -> Movement:
        if repeat := _find_repeat(username, changes, operation):
            return repeat
        expires_at = _aware(_read(username).get("expiresAt"))
        if expires_at and expires_at <= now:
            raise CreditsExpired(username, format_time(expires_at))
        return _apply(username, changes, _Cause(operation, actor, reason, now))

    return run_in_transaction(run)


def take_back(
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
    `AccountNotFound`, `InvalidAmount`, `OperationConflict`. Safe to repeat.
    """
    if kind not in (Kind.REFUND, Kind.CHARGEBACK):
        raise ValueError(f"a take-back is a refund or a chargeback, not {kind}")
    changes = [_Change(Balance.OPENHANDS, kind, -check_amount(amount))]
    return _move(username, changes, _Cause(operation, actor, reason, now or timezone.now()), allow_debt=True)


def give_back(
    *,
    username: str,
    amount: Decimal,
    kind: LedgerEntry.Kind,
    operation: str,
    actor: str,
    reason: str,
    now: datetime | None = None,
) -> Movement:
    """Return to the OpenHands balance what `take_back` took: the refund failed, or the dispute was won. USD.

    The expiry stays as it is: nothing was bought. Raises `AccountNotFound`, `InvalidAmount`, `OperationConflict`. Safe
    to repeat.
    """
    if kind not in (Kind.REFUND, Kind.CHARGEBACK):
        raise ValueError(f"only a refund or a chargeback is given back, not {kind}")
    changes = [_Change(Balance.OPENHANDS, kind, check_amount(amount))]
    return _move(username, changes, _Cause(operation, actor, reason, now or timezone.now()))


def expire(*, username: str, seen_expires_at: datetime, now: datetime | None = None) -> Movement | None:
    """Remove what is left on both balances if the credits expired and `expiresAt` is still the one that was seen.

    A purchase in between changes `expiresAt`, and nothing happens: returns None, as for an account with nothing left.
    Debts stay. Safe to repeat and to run in parallel.
    """
    now = now or timezone.now()
    return run_in_transaction(lambda: _expire_if_due(username=username, now=now, seen=seen_expires_at))


def _move(username: str, changes: Sequence[_Change], cause: _Cause, *, allow_debt: bool = False) -> Movement:
    def run() -> Movement:
        repeat = _find_repeat(username, changes, cause.operation)
        return repeat or _apply(username, changes, cause, allow_debt=allow_debt)

    return run_in_transaction(run)


def _find_repeat(username: str, changes: Sequence[_Change], operation: str) -> Movement | None:
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


def _read(username: str) -> Document:
    document: Document | None = _accounts().find_one({"_id": username}, session=current_session())
    if document is None:
        raise AccountNotFound(username)
    return document


def _apply(
    username: str,
    changes: Sequence[_Change],
    cause: _Cause,
    *,
    set_fields: Document | None = None,
    allow_debt: bool = False,
) -> Movement:
    """Update the balances and write the entries, inside the caller's transaction. `set_fields` are expressions."""
    totals: dict[Balance, Decimal] = {}
    for change in changes:
        totals[change.balance] = totals.get(change.balance, ZERO) + change.amount
    guards = [_at_least(balance.field, -total) for balance, total in totals.items() if total < 0 and not allow_debt]
    query: Document = {"_id": username, **({"$expr": {"$and": guards}} if guards else {})}
    update: Document = {balance.field: _plus(balance.field, total) for balance, total in totals.items()}
    after = find_one_and_update(
        Account, query, [{"$set": update | (set_fields or {})}], fields=[balance.field for balance in totals]
    )
    if after is None:
        document = _read(username)
        taken = [balance for balance, total in totals.items() if total < 0]
        # The database has refused one; should Python read the balance otherwise, it is still a refusal.
        short = next((b for b in taken if from_bson(document.get(b.field)) < -totals[b]), taken[0])
        raise InsufficientCredits(
            balance_name=short.label,
            required=-totals[short],
            available=from_bson(document.get(short.field)),
            held=_held(document, short),
        )
    running = {balance: from_bson(after[balance.field]) - total for balance, total in totals.items()}
    entries = []
    for change in changes:
        running[change.balance] += change.amount
        entries.append(_write_entry(username, change, running[change.balance], cause))
    return Movement(tuple(entries), is_repeat=False)


def _write_entry(username: str, change: _Change, balance_after: Decimal, cause: _Cause) -> LedgerEntry:
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


def _held(document: Document, balance: Balance) -> Decimal:
    return sum_holds(document.get("holds") or {}, balance)


def _expire_if_due(*, username: str, now: datetime, seen: datetime | None = None) -> Movement | None:
    """Expire both balances inside the caller's transaction; open holds are marked, their rest will expire too."""
    document = _read(username)
    expires_at = _aware(document.get("expiresAt"))
    if expires_at is None or expires_at > now or (seen is not None and seen != expires_at):
        return None
    changes = [
        _Change(balance, Kind.EXPIRY, -amount)
        for balance in Balance
        if (amount := from_bson(document.get(balance.field))) > 0
    ]
    open_holds = [key for key, hold in (document.get("holds") or {}).items() if not hold.get("isExpired")]
    if not changes and not open_holds:
        return None
    marks: Document = {f"holds.{key}.isExpired": True for key in open_holds}
    # Credits that a settlement gave back after an earlier expiry of the same date are a new operation.
    operation = f"expiry:{username}:{expires_at.isoformat()}:{now.isoformat()}"
    cause = _Cause(operation, "system", f"Credits expired at {format_time(expires_at)}", now)
    if not changes:
        _accounts().update_one({"_id": username}, {"$set": marks}, session=current_session())
        return None
    return _apply(username, changes, cause, set_fields=marks)


def format_time(value: datetime) -> str:
    """A time for a message: UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# --- Holds: single-document updates, no transaction --------------------------------------------------------------

HOLD_ATTEMPTS = 10
"""Two hundred requests at once for the credits of ten: one that lost three times in a row was seen."""


@dataclass(frozen=True)
class Hold:
    """Credits of one balance set aside for one request. USD. `rate` is where the key's limit stands after it."""

    request_id: str
    username: str
    balance: Balance
    amount: Decimal
    balance_after: Decimal
    rate: RateLimit


@dataclass(frozen=True)
class Settlement:
    """What settling a hold took and left. USD. `balance_after` is None when the hold was gone: nothing was done."""

    balance_after: Decimal | None


def hold(
    *,
    api_key: str,
    balance: Balance,
    request_id: str,
    minimum: Decimal,
    maximum: Decimal,
    now: datetime | None = None,
) -> Hold:
    """Authenticate a key and set credits aside, in one update: `maximum`, or all there is if that covers `minimum`.

    `minimum` = `maximum` is a fixed amount. The filter and the arithmetic are one atomic step in the database, so
    holds can never add up to more than the balance. `request_id` must be new. USD.

    The key's rate limits are judged and counted in the same step.

    Raises `InvalidApiKey`, `AccountDisabled`, `CreditsExpired`, `RateLimitExceeded`, `InsufficientCredits` (its
    `required` is `minimum`).
    Not safe to repeat: a second call with the same id is a second hold of the same name and raises nothing; ids are
    random and never reused.
    """
    now = now or timezone.now()
    key = key_filter(api_key)
    low, high = to_bson(minimum), to_bson(maximum)
    query = {
        **key,
        "isActive": {"$ne": False},
        "$and": [_not_expired(now)],
        "$expr": {"$and": [_at_least(balance.field, minimum), rate_allows(now), concurrency_allows()]},
    }
    free = _number(balance.field)
    amount: Document | float = high if low == high else {"$min": [high, free]}
    update: list[Document] = [
        {
            "$set": {
                f"holds.{request_id}": {"balance": balance.value, "amount": amount, "at": now},
                "heldSince": {"$ifNull": ["$heldSince", now]},
                **rate_update(now),
            }
        },
        {"$set": {balance.field: _rounded({"$subtract": [_number(balance.field), f"$holds.{request_id}.amount"]})}},
    ]
    fields = (balance.field, f"holds.{request_id}", *RATE_FIELDS)
    # A refusal reads why in a second trip; if the reason has gone by then (a purchase, a settlement), it tries again.
    for _ in range(HOLD_ATTEMPTS):
        after = find_one_and_update(Account, query, update, fields=fields)
        if after is not None:
            return Hold(
                request_id=request_id,
                username=after["_id"],
                balance=balance,
                amount=from_bson(after["holds"][request_id]["amount"]),
                balance_after=from_bson(after[balance.field]),
                rate=read_rate(after, now),
            )
        refusal = _refusal(key, balance, minimum, now)
        if refusal is not None:
            raise refusal
    rate = read_rate(_accounts().find_one(key) or {}, now)
    raise RateLimitExceeded("Other requests came first each time. Try again.", rate=rate, retry_seconds=1)


def _refusal(key: Document, balance: Balance, minimum: Decimal, now: datetime) -> Exception | None:
    """Why a hold matched no account, or None if it would match now."""
    document = _accounts().find_one(key)
    if document is None:
        return InvalidApiKey()
    if document.get("isActive") is False:
        return AccountDisabled(document["_id"])
    expires_at = _aware(document.get("expiresAt"))
    if expires_at is not None and expires_at <= now:
        return CreditsExpired(document["_id"], format_time(expires_at))
    if limited := refusal_of(document, now):
        return limited
    available = from_bson(document.get(balance.field))
    if available >= minimum:
        return None
    return InsufficientCredits(
        balance_name=balance.label, required=minimum, available=available, held=_held(document, balance)
    )


def settle(
    *,
    username: str,
    request_id: str,
    balance: Balance,
    cost: Decimal,
    input_tokens: int = 0,
    output_tokens: int = 0,
    now: datetime | None = None,
) -> Settlement:
    """Take `cost` (at most the hold) for good, give the rest of the hold back, count the usage. USD.

    The request's log must be stored first (it is the write-ahead record). One update guarded by the hold's existence:
    a second call does nothing. Where the credits expired while the request ran, the rest expires too, with its
    ledger entry, in a transaction.
    """
    amount = f"$holds.{request_id}.amount"
    cost_taken: Document = {"$min": [to_bson(cost), amount]}
    counters: Document = {
        balance.used_field: _rounded({"$add": [_number(balance.used_field), cost_taken]}),
        "totalInputTokens": _count_plus("totalInputTokens", input_tokens),
        "totalOutputTokens": _count_plus("totalOutputTokens", output_tokens),
    }
    if balance is Balance.OPENHANDS:
        counters["tokensUserNew"] = _count_plus("tokensUserNew", input_tokens + output_tokens)
    given_back = _rounded({"$add": [_number(balance.field), {"$subtract": [amount, cost_taken]}]})
    update: list[Document] = [
        {"$set": {balance.field: given_back, **counters}},
        {"$unset": [f"holds.{request_id}"]},
        {"$set": {"heldSince": {"$cond": [{"$eq": ["$holds", {}]}, "$$REMOVE", "$heldSince"]}}},
    ]

    def run(extra_filter: Document) -> Document | None:
        query = {"_id": username, f"holds.{request_id}": {"$exists": True}, **extra_filter}
        return find_one_and_update(Account, query, update, fields=(balance.field,))

    after = run({f"holds.{request_id}.isExpired": {"$ne": True}})
    if after is None:
        after = run_in_transaction(lambda: _settle_expired(username, request_id, run, now or timezone.now()))
    return Settlement(balance_after=None if after is None else from_bson(after[balance.field]))


def _settle_expired(
    username: str, request_id: str, run: Callable[[Document], Document | None], now: datetime
) -> Document | None:
    """Settle a hold whose credits expired meanwhile: its rest does not return to the balance. None if it is gone."""
    before = _accounts().find_one({"_id": username}, session=current_session())
    after = run({})
    if before is None or after is None:
        return None
    balance = Balance(before["holds"][request_id]["balance"])
    rest = from_bson(after[balance.field]) - from_bson(before.get(balance.field))
    if rest <= 0:
        return after
    cause = _Cause(f"expiry:{request_id}", "system", "Credits expired while a request held them", now)
    _apply(username, [_Change(balance, Kind.EXPIRY, -rest)], cause, allow_debt=True)
    return _read(username)


# --- Accounts whose history begins here --------------------------------------------------------------------------


def open_ledger(*, username: str, amounts: dict[Balance, Decimal], actor: str, now: datetime | None = None) -> bool:
    """Write the `opening` entries of an account: what it had before this ledger began. Changes no balance. USD.

    Returns False when it was open already. Safe to repeat; the amounts of the first call stay.
    """
    reason = "Balance when the ledger of this account began"
    cause = _Cause(f"opening:{username}", actor, reason, now or timezone.now())

    def run() -> bool:
        if LedgerEntry.objects.filter(operation=cause.operation).exists():
            return False
        for balance, amount in amounts.items():
            change = _Change(balance, Kind.OPENING, round_usd(amount))
            _write_entry(username, change, change.amount, cause)
        return True

    return run_in_transaction(run)
