"""Does every account add up? For each balance: balance + open holds = Σ ledger − Σ settled costs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Model
from django.utils import timezone

from accounts import credits
from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance, LedgerEntry
from accounts.needs_repair import check_account
from money.amounts import ZERO, from_bson
from money.expressions import exact
from mongo.collections import collection_of, current_session, wrapper
from mongo.times import as_utc
from mongo.transactions import run_in_transaction
from proxy.billing.credit_type import balance_expression
from proxy.models import RequestLog

COLLECTION, LAST = "reconciliations", "last"
MAX_NAMES = 20


@dataclass(frozen=True)
class Reconciliation:
    """One balance of one account at one moment, in USD. `drift` is what is there beyond what the records explain."""

    username: str
    balance: Balance
    available: Decimal
    held: Decimal
    ledger: Decimal
    spent: Decimal

    @property
    def drift(self) -> Decimal:
        return self.available + self.held - (self.ledger - self.spent)


@dataclass(frozen=True)
class LastRun:
    """When all accounts were checked last, how many there were, and which of them drifted (the first `MAX_NAMES`).

    `damaged` of them could not be checked: their documents need repair.
    """

    at: datetime
    accounts: int
    drifting: tuple[str, ...]
    count: int
    damaged: int = 0


def reconcile_account(username: str) -> list[Reconciliation]:
    """Both balances of an account, read in one snapshot, so requests in flight do not disturb it.

    An account that has no `opening` entry yet is adopted: what its records do not explain was there before them and
    becomes its opening entry. Raises `Account.DoesNotExist`, and `AccountNeedsRepair` where nobody can say what it
    has. Safe to repeat.
    """

    def run() -> list[Reconciliation]:
        results = _read(username)
        opening = {result.balance: result.drift for result in results}
        if not credits.open_ledger(username=username, amounts=opening, actor="system"):
            return results
        return _read(username)

    return run_in_transaction(run)


def read_reconciliation(username: str) -> list[Reconciliation]:
    """The same for pages, which change nothing by looking: empty for an account that was not adopted yet."""
    return reconcile_account(username) if credits.is_ledger_open(username) else []


def reconcile_all() -> Iterator[list[Reconciliation] | AccountNeedsRepair]:
    """Both balances of every account, each in its own snapshot; for a damaged one, why it cannot be read."""
    # Small batches: each asks for the next well within the half hour after which the server drops a cursor.
    for document in collection_of(Account).find({}, projection={"_id": 1}).batch_size(1000):
        try:
            yield reconcile_account(document["_id"])
        except AccountNeedsRepair as error:
            yield error
        except Account.DoesNotExist:
            pass  # Deleted meanwhile.


def record_run(*, accounts: int, drifting: list[str], damaged: int = 0, now: datetime | None = None) -> None:
    """Keep what the check of all accounts found, for the dashboard: names of those that drift, and how many of
    `accounts` could not be checked because their documents need repair.
    """
    found = {
        "at": now or timezone.now(),
        "accounts": accounts,
        "drifting": drifting[:MAX_NAMES],
        "count": len(drifting),
        "damaged": damaged,
    }
    wrapper().get_collection(COLLECTION).replace_one({"_id": LAST}, found, upsert=True)


def read_last_run() -> LastRun | None:
    """What the last check of all accounts found; None if there was none yet."""
    found = wrapper().get_collection(COLLECTION).find_one({"_id": LAST})
    if found is None:
        return None
    at = as_utc(found["at"])
    names, damaged = tuple(found["drifting"]), found.get("damaged", 0)
    return LastRun(at=at, accounts=found["accounts"], drifting=names, count=found["count"], damaged=damaged)


def _read(username: str) -> list[Reconciliation]:
    account = Account.objects.get(pk=username)
    check_account(account)
    spent = settled_costs(account)
    ledger = ledger_sums({"account": username})
    return [
        Reconciliation(
            username=username,
            balance=balance,
            available=account.balance(balance),
            held=account.held(balance),
            ledger=ledger[balance],
            spent=spent[balance],
        )
        for balance in Balance
    ]


def settled_costs(account: Account, *, since: datetime | None = None) -> dict[str, Decimal]:
    """Costs by balance of this platform's requests (those with a hold) from `since` on, but those not settled yet.

    Read from an index alone, whose fields the query must keep to; what is not settled is taken off again.
    """
    query: dict[str, Any] = {"userId": account.pk, "hold": {"$gte": 0}}
    if since is not None:
        query["createdAt"] = {"$gte": since}
    spent = logged_costs(query)
    if account.holds:
        for balance, cost in logged_costs(query | {"_id": {"$in": list(account.holds)}}).items():
            spent[balance] -= cost
    return spent


def ledger_sums(query: dict[str, Any]) -> dict[str, Decimal]:
    """The sums of the ledger entries that `query` selects, by balance, in USD."""
    return _sums(LedgerEntry, query, by="$balance", amount=exact("amount"))


def logged_costs(query: dict[str, Any]) -> dict[str, Decimal]:
    """The costs of one account's logs that `query` selects (it names `userId`), by balance, in USD."""
    # A list that has the account's name in it matches too, and so does one with a number for a hold. (What is looked at
    # in the sum is read from the index; another condition would have each log fetched.)
    is_its_own = {"$and": [{"$eq": ["$userId", query["userId"]]}, {"$not": [{"$isArray": "$hold"}]}]}
    cost = {"$cond": [is_its_own, exact("creditsCost"), 0]}
    return _sums(RequestLog, query, by=balance_expression(), amount=cost)


def _sums(model: type[Model], query: dict[str, Any], *, by: object, amount: object) -> dict[str, Decimal]:
    pipeline = [{"$match": query}, {"$group": {"_id": by, "sum": {"$sum": amount}}}]
    rows = collection_of(model).aggregate(pipeline, session=current_session())
    return dict.fromkeys(Balance.values, ZERO) | {row["_id"]: from_bson(row["sum"]) for row in rows}
