"""What the business came to in some days: read from the figures of each day, and from what went back of the money."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from books.daily_figures import key_of
from books.daily_use import Figures
from books.day_parts import read_first_day
from books.models import DailyFigures
from money.amounts import ZERO, from_bson
from mongo.collections import Document, collection_of
from mongo.days import end_of, start_of
from payments.inbox.events import count_needed
from payments.rules.money_back import MoneyBack, read_money_back

MOST_CUSTOMERS = 20
MOST_DAYS = 366
"""That can be asked for at once."""
_COUNTS = ("requests", "errors", "known")
_AMOUNTS = ("uncollected", "charged", "charged_known", "own_cost")


@dataclass(frozen=True)
class Sums:
    """What some requests came to. USD. Of `known` of them it is known what the upstream took: `own_cost`."""

    requests: int = 0
    errors: int = 0
    known: int = 0
    uncollected: Decimal = ZERO
    charged: Decimal = ZERO
    charged_known: Decimal = ZERO
    own_cost: Decimal = ZERO

    @property
    def margin(self) -> Decimal | None:
        """What is left of what was charged where the cost is known; None where it is known of no request."""
        return self.charged_known - self.own_cost if self.known else None

    def plus(self, other: "Sums", *, sign: int = 1) -> "Sums":
        """The sum of the two; with `sign` -1 the difference."""
        names = (*_COUNTS, *_AMOUNTS)
        return Sums(**{name: getattr(self, name) + sign * getattr(other, name) for name in names})


def sums_of(row: Figures) -> Sums:
    """The sums of a stored row; what it lacks is 0."""
    values: Figures = {name: int(row.get(name) or 0) for name in _COUNTS}
    return Sums(**values | {name: _amount(row.get(name)) for name in _AMOUNTS})


def total(sums: Iterable[Sums]) -> Sums:
    """The sum of several."""
    found = Sums()
    for one in sums:
        found = found.plus(one)
    return found


@dataclass(frozen=True)
class Day:
    """One day. What is None is not known: the day has not been counted yet, or by a release that did not count it."""

    day: date
    by_upstream: dict[str, Sums] | None
    paid: list[Figures] | None
    paid_usd: Decimal | None
    not_said: int | None
    refusals: dict[str, dict[str, int]] | None
    kept_refusals: list[Figures] | None
    has_models: bool


@dataclass(frozen=True)
class Customer:
    """One of the largest customers. `is_exact` is false where they were not among the largest of every day."""

    account: str
    sums: Sums
    is_exact: bool


@dataclass(frozen=True)
class Business:
    """Some days, the oldest first, and their sums.

    `most_of_others` is the most that a customer can have come to who is not among `customers` for never having been
    among the largest of a day. `needed` is how many events needed review, or were given up. `money_back` None: there is
    too much of it to be added up. `held` None: not counted yet.
    """

    days: list[Day]
    models: dict[tuple[str, str], Sums]
    customers: list[Customer]
    most_of_others: Decimal
    money_back: list[MoneyBack] | None
    needed: dict[str, int]
    held: Figures | None

    @property
    def by_upstream(self) -> dict[str, Sums]:
        sums: dict[str, Sums] = {}
        for day in self.days:
            for name, one in (day.by_upstream or {}).items():
                sums[name] = sums.get(name, Sums()).plus(one)
        return sums

    def days_without(self, part: str) -> list[date]:
        """The days of which a part is not known."""
        values = [(day.day, getattr(day, part)) for day in self.days]
        return [day for day, value in values if value is None or value is False]


def read_business(*, first: date, last: date) -> Business:
    """The days from `first` to `last`, both included. Reads only, and as many documents as there are days.

    Days before anything was kept are days on which nothing happened.
    """
    days = read_days(first, last)
    customers, most_of_others = _customers(first, last, are_all=all(day.has_models for day in days))
    start, end = start_of(first), end_of(last)
    return Business(
        days=days,
        models=_models(first, last),
        customers=customers,
        most_of_others=most_of_others,
        money_back=read_money_back(start=start, end=end),
        needed=count_needed(start=start, end=end),
        held=read_held_last(),
    )


def read_held_last() -> Figures | None:
    """What customers held when it was counted last: of each balance in `balances`, and when `at`. None: not yet."""
    latest = collection_of(DailyFigures).find_one(
        {**_within(date.min, date.max), "figures.held": {"$type": "object"}}, {"figures.held": 1}, sort=[("_id", -1)]
    )
    found: Figures | None = (latest or {}).get("figures", {}).get("held")
    return found


def read_sums(*, first: date, last: date, upstream: str = "", model: str = "") -> Sums | None:
    """What the requests of some days came to, on one upstream and of one model if they are named.

    None where it is not known of every day. The same sums as `read_business` has.
    """
    days = read_days(first, last)
    if any(day.by_upstream is None or (model and not day.has_models) for day in days):
        return None
    if model:
        models = _models(first, last)
        return total(sums for (on, name), sums in models.items() if name == model and upstream in ("", on))
    return total(sums for day in days for on, sums in (day.by_upstream or {}).items() if upstream in ("", on))


def read_days(first: date, last: date) -> list[Day]:
    """Each day from `first` to `last`, both included."""
    parts = ("use", "margin.upstreams", "revenue", "paid_usd", "not_said", "refusals", "kept_refusals")
    shown = {f"figures.{part}": 1 for part in parts} | {"hasModels": {"$isArray": ["$figures.models"]}}
    found = collection_of(DailyFigures).aggregate([{"$match": _within(first, last)}, {"$project": shown}])
    stored = {str(one["_id"]): one for one in found}
    beginning = read_first_day()
    all_days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [_day(day, stored.get(key_of(day)), is_empty=beginning is None or day < beginning) for day in all_days]


def _within(first: date, last: date) -> Document:
    return {"_id": {"$gte": key_of(first), "$lte": key_of(last)}}


def _day(day: date, stored: Document | None, *, is_empty: bool) -> Day:
    if stored is None and is_empty:
        return Day(day, {}, [], ZERO, 0, {}, [], has_models=True)
    figures: Figures = (stored or {}).get("figures", {})
    usd = figures.get("paid_usd")
    return Day(
        day=day,
        by_upstream=_by_upstream(figures) if "use" in figures else None,
        paid=figures.get("revenue"),
        paid_usd=None if usd is None else Decimal(usd),
        not_said=figures.get("not_said"),
        refusals=figures.get("refusals"),
        kept_refusals=figures.get("kept_refusals"),
        has_models=bool((stored or {}).get("hasModels")),
    )


def _by_upstream(figures: Figures) -> dict[str, Sums]:
    """What earlier releases counted too, the cost only as far as they did."""
    margins = {row["upstream"]: row for row in figures.get("margin", {}).get("upstreams", [])}
    return {
        name: sums_of({**margins.get(name, {}), **row, "charged": row.get("cost")})
        for name, row in figures["use"].items()
    }


def _models(first: date, last: date) -> dict[tuple[str, str], Sums]:
    group: Document = {"_id": {"upstream": "$figures.models.upstream", "model": "$figures.models.model"}}
    group |= {name: {"$sum": f"$figures.models.{name}"} for name in _COUNTS}
    group |= {name: {"$sum": {"$toDecimal": f"$figures.models.{name}"}} for name in _AMOUNTS}
    pipeline: list[Document] = [
        {"$match": _within(first, last)},
        {"$project": {"figures.models": 1}},
        {"$unwind": "$figures.models"},
        {"$group": group},
    ]
    rows = collection_of(DailyFigures).aggregate(pipeline)
    return {(row["_id"]["upstream"], row["_id"]["model"]): sums_of(row) for row in rows}


def _customers(first: date, last: date, *, are_all: bool) -> tuple[list[Customer], Decimal]:
    """The customers for whom the most was charged; and the most that one who was never kept can have come to."""
    collection = collection_of(DailyFigures)
    counted: Document = {**_within(first, last), "customers.rows": {"$exists": True}}
    most = {day["_id"]: Decimal(day["customers"]["most_of_others"]) for day in collection.find(counted, _MOST)}
    cut_days = [day for day, amount in most.items() if amount > 0]
    rows = "$customers.rows"
    group: Document = {"_id": f"{rows}.account", "charged": {"$sum": f"{rows}.cost"}}
    group |= {name: {"$sum": f"{rows}.{name}"} for name in (*_COUNTS, "charged_known", "own_cost")}
    group["cutDays"] = {"$sum": {"$cond": [{"$in": ["$_id", cut_days]}, 1, 0]}} if cut_days else {"$max": 0}
    pipeline: list[Document] = [
        {"$match": counted},
        {"$project": {"customers.rows": 1}},
        {"$unwind": rows},
        {"$group": group},
        {"$sort": {"charged": -1, "_id": 1}},
        {"$limit": MOST_CUSTOMERS},
    ]
    customers = [
        Customer(row["_id"], sums_of(row), is_exact=are_all and row["cutDays"] == len(cut_days))
        for row in collection.aggregate(pipeline)
    ]
    return customers, sum(most.values(), ZERO)


_MOST = {"customers.most_of_others": 1}


def _amount(value: object) -> Decimal:
    """A stored amount: text, or a number of the database."""
    return Decimal(value) if isinstance(value, str) else from_bson(value)
