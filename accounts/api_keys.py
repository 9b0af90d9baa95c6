"""Several keys an account: made, limited, disabled, replaced, deleted. Who did it and why is recorded by the caller.

The first key stands in the account's own fields (`accounts/registration.py` makes and replaces it). Further keys have
an entry in `keys` and their hash in `keyHashes`, by which their account is found. The first key gets an entry only with
its first limit. What an entry means is in `accounts/key_limits.py`.

Every function runs in a transaction, or joins the caller's, and is safe to repeat unless it says otherwise. All raise
`AccountNotFound`, and `AccountNeedsRepair` where the account, or the entry that is meant, cannot be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.errors import (
    FirstKeyRequired,
    FirstKeyStays,
    InvalidApiKey,
    KeyNotFound,
    TooManyKeys,
)
from accounts.key_changes import FIRST_KEY_NAME, Keys, change_keys
from accounts.key_choices import NO_LIMITS, Budget, Limits, check_limits, check_name, limits_to_bson
from accounts.key_entry import BudgetPeriod, KeyEntry, entry_of, read_entry
from accounts.keys import first_key_hash, generate_key, hash_key, key_id, mask_key
from accounts.models import Account
from money.amounts import ZERO, from_bson, to_bson
from mongo.collections import Document


class Unchanged(Enum):
    """What stays as it is."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True)
class ApiKey:
    """One key of an account, as lists show it."""

    entry: KeyEntry
    is_first: bool

    @property
    def key_id(self) -> str:
        return self.entry.key_id


def list_keys(account: Account) -> list[ApiKey]:
    """The keys of an account, the first one first, then the oldest first. Those that were replaced are not in it."""
    first = first_key_hash({"apiKey": account.legacy_api_key, "apiKeyHash": account.api_key_hash})
    listed = []
    if first is not None:
        path = key_id(first)
        own = {
            "name": FIRST_KEY_NAME,
            "prefix": mask_key(account.legacy_api_key) if account.legacy_api_key else account.api_key_prefix,
            "createdAt": account.api_key_created_at,
        }
        stored = account.keys.get(path, {})
        shown = {**own, **stored, "prefix": own["prefix"]} if isinstance(stored, Mapping) else stored
        listed.append(ApiKey(read_entry(path, shown), is_first=True))
    further = []
    for key_hash in account.key_hashes:
        path = key_id(str(key_hash))
        if (first is None or path != key_id(first)) and path in account.keys:
            further.append(ApiKey(read_entry(path, account.keys[path]), is_first=False))
    further.sort(key=lambda key: (key.entry.created_at is not None, key.entry.created_at, key.key_id))
    return [key for key in (*listed, *further) if not key.entry.is_retired]


def find_key(account: Account, wanted_id: str) -> ApiKey:
    """One key of an account by its id. Raises `KeyNotFound`."""
    for key in list_keys(account):
        if key.key_id == wanted_id:
            return key
    raise KeyNotFound(wanted_id)


def check_may_manage(account: Account, api_key: str) -> None:
    """Raise `FirstKeyRequired` unless this key of the account may manage its keys.

    A key must not give itself, or another one, rights that it does not have. So only the first key may, without limits.
    """
    hashed = hash_key(api_key)
    first = first_key_hash({"apiKey": account.legacy_api_key, "apiKeyHash": account.api_key_hash})
    entry = entry_of(account.keys, hashed)
    if hashed != first or (entry is not None and entry.has_limits):
        raise FirstKeyRequired


def create_key(
    *, username: str, name: str, limits: Limits = NO_LIMITS, new_key: str | None = None, now: datetime | None = None
) -> tuple[ApiKey, str]:
    """Give an account another key; return it and its secret (shown only here).

    Raises `InvalidKeyLimits`, `TooManyKeys`. Every call makes another key, unless `new_key` says which: then a second
    call changes nothing.
    """
    now = now or timezone.now()
    key = new_key or generate_key()
    hashed = hash_key(key)
    name = check_name(name)
    check_limits(limits, now=now)
    path = key_id(hashed)
    entry = {"id": path, "hash": hashed, "name": name, "prefix": mask_key(key), "createdAt": now}

    def add(keys: Keys) -> ApiKey:
        if hashed not in keys.hashes:
            if keys.count_further() >= settings.MAX_KEYS:
                raise TooManyKeys(settings.MAX_KEYS)
            keys.entries[path] = entry | limits_to_bson(limits)
            keys.hashes.append(hashed)
        return ApiKey(read_entry(path, keys.entries[path]), is_first=False)

    return change_keys(username, add), key


