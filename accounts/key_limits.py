"""What one key of an account may do: decided inside the update that holds the credits, so that a budget is hard.

An account's keys have entries in its document: `keys: {"<beginning of the key's hash>": {…}}`. The first key needs one
only where it has limits. An entry's `spent` counts what the key's requests hold and what they have cost in `period`, a
day or a month (UTC). A request is counted in the period in which it began: its hold names it, and the settlement gives
the rest back to that period only.

What is said here in two ways, for the database and in Python, must agree: the database decides, Python says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from bson.raw_bson import RawBSONDocument

from accounts.errors import (
    AccountNeedsRepair,
    BillingError,
    InvalidApiKey,
    KeyBudgetReached,
    KeyDisabled,
    KeyExpired,
    ModelNotAllowed,
)
from accounts.invariants import check_budget
from accounts.key_entry import BudgetPeriod, entry_of
from accounts.keys import hash_key, key_id
from accounts.models import Balance
from money.amounts import LARGEST_BALANCE, ZERO, from_bson, to_bson
from money.expressions import is_finite, number, rounded
from mongo.collections import Document, encoded
from mongo.fields import LAST_TIME


def unusable_key(username: str, keys: object, api_key: str, *, now: datetime) -> BillingError | None:
    """Why a key of an account cannot be used at all, whatever for: it is unreadable, disabled or has expired.

    `keys` is what the account's document holds there, which can be read.
    """
    entry = entry_of(keys, hash_key(api_key)) if isinstance(keys, Mapping) else None
    if entry is None:
        return None
    if entry.problems:
        return AccountNeedsRepair(username, {f"keys.{entry.key_id}.{name}": p for name, p in entry.problems.items()})
    if entry.is_retired:  # As a key that was replaced or deleted and is remembered by nobody.
        return InvalidApiKey()
    if entry.is_disabled:
        return KeyDisabled(entry.key_id)
    if entry.expires_at is not None and entry.expires_at <= now:
        return KeyExpired(entry.key_id, entry.expires_at)
    return None


@dataclass(frozen=True)
class Use:
    """What a key is to be used for: the upstream of a balance, and a model by any of the names that it has.

    `models` None: the model is not known yet, and not judged. Without any name a key that may use some models only may
    use none.
    """

    balance: Balance
    models: Sequence[str] | None = ()


def use_refusal(keys: object, api_key: str, use: Use) -> ModelNotAllowed | None:
    """Why a usable key may not be used for this; None if it may."""
    entry = entry_of(keys, hash_key(api_key)) if isinstance(keys, Mapping) else None
    if entry is None:
        return None
    models = use.models
    if entry.upstreams is not None and use.balance.value not in entry.upstreams:
        return ModelNotAllowed(what=use.balance.value, allowed=entry.upstreams, is_upstream=True)
    if models is not None and entry.models is not None and not set(models) & set(entry.models):
        return ModelNotAllowed(what=models[0] if models else "this model", allowed=entry.models, is_upstream=False)
    return None


def budget_refusal(
    document: Mapping[str, Any], api_key: str, *, minimum: Decimal, now: datetime
) -> KeyBudgetReached | None:
    """Why the budget of a usable key does not allow `minimum` (USD) more now; None if it does."""
    keys = document.get("keys")
    entry = entry_of(keys, hash_key(api_key)) if isinstance(keys, Mapping) else None
    left = None if entry is None else entry.left_at(now)
    if entry is None or entry.budget is None or left is None or minimum <= left:
        return None
    period, holds = entry.period_at(now), document.get("holds") or {}
    held = sum(
        (
            from_bson(hold["amount"])
            for hold in holds.values()
            if hold.get("keyId") == entry.key_id and hold.get("keyPeriod") == period
        ),
        ZERO,
    )
    return KeyBudgetReached(
        budget=entry.budget,
        period=entry.budget_period.value,
        spent=entry.spent_at(now) - held,
        held=held,
        required=minimum,
        begins_anew_at=entry.budget_period.next_start(now),
    )


KEY = "$$key"
"""The entry, where an expression is judged."""


def _is_none(path: str) -> Document:
    return {"$eq": [{"$ifNull": [path, None]}, None]}


def _is_text(path: str) -> Document:
    return {"$and": [{"$eq": [{"$type": path}, "string"]}, {"$ne": [path, ""]}]}


def _is_amount(path: str) -> Document:
    """Whether the value at `path` is an amount of USD, missing, or null."""
    value = {"$ifNull": [path, 0]}
    return {"$and": [{"$gte": [value, 0]}, {"$lte": [value, to_bson(LARGEST_BALANCE)]}]}


def _period() -> Document:
    """The period that is counted now; the stored one may be the later one by another machine's clock."""
    now = {"$cond": [{"$eq": [f"{KEY}.budgetPeriod", BudgetPeriod.DAY.value]}, "$$day", "$$month"]}
    return {"$max": [f"{KEY}.period", now]}


