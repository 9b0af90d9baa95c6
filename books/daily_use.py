"""The requests of one day, added up by upstream, model and customer. The logs are read once, by the index of times."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from money.amounts import from_bson
from money.expressions import exact, is_finite
from mongo.collections import Document, collection_of
from mongo.unreadable import type_of
from proxy.billing.credit_type import balance_expression
from proxy.models import RequestLog

Figures = dict[str, Any]

MOST_MODELS = 50
"""Models whose margin the dashboard is told of each day: those for which the most was charged or paid."""
KEPT_MODELS = 300
"""Models that are kept each day, by upstream. What others come to is what is left of the upstream's sum."""
KEPT_CUSTOMERS = 100
"""Customers that are kept each day: those for whom the most was charged or paid."""

_SUMS = ("requests", "errors", "cost", "uncollected", "known", "charged_known", "own_cost")
_OF_CUSTOMERS = ("requests", "errors", "cost", "known", "charged_known", "own_cost")
_SIZE: Document = {"$set": {"size": {"$max": ["$cost", "$own_cost"]}}}


@dataclass(frozen=True)
class DayUse:
    """What a day's requests come to. Amounts are text in USD, in `customers` as the database keeps them.

    `charged_known` is the part of what was charged whose cost is known: only that can be compared with `own_cost`.
    """

    use: Figures
    margin: Figures
    models: list[Figures]
    customers: Figures


def read_day_use(within: Document) -> DayUse:
    """Add up the logs that `within` matches, which says a time by the index of times. Reads only."""
    (found,) = collection_of(RequestLog).aggregate([{"$match": within}, {"$group": _per_customer()}, _facets()])
    upstreams, models = found["upstreams"], found["models"]
    use = {
        str(row["_id"]): {
            "requests": row["requests"],
            "errors": row["errors"],
            "cost": text_of_amount(row["cost"]),
            "uncollected": text_of_amount(row["uncollected"]),
        }
        for row in upstreams
    }
    largest = [row for row in models if from_bson(row["size"]) > 0][:MOST_MODELS]
    margin = {
        "upstreams": [{"upstream": str(row["_id"]), **_margin(row)} for row in upstreams],
        "models": [{**_names(row), **_margin(row)} for row in largest],
    }
    kept = [
        {**_names(row), "errors": row["errors"], "uncollected": text_of_amount(row["uncollected"]), **_margin(row)}
        for row in models
    ]
    return DayUse(use, margin, kept, _customers(found["customers"], found["count"]))


def text_of_amount(value: object) -> str:
    """An amount with its 8 places, as the figures keep it."""
    return f"{from_bson(value):f}"


def name_of_value(value: object) -> str:
    """What is stored in the place of a name, so that any number of odd ones are one row for each kind of value."""
    return value if type(value) is str else f"unreadable: {type_of(value)}"


def _per_customer() -> Document:
    is_known = is_finite("$ownCost")
    return {
        "_id": {
            "upstream": balance_expression(),
            "model": {"$ifNull": ["$model", ""]},
            "account": {"$ifNull": ["$userId", ""]},
        },
        "requests": {"$sum": 1},
        "errors": {"$sum": {"$cond": [{"$eq": ["$isSuccess", False]}, 1, 0]}},
        "cost": {"$sum": exact("creditsCost")},
        "uncollected": {"$sum": exact("uncollected")},
        "known": {"$sum": {"$cond": [is_known, 1, 0]}},
        "charged_known": {"$sum": {"$cond": [is_known, exact("creditsCost"), 0]}},
        "own_cost": {"$sum": exact("ownCost")},
    }


def _facets() -> Document:
    def summed(key: object) -> Document:
        return {"$group": {"_id": key, **{name: {"$sum": f"${name}"} for name in _SUMS}}}

    largest_first: Document = {"$sort": {"size": -1, "_id": 1}}
    model = {"upstream": "$_id.upstream", "model": "$_id.model"}
    return {
        "$facet": {
            "upstreams": [summed("$_id.upstream"), {"$sort": {"_id": 1}}],
            "models": [summed(model), _SIZE, largest_first, {"$limit": KEPT_MODELS}],
            "customers": [summed("$_id.account"), _SIZE, largest_first, {"$limit": KEPT_CUSTOMERS}],
            "count": [{"$group": {"_id": "$_id.account"}}, {"$count": "customers"}],
        }
    }


def _names(row: Document) -> Figures:
    return {"upstream": str(row["_id"]["upstream"]), "model": name_of_value(row["_id"]["model"])}


def _margin(sums: Document) -> Figures:
    return {
        "requests": sums["requests"],
        "known": sums["known"],
        "charged": text_of_amount(sums["cost"]),
        "charged_known": text_of_amount(sums["charged_known"]),
        "own_cost": text_of_amount(sums["own_cost"]),
    }


def _customers(rows: Iterable[Document], count: list[Document]) -> Figures:
    """The largest customers, how many there were, and the most that one who is not among them can have come to."""
    kept = [{"account": name_of_value(row["_id"]), **{name: row[name] for name in _OF_CUSTOMERS}} for row in rows]
    number = count[0]["customers"] if count else 0
    sizes = [max(from_bson(row["cost"]), from_bson(row["own_cost"])) for row in kept]
    return {"rows": kept, "count": number, "most_of_others": f"{sizes[-1]:f}" if number > len(kept) else "0"}
