"""What is counted of one day beside its requests: the ledger, payments, events and refusals."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Model

from accounts.models import LedgerEntry
from books.daily_use import name_of_value, text_of_amount
from money.amounts import ZERO, from_bson
from money.expressions import exact, rounded
from mongo.collections import IS_NO_LIST, Document, collection_of
from mongo.days import day_of, end_of, start_of
from mongo.times import as_utc
from payments.models import WAITING_FOR_STAFF, Payment, WebhookEvent
from payments.orders.prices import CURRENCY, RECEIVED, rate_expression
from proxy.models import RefusedRequest, RequestLog

Figures = dict[str, Any]
BEFORE_ALL = datetime(1970, 1, 2, tzinfo=UTC)


def within(field: str, day: date) -> Document:
    """The condition of what has a time of this day."""
    return {field: {"$gte": start_of(day), "$lt": end_of(day), **IS_NO_LIST}}


def _aggregate(model: type[Model], match: Document, group: Document) -> list[Document]:
    return list(collection_of(model).aggregate([{"$match": match}, {"$group": group}]))


def read_ledger(day: date) -> Figures:
    """The sum of each kind of entry, by balance."""
    group = {"_id": {"kind": "$kind", "balance": "$balance"}, "amount": {"$sum": exact("amount")}}
    figures: Figures = {}
    for row in _aggregate(LedgerEntry, within("createdAt", day), group):
        figures.setdefault(row["_id"]["kind"], {})[row["_id"]["balance"]] = text_of_amount(row["amount"])
    return figures


_TIMES = ((RequestLog, "createdAt"), (LedgerEntry, "createdAt"), (Payment, "completedAt"), (WebhookEvent, "receivedAt"))


def read_first_day() -> date | None:
    """The first day of which anything that is counted is left; None if there is nothing yet. Read by indexes."""
    firsts = []
    for model, name in _TIMES:
        dated = collection_of(model).find({name: {"$gt": BEFORE_ALL}}, {name: 1}).sort(name, 1).limit(1)
        firsts += [found[name] for found in dated if isinstance(found[name], datetime)]
    return day_of(as_utc(min(firsts))) if firsts else None


def read_revenue(day: date) -> tuple[list[Figures], str]:
    """What was paid, by provider and currency; and all of it in USD, each payment at its own rate."""
    group = {
        "_id": {
            "provider": {"$ifNull": ["$provider", {"$ifNull": ["$paymentMethod", "unknown"]}]},
            "currency": CURRENCY,
        },
        "amount": {"$sum": exact("paid")},
        "usd": {"$sum": rounded({"$divide": [exact("paid"), rate_expression()]})},
        "payments": {"$sum": 1},
    }
    pipeline = [
        {"$match": {**within("completedAt", day), "status": Payment.Status.SUCCESS.value}},
        {"$set": {"paid": RECEIVED}},
        {"$group": group},
        {"$sort": {"_id": 1}},
    ]
    found = list(collection_of(Payment).aggregate(pipeline))
    rows = [
        {
            "provider": name_of_value(row["_id"]["provider"]),
            "currency": row["_id"]["currency"],
            "amount": text_of_amount(row["amount"]),
            "payments": row["payments"],
        }
        for row in found
    ]
    return rows, f"{sum((from_bson(row['usd']) for row in found), ZERO):f}"


def read_events(day: date) -> Figures:
    """How many of the events that came are in each status."""
    group = {"_id": "$status", "count": {"$sum": 1}}
    return {str(row["_id"]): row["count"] for row in _aggregate(WebhookEvent, within("receivedAt", day), group)}


def count_not_said(day: date) -> int:
    """How many of the events that came have moved on, and were stored before it was kept of each what it needed."""
    waiting = [status.value for status in WAITING_FOR_STAFF]
    is_old = {"$and": [{"$eq": [{"$type": "$neededReview"}, "missing"]}, {"$not": {"$in": ["$status", waiting]}}]}
    group: Document = {"_id": None, "count": {"$sum": {"$cond": [is_old, 1, 0]}}}
    return sum(row["count"] for row in _aggregate(WebhookEvent, within("receivedAt", day), group))


def read_kept_refusals(day: date, *, now: datetime) -> list[Figures] | None:
    """How many refusals are kept, by upstream, code and status; None of a day of which some may be dropped already."""
    if start_of(day) <= now - timedelta(days=settings.REFUSALS_KEPT_DAYS):
        return None
    group = {"_id": {"upstream": "$upstream", "code": "$code", "status": "$statusCode"}, "count": {"$sum": 1}}
    found = _aggregate(RefusedRequest, within("createdAt", day), group)
    rows = [
        {
            "upstream": name_of_value(row["_id"].get("upstream")),
            "code": name_of_value(row["_id"].get("code")),
            "status": int(row["_id"].get("status") or 0),
            "count": row["count"],
        }
        for row in found
    ]
    return sorted(rows, key=lambda row: (row["status"], row["code"], row["upstream"]))
