"""What the replaced programs read of an account beside its balances, and how it is made true for them again.

They refuse an account whose `migration` or `isActive` is not true, read keys as plain text, and look for a key among
the documents of `user_keys` (`_id`: the key, `name`: the account, `isActive`) before they look at the accounts.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from django.utils import timezone
from pymongo.collection import Collection

from accounts.errors import AccountNotFound
from accounts.keys import HASHED_FROM, hash_key
from accounts.models import Account
from accounts.registration import rotate_key
from accounts.user_keys import INACTIVE_BY_ENTRY
from mongo.collections import Document, collection_of, current_session, wrapper
from mongo.transactions import run_in_transaction

FLAGS = ("migration", "isActive")
"""Flags that are absent where this platform made the account, or never needed them. Absent is false there, not here."""
USER_KEYS = "user_keys"


def user_keys() -> "Collection[Document]":
    """The raw collection of keys that the replaced proxy reads first."""
    return cast("Collection[Document]", wrapper().get_collection(USER_KEYS))


def count_missing_flags() -> dict[str, int]:
    """How many accounts lack each flag: absent or null. Raises `PyMongoError`."""
    return {flag: int(collection_of(Account).count_documents({flag: None})) for flag in FLAGS}


def fill_missing_flags() -> dict[str, int]:
    """Set each flag that is absent or null to true; returns how many were. What is false stays. Safe to repeat."""
    accounts = collection_of(Account)
    return {flag: int(accounts.update_many({flag: None}, {"$set": {flag: True}}).modified_count) for flag in FLAGS}


def has_older_split_dates(document: Mapping[str, Any]) -> bool:
    """Whether a later version's own date for OpenHands (`expiresAtNew`) is behind the one that counts here."""
    split, shared = document.get("expiresAtNew"), document.get("expiresAt")
    return isinstance(split, datetime) and isinstance(shared, datetime) and split < shared


def bring_split_dates(*, username: str) -> None:
    """Set `expiresAtNew` and `purchasedAtNew` to the dates that count here, where those are later. Safe to repeat."""
    query = {"_id": username, "expiresAtNew": {"$type": "date"}, "$expr": {"$lt": ["$expiresAtNew", "$expiresAt"]}}
    later = {"expiresAtNew": "$expiresAt", "purchasedAtNew": {"$ifNull": ["$purchasedAt", "$purchasedAtNew"]}}
    collection_of(Account).update_one(query, [{"$set": later}], session=current_session())


def plain_key_of(document: Mapping[str, Any]) -> str:
    """The key that a raw account holds as plain text; '' if there is none."""
    key = document.get("apiKey")
    return key if isinstance(key, str) else ""


def give_plain_key(*, username: str, key: str, now: datetime | None = None) -> None:
    """Make `key` the account's only key, as plain text, with its document of `user_keys`. The key before it stops.

    It is valid here, too. Raises `AccountNotFound`. Safe to repeat with the same key.
    """
    now = now or timezone.now()

    def run() -> None:
        rotate_key(username=username, new_key=key, now=now)
        restore_plain_key(username=username, key=key)
        entry = {"name": username, "isActive": True, "tokensUsed": 0, "createdAt": now}
        user_keys().update_one({"_id": key}, {"$setOnInsert": entry}, upsert=True, session=current_session())

    run_in_transaction(run)


def restore_plain_key(*, username: str, key: str) -> None:
    """Store the plain text of a key beside the hash that the account has of it. The same key stays valid.

    Raises `AccountNotFound` unless the hash is that of `key`. Safe to repeat.
    """
    query, plain = {"_id": username, "apiKeyHash": hash_key(key)}, {"apiKey": key, HASHED_FROM: key}
    if not collection_of(Account).update_one(query, {"$set": plain}, session=current_session()).matched_count:
        raise AccountNotFound(username)


def deactivate_user_key(key: str) -> None:
    """Mark a document of `user_keys` as inactive: the replaced proxy refuses its key. Safe to repeat.

    It says that this platform did it, whose own entry of the key goes on deciding here.
    """
    user_keys().update_one({"_id": key}, {"$set": INACTIVE_BY_ENTRY}, session=current_session())


def refuse_plain_key(*, username: str, key: str) -> None:
    """Let the replaced proxy refuse an account's own plain key, which `user_keys` did not know. Safe to repeat."""
    entry = {"name": username, "tokensUsed": 0, "createdAt": timezone.now()}
    update = {"$setOnInsert": entry, "$set": INACTIVE_BY_ENTRY}
    user_keys().update_one({"_id": key}, update, upsert=True, session=current_session())
