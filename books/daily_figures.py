"""The figures of each day, counted from the ledger, the request log, the payments and the inbox.

A past day is counted once more after it has ended, and then never again; today is counted again when its figures are
older than a minute. So a year on the dashboard is 365 small documents, however many requests there were.
"""

from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any

import pymongo
from django.db.models import Model
from django.utils import timezone
from pymongo.errors import PyMongoError

from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance, LedgerEntry
from books.models import DailyFigures
from books.reconciliation import read_reconciliation
from money.amounts import from_bson
from money.expressions import exact, is_finite
from mongo.collections import IS_NO_LIST, collection_of
from mongo.unreadable import type_of
from payments.inbox.bad_signatures import read_bad_signatures
from payments.models import Payment, WebhookEvent
from payments.orders.prices import CURRENCY, RECEIVED
from proxy.billing.credit_type import balance_expression
from proxy.billing.refusals import read_refusals
from proxy.models import RequestLog

Figures = dict[str, Any]

FRESH_SECONDS = 60
SETTLING_TIME = timedelta(hours=2)
"""A request that began before midnight is settled, and logged, by then."""
DAYS_KEPT_READY = 31
MAX_RECONCILED = 50
MOST_MODELS = 50
"""Models whose margin is kept each day: those for which the most was charged or paid."""
LIABILITY_SECONDS = 0.3


def refresh_figures(*, now: datetime | None = None, seconds: float | None = None) -> int:
    """Count today (and the days before it that are missing or not final); returns how many days were counted.

    The sweeper counts all that is due; a page stops after `seconds`, the latest days first. Cheap when everything is
    fresh; safe to run in parallel, as every count gives the same.
    """
    now = now or timezone.now()
    days = [now.astimezone(UTC).date() - timedelta(days=back) for back in range(DAYS_KEPT_READY)]
    known = {found.day: found.computed_at for found in DailyFigures.objects.filter(day__gte=days[-1].isoformat())}
    due = [day for day in days if _is_due(day, known.get(day.isoformat()), now)]
    deadline = None if seconds is None else monotonic() + seconds
    for counted, day in enumerate(due):
        if counted and deadline is not None and monotonic() > deadline:
            return counted
        count_day(day=day, now=now, is_patient=deadline is None)
    return len(due)


def _is_due(day: date, computed_at: datetime | None, now: datetime) -> bool:
    if computed_at is None:
        return True
    is_final = computed_at >= _start_of(day) + timedelta(days=1) + SETTLING_TIME
    return not is_final and (now - computed_at).total_seconds() >= FRESH_SECONDS


def count_day(*, day: date, now: datetime | None = None, is_patient: bool = False) -> Figures:
    """Count one day (UTC) and keep the result. Amounts are text in USD, or in units of their currency.

    `is_patient`: also check the accounts that moved today, and read the balances of all accounts however long it
    takes; else what was found last is kept.
    """
    now = now or timezone.now()
    use, margin = _requests(day)
    figures: Figures = {
        "ledger": _ledger(day),
        "use": use,
        "margin": margin,
        "revenue": _revenue(day),
        "events": _events(day),
        "bad_signatures": sum(read_bad_signatures(day=day).values()),
        "refusals": {balance.value: read_refusals(upstream=balance, day=day) for balance in Balance},
    }
    if day == now.astimezone(UTC).date():
        last = {} if is_patient else _last_found(day)
        figures["now"] = {
            "liability": _liability() if is_patient else _liability_in_time() or last.get("liability"),
            "expiring": _expiring(now),
            "waiting": _waiting(),
            "reconciliation": _reconcile(day) if is_patient else last.get("reconciliation"),
        }
    collection_of(DailyFigures).replace_one(
        {"_id": day.isoformat()}, {"figures": figures, "computedAt": now}, upsert=True
    )
    return figures


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _within(field: str, day: date) -> dict[str, Any]:
    return {field: {"$gte": _start_of(day), "$lt": _start_of(day) + timedelta(days=1), **IS_NO_LIST}}


def _text(value: object) -> str:
    """An amount with its 8 places, as the figures keep it."""
    return f"{from_bson(value):f}"


def _aggregate(model: type[Model], match: dict[str, Any], group: dict[str, Any]) -> list[dict[str, Any]]:
    return list(collection_of(model).aggregate([{"$match": match}, {"$group": group}]))


def _ledger(day: date) -> Figures:
    """The sum of each kind of entry, by balance."""
    group = {"_id": {"kind": "$kind", "balance": "$balance"}, "amount": {"$sum": exact("amount")}}
    figures: Figures = {}
    for row in _aggregate(LedgerEntry, _within("createdAt", day), group):
        figures.setdefault(row["_id"]["kind"], {})[row["_id"]["balance"]] = _text(row["amount"])
    return figures


_SUMS = ("requests", "errors", "cost", "uncollected", "known", "charged_known", "own_cost")


