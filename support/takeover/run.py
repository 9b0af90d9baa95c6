"""Taking over, as it was decided: shown first, then done. May be interrupted anywhere, and run again.

Each account is changed in one transaction with its ledger entries and its audit entry, many in one where no credit
moves. What is done is not found again by a later run, so there is no progress to keep, and nothing to resume from.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any

from django.utils import timezone

from accounts import credits
from accounts.errors import AccountNotFound, BillingError
from accounts.models import Account, Balance, LedgerEntry
from accounts.takeover import AccountPlan, Decisions, plan_account, to_be_changed
from books.adoption import adopt, adopt_all
from money.amounts import ZERO, format_usd
from mongo.collections import Document, collection_of, current_session
from mongo.transactions import run_in_transaction
from mongo.unreadable import id_of_text, text_of_id
from proxy.billing.replaced_prices import find_stale
from proxy.models import ModelPrice
from support.audit.trail import perform, record, record_all
from support.errors import NotFinished
from support.takeover.operations import new_operation
from support.takeover.prices import count_changes, import_rows, stop_stale
from support.takeover.topics import ACTION
from support.takeover.user_keys import UserKeys, adopt_all_user_keys, survey_user_keys

BATCH = 100
"""Accounts a transaction: a request that one of them makes meanwhile has it run again."""
MOST_NAMES = 20
WHAT = {
    "expiresAt": "accounts get one expiry",
    "isActive": "accounts get a status",
    "migration": "accounts are marked as converted, or as never converted",
    "refCredits": "accounts get their referral credits",
}
SHOWN = ("credits", "refCredits", "expiresAt", "expiresAtNew", "migration", "isActive")

Progress = Callable[[str, int, int], None]


class UserKeysAnswer(StrEnum):
    """What becomes of the keys in `user_keys`: adopted all at once, or each at its first use."""

    ADOPT = "adopt"
    LEAVE = "leave"


class Prices(StrEnum):
    """What becomes of the replaced system's own price rows."""

    IMPORT = "import"
    STOP = "stop"
    KEEP = "keep"


@dataclass(frozen=True)
class Order:
    """All that was decided, and by whom."""

    decisions: Decisions
    actor: str
    reason: str = ""
    user_keys: UserKeysAnswer | None = None
    prices: Prices | None = None
    price_rows: list[ModelPrice] = field(default_factory=list)

    def answers(self) -> dict[str, str | None]:
        """The answers by the topic."""
        return {**asdict(self.decisions), "user_keys": self.user_keys, "prices": self.prices}


@dataclass
class Outcome:
    """What was done, or would be. `changed` are accounts by the field, `left` accounts by the reason. USD."""

    changed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    converted: Decimal = ZERO
    referral: Decimal = ZERO
    opened: int = 0
    damaged: int = 0
    prices: int = 0
    stopped: int = 0
    keys: UserKeys | None = None
    failed: dict[str, str] = field(default_factory=dict)
    is_preview: bool = False

    def add(self, plan: AccountPlan) -> None:
        self.changed.update(plan.fields.keys())
        self.left.update(plan.left)
        self.converted += plan.converted
        self.referral += plan.referral

    def lines(self) -> list[str]:
        """The same as sentences."""
        lines = [f"{self.changed[name]:,} {what}" for name, what in WHAT.items() if self.changed[name]]
        if self.converted:
            lines.append(f"{format_usd(self.converted)} of OhMyGPT credits by the conversion, with ledger entries")
        if self.referral:
            lines.append(f"{format_usd(self.referral)} of referral credits added, with ledger entries")
        lines += [f"{count:,} accounts are left as they are: {why}" for why, count in self.left.items()]
        lines.append(f"{self.opened:,} ledgers opened{', but none of accounts that need repair' * self.is_preview}")
        if self.damaged:
            lines.append(f"{self.damaged:,} ledgers are not opened: these accounts need repair")
        lines += self.keys.lines() if self.keys else []
        if self.prices:
            lines.append(f"{self.prices} prices imported")
        if self.stopped:
            lines.append(f"{self.stopped} old price rows not sold any more")
        names = list(self.failed.items())[:MOST_NAMES]
        return lines + [f"failed: {name}: {why}" for name, why in names]

    def as_json(self) -> dict[str, Any]:
        """What the record keeps."""
        return {
            "changed": dict(self.changed),
            "left": dict(self.left),
            "converted": format_usd(self.converted),
            "referral": format_usd(self.referral),
            "opened": self.opened,
            "damaged": self.damaged,
            "prices": self.prices,
            "stopped": self.stopped,
            "keys": self.keys.as_json() if self.keys else None,
            "failed": len(self.failed),
        }


