"""The end of a request: its log is inserted, and the hold is settled by the log that decides.

The request itself ends so, the sweep closes so what a dead process left, and so does a retry that finds an answer whose
request had not been billed yet.
"""

import logging
from dataclasses import dataclass
from decimal import Decimal

from accounts import credits
from accounts.errors import AccountNeedsRepair
from accounts.models import Balance
from accounts.review import note_uncollected
from money.amounts import ZERO, from_bson, number_from_bson
from mongo.collections import Document
from mongo.errors import DATABASE_FAILURES
from mongo.unreadable import Unreadable
from proxy.billing.request_log import record
from proxy.models import INPUT_TOKENS, OUTPUT_TOKENS

logger = logging.getLogger(__name__)

ABANDONED = "abandoned"
"""Outcome of a request whose process died before it could record one: nothing is charged."""


@dataclass(frozen=True)
class Closure:
    """How a request ended. USD. `balance_after` is None if its hold had been settled before, or could not be yet.

    `problem` is why the account cannot take it, until somebody has repaired its document.
    """

    log: Document
    balance_after: Decimal | None
    problem: AccountNeedsRepair | None = None

    @property
    def is_abandoned(self) -> bool:
        return self.log.get("outcome") == ABANDONED

    @property
    def cost(self) -> Decimal:
        return from_bson(self.log.get("creditsCost"))


def close(document: Document, *, patience_seconds: float = 0) -> Closure:
    """Insert a request's log, unless it has one, and settle its hold by the log that it has then.

    The log is tried for `patience_seconds`. A hold that cannot be settled yet is left to the sweep: what is recorded is
    billed. Raises `ServiceUnavailable` when the log cannot be kept; it may still arrive. Safe to repeat, also beside
    itself.
    """
    log, is_first = record(document, patience_seconds=patience_seconds)
    username, request_id = document["userId"], document["_id"]
    try:
        settlement = credits.settle(
            username=username,
            request_id=request_id,
            balance=Balance(document["creditType"]),
            cost=_cost(username, log),
            input_tokens=sum(_count(log, name) for name in INPUT_TOKENS.values()),
            output_tokens=sum(_count(log, name) for name in OUTPUT_TOKENS.values()),
        )
    except (*DATABASE_FAILURES, AccountNeedsRepair) as error:
        logger.error("request %s is recorded but not settled yet: %s", request_id, error)
        return Closure(log, None, problem=error if isinstance(error, AccountNeedsRepair) else None)
    uncollected = from_bson(log.get("uncollected"))
    if is_first and uncollected > ZERO:
        note_uncollected(username=username, amount=uncollected)
    return Closure(log, settlement.balance_after)


def _cost(username: str, log: Document) -> Decimal:
    """What the log says that the request cost, in USD. Raises `AccountNeedsRepair` for what is no cost."""
    cost = number_from_bson(log.get("creditsCost"))
    if cost is None or cost < 0:
        raise AccountNeedsRepair(username, {f"creditsCost of {log['_id']}": Unreadable.of(log.get("creditsCost"))})
    return cost


def _count(log: Document, name: str) -> int:
    """A count of tokens in a raw log, which an old program may have written; what is not a number counts as 0."""
    return int(from_bson(log.get(name)))