def update_key(
    *,
    username: str,
    wanted_id: str,
    name: str | Unchanged = UNCHANGED,
    budget: Budget | Unchanged | None = UNCHANGED,
    models: tuple[str, ...] | Unchanged | None = UNCHANGED,
    upstreams: tuple[str, ...] | Unchanged | None = UNCHANGED,
    expires_at: datetime | Unchanged | None = UNCHANGED,
    now: datetime | None = None,
) -> ApiKey:
    """Rename a key, or change its limits; None takes a limit away. The first key may have limits too.

    A budget that is now for a day and was for a month begins with what running requests hold; one that is now for a
    month goes on from what was spent today. Raises `KeyNotFound`, `InvalidKeyLimits`.
    """
    now = now or timezone.now()
    asked = {"budget": budget, "models": models, "upstreams": upstreams, "expires_at": expires_at}
    wanted: dict[str, Any] = {field: value for field, value in asked.items() if value is not UNCHANGED}
    limits = Limits(**wanted)
    check_limits(limits, now=now)
    new_name = None if isinstance(name, Unchanged) else check_name(name)

    def change(keys: Keys) -> ApiKey:
        is_first = keys.is_first(wanted_id)
        path = keys.add_first() if is_first else keys.path_of(wanted_id)
        stored = dict(keys.entries[path])
        before = read_entry(path, stored)
        if isinstance(limits.budget, Budget) and limits.budget.period is not before.budget_period:
            stored |= _begin_count(keys.document, before, limits.budget.period, now)
        changed = limits_to_bson(limits)
        for field in wanted:
            for column in COLUMNS[field]:
                stored.pop(column, None)
                stored |= {column: changed[column]} if column in changed else {}
        if new_name is not None:
            stored["name"] = new_name
        keys.entries[path] = stored
        return ApiKey(read_entry(path, stored), is_first=is_first)

    return change_keys(username, change)


COLUMNS = {
    "budget": ("budget", "budgetPeriod"),
    "models": ("models",),
    "upstreams": ("upstreams",),
    "expires_at": ("expiresAt",),
}
"""The stored fields of each limit."""


def _begin_count(document: Document, entry: KeyEntry, period: BudgetPeriod, now: datetime) -> Document:
    """What counts as spent when a budget is for another period than before. USD."""
    spent = entry.spent_at(now)
    if period is BudgetPeriod.DAY:
        holds = (document.get("holds") or {}).values()
        spent = sum((from_bson(hold["amount"]) for hold in holds if hold.get("keyId") == entry.key_id), ZERO)
    return {"period": period.name_at(now), "spent": to_bson(spent)}


def set_key_disabled(*, username: str, wanted_id: str, is_disabled: bool, now: datetime | None = None) -> ApiKey:
    """Disable a key (new requests are refused at once, running ones end as usual) or enable it again.

    Raises `KeyNotFound`.
    """

    def change(keys: Keys) -> ApiKey:
        is_first = keys.is_first(wanted_id)
        path = keys.add_first() if is_first else keys.path_of(wanted_id)
        keys.entries[path] = {**keys.entries[path], "isDisabled": is_disabled}
        return ApiKey(read_entry(path, keys.entries[path]), is_first=is_first)

    return change_keys(username, change)


def rotate_further_key(
    *,
    username: str,
    wanted_id: str,
    current_key: str | None = None,
    new_key: str | None = None,
    now: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Give a further key a new secret under the same id, name and limits; return it and the secret (shown only here).

    The old secret stops at once; what it has spent of its budget stays spent. With `current_key` only if that is still
    its secret. Raises `KeyNotFound`, `InvalidApiKey`, and `FirstKeyStays` for the first key, which
    `registration.rotate_key` replaces. Every call makes another secret, unless `new_key` says which.
    """
    key = new_key or generate_key()
    hashed = hash_key(key)

    def change(keys: Keys) -> ApiKey:
        if keys.is_first(wanted_id):
            raise FirstKeyStays("The first key is replaced by its own action.")
        path = keys.path_of(wanted_id)
        stored = keys.entries[path]
        if current_key is not None and stored.get("hash") != hash_key(current_key):
            raise InvalidApiKey("the key was replaced meanwhile")
        if stored.get("hash") != hashed:
            keys.retire(path, now or timezone.now())
            changed = {"id": wanted_id, "hash": hashed, "prefix": mask_key(key), "createdAt": now or timezone.now()}
            keys.entries[key_id(hashed)] = {**stored, **changed, "isAdopted": False}
            keys.hashes.append(hashed)
        return ApiKey(read_entry(key_id(hashed), keys.entries[key_id(hashed)]), is_first=False)

    return change_keys(username, change), key


def delete_key(*, username: str, wanted_id: str, now: datetime | None = None) -> None:
    """Take a further key away: it is refused at once, and running requests end as usual.

    Raises `KeyNotFound`, so a second call does; and `FirstKeyStays` for the first key.
    """

    def change(keys: Keys) -> None:
        if keys.is_first(wanted_id):
            raise FirstKeyStays("The first key of an account cannot be deleted. Replace it instead.")
        keys.retire(keys.path_of(wanted_id, may_be_odd=True), now or timezone.now())

    change_keys(username, change)
