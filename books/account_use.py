"""What the requests of one account come to: added up in the database, bounded in number and in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pymongo.errors import ExecutionTimeout, NetworkTimeout, WTimeoutError

from accounts.models import Balance
from money.amounts import ZERO, from_bson
from money.expressions import exact, whole
from mongo.collections import Document, collection_of
from mongo.unreadable import Unreadable
from proxy.models import INPUT_TOKENS, OUTPUT_TOKENS, RefusedRequest, RequestLog

MOST_ADDED_UP = 50_000
"""Requests; of an account that has more in the period, the newest are added up."""
ADDING_SECONDS = 1.0
MOST_COUNTED = 10_000
"""Of refusals."""


@dataclass(frozen=True)
class UseFilter:
    """Which requests are meant. `names` are ways to write one account's name; None in the others means any."""

    names: Sequence[str]
    balance: Balance | None = None
    model: str | None = None
    has_succeeded: bool | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class ModelUse:
    """What the requests of one model come to. USD."""

    model: str
    requests: int
    failed: int
    tokens: int
    cost: Decimal


@dataclass(frozen=True)
class Use:
    """What requests come to, the dearest model first. `is_exact` is false where there are more than were added up.

    `refused` is how many kept refusals the same filter finds; None where it says something that no refusal has.
    """

    models: tuple[ModelUse, ...]
    refused: int | None
    is_exact: bool

    @property
    def requests(self) -> int:
        return sum(one.requests for one in self.models)

    @property
    def failed(self) -> int:
        return sum(one.failed for one in self.models)

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.models)

    @property
    def cost(self) -> Decimal:
        return sum((one.cost for one in self.models), ZERO)


def read_use(wanted: UseFilter) -> Use | None:
    """Add up the newest `MOST_ADDED_UP` requests that a filter finds; None where `ADDING_SECONDS` were not enough."""
    group: Document = {
        "_id": {"$ifNull": ["$model", ""]},
        "requests": {"$sum": 1},
        "failed": {"$sum": {"$cond": [{"$eq": ["$isSuccess", False]}, 1, 0]}},
        "tokens": {"$sum": {"$add": [whole(name) for name in (*INPUT_TOKENS.values(), *OUTPUT_TOKENS.values())]}},
        "cost": {"$sum": exact("creditsCost")},
    }
    pipeline: list[Document] = [
        {"$match": _logs(wanted)},
        {"$sort": {"createdAt": -1}},
        {"$limit": MOST_ADDED_UP + 1},
        {"$group": group},
    ]
    limit_ms = int(ADDING_SECONDS * 1000)
    try:
        found = list(collection_of(RequestLog).aggregate(pipeline, maxTimeMS=limit_ms))
        refused = _count_refused(wanted, limit_ms)
    except (ExecutionTimeout, NetworkTimeout, WTimeoutError):
        return None
    models = sorted((_model_use(row) for row in found), key=lambda one: (-one.cost, -one.requests))
    return Use(tuple(models), refused, is_exact=sum(one.requests for one in models) <= MOST_ADDED_UP)


def _model_use(row: Document) -> ModelUse:
    name = row["_id"]
    return ModelUse(
        model=name if type(name) is str else str(Unreadable.of(name)),
        requests=row["requests"],
        failed=row["failed"],
        tokens=int(from_bson(row["tokens"])),
        cost=from_bson(row["cost"]),
    )


def _logs(wanted: UseFilter) -> Document:
    match: Document = {"userId": {"$in": list(wanted.names)}, **_between(wanted)}
    if wanted.balance is not None:
        is_openhands = wanted.balance is Balance.OPENHANDS
        openhands = Balance.OPENHANDS.value
        match["creditType"] = openhands if is_openhands else {"$ne": openhands}
    if wanted.model is not None:
        match["model"] = wanted.model
    if wanted.has_succeeded is not None:
        match["isSuccess"] = wanted.has_succeeded
    return match


def _between(wanted: UseFilter) -> Document:
    bounds = {"$gte": wanted.start, "$lt": wanted.end}
    given = {operator: bound for operator, bound in bounds.items() if bound is not None}
    return {"createdAt": given} if given else {}


def _count_refused(wanted: UseFilter, limit_ms: int) -> int | None:
    if wanted.has_succeeded is not None:
        return None
    match: Document = {"userId": {"$in": list(wanted.names)}, **_between(wanted)}
    if wanted.balance is not None:
        match["upstream"] = wanted.balance.value
    if wanted.model is not None:
        match["model"] = wanted.model
    return collection_of(RefusedRequest).count_documents(match, limit=MOST_COUNTED, maxTimeMS=limit_ms)
