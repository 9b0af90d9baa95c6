"""Keys of the replaced system's collection `user_keys`, read as keys of their accounts.

Its proxy read that collection first: `_id` is the plain key, `name` its user, `isActive` whether it may be used,
`expiresAt` until when. A key that nobody has here is looked for there at its first use, and becomes a further key of
its account; the document stays as it is, for the programs that a roll-back returns to. A key that is the account's own
`apiKey` needs no entry, unless it expires there or was revoked.

**What those programs change later is not seen.** A key that was adopted is judged by its entry here: revoke it here, or
run `manage.py take_over --user-keys adopt` again, which disables what was revoked there since. A key that was deleted
or replaced here stays refused, whatever its document there says.

What cannot be read is not let pass: a key whose `isActive` is anything but true is refused, and so is one whose user is
unknown, or whose text is the own key of another account than its document names.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from pymongo import UpdateOne
from pymongo.collection import Collection

from accounts.errors import AccountNeedsRepair, BillingError, InvalidApiKey, KeyDisabled, TooManyKeys
from accounts.key_changes import Keys, change_keys
from accounts.keys import check_key, first_key_hash, hash_key, key_id, mask_key
from accounts.models import Account
from accounts.needs_repair import check
from mongo.collections import Document, collection_of, current_session, wrapper
from mongo.times import as_utc
from mongo.transactions import run_in_transaction
from mongo.unreadable import Unreadable

logger = logging.getLogger(__name__)

COLLECTION = "user_keys"
ADOPTED_NAME = "Key of the previous system"
INACTIVE_BY_ENTRY: Document = {"isActive": False, "inactiveBecauseOf": "its entry here"}
"""Fields of a record that a roll-back made inactive, as the key was refused here. Its entry here goes on deciding."""


@dataclass(frozen=True)
class Adoption:
    """What became of the records that concern one account: counts of them, and of each that was not taken why.

    `adopted` are new further keys here, `known` were here before and are as they were. `refused` are revoked there and
    here. In `problems`, and in `before` and `after` (the keys here, for the audit), keys are masked.
    """

    adopted: int = 0
    known: int = 0
    refused: int = 0
    problems: tuple[str, ...] = ()
    own: int = field(default=0, compare=False)
    """Of the known, the account's own key."""
    dated: int = field(default=0, compare=False)
    """Of the known, those that expire now as they do there."""
    disabled: int = field(default=0, compare=False)
    """Of the refused, those that could be used until now because an earlier use or adoption had let them in."""
    is_without_key: bool = field(default=False, compare=False)
    """Whether a key of it is refused and no other one can be used: somebody must give it a new one."""
    before: tuple[str, ...] = field(default=(), compare=False)
    after: tuple[str, ...] = field(default=(), compare=False)

    @property
    def changes(self) -> int:
        """How many records change something here."""
        return self.adopted + self.dated + self.disabled


@dataclass(frozen=True)
class Adoptions:
    """What became of many records: by account, and how many concern none."""

    accounts: dict[str, Adoption]
    unknown: int


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


def adopt_records(records: Sequence[Document], *, is_applied: bool = True, now: datetime | None = None) -> Adoptions:
    """Do the same for many records at once, in one transaction, and refuse here what is revoked there.

    A revoked key that is an account's own `apiKey`, or had been adopted, is disabled here. What is disabled here
    already stays so, and no limit changes that somebody set here. One record that cannot be taken keeps no other one.
    All records of an account belong into one call: together they say whether it has any key left. Without `is_applied`
    nothing is written. Raises `PyMongoError`, `DatabaseError`. Safe to repeat: the second call finds everything known.
    """
    now = now or timezone.now()

    def run() -> Adoptions:
        holders = _holders_of([record["_id"] for record in records if type(record["_id"]) is str])
        concerned: dict[str, list[Document]] = {}
        for record in records:
            named = record.get("name")
            for name in _holders(record, holders) | ({named} if type(named) is str else set()):
                concerned.setdefault(name, []).append(record)
        found, updates, unknown = {}, [], {id(record) for record in records}
        for document in collection_of(Account).find({"_id": {"$in": list(concerned)}}, session=current_session()):
            mine = concerned[document["_id"]]
            unknown -= {id(record) for record in mine}
            keys = Keys.of(document)
            found[document["_id"]] = adoption = _take_all(keys, mine, holders, now)
            if adoption.changes:
                updates.append(UpdateOne({"_id": document["_id"]}, keys.update()))
        if updates and is_applied:
            collection_of(Account).bulk_write(updates, ordered=False, session=current_session())
        return Adoptions(found, len(unknown))

    return run_in_transaction(run) if is_applied else run()


