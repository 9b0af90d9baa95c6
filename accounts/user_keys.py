"""Keys of the replaced system's collection `user_keys`, read as keys of their accounts.

Its proxy read that collection first: `_id` is the plain key, `name` its user, `isActive` whether it may be used,
`expiresAt` until when. A key that nobody has here is looked for there at its first use, and becomes a further key of
its account; the document stays as it is, for the programs that a roll-back returns to. A key that is the account's own
`apiKey` needs no entry, unless it expires there or was revoked.

**What those programs change later is not seen.** A key that was adopted is judged by its entry here: revoke it here, or
call `adopt_user_keys` again, which disables what was revoked there since. A key that was deleted or replaced here stays
refused, whatever its document there says.

What cannot be read is not let pass: a key whose `isActive` is anything but true is refused, and so is one whose user is
unknown, or whose text is the own key of another account than its document names.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from pymongo.collection import Collection

from accounts.errors import AccountNeedsRepair, BillingError, InvalidApiKey, KeyDisabled, TooManyKeys
from accounts.key_changes import Keys, change_keys
from accounts.keys import check_key, first_key_hash, hash_key, key_id, mask_key
from accounts.models import Account
from mongo.collections import Document, collection_of, current_session, wrapper
from mongo.times import as_utc
from mongo.unreadable import Unreadable

logger = logging.getLogger(__name__)

COLLECTION = "user_keys"
ADOPTED_NAME = "Key of the previous system"


@dataclass(frozen=True)
class Adoption:
    """What became of an account's records in `user_keys`: counts of keys, and of each that was not taken why.

    `adopted` are new here, `known` were here before and are as they were. `refused` are revoked there and here. In
    `problems`, keys are masked.
    """

    adopted: int = 0
    known: int = 0
    refused: int = 0
    problems: tuple[str, ...] = ()


def _records() -> "Collection[Document]":
    collection: Collection[Document] = wrapper().get_collection(COLLECTION)
    return collection


def has_records() -> bool:
    """Whether there is any document in `user_keys`. One cheap read, which names no key."""
    return _records().find_one({}, {"_id": 1}, session=current_session()) is not None


def is_recorded(*, username: str, key_hash: str) -> bool:
    """Whether the key with this hash stands in `user_keys` for this account: then it must be remembered when it goes.

    Reads the account's records there. No index of ours serves it, and keys are replaced seldom.
    """
    if not has_records():
        return False
    records = _records().find({"name": username}, {"_id": 1}, session=current_session())
    return any(type(record["_id"]) is str and hash_key(record["_id"]) == key_hash for record in records)


def owner_of(api_key: str) -> str | None:
    """The name that `user_keys` has for a key, for who only looks. None if there is none."""
    record = _find(api_key)
    name = None if record is None else record.get("name")
    return name if type(name) is str else None


def adopt_user_key(api_key: str) -> bool:
    """Make a key that nobody has here a key of the account that `user_keys` names; whether it is one now.

    False also where it is the account's own `apiKey` and needs no entry. Raises `InvalidApiKey`, `KeyDisabled` for a
    revoked one, `AccountNeedsRepair`, `TooManyKeys`. Safe to repeat and to run in parallel.
    """
    record = _find(api_key)
    if record is None:
        return False
    if record.get("isActive") is not True:
        raise KeyDisabled(key_id(hash_key(api_key)))
    username = _owner_that_is_sure(record, api_key)
    expires_at = _expiry_of(username, record)
    now = timezone.now()

    def adopt(keys: Keys) -> tuple[bool, bool]:
        is_new = _adopt(keys, api_key, expires_at, now)
        return is_new, hash_key(api_key) in keys.hashes

    is_new, has_entry = change_keys(username, adopt)
    if is_new:
        logger.info("account %r: its key %s of user_keys was used for the first time", username, mask_key(api_key))
    return has_entry


def adopt_user_keys(*, username: str) -> Adoption:
    """Do the same for all records of one account at once, and refuse here what is revoked there. Logs what it did.

    A revoked key that is the account's own `apiKey`, or had been adopted, is disabled here. What is disabled here
    already stays so, and no limit changes that somebody set here. Raises `AccountNotFound`, `AccountNeedsRepair`. Safe
    to repeat: the second call finds everything known.
    """
    now = timezone.now()

    def run(keys: Keys) -> Adoption:
        counts, problems = {"adopted": 0, "known": 0, "refused": 0}, []
        for record in _records_of(keys.document):
            try:
                counts[_take(keys, record, now)] += 1
            except BillingError as error:
                problems.append(f"{_shown(record['_id'])}: {error}")
        return Adoption(**counts, problems=tuple(problems))

    adoption = change_keys(username, run)
    logger.info("account %r: user_keys: %s", username, adoption)
    return adoption


def names_with_records() -> Iterator[str]:
    """The accounts that `user_keys` names, or whose own plain key stands there, each once, for `adopt_user_keys`."""
    accounts = collection_of(Account)
    holders = {"from": accounts.name, "localField": "_id", "foreignField": "apiKey", "as": "holders"}
    pipeline: list[Document] = [
        {"$lookup": holders},
        {"$project": {"names": {"$concatArrays": [["$name"], "$holders._id"]}}},
        {"$unwind": "$names"},
        {"$group": {"_id": "$names"}},
    ]
    for found in _records().aggregate(pipeline):
        if type(found["_id"]) is str and accounts.find_one({"_id": found["_id"]}, {"_id": 1}):
            yield found["_id"]


def _find(api_key: str) -> Document | None:
    """The record of a key. A key is sent as plain text only while there are records."""
    return _records().find_one({"_id": api_key}, session=current_session()) if has_records() else None


def _records_of(document: Document) -> list[Document]:
    """The records that name an account, and the one that is its own plain key, whoever that one names."""
    records = list(_records().find({"name": document["_id"]}, session=current_session()))
    own = document.get("apiKey")
    if type(own) is str and own and all(record["_id"] != own for record in records):
        records += _records().find({"_id": own}, session=current_session())
    # A list of names would match too.
    return [record for record in records if record.get("name") == document["_id"] or record["_id"] == own]


def _take(keys: Keys, record: Document, now: datetime) -> str:
    """Do what a record asks for, and say which count it is of."""
    key, username = record["_id"], keys.document["_id"]
    if type(key) is not str:
        raise InvalidApiKey("its key is no text")
    check_key(key)
    hashed = hash_key(key)
    if record.get("isActive") is not True:
        if hashed == first_key_hash(keys.document) or hashed in keys.hashes:
            path = keys.add_first() if hashed == first_key_hash(keys.document) else key_id(hashed)
            if isinstance(keys.entries.get(path), Mapping) and keys.entries[path].get("isRetired") is not True:
                keys.entries[path] = {**keys.entries[path], "isDisabled": True}
        return "refused"
    if record.get("name") != username or _is_of_another(username, key):
        raise InvalidApiKey("its record and the accounts do not agree on whose key it is")
    return "adopted" if _adopt(keys, key, _expiry_of(username, record), now) else "known"


def _adopt(keys: Keys, api_key: str, expires_at: datetime | None, now: datetime) -> bool:
    """Give a key an entry if it needs one and has none; whether it is a new key. Raises `TooManyKeys`."""
    hashed = hash_key(api_key)
    path = key_id(hashed)
    limit: dict[str, Any] = {} if expires_at is None else {"expiresAt": expires_at}
    if path in keys.entries or hashed in keys.hashes:
        return False
    if hashed == first_key_hash(keys.document):
        if limit:
            first = keys.add_first()
            keys.entries[first] = {**keys.entries[first], **limit}
        return False
    if keys.count_further() >= settings.MAX_KEYS:
        raise TooManyKeys(settings.MAX_KEYS)
    entry = {"id": path, "hash": hashed, "name": ADOPTED_NAME, "prefix": mask_key(api_key), "createdAt": now}
    keys.entries[path] = {**entry, "isAdopted": True, **limit}
    keys.hashes.append(hashed)
    return True


def _owner_that_is_sure(record: Document, api_key: str) -> str:
    """The account that a record names, unless another one has this key as its own. Raises `InvalidApiKey`."""
    name = record.get("name")
    if type(name) is not str or collection_of(Account).find_one({"_id": name}, {"_id": 1}) is None:
        raise InvalidApiKey
    if _is_of_another(name, api_key):
        logger.error("key %s: user_keys says it is of %r, and another account has it", mask_key(api_key), name)
        raise InvalidApiKey
    return name


def _is_of_another(username: str, api_key: str) -> bool:
    hashed = hash_key(api_key)
    holds_it: Document = {"$or": [{"apiKey": api_key}, {"apiKeyHash": hashed}, {"keyHashes": hashed}]}
    others = holds_it | {"_id": {"$ne": username}}
    return collection_of(Account).find_one(others, {"_id": 1}, session=current_session()) is not None


def _expiry_of(username: str, record: Document) -> datetime | None:
    """When a record's key expires. Raises `AccountNeedsRepair` for what is no time."""
    expires_at = record.get("expiresAt")
    if expires_at is not None and not isinstance(expires_at, datetime):
        raise AccountNeedsRepair(username, {f"expiresAt in {COLLECTION}": Unreadable.of(expires_at)})
    return None if expires_at is None else as_utc(expires_at)


def _shown(key: object) -> str:
    return mask_key(key) if type(key) is str else str(Unreadable.of(key, is_secret=True))