def _spent() -> Document:
    return {"$cond": [{"$eq": [f"{KEY}.period", _period()]}, number("$key.spent"), 0.0]}


def _left() -> Document:
    """What the budget leaves; null without one."""
    left = rounded({"$subtract": [number("$key.budget"), _spent()]})
    return {"$cond": [_is_none(f"{KEY}.budget"), None, left]}


def _allows(path: str, wanted: str) -> Document:
    """Whether one of the names in `wanted`, a list, is in the list at `path`, if there is any."""
    has_one = {"$gt": [{"$size": {"$setIntersection": [path, wanted]}}, 0]}
    return {"$cond": [{"$isArray": path}, has_one, _is_none(path)]}


@cache
def _is_usable() -> RawBSONDocument:
    no = [None, False]
    expires_at = {"$ifNull": [f"{KEY}.expiresAt", LAST_TIME]}
    parts: list[Document] = [
        {"$eq": [{"$type": KEY}, "object"]},
        {"$eq": [f"{KEY}.hash", "$$hash"]},
        {"$in": [{"$ifNull": [f"{KEY}.isDisabled", None]}, no]},
        {"$in": [{"$ifNull": [f"{KEY}.isRetired", None]}, no]},
        {"$in": [{"$ifNull": [f"{KEY}.isAdopted", None]}, [*no, True]]},
        {"$gt": [expires_at, "$$now"]},
        {"$lte": [expires_at, LAST_TIME]},
        {"$in": [{"$ifNull": [f"{KEY}.budgetPeriod", None]}, [None, *(period.value for period in BudgetPeriod)]]},
        {"$in": [{"$type": f"{KEY}.period"}, ["missing", "null", "undefined", "string"]]},
        _is_amount(f"{KEY}.spent"),
        _is_amount(f"{KEY}.budget"),
        *({"$or": [_is_none(path), {"$isArray": path}]} for path in (f"{KEY}.models", f"{KEY}.upstreams")),
    ]
    return encoded({"$and": parts})


@cache
def _may_be_used() -> RawBSONDocument:
    return encoded(
        {"$and": [_is_usable(), _allows(f"{KEY}.upstreams", "$$upstreams"), _allows(f"{KEY}.models", "$$models")]}
    )


@cache
def _may_hold() -> RawBSONDocument:
    return encoded({"$and": [_may_be_used(), {"$lte": ["$$minimum", {"$ifNull": [_left(), "$$minimum"]}]}]})


@cache
def _kept(what: str) -> RawBSONDocument:
    return encoded({"left": _left(), "spent": _spent(), "period": _period()}[what])


_without_entry: dict[str, None] = {}
"""Hashes of keys that had no entry when this process held for them last: the database is spared judging one.

Nothing depends on it: the condition says that there is none, and where there is one by now the hold tries again.
"""
MOST_REMEMBERED = 20_000


class KeyInUse:
    """Expressions about the key that a request came with, for the conditions and the updates of its account."""

    def __init__(self, api_key: str, *, now: datetime) -> None:
        self._hash = hash_key(api_key)
        self._now = now
        self._is_plain = self._hash in _without_entry
        self.path = f"keys.{key_id(self._hash)}"
        self._times: Document = {period.value: period.name_at(now) for period in BudgetPeriod}
        self._has_entry: Document = {"$ne": [{"$type": f"${self.path}"}, "missing"]}

    def check_held(self, document: Document, request_id: str) -> str:
        """The id of the key that a hold counts for, from the document after it. Raises `BrokenInvariant`."""
        own_id = document["holds"][request_id].get("keyId")
        if own_id is None:
            if len(_without_entry) >= MOST_REMEMBERED:
                _without_entry.clear()
            _without_entry[self._hash] = None
            return key_id(self._hash)
        entry = document["keys"][key_id(self._hash)]
        if entry.get("budget") is not None:
            check_budget(own_id, from_bson(entry["spent"]), budget=from_bson(entry["budget"]))
        return str(own_id)

    def forget(self) -> None:
        """A hold matched nothing: the key may have an entry by now, which the next try judges."""
        self._is_plain = False
        _without_entry.pop(self._hash, None)

    @property
    def condition(self) -> Document:
        """What a hold that judges no entry asks for: that there is none."""
        return {self.path: {"$exists": False}} if self._is_plain else {}

    @property
    def fields(self) -> tuple[str, ...]:
        """What of the entry a hold reads: whatever else it holds must not keep the answer from being read."""
        return () if self._is_plain else (f"{self.path}.spent", f"{self.path}.budget")

    def is_usable(self) -> Document:
        """Whether the key is neither disabled nor expired. A key without an entry has no limits."""
        return self._judged(_is_usable(), {})

    def may_be_used(self, use: Use) -> Document:
        """Whether it may be used for this."""
        return self._judged(_may_be_used(), _names(use))

    def may_hold(self, use: Use, minimum: Decimal) -> list[Document]:
        """Conditions: it may, and its budget allows `minimum` more, in USD."""
        if self._is_plain:
            return []
        return [self._judged(_may_hold(), _names(use) | self._times | {"minimum": to_bson(minimum)})]

    def left(self) -> Document | None:
        """What its budget leaves; null without one."""
        return None if self._is_plain else self._let(_kept("left"), self._times)

    def of_hold(self) -> Document:
        """Fields of the hold that say which key, and which period, it counts for. None without an entry."""
        if self._is_plain:
            return {}
        period = self._let(_kept("period"), self._times)
        own_id = {"$cond": [_is_text(f"${self.path}.id"), f"${self.path}.id", self.path.removeprefix("keys.")]}
        return {
            "keyId": {"$cond": [self._has_entry, own_id, "$$REMOVE"]},
            "keyPeriod": {"$cond": [self._has_entry, period, "$$REMOVE"]},
        }

    def counted(self, amount: str) -> Document:
        """Field of an update that counts what is held, the value of `amount`, for the key, and that it was used."""
        if self._is_plain:
            return {}
        spent = {"$add": [self._let(_kept("spent"), self._times), amount]}
        changed = {
            "spent": rounded(spent),
            "period": self._let(_kept("period"), self._times),
            "lastUsedAt": self._now,
        }
        entry = {"$mergeObjects": [f"${self.path}", changed]}
        keys = {"$mergeObjects": ["$keys", {self.path.removeprefix("keys."): entry}]}
        return {"keys": {"$cond": [self._has_entry, keys, "$keys"]}}

    def _judged(self, expression: RawBSONDocument, variables: Document) -> Document:
        variables = {"hash": self._hash, "now": self._now, **variables}
        return {"$or": [{"$not": [self._has_entry]}, self._let(expression, variables)]}

    def _let(self, expression: RawBSONDocument, variables: Document) -> Document:
        return {"$let": {"vars": {"key": f"${self.path}", **variables}, "in": expression}}