def preview(order: Order, progress: Progress) -> Outcome:
    """What `take_over` would do now. Reads only. Raises `PyMongoError`, `DatabaseError`."""
    outcome, now = Outcome(is_preview=True), timezone.now()
    for document in _documents(order, progress):
        outcome.add(plan_account(document, order.decisions, now=now))
    accounts = collection_of(Account).estimated_document_count()
    is_opening = {"kind": LedgerEntry.Kind.OPENING, "balance": Balance.OPENHANDS}
    outcome.opened = max(accounts - LedgerEntry.objects.filter(**is_opening).count(), 0)
    outcome.prices = sum(count_changes(order.price_rows))
    outcome.stopped = len(find_stale()) if order.prices in (Prices.IMPORT, Prices.STOP) else 0
    if order.user_keys is UserKeysAnswer.ADOPT:
        outcome.keys = survey_user_keys(partial(progress, "user_keys"))
    return outcome


def take_over(order: Order, progress: Progress, *, batch_size: int = BATCH) -> Outcome:
    """Do it all, and keep a record of it in the audit trail. Safe to repeat: a second run finds nothing to do.

    One account that fails does not keep the others; it is in `failed`. Raises `PyMongoError`, `DatabaseError` and
    `NotFinished` when the database gives up: what was done until then stays, and another run does the rest.
    """
    outcome = Outcome()
    progress("prices", 0, 0)
    outcome.prices = import_rows(order.price_rows, actor=order.actor)
    if order.prices in (Prices.IMPORT, Prices.STOP):
        outcome.stopped = stop_stale(actor=order.actor)
    documents = _documents(order, progress)
    while batch := list(islice(documents, batch_size)):
        _change_batch(batch, order, outcome)
    if order.user_keys is UserKeysAnswer.ADOPT:
        told = partial(progress, "user_keys")
        outcome.keys = adopt_all_user_keys(actor=order.actor, action=ACTION, reason=order.reason, progress=told)
    total, done = collection_of(Account).estimated_document_count(), 0
    for adopted in adopt_all(actor=order.actor):
        outcome.opened += adopted.opened
        outcome.damaged += len(adopted.damaged)
        done += adopted.looked_at
        progress("ledgers", done, total)
    done_and_decided = {"decisions": order.answers(), "done": outcome.as_json()}
    record(actor=order.actor, action=ACTION, target="", reason=order.reason, after=done_and_decided)
    return outcome


def _documents(order: Order, progress: Progress) -> Iterator[Document]:
    """The accounts that the decisions may change, as they are stored."""
    condition = to_be_changed(order.decisions)
    if condition is None:
        return
    accounts = collection_of(Account)
    progress("accounts that change", 0, 0)
    total = accounts.count_documents(condition)
    for done, document in enumerate(accounts.find(condition).batch_size(BATCH)):
        progress("accounts that change", done, total)
        yield document


def _change_batch(batch: list[Document], order: Order, outcome: Outcome) -> None:
    """The ledgers first, so that their opening entries say what was there before; then what moves no credit."""
    outcome.opened += adopt([document["_id"] for document in batch], actor=order.actor).opened
    now = timezone.now()
    moving: list[Document] = []
    plain: list[Any] = []
    for document in batch:
        plan = plan_account(document, order.decisions, now=now)
        if plan.is_empty:
            outcome.add(plan)
        elif plan.moves_credits:
            moving.append(document)
        else:
            plain.append(document["_id"])
    for plan in run_in_transaction(lambda: _change_without_movement(plain, order)) if plain else []:
        outcome.add(plan)
    for document in moving:
        _change_one(_name_of(document), order, outcome)


def _change_without_movement(keys: list[Any], order: Order) -> list[AccountPlan]:
    changed = credits.take_over_without_movement(keys=keys, decisions=order.decisions)
    states = [
        (_name_of(document)[:200], _state_of(document), _state_of(document | plan.fields)) for document, plan in changed
    ]
    if states:
        record_all(actor=order.actor, action=ACTION, reason=order.reason, changes=states)
    return [plan for _, plan in changed]


def _change_one(username: str, order: Order, outcome: Outcome) -> None:
    operation = new_operation()
    try:
        done = perform(
            operation=operation,
            actor=order.actor,
            action=ACTION,
            target=username[:200],
            reason=order.reason,
            change=partial(_change, username, order, operation),
            read_state=partial(_state, username),
        )
    except AccountNotFound:
        return  # Deleted meanwhile.
    except NotFinished:
        raise  # The others would only wait for the database as long again.
    except BillingError as error:
        outcome.failed[username] = str(error)
        return
    outcome.add(done)


def _name_of(document: Document) -> str:
    key = document["_id"]
    return key if isinstance(key, str) else text_of_id(key)


def _change(username: str, order: Order, operation: str) -> AccountPlan:
    """In a transaction. The ledger of an account that could not be read until now is opened by the last step."""
    return credits.take_over(username=username, decisions=order.decisions, operation=operation, actor=order.actor)


def _state(username: str) -> Document | None:
    document = collection_of(Account).find_one({"_id": id_of_text(username)}, session=current_session())
    return None if document is None else _state_of(document)


def _state_of(document: Document) -> Document:
    """What the audit keeps of an account."""
    return {name: str(document[name]) for name in SHOWN if name in document}
