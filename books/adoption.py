"""Opens the ledgers of many accounts at once: what a first reconciliation does, for all that have no history here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError

from accounts import credits
from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance, LedgerEntry, sum_holds
from accounts.needs_repair import problems_of
from books.reconciliation import reconcile_account
from money.amounts import from_bson
from mongo.collections import collection_of, current_session
from mongo.transactions import run_in_transaction
from proxy.models import RequestLog

BATCH = 500
"""Accounts a transaction: 1,000 entries, well below what a transaction may hold."""


@dataclass
class Adopted:
    """How many accounts were looked at, how many ledgers opened, and whose documents need repair first."""

    looked_at: int = 0
    opened: int = 0
    damaged: list[str] = field(default_factory=list)


def adopt_all(*, actor: str) -> Iterator[Adopted]:
    """Open the ledger of every account that has none, batch by batch; yields what became of each batch.

    Safe to repeat, to interrupt, and to run beside everything else.
    """
    batch: list[str] = []
    for document in collection_of(Account).find({}, projection={"_id": 1}).batch_size(BATCH):
        batch.append(document["_id"])
        if len(batch) == BATCH:
            yield adopt(batch, actor=actor)
            batch = []
    if batch:
        yield adopt(batch, actor=actor)


def adopt(usernames: Sequence[Any], *, actor: str) -> Adopted:
    """Open the ledgers of these accounts, unless they are open. Safe to repeat."""
    named = [name for name in usernames if isinstance(name, str) and name]
    others = [name for name in usernames if not isinstance(name, str) or not name]
    result = Adopted(looked_at=len(usernames), damaged=[str(name) for name in others])
    try:
        opened, one_by_one = run_in_transaction(lambda: _open_without_history(named, actor))
        result.opened = opened
    except IntegrityError:  # Somebody else opened one of them meanwhile.
        one_by_one = credits.without_ledger(named)
    for name in one_by_one:
        try:
            reconcile_account(name)
            result.opened += 1
        except AccountNeedsRepair:
            result.damaged.append(name)
        except Account.DoesNotExist:
            pass  # Deleted meanwhile.
    return result


def _open_without_history(names: list[str], actor: str) -> tuple[int, list[str]]:
    """Open those that nothing was recorded of; returns how many, and the names of the rest.

    All in one snapshot: what is on the balances and in holds is all there is, as long as no entry and no cost of ours
    says otherwise.
    """
    wanted = credits.without_ledger(names)
    if not wanted:
        return 0, []
    entries = LedgerEntry.objects.filter(account_id__in=wanted).values_list("account_id", flat=True)
    logs: list[dict[str, Any]] = [
        {"$match": {"userId": {"$in": wanted}, "hold": {"$gte": 0}}},
        {"$group": {"_id": "$userId"}},
    ]
    has_history = set(entries)
    for row in collection_of(RequestLog).aggregate(logs, session=current_session()):
        has_history |= set(row["_id"] if isinstance(row["_id"], list) else [row["_id"]])
    amounts, one_by_one = {}, [name for name in wanted if name in has_history]
    plain = [name for name in wanted if name not in has_history]
    for document in collection_of(Account).find({"_id": {"$in": plain}}, session=current_session()):
        if problems_of(document):
            one_by_one.append(document["_id"])
            continue
        holds = document.get("holds") or {}
        amounts[document["_id"]] = {
            balance: from_bson(document.get(balance.field)) + sum_holds(holds, balance) for balance in Balance
        }
    if amounts:
        credits.open_ledgers(amounts=amounts, actor=actor)
    return len(amounts), one_by_one