def _requests(day: date) -> tuple[Figures, Figures]:
    """The day's use by upstream, and its margin by model: what customers were charged, and what that cost the operator.

    `charged_known` is the part of what was charged whose cost is known: only that can be compared with `own_cost`.
    The logs are read once, by the index of times; of the models the `MOST_MODELS` largest are kept.
    """
    is_known = is_finite("$ownCost")
    per_model = {
        "_id": {"upstream": balance_expression(), "model": {"$ifNull": ["$model", ""]}},
        "requests": {"$sum": 1},
        "errors": {"$sum": {"$cond": [{"$eq": ["$isSuccess", False]}, 1, 0]}},
        "cost": {"$sum": exact("creditsCost")},
        "uncollected": {"$sum": exact("uncollected")},
        "known": {"$sum": {"$cond": [is_known, 1, 0]}},
        "charged_known": {"$sum": {"$cond": [is_known, exact("creditsCost"), 0]}},
        "own_cost": {"$sum": exact("ownCost")},
    }
    pipeline: list[dict[str, Any]] = [
        {"$match": _within("createdAt", day)},
        {"$group": per_model},
        {
            "$facet": {
                "upstreams": [
                    {"$group": {"_id": "$_id.upstream", **{name: {"$sum": f"${name}"} for name in _SUMS}}},
                    {"$sort": {"_id": 1}},
                ],
                "models": [
                    {"$set": {"size": {"$max": ["$cost", "$own_cost"]}}},
                    {"$match": {"size": {"$gt": 0}}},
                    {"$sort": {"size": -1, "_id": 1}},
                    {"$limit": MOST_MODELS},
                ],
            }
        },
    ]
    (found,) = collection_of(RequestLog).aggregate(pipeline)
    use = {
        str(row["_id"]): {
            "requests": row["requests"],
            "errors": row["errors"],
            "cost": _text(row["cost"]),
            "uncollected": _text(row["uncollected"]),
        }
        for row in found["upstreams"]
    }
    margin = {
        "upstreams": [{"upstream": str(row["_id"]), **_margin(row)} for row in found["upstreams"]],
        "models": [
            {"upstream": str(row["_id"]["upstream"]), "model": _name(row["_id"]["model"]), **_margin(row)}
            for row in found["models"]
        ],
    }
    return use, margin


def _margin(sums: dict[str, Any]) -> Figures:
    return {
        "requests": sums["requests"],
        "known": sums["known"],
        "charged": _text(sums["cost"]),
        "charged_known": _text(sums["charged_known"]),
        "own_cost": _text(sums["own_cost"]),
    }


def _revenue(day: date) -> list[Figures]:
    """What was paid, by provider and currency."""
    group = {
        "_id": {
            "provider": {"$ifNull": ["$provider", {"$ifNull": ["$paymentMethod", "unknown"]}]},
            "currency": CURRENCY,
        },
        "amount": {"$sum": exact("paid")},
        "payments": {"$sum": 1},
    }
    pipeline = [
        {"$match": {**_within("completedAt", day), "status": Payment.Status.SUCCESS.value}},
        {"$set": {"paid": RECEIVED}},
        {"$group": group},
        {"$sort": {"_id": 1}},
    ]
    return [
        {
            "provider": _name(row["_id"]["provider"]),
            "currency": row["_id"]["currency"],
            "amount": _text(row["amount"]),
            "payments": row["payments"],
        }
        for row in collection_of(Payment).aggregate([*pipeline, {"$sort": {"_id": 1}}])
    ]


def _name(value: object) -> str:
    """What is stored in the place of a name, so that any number of odd ones are one row for each kind of value."""
    return value if type(value) is str else f"unreadable: {type_of(value)}"


def _events(day: date) -> Figures:
    group = {"_id": "$status", "count": {"$sum": 1}}
    return {str(row["_id"]): row["count"] for row in _aggregate(WebhookEvent, _within("receivedAt", day), group)}


def _liability() -> Figures:
    """Outstanding credits of each balance: what customers have paid for and can still spend. Read from its index."""
    figures: Figures = {}
    for balance in Balance:
        rows = _aggregate(Account, {balance.field: {"$gt": 0}}, {"_id": None, "sum": {"$sum": exact(balance.field)}})
        figures[balance.value] = _text(rows[0]["sum"]) if rows else _text(0)
    return figures


def _liability_in_time() -> Figures | None:
    """The same, unless there are too many accounts for a page to wait: a million take seconds."""
    try:
        with pymongo.timeout(LIABILITY_SECONDS):
            return _liability()
    except PyMongoError as error:
        if not error.timeout:
            raise
        return None


def _expiring(now: datetime) -> int:
    soon = {"expiresAt": {"$gt": now, "$lte": now + timedelta(days=1)}}
    return collection_of(Account).count_documents(soon, limit=100_000)


def _waiting() -> Figures:
    """Events that wait for a person, and those that could not be processed yet."""
    events = collection_of(WebhookEvent)
    states = (WebhookEvent.Status.REVIEW, WebhookEvent.Status.DEAD, WebhookEvent.Status.RECEIVED)
    return {state.value: events.count_documents({"status": state.value}, limit=10_000) for state in states}


def _reconcile(day: date) -> Figures:
    """Check the accounts whose ledger moved today, the latest first; `manage.py reconcile` checks all of them."""
    pipeline: list[dict[str, Any]] = [
        {"$match": _within("createdAt", day)},
        {"$sort": {"createdAt": -1}},
        {"$limit": MAX_RECONCILED * 4},
        {"$group": {"_id": "$account"}},
        {"$limit": MAX_RECONCILED},
    ]
    names = [row["_id"] for row in collection_of(LedgerEntry).aggregate(pipeline)]
    present = Account.objects.filter(pk__in=names).values_list("pk", flat=True)
    # Nothing can be said of accounts that no reconciliation has adopted yet.
    checked: dict[str, bool] = {}
    damaged = []
    for name in present:
        try:
            if results := read_reconciliation(name):
                checked[name] = any(result.drift for result in results)
        except AccountNeedsRepair:
            damaged.append(name)
    drifting = sorted(name for name, has_drift in checked.items() if has_drift)
    return {"checked": len(checked), "drifting": drifting, "damaged": sorted(damaged)}


def _last_found(day: date) -> Figures:
    """What was counted of the present earlier today."""
    found = DailyFigures.objects.filter(pk=day.isoformat()).first()
    last: Figures = found.figures.get("now", {}) if found else {}
    return last
