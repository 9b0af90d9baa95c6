"""The entries of an account's keys while they are changed: read, changed and written in one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from bson import DBRef

from accounts.errors import AccountNeedsRepair, AccountNotFound, KeyNotFound
from accounts.key_entry import entry_of, read_entry
from accounts.keys import first_key_hash, key_id
from accounts.models import Account
from accounts.needs_repair import check
from mongo.collections import Document, collection_of, current_session
from mongo.transactions import run_in_transaction
from mongo.unreadable import id_of_text

Result = TypeVar("Result")
FIRST_KEY_NAME = "First key"


@dataclass
class Keys:
    """The keys of one account while they are changed: the raw entries by their path, and the hashes."""

    document: Document
    entries: dict[str, Any]
    hashes: list[Any]

    @classmethod
    def of(cls, document: Document) -> "Keys":
        entries, hashes = document.get("keys"), document.get("keyHashes")
        entries = entries.as_doc() if isinstance(entries, DBRef) else entries
        return cls(
            document,
            dict(entries) if isinstance(entries, Mapping) else {},
            list(hashes) if isinstance(hashes, list) else [],
        )

    @property
    def first_path(self) -> str | None:
        first = first_key_hash(self.document)
        return None if first is None else key_id(first)

    def path_of(self, wanted_id: str, *, may_be_odd: bool = False) -> str:
        """The path of the entry of a key by its id. Raises `KeyNotFound`, and `AccountNeedsRepair` for what is none."""
        for path, stored in self.entries.items():
            entry = read_entry(path, stored)
            if entry.key_id == wanted_id and not entry.is_retired:
                if "" in entry.problems and not may_be_odd:
                    raise AccountNeedsRepair(self.document["_id"], {f"keys.{path}": entry.problems[""]})
                return path
        raise KeyNotFound(wanted_id)

    def is_first(self, wanted_id: str) -> bool:
        """Whether an id is that of the first key, which may have no entry."""
        path = self.first_path
        return path is not None and wanted_id == (read_entry(path, self.entries.get(path, {})).key_id)

    def add_first(self) -> str:
        """The path of the first key's entry, which is made if it is not there."""
        first = first_key_hash(self.document)
        if first is None:
            raise KeyNotFound(FIRST_KEY_NAME)
        path = key_id(first)
        self.entries.setdefault(path, {"id": path, "hash": first, "name": FIRST_KEY_NAME})
        return path

    def move_first(self, key_hash: str) -> bool:
        """Let the entry of the first key go on with another secret; whether there is one."""
        old = (first_key_hash(self.document), self.document.get("apiKeyHash"))
        for path in (key_id(one) for one in old if isinstance(one, str)):
            stored = self.entries.get(path)
            if isinstance(stored, Mapping) and stored.get("hash") not in self.hashes and path != key_id(key_hash):
                goes_on = {"id": read_entry(path, stored).key_id, "hash": key_hash, "isDisabled": False}
                self.entries[key_id(key_hash)] = {**self.entries.pop(path), **goes_on}
                return True
        return False

    def count_further(self) -> int:
        entries = (read_entry(path, self.entries.get(path)) for path in map(key_id, map(str, self.hashes)))
        return sum(not entry.is_retired for entry in entries)

    def has_usable(self, now: datetime) -> bool:
        """Whether the account has a key that can be used now. The first key needs no entry for that."""
        first = first_key_hash(self.document)
        further = (entry_of(self.entries, one) for one in self.hashes if isinstance(one, str))
        entry = None if first is None else entry_of(self.entries, first)
        is_first_usable = first is not None and (entry is None or entry.is_usable_at(now))
        return is_first_usable or any(one is not None and one.is_usable_at(now) for one in further)

    def shown(self) -> tuple[str, ...]:
        """The keys as an audit may keep them: masked, and what became of them."""
        entries = {path: read_entry(path, stored) for path, stored in self.entries.items()}
        states = {
            path: "retired" if one.is_retired else "disabled" if one.is_disabled else "in use"
            for path, one in entries.items()
        }
        return tuple(f"{one.prefix or path} ({states[path]})" for path, one in entries.items())

    def update(self, more: Document | None = None, gone: tuple[str, ...] = (), *, is_changed: bool = True) -> Document:
        """The update that writes the keys, and other fields of the account with them.

        What is empty is not there: in the unique index, empty lists would collide.
        """
        fields = {"keys": self.entries, "keyHashes": self.hashes} if is_changed else {}
        update = {
            "$set": {name: value for name, value in fields.items() if value} | (more or {}),
            "$unset": dict.fromkeys((*gone, *(name for name, value in fields.items() if not value)), ""),
        }
        return {operator: changed for operator, changed in update.items() if changed}

    def retire(self, path: str, now: datetime) -> None:
        """Take an entry away. A key that stands in `user_keys` too is remembered, lest it be adopted from there."""
        stored = self.entries.pop(path)
        hashes = [one for one in self.hashes if isinstance(one, str) and key_id(one) == path]
        # Of an entry that cannot be read nobody knows where it came from.
        if read_entry(path, stored).is_adopted or not isinstance(stored, Mapping):
            for key_hash in hashes:
                self.remember(key_hash, now)
        else:
            self.hashes = [one for one in self.hashes if one not in hashes]

    def remember(self, key_hash: str, now: datetime) -> None:
        """Keep the hash of a key that is to be refused for ever."""
        self.entries[key_id(key_hash)] = {"hash": key_hash, "isRetired": True, "retiredAt": now}
        if key_hash not in self.hashes:
            self.hashes.append(key_hash)


def change_keys(username: str, change: Callable[[Keys], Result]) -> Result:
    """Change the keys of an account in a transaction, and return what `change` returns.

    Raises `AccountNotFound`, `AccountNeedsRepair`, what `change` raises, and `IntegrityError` for a key that is another
    account's. Safe to repeat if `change` is.
    """

    def run() -> Result:
        document = collection_of(Account).find_one({"_id": id_of_text(username)}, session=current_session())
        if document is None:
            raise AccountNotFound(username)
        check(document)
        keys = Keys.of(document)
        result = change(keys)
        write_keys(keys)
        return result

    return run_in_transaction(run)


def write_keys(
    keys: Keys, more: Document | None = None, *, gone: tuple[str, ...] = (), is_changed: bool = True
) -> None:
    """Write the keys of an account that was read in this transaction, and other fields of it with them."""
    update = keys.update(more, gone, is_changed=is_changed)
    collection_of(Account).update_one({"_id": keys.document["_id"]}, update, session=current_session())
