"""Everything that moved the credits of one account, newest first: ledger entries, and use by day and model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import Account, Balance, LedgerEntry
from accounts.needs_repair import check_account
from books.reconciliation import ledger_sums, settled_costs
from money.amounts import ZERO, from_bson
from money.expressions import exact, whole
from mongo.collections import IS_NO_LIST, collection_of, current_session
from mongo.days import day_of, end_of
from mongo.fields import FIRST_TIME, LAST_TIME
from mongo.times import as_utc, later
from mongo.transactions import run_in_transaction
from mongo.unreadable import Unreadable
from proxy.billing.credit_type import balance_expression
from proxy.billing.refused_requests import read_not_kept
from proxy.models import INPUT_TOKENS, OUTPUT_TOKENS, RefusedRequest, RequestLog

WINDOW = timedelta(days=30)
MAX_ENTRIES = 40
MAX_REQUESTS = 5_000
"""What a page may read, however much an account is used: a busier month is cut into shorter pages."""
MAX_REFUSALS = 5_000
USE, REFUSED = "use", "refused"
KINDS = {**dict(LedgerEntry.Kind.choices), USE: "Use", REFUSED: "Refused"}


@dataclass(frozen=True)
class Row:
    """One line: a ledger entry, or the requests of one model on one day between two ledger entries. USD.

    Or the kept refusals of one day, model and code, which moved nothing: `reason` is what the newest one told, and
    `not_kept` how many more of that day were only counted, on the day's newest line alone.

    `after` is the balance including what requests in flight hold; None for use that the replaced system billed. An
    opening entry is what the account had before all other entries; it is written later, and moves nothing.
    """

    at: datetime
    balance: Balance
    kind: str
    amount: Decimal
    after: Decimal | None = None
    actor: str = ""
    reason: str = ""
    model: str = ""
    first_at: datetime | None = None
    requests: int = 0
    failed: int = 0
    tokens: int = 0
    is_ours: bool = True
    code: str = ""
    request_id: str = ""
    not_kept: int = 0

    @property
    def label(self) -> str:
        return KINDS[self.kind]


@dataclass(frozen=True)
class Timeline:
    """One page. `older_than` starts the next one; None when this is the last."""

    rows: tuple[Row, ...]
    start: datetime
    end: datetime | None
    older_than: datetime | None


def read_timeline(
    *, username: str, before: datetime | None = None, balance: Balance | None = None, kind: str = ""
) -> Timeline:
    """A page of at most `WINDOW`, `MAX_ENTRIES` and `MAX_REQUESTS` that ends at `before` (now). Reads one snapshot.

    Raises `Account.DoesNotExist`, and `AccountNeedsRepair` where nobody can say what the account has.
    """
    return run_in_transaction(lambda: _read(username, before, balance, kind))


def _read(username: str, before: datetime | None, balance: Balance | None, kind: str) -> Timeline:
    account = Account.objects.get(pk=username)
    check_account(account)
    start = _first_that_fits(username, (before or timezone.now()) - WINDOW, before)
    entries, start = _entries(username, start, before)
    boundaries = sorted({entry.created_at for entry in entries})
    rows = [_row_of(entry) for entry in entries] + list(_use(account, start, before, boundaries))
    rows += _refused(username, start, before)
    rows.sort(key=lambda row: row.at, reverse=True)
    running = _totals_at(account, before)
    counted = _with_running_balance(rows, running)
    shown = tuple(row for row in counted if balance in (None, row.balance) and kind in ("", row.kind))
    return Timeline(shown, start, before, _newest_before(username, start))


def _first_that_fits(username: str, start: datetime, end: datetime | None) -> datetime:
    """Where a page starts so that it has at most `MAX_REQUESTS`: with a whole day, unless one day has more."""

    def times_from(first: datetime) -> Any:
        query = {"userId": {"$eq": username, **IS_NO_LIST}, "createdAt": _between(first, end)}
        found = collection_of(RequestLog).find(query, {"_id": 0, "createdAt": 1}, session=current_session())
        return found.sort("createdAt", -1)

    for too_many in times_from(start).skip(MAX_REQUESTS).limit(1):
        cut = as_utc(too_many["createdAt"])
        next_day = end_of(day_of(cut))
        return next_day if list(times_from(next_day).limit(1)) else later(cut, timedelta(milliseconds=1))
    return start


def _entries(username: str, start: datetime, end: datetime | None) -> tuple[list[LedgerEntry], datetime]:
    """The entries of the window, newest first; a crowded window is cut to start with the oldest entry that fits."""
    found = LedgerEntry.objects.filter(account_id=username, created_at__gte=start)
    if end is not None:
        found = found.filter(created_at__lt=end)
    entries = list(found.order_by("-created_at")[: MAX_ENTRIES + 1])
    if len(entries) > MAX_ENTRIES:
        # Entries of one operation share their time and stay together.
        start = entries[MAX_ENTRIES - 1].created_at
        entries = list(found.filter(created_at__gte=start).order_by("-created_at"))
    # The entries of one operation were written one after the other: the last one comes first.
    return sorted(entries, key=lambda entry: (entry.created_at, entry.pk), reverse=True), start


def _row_of(entry: LedgerEntry) -> Row:
    return Row(
        at=entry.created_at,
        balance=Balance(entry.balance),
        kind=entry.kind,
        amount=entry.amount,
        actor=entry.actor,
        reason=entry.reason,
    )


def _use(account: Account, start: datetime, end: datetime | None, boundaries: list[datetime]) -> Iterator[Row]:
    """Use by balance, day and model, split where a ledger entry falls in between, so the running balance is true."""
    key = {
        "balance": balance_expression(),
        "model": {"$ifNull": ["$model", ""]},
        "day": {"$dateTrunc": {"date": "$createdAt", "unit": "day", "timezone": settings.TIME_ZONE}},
        "segment": _segment(boundaries),
        "isOurs": {"$ne": [{"$type": "$hold"}, "missing"]},
    }
    tokens = [whole(name) for name in (*INPUT_TOKENS.values(), *OUTPUT_TOKENS.values())]
    group = {
        "_id": key,
        "cost": {"$sum": exact("creditsCost")},
        "requests": {"$sum": 1},
        "failed": {"$sum": {"$cond": [{"$eq": ["$isSuccess", False]}, 1, 0]}},
        "tokens": {"$sum": {"$add": tokens}},
        "first": {"$min": "$createdAt"},
        "last": {"$max": "$createdAt"},
    }
    pipeline = [{"$match": _logs(account, start, end)}, {"$group": group}]
    for found in collection_of(RequestLog).aggregate(pipeline, session=current_session()):
        yield Row(
            at=as_utc(found["last"]),
            first_at=as_utc(found["first"]),
            balance=Balance(found["_id"]["balance"]),
            kind=USE,
            amount=-from_bson(found["cost"]),
            model=_name(found["_id"]["model"]),
            requests=found["requests"],
            failed=found["failed"],
            tokens=int(from_bson(found["tokens"])),
            is_ours=found["_id"]["isOurs"],
        )


def _refused(username: str, start: datetime, end: datetime | None) -> list[Row]:
    """Kept refusals by day, balance, model and code, the newest line first."""
    key = {name: f"${name}" for name in ("upstream", "model", "code")}
    group = {
        "_id": {**key, "day": {"$dateTrunc": {"date": "$createdAt", "unit": "day", "timezone": settings.TIME_ZONE}}},
        "requests": {"$sum": 1},
        "first": {"$min": "$createdAt"},
        "last": {"$max": "$createdAt"},
        "message": {"$first": "$message"},
        "request": {"$first": "$_id"},
    }
    pipeline: list[dict[str, Any]] = [
        {"$match": {"userId": username, "createdAt": _between(start, end)}},
        {"$sort": {"createdAt": -1}},
        {"$limit": MAX_REFUSALS},
        {"$group": group},
    ]
    found = collection_of(RefusedRequest).aggregate(pipeline, session=current_session())
    rows = [
        Row(
            at=as_utc(row["last"]),
            first_at=as_utc(row["first"]),
            balance=Balance(row["_id"]["upstream"]),
            kind=REFUSED,
            amount=ZERO,
            reason=str(row.get("message") or ""),
            model=row["_id"].get("model") or "",
            requests=row["requests"],
            code=str(row["_id"].get("code")),
            request_id=str(row["request"]),
        )
        for row in found
    ]
    return _with_not_kept(username, sorted(rows, key=lambda row: row.at, reverse=True))


def _with_not_kept(username: str, rows: list[Row]) -> list[Row]:
    """The lines, newest first, with what was only counted on the newest one of each day."""
    if not rows:
        return rows
    left = read_not_kept(username, first=day_of(rows[-1].at), last=day_of(rows[0].at))
    return [replace(row, not_kept=left.pop(day_of(row.at), 0)) for row in rows]


def _name(model: object) -> str:
    return model if type(model) is str else str(Unreadable.of(model))


def _segment(boundaries: list[datetime], before: int = 0) -> Any:
    """How many of the sorted boundaries a log is not older than, found by halves, as there may be hundreds."""
    if not boundaries:
        return {"$literal": before}
    middle = len(boundaries) // 2
    older, newer = boundaries[:middle], boundaries[middle + 1 :]
    is_older = {"$lt": ["$createdAt", boundaries[middle]]}
    return {"$cond": [is_older, _segment(older, before), _segment(newer, before + middle + 1)]}


def _logs(account: Account, start: datetime, end: datetime | None) -> dict[str, Any]:
    """The account's logs in a window, without those not settled yet, whose cost is still in the hold."""
    query: dict[str, Any] = {"userId": {"$eq": account.pk, **IS_NO_LIST}, "createdAt": _between(start, end)}
    return query | ({"_id": {"$nin": list(account.holds)}} if account.holds else {})


