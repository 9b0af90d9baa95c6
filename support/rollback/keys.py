"""Keys for the replaced programs: given back as plain text where it is known, and new ones where only a hash is."""

import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from accounts.errors import InvalidApiKey
from accounts.key_limits import unusable_key
from accounts.keys import generate_key, hash_key, key_filter
from accounts.models import Account
from accounts.replaced_system import deactivate_user_key, plain_key_of, restore_plain_key, user_keys
from mongo.collections import Document, collection_of
from support.rollback.needs import Need
from support.rollback.report import Row

BATCH = 500


def key_rows() -> dict[str, Row]:
    """The rows of what stands in `user_keys`."""
    return {
        "restored_keys": Row("Keys given back as plain text"),
        "replaced_keys": Row("Keys that are not valid here any more, made inactive"),
        "extra_keys": Row("Further keys in user_keys, valid here and there"),
        "revoked_keys": Row(
            "Keys that user_keys has as inactive",
            "the old proxy refuses them. Give their accounts new keys, if they may have any.",
        ),
        "foreign_keys": Row(
            "Keys that user_keys gives to another name",
            "the old proxy bills that name. Find out whose they are before anybody uses them.",
        ),
    }


class NewKeyFile:
    """Where new keys are kept for their customers: one line each, `name<tab>key`, for the owner's eyes alone.

    A key is on the disk before an account has it, so that no crash loses it; the last line of an account counts.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises `OSError`, and `PermissionError` if others may read it."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(self._descriptor).st_mode & 0o077:
            os.close(self._descriptor)
            raise PermissionError(f"{path} can be read by others: chmod 600 it, or name another file")

    def make_key(self, username: str) -> str:
        key = generate_key()
        os.write(self._descriptor, f"{username}\t{key}\n".encode())
        os.fsync(self._descriptor)
        return key

    def close(self) -> None:
        os.close(self._descriptor)


def stored_keys() -> Iterator[tuple[Document, Document]]:
    """Every document of `user_keys` whose account exists, with the account's keys."""
    fields = {"apiKey": 1, "apiKeyHash": 1, "keys": 1, "keyHashes": 1}
    found = iter(user_keys().find({}, {"name": 1, "isActive": 1}))
    while batch := list(islice(found, BATCH)):
        names = [entry.get("name") for entry in batch if isinstance(entry.get("name"), str)]
        accounts = collection_of(Account).find({"_id": {"$in": names}}, fields)
        owners = {account["_id"]: account for account in accounts}
        for entry in batch:
            name: Any = entry.get("name")
            if isinstance(name, str) and name in owners and isinstance(entry["_id"], str):
                yield entry, owners[name]


def need_of(entry: Document, account: Document, *, now: datetime) -> Need | None:
    """What has to be done with one document of `user_keys`, so that the replaced proxy takes the keys that this one
    takes, and no others.

    A key without an entry here is taken at its first use, as its document says, so it stays as it is.
    """
    key, username, is_active = entry["_id"], account["_id"], bool(entry.get("isActive"))
    plain = plain_key_of(account)
    is_its_own = key == plain or (not plain and account.get("apiKeyHash") == hash_key(key))
    is_refused_here = unusable_key(username, account.get("keys"), key, now=now) is not None
    if not is_active:
        is_known = is_its_own or (hash_key(key) in _further(account) and not is_refused_here)
        return Need("revoked_keys") if is_known else None
    if is_refused_here:
        return Need("replaced_keys", do=partial(deactivate_user_key, key))
    if is_its_own:
        return None if plain else Need("restored_keys", do=partial(restore_plain_key, username=username, key=key))
    if holder := _other_holder(key, username):
        return Need("foreign_keys", label=f"{holder} (given to {username})")
    return Need("extra_keys", do=_nothing)


def _further(account: Document) -> list[Any]:
    hashes = account.get("keyHashes")
    return hashes if isinstance(hashes, list) else []


def keys_of_others(accounts: list[Document]) -> dict[str, str]:
    """Of these accounts those whose plain key stands in `user_keys` under another name, with that name."""
    keys = {key: account["_id"] for account in accounts if (key := plain_key_of(account))}
    found = user_keys().find({"_id": {"$in": list(keys)}}, {"name": 1})
    return {keys[entry["_id"]]: str(entry.get("name")) for entry in found if entry.get("name") != keys[entry["_id"]]}


def _other_holder(key: str, username: str) -> str | None:
    """The other account that has this key here by its hash. `keys_of_others` finds those that have it as plain text."""
    try:
        is_its_key = key_filter(key)
    except InvalidApiKey:
        return None
    found = collection_of(Account).find_one({"$and": [{"_id": {"$ne": username}}, is_its_key]}, {"apiKey": 1})
    return None if found is None or plain_key_of(found) else str(found["_id"])


def _nothing() -> None:
    """It stays as it is."""
