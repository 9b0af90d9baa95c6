"""Holds: credits set aside for one request, and their settlement. Single-document updates, no transaction.

The proxy's hot path: `hold` authenticates, judges the limits and sets the worst case aside, all in one update; `settle`
takes the cost and gives the rest back in another. What was spent stands in the request log.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from accounts.at_refusal import account_at_refusal
from accounts.authentication import find_document_by_key
from accounts.credits.movements import format_time
from accounts.credits.posting import Cause, Change, Kind, accounts, held_of, post, read_account
from accounts.errors import (
    AccountDisabled,
    AccountNeedsRepair,
    AccountNotConverted,
    AccountUnderReview,
    BillingError,
    CreditsExpired,
    InsufficientCredits,
    InvalidApiKey,
    RateLimitExceeded,
)
from accounts.invariants import check_balance, check_cost, check_hold
from accounts.key_limits import KeyInUse, Use, budget_refusal, given_back, unusable_key, use_refusal
from accounts.keys import key_filter
from accounts.models import Account, Balance
from accounts.needs_repair import balance_is_readable, check, is_readable, problems_of
from accounts.processes import process_id, take_census
from accounts.rate_limits import (
    RATE_FIELDS,
    RateLimit,
    concurrency_allows,
    concurrency_refusal_of,
    rate_allows,
    rate_update,
    read_rate,
    refusal_of,
)
from accounts.undecided import expiry_of, not_expired
from money.amounts import from_bson, to_bson
from money.expressions import at_least, count_plus, is_finite, number, rounded
from mongo.collections import Document, current_session, find_one_and_update
from mongo.transactions import run_in_transaction

HOLD_ATTEMPTS = 10
"""Two hundred requests at once for the credits of ten: a request that lost three times in a row was seen."""


@dataclass(frozen=True)
class Hold:
    """Credits of one balance set aside for one request. USD. `rate` is where the key's limit stands after it.

    `key_id` names the key that pays, as long as it is the account's.
    """

    request_id: str
    username: str
    balance: Balance
    amount: Decimal
    balance_after: Decimal
    rate: RateLimit
    key_id: str


@dataclass(frozen=True)
class Settlement:
    """What settling a hold left. USD. `balance_after` is None when the hold was gone: nothing was done."""

    balance_after: Decimal | None


def hold(
    *,
    api_key: str,
    balance: Balance,
    request_id: str,
    minimum: Decimal,
    maximum: Decimal,
    ample: Decimal | None = None,
    models: Sequence[str] = (),
    now: datetime | None = None,
) -> Hold:
    """Authenticate a key and set credits aside, in one update: `maximum`, or less that still covers `minimum`.

    Less is half of what is free, if that is below `ample` (by default `maximum`): so several requests at once share a
    balance. `minimum` = `maximum` is a fixed amount. The filter and the arithmetic are one atomic step in the database,
    so holds never add up to more than the balance. The rate limits are judged and counted in the same step, and so are
    the key's own limits: its budget bounds what is held as the balance does. `models` are the names of the model that
    is asked for; a key that may use some models only may use none without. USD.

    Raises `InvalidApiKey`, `AccountNeedsRepair`, `KeyDisabled`, `KeyExpired`, `AccountDisabled`, `AccountUnderReview`,
    `AccountNotConverted`, `CreditsExpired`, `ModelNotAllowed`, `RateLimitExceeded`, `InsufficientCredits` (its
    `required` is `minimum`), `KeyBudgetReached`, `BrokenInvariant`, and `DatabaseError` where this process cannot tell
    the database that it lives: the hold names it. Not safe to repeat: a second call with the same id is a second hold
    of the same name and raises nothing; ids are random and never reused.
    """
    check_hold(request_id, minimum, minimum=minimum, maximum=maximum)
    now = now or timezone.now()
    key, key_in_use, use = key_filter(api_key), KeyInUse(api_key, now=now), Use(balance, models)
    wanted = _Wanted(request_id, use, minimum, maximum, maximum if ample is None else ample, now)
    # A refusal reads why in a second trip; if the reason has gone by then (a purchase, a settlement), it tries again.
    for _ in range(HOLD_ATTEMPTS):
        after = _try_hold(key, key_in_use, wanted)
        if after is not None:
            amount_held, balance_after = (
                from_bson(after["holds"][request_id]["amount"]),
                from_bson(after[balance.field]),
            )
            # A hold that breaks one of these pays for nothing; the sweep gives it back.
            check_hold(request_id, amount_held, minimum=minimum, maximum=maximum)
            check_balance(balance.label, balance_after, moved=-amount_held, may_be_debt=False)
            return Hold(
                request_id=request_id,
                username=after["_id"],
                balance=balance,
                amount=amount_held,
                balance_after=balance_after,
                rate=read_rate(after, now),
                key_id=key_in_use.check_held(after, request_id),
            )
        key_in_use.forget()
        refusal = _refusal(api_key, use, minimum, now)
        if refusal is not None:
            raise refusal
    rate = read_rate(accounts().find_one(key) or {}, now)
    raise RateLimitExceeded("Other requests came first each time. Try again.", rate=rate, retry_seconds=1)


@dataclass(frozen=True)
class _Wanted:
    """What is to be held, for which use, as `hold` was asked. USD."""

    request_id: str
    use: Use
    minimum: Decimal
    maximum: Decimal
    ample: Decimal
    now: datetime

    def amount(self, key_in_use: KeyInUse) -> Document | float:
        """Expression: how much is held where the filter matches."""
        low, high = to_bson(self.minimum), to_bson(self.maximum)
        if low == high:
            return high
        # What is null, as without a budget, counts for nothing in a minimum.
        available: Document = {"$min": [number(self.use.balance.field), key_in_use.left()]}
        share = {"$max": [low, {"$min": [high, rounded({"$divide": [available, 2]})]}]}
        return {"$cond": [{"$gte": [available, to_bson(self.ample)]}, high, share]}


def _try_hold(key: Document, key_in_use: KeyInUse, wanted: _Wanted) -> Document | None:
    """Hold it in one update, if the account with this key may; the fields of it afterwards, or None."""
    field, hold_path, now = wanted.use.balance.field, f"holds.{wanted.request_id}", wanted.now
    query = {
        **key,
        **key_in_use.condition,
        "isActive": {"$ne": False},
        "reviewSince": None,
        "migration": {"$ne": False},
        "$and": [not_expired(now)],
        # Above, a list holds whatever is in it, and text counts for a flag: here nothing odd passes.
        "$expr": {
            "$and": [
                is_readable(),
                at_least(field, wanted.minimum),
                rate_allows(now),
                concurrency_allows(),
                *key_in_use.may_hold(wanted.use, wanted.minimum),
            ]
        },
    }
    hold_entry = {
        "balance": wanted.use.balance.value,
        "amount": wanted.amount(key_in_use),
        "at": now,
        "process": process_id(),
        **key_in_use.of_hold(),
    }
    amount = f"${hold_path}.amount"
    update: list[Document] = [
        {"$set": {hold_path: hold_entry, "heldSince": {"$ifNull": ["$heldSince", now]}, **rate_update(now)}},
        {"$set": {field: rounded({"$subtract": [number(field), amount]}), **key_in_use.counted(amount)}},
    ]
    return find_one_and_update(Account, query, update, fields=(field, hold_path, *key_in_use.fields, *RATE_FIELDS))


def check_may_hold(*, api_key: str, balance: Balance, minimum: Decimal, now: datetime | None = None) -> None:
    """Raise what `hold` would raise now for this `minimum` (USD), holding and counting nothing. One round trip.

    For what is costly to do before the hold is known to have a chance: the model is not known yet, and not judged.
    Safe to repeat.
    """
    if refusal := _refusal(api_key, Use(balance, None), minimum, now or timezone.now()):
        raise refusal


def _refusal(api_key: str, use: Use, minimum: Decimal, now: datetime) -> BillingError | None:
    """Why a hold matched no account, or None if it would match now. It carries what the account had then."""
    document = find_document_by_key(api_key)
    if document is None:
        return InvalidApiKey()
    refusal = _judge(document, api_key, use, minimum, now)
    if refusal is not None:
        refusal.account_then = account_at_refusal(document)
    return refusal


def _judge(document: Document, api_key: str, use: Use, minimum: Decimal, now: datetime) -> BillingError | None:
    """Why this account cannot have a hold of `minimum` now, or None if it can."""
    balance = use.balance
    if unusable := _unusable(document, api_key, now):
        return unusable
    if not_allowed := use_refusal(document.get("keys"), api_key, use):
        return not_allowed
    if limited := refusal_of(document, now) or concurrency_refusal_of(document, now):
        return limited
    available, held = from_bson(document.get(balance.field)), held_of(document, balance)
    if available >= minimum:
        return budget_refusal(document, api_key, minimum=minimum, now=now)
    return InsufficientCredits(
        balance_name=balance.label,
        required=minimum,
        available=available,
        held=held,
        retry_seconds=_seconds_until_there_are(minimum - available, document, balance) if held else None,
    )


def _seconds_until_there_are(missing: Decimal, document: Document, balance: Balance) -> int | None:
    """When a sweep will have given back enough of what dead processes hold; None if running requests may do so."""
    holds = {request_id: hold for request_id, hold in document["holds"].items() if hold["balance"] == balance}
    waits = take_census().seconds_until_closed(holds)
    for request_id in sorted(holds, key=lambda request_id: waits[request_id] or 0):
        missing -= from_bson(holds[request_id]["amount"])
        if missing <= 0:
            return waits[request_id]
    return None


def _unusable(document: Document, api_key: str, now: datetime) -> BillingError | None:
    """Why none of an account's credits can be spent with this key, whatever there is."""
    if problems := problems_of(document):
        return AccountNeedsRepair(document["_id"], problems)
    if unusable := unusable_key(document["_id"], document.get("keys"), api_key, now=now):
        return unusable
    refused: dict[type[BillingError], bool] = {
        AccountDisabled: document.get("isActive") is False,
        AccountUnderReview: document.get("reviewSince") is not None,
        AccountNotConverted: document.get("migration") is False,
    }
    for error, holds in refused.items():
        if holds:
            return error(document["_id"])
    expires_at = expiry_of(document)
    if expires_at is not None and expires_at <= now:
        return CreditsExpired(document["_id"], format_time(expires_at))
    return None


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
    """Take `cost` (USD, at most the hold) for good, give the rest of the hold back, and count the usage.

    The request's log must be stored first: it is the write-ahead record. Where the credits expired while the request
    ran, the rest expires too, with its ledger entry, in a transaction. An account or a hold that is not there is no
    error: nothing is done. Raises `BrokenInvariant` for a cost below 0, `AccountNeedsRepair` where the balance or the
    hold has become unreadable, and `PyMongoError` or `DatabaseError` when the database fails. Safe to repeat: one
    update guarded by the hold's existence, so a second call does nothing.
    """
    check_cost(request_id, cost, hold=cost)  # The update takes no more than the hold, whatever the cost.
    amount = f"$holds.{request_id}.amount"
    cost_taken: Document = {"$min": [to_bson(cost), amount]}
    counters: Document = {
        balance.used_field: rounded({"$add": [number(balance.used_field), cost_taken]}),
        "totalInputTokens": count_plus("totalInputTokens", input_tokens),
        "totalOutputTokens": count_plus("totalOutputTokens", output_tokens),
    }
    if balance is Balance.OPENHANDS:
        counters["tokensUserNew"] = count_plus("tokensUserNew", input_tokens + output_tokens)
    is_countable = {"$and": [balance_is_readable(balance), is_finite(amount)]}
    rest_returned = rounded({"$add": [number(balance.field), {"$subtract": [amount, cost_taken]}]})
    update: list[Document] = [
        {"$set": {balance.field: rest_returned, **counters, **given_back(request_id, cost_taken)}},
        {"$unset": [f"holds.{request_id}"]},
        {"$set": {"heldSince": {"$cond": [{"$eq": ["$holds", {}]}, "$$REMOVE", "$heldSince"]}}},
    ]

    def run(extra_filter: Document) -> Document | None:
        query = {"_id": username, f"holds.{request_id}": {"$exists": True}, "$expr": is_countable, **extra_filter}
        return find_one_and_update(Account, query, update, fields=(balance.field,))

    after = run({f"holds.{request_id}.isExpired": {"$ne": True}})
    if after is None:
        after = run_in_transaction(lambda: _settle_expired(username, request_id, run, now or timezone.now()))
    return Settlement(balance_after=None if after is None else from_bson(after[balance.field]))


def _settle_expired(
    username: str, request_id: str, run: Callable[[Document], Document | None], now: datetime
) -> Document | None:
    """Settle a hold whose credits expired meanwhile: its rest does not return to the balance. None if it is gone."""
    before = accounts().find_one({"_id": username}, session=current_session())
    holds = (before or {}).get("holds")
    if before is None or not isinstance(holds, Mapping) or request_id not in holds:
        return None
    check(before)
    after = run({})
    if after is None:
        return None
    balance = Balance(before["holds"][request_id]["balance"])
    rest = from_bson(after[balance.field]) - from_bson(before.get(balance.field))
    if rest <= 0:
        return after
    cause = Cause(f"expiry:{request_id}", "system", "Credits expired while a request held them", now)
    post(username, [Change(balance, Kind.EXPIRY, -rest)], cause, allow_debt=True)
    return read_account(username)