def _between(start: datetime, end: datetime | None) -> dict[str, Any]:
    """Times only: an old log may hold a list of them, or one that is out of Python's range."""
    return {"$gte": start, "$lte": LAST_TIME, **({"$lt": end} if end is not None else {}), **IS_NO_LIST}


def _totals_at(account: Account, end: datetime | None) -> dict[Balance, Decimal]:
    """Each balance with its open holds, as it was at the end of the window: today's, less what came after."""
    totals = {balance: account.balance(balance) + account.held(balance) for balance in Balance}
    if end is not None:
        later = {"createdAt": {"$gte": end}, "kind": {"$ne": LedgerEntry.Kind.OPENING.value}}
        moved, spent = ledger_sums({"account": account.pk, **later}), settled_costs(account, since=end)
        totals = {balance: total - moved[balance] + spent[balance] for balance, total in totals.items()}
    return totals


def _with_running_balance(rows: Iterable[Row], running: dict[Balance, Decimal]) -> Iterator[Row]:
    """From the newest to the oldest: the balance after each row."""
    for row in rows:
        if row.kind == REFUSED or (row.kind == USE and not row.is_ours):
            yield row
            continue
        yield replace(row, after=running[row.balance])
        if row.kind != LedgerEntry.Kind.OPENING:
            running[row.balance] -= row.amount


def _newest_before(username: str, start: datetime) -> datetime | None:
    """Just after the newest thing before the window, where an older page ends; None if there is nothing."""
    entry = LedgerEntry.objects.filter(account_id=username, created_at__lt=start).order_by("-created_at").first()
    query = {"userId": {"$eq": username, **IS_NO_LIST}, "createdAt": {"$gte": FIRST_TIME, "$lt": start, **IS_NO_LIST}}
    logs = collection_of(RequestLog).find(query, {"_id": 0, "createdAt": 1}, session=current_session())
    times = [as_utc(log["createdAt"]) for log in logs.sort("createdAt", -1).limit(1)]
    times += [entry.created_at] if entry is not None else []
    refused = RefusedRequest.objects.filter(user_id=username, created_at__lt=start).order_by("-created_at").first()
    times += [refused.created_at] if refused is not None else []
    return later(max(times), timedelta(milliseconds=1)) if times else None