def record_batches(size: int) -> Iterator[list[Document]]:
    """All records, by the name that they have: batches of about `size`, none of which ends within a name."""
    records = _records()
    options = records.codec_options.with_options(unicode_decode_error_handler="replace")
    fields = {"name": 1, "expiresAt": 1, **dict.fromkeys(INACTIVE_BY_ENTRY, 1)}
    batch: list[Document] = []
    found = records.with_options(codec_options=options).find({}, fields).sort([("name", 1), ("_id", 1)])
    for record in found.allow_disk_use(True).batch_size(size):
        if len(batch) >= size and record.get("name") != batch[-1].get("name"):
            yield batch
            batch = []
        batch.append(record)
    if batch:
        yield batch


def count_records() -> int:
    """How many there are, about. Raises `PyMongoError`."""
    return int(_records().estimated_document_count())


def _find(api_key: str) -> Document | None:
    """The record of a key. A key is sent as plain text only while there are records."""
    return _records().find_one({"_id": api_key}, session=current_session()) if has_records() else None


def _holders_of(keys: Sequence[str]) -> dict[str, set[str]]:
    """The accounts that have these keys as their own or as further ones, by the key."""
    by_hash = {hash_key(key): key for key in keys}
    query: Document = {
        "$or": [
            {"apiKey": {"$in": list(keys)}},
            {"apiKeyHash": {"$in": list(by_hash)}},
            {"keyHashes": {"$in": list(by_hash)}},
        ]
    }
    fields = {"apiKey": 1, "apiKeyHash": 1, "keyHashes": 1}
    holders: dict[str, set[str]] = {}
    for account in collection_of(Account).find(query, fields, session=current_session()):
        hashes = (*_texts(account.get("apiKeyHash")), *_texts(account.get("keyHashes")))
        for key in (*_texts(account.get("apiKey")), *(by_hash[one] for one in hashes if one in by_hash)):
            # Another `_id` than a text is nobody's name, and the key of somebody else all the same.
            holders.setdefault(key, set()).add(account["_id"] if type(account["_id"]) is str else repr(account["_id"]))
    return holders


def _holders(record: Document, holders: Mapping[str, set[str]]) -> set[str]:
    return holders.get(record["_id"], set()) if type(record["_id"]) is str else set()


def _texts(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if type(one) is str]


def _take_all(keys: Keys, records: Sequence[Document], holders: Mapping[str, set[str]], now: datetime) -> Adoption:
    """Change the keys of an account as these records of it say."""
    counts: Counter[str] = Counter()
    problems, before = [], keys.shown()
    for record in records:
        try:
            check(keys.document)
            counts.update(_take(keys, record, holders, now))
        except BillingError as error:
            problems.append(f"{_shown(record['_id'])}: {error}")
    return Adoption(
        **counts,
        problems=tuple(problems),
        is_without_key=bool(counts["refused"]) and not keys.has_usable(now),
        before=before,
        after=keys.shown(),
    )


def _take(keys: Keys, record: Document, holders: Mapping[str, set[str]], now: datetime) -> tuple[str, ...]:
    """Do what a record asks for, and say which counts of `Adoption` it is of."""
    key, username = record["_id"], keys.document["_id"]
    if type(key) is not str:
        raise InvalidApiKey("its key is no text")
    check_key(key)
    if record.get("isActive") is not True:
        if INACTIVE_BY_ENTRY.items() <= record.items() and key_id(hash_key(key)) in keys.entries:
            return ("known", "own") if hash_key(key) == first_key_hash(keys.document) else ("known",)
        return ("refused", "disabled") if _disable(keys, hash_key(key)) else ("refused",)
    if record.get("name") != username or _holders(record, holders) - {username}:
        raise InvalidApiKey("its record and the accounts do not agree on whose key it is")
    entries = dict(keys.entries)
    if _adopt(keys, key, _expiry_of(username, record), now):
        return ("adopted",)
    own = ("own",) if hash_key(key) == first_key_hash(keys.document) else ()
    return ("known", *own) if keys.entries == entries else ("known", *own, "dated")


def _disable(keys: Keys, hashed: str) -> bool:
    """Disable a key of the account, if it is one that is not yet; whether this did it."""
    is_first = hashed == first_key_hash(keys.document)
    if not is_first and hashed not in keys.hashes:
        return False
    path = keys.add_first() if is_first else key_id(hashed)
    entry = keys.entries.get(path)
    if not isinstance(entry, Mapping) or entry.get("isRetired") is True or entry.get("isDisabled") is True:
        return False
    keys.entries[path] = {**entry, "isDisabled": True}
    return True


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