def _names(use: Use) -> Document:
    return {"upstreams": [use.balance.value], "models": {"$literal": list(use.models or ())}}


def given_back(request_id: str, cost: Document) -> Document:
    """Field of an update that settles a hold: what the hold's key has spent, without what it did not cost.

    Where another period has begun, or the key is gone, there is nothing to give back.
    """
    hold = f"$holds.{request_id}"
    is_its_key = [
        {"$eq": [{"$cond": [_is_text("$$entry.v.id"), "$$entry.v.id", "$$entry.k"]}, f"{hold}.keyId"]},
        {"$eq": ["$$entry.v.period", f"{hold}.keyPeriod"]},
        is_finite("$$entry.v.spent"),
    ]
    spent = {"$subtract": [number("$entry.v.spent"), {"$subtract": [f"{hold}.amount", cost]}]}
    settled = {"$mergeObjects": ["$$entry.v", {"spent": {"$max": [rounded(spent), 0.0]}}]}
    entry = {"$cond": [{"$and": is_its_key}, {"k": "$$entry.k", "v": settled}, "$$entry"]}
    entries = {"$map": {"input": {"$objectToArray": "$keys"}, "as": "entry", "in": entry}}
    names_a_key = {"$eq": [{"$type": f"{hold}.keyPeriod"}, "string"]}
    is_object = {"$eq": [{"$type": "$keys"}, "object"]}
    return {"keys": {"$cond": [{"$and": [names_a_key, is_object]}, {"$arrayToObject": entries}, "$keys"]}}


def moved_first_entry(hashed: str) -> Document:
    """Field of an update that gives the account another first key: the entry of the old one goes on with it.

    For a key that the replaced programs wrote: limits stay those of the account's first key, whichever it is. One that
    was disabled stays behind with its secret.
    """
    entry, path_id = "$$entry.v", key_id(hashed)
    is_old_first = [
        {"$eq": [{"$type": "$apiKeyHash"}, "string"]},
        {"$eq": [f"{entry}.hash", "$apiKeyHash"]},
        {"$ne": ["$$entry.k", path_id]},
        {"$eq": [{"$type": f"$keys.{path_id}"}, "missing"]},
        {"$not": [{"$in": ["$apiKeyHash", {"$cond": [{"$isArray": "$keyHashes"}, "$keyHashes", []]}]}]},
    ]
    own_id = {"$cond": [_is_text(f"{entry}.id"), f"{entry}.id", "$$entry.k"]}
    goes_on = {"id": own_id, "hash": hashed, "isDisabled": False}
    moved = {"k": path_id, "v": {"$mergeObjects": [entry, goes_on]}}
    one = {"$cond": [{"$and": is_old_first}, moved, "$$entry"]}
    entries = {"$map": {"input": {"$objectToArray": "$keys"}, "as": "entry", "in": one}}
    is_object = {"$eq": [{"$type": "$keys"}, "object"]}
    return {"keys": {"$cond": [is_object, {"$arrayToObject": entries}, "$keys"]}}
