"""What customers hold, over all accounts: what they can still spend, what they owe, and what nobody can spend."""

from datetime import datetime
from typing import Any

from accounts.models import Account, Balance
from books.daily_use import text_of_amount
from money.expressions import exact
from mongo.collections import Document, collection_of

Figures = dict[str, Any]


def read_held(*, now: datetime) -> dict[str, Figures]:
    """Of each balance, in USD as text: `usable`, `debts` (below 0), `disabled` and `expired`, which no one can spend.

    What requests that run now have set aside is in none of them. Each sum is read by an index: the whole of a balance
    from the index alone, and what of it is disabled or expired from the few accounts that are.
    """
    return {balance.value: _held(balance.field, now) for balance in Balance}


def _held(field: str, now: datetime) -> Figures:
    positive: Document = {field: {"$gt": 0}}
    disabled = _sum(field, {**positive, "isActive": False})
    expired = _sum(field, {**positive, "expiresAt": {"$lte": now}, "isActive": {"$ne": False}})
    return {
        "usable": text_of_amount(_sum(field, positive) - disabled - expired),
        "debts": text_of_amount(_sum(field, {field: {"$lt": 0}})),
        "disabled": text_of_amount(disabled),
        "expired": text_of_amount(expired),
    }


def _sum(field: str, match: Document) -> Any:
    pipeline: list[Document] = [{"$match": match}, {"$group": {"_id": None, "sum": {"$sum": exact(field)}}}]
    found = next(iter(collection_of(Account).aggregate(pipeline)), None)
    return found["sum"].to_decimal() if found else 0
