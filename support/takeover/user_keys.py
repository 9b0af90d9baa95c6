"""The keys of the replaced system that stand in a collection of their own: what they are, and made keys of accounts.

`accounts/user_keys.py` says what becomes of each; here they are counted, and gone through batch by batch. No key is
shown.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accounts.user_keys import Adoption, Adoptions, adopt_records, count_records, record_batches
from mongo.collections import wrapper
from mongo.transactions import run_in_transaction
from support.audit.trail import record_all
from support.takeover.accounts import Tally

FRIEND_KEYS = "friend_keys"
BATCH = 1000
TRANSACTION = 100
"""Records a transaction: a request that one of their accounts makes meanwhile has it run again."""
MOST_NAMES = 20


@dataclass
class UserKeys:
    """What the documents of `user_keys` are here. All counts are of documents, but `without_key`.

    `own` are active and the key in their account's document; `further` active, and a further key of their account here;
    `new` active, and will be one; `dated` of the own and the further ones expire there, and do not yet here; `revoked`
    are not active, and `disabled` of those can still be used here; `unknown` belong to no account; `odd` cannot be
    taken. `without_key` are accounts whose keys were revoked, and that have no other.
    """

    own: int = 0
    further: int = 0
    new: int = 0
    dated: int = 0
    revoked: int = 0
    disabled: int = 0
    unknown: int = 0
    odd: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)
    without_key: Tally = field(default_factory=lambda: Tally(most=MOST_NAMES))

    @property
    def changes(self) -> int:
        """How many documents change something here when they are adopted."""
        return self.new + self.dated + self.disabled

    def add(self, adoptions: Adoptions) -> None:
        self.unknown += adoptions.unknown
        for name, one in adoptions.accounts.items():
            self._add(name, one)

    def _add(self, name: str, one: Adoption) -> None:
        self.own += one.own
        self.further += one.known - one.own
        self.new += one.adopted
        self.dated += one.dated
        self.revoked += one.refused
        self.disabled += one.disabled
        for problem in one.problems:
            self.odd.add(f"{name}: {problem}")
        if one.adopted or one.dated or one.refused:
            self.changed.add(f"{name} ({one.adopted + one.dated} to adopt, {one.refused} revoked)")
        if one.is_without_key:
            self.without_key.add(name)

    def lines(self) -> list[str]:
        """What was done, or would be, as sentences."""
        counts = (
            (self.new, "keys of user_keys become keys of their accounts"),
            (self.own + self.further, "keys of user_keys are keys of their accounts already"),
            (self.dated, "of these get the date on which they expire there"),
            (self.revoked, "keys of user_keys are revoked, and refused here"),
            (self.disabled, "of these could be used here until now"),
            (self.unknown, "keys of user_keys name no account: left as they are, and refused"),
            (self.odd.count, "keys of user_keys cannot be taken, and are left as they are:"),
        )
        lines = [f"{count:,} {what}" for count, what in counts if count]
        lines += [f"    {example}" for example in self.odd.examples if self.odd.count]
        if self.without_key.count:
            lines.append(
                f"{self.without_key.count:,} accounts have no key that can be used, as theirs was revoked: give them"
                " a new key (“Replace the API key” on the account's page), or leave them without:"
            )
            lines += [f"    {', '.join(self.without_key.examples)}"]
        return lines

    def as_json(self) -> dict[str, int]:
        """What the record keeps."""
        return {
            "new": self.new,
            "dated": self.dated,
            "revoked": self.revoked,
            "disabled": self.disabled,
            "unknown": self.unknown,
            "odd": self.odd.count,
            "withoutKey": self.without_key.count,
        }


def survey_user_keys(progress: Callable[[int, int], None] = lambda done, total: None) -> UserKeys:
    """Say what they are, and what adopting them would change. Writes nothing. Raises `PyMongoError`."""
    return _go_through(progress, BATCH, lambda batch: adopt_records(batch, is_applied=False))


def adopt_all_user_keys(*, actor: str, action: str, reason: str, progress: Callable[[int, int], None]) -> UserKeys:
    """Make every active key of a known account a key of it, and refuse the revoked ones.

    A transaction for each batch, with an audit entry for each account that changes. May be interrupted anywhere; a
    second run finds nothing to do. Raises `PyMongoError`, `DatabaseError`.
    """

    def adopt(batch: list[dict[str, Any]]) -> Adoptions:
        def run() -> Adoptions:
            adoptions = adopt_records(batch)
            changes = [
                (name[:200], {"keys": list(one.before)}, {"keys": list(one.after)})
                for name, one in adoptions.accounts.items()
                if one.changes
            ]
            if changes:
                record_all(actor=actor, action=action, reason=reason, changes=changes)
            return adoptions

        return run_in_transaction(run)

    return _go_through(progress, TRANSACTION, adopt)


def _go_through(
    progress: Callable[[int, int], None], size: int, handle: Callable[[list[dict[str, Any]]], Adoptions]
) -> UserKeys:
    total, done, found = count_records(), 0, UserKeys()
    for batch in record_batches(size):
        found.add(handle(batch))
        done += len(batch)
        progress(done, total)
    return found


def count_friend_keys() -> int:
    """How many friend keys there are: they are refused here. Raises `PyMongoError`."""
    return int(wrapper().get_collection(FRIEND_KEYS).count_documents({}))
