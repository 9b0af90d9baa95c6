"""The request log's document: the one builder of it, and how it is inserted.

A log is inserted once, by its `_id`: whoever inserts it (the request, or the sweeper that gave it up) decides the cost,
and everyone settles by that.
"""

from datetime import datetime
from decimal import Decimal

from pymongo.errors import DuplicateKeyError, PyMongoError

from accounts.invariants import check_cost
from accounts.models import Balance
from money.amounts import ZERO, to_bson
from mongo.collections import Document, collection_of, insert_one
from mongo.patience import keep_trying
from proxy.billing.pricing import PLAIN, Price, Terms, Usage
from proxy.errors import ServiceUnavailable
from proxy.models import RequestLog


def log_document(
    *,
    request_id: str,
    username: str,
    balance: Balance,
    status: int,
    outcome: str,
    created_at: datetime,
    usage: Usage | None = None,
    usage_source: RequestLog.UsageSource = RequestLog.UsageSource.NONE,
    usage_problem: str | None = None,
    full_cost: Decimal = ZERO,
    hold: Decimal | None = None,
    lowered_to: int | None = None,
    price: Price | None = None,
    terms: Terms = PLAIN,
    own_cost: Decimal | None = None,
    own_cost_source: RequestLog.OwnCostSource | None = None,
    model: str | None = None,
    endpoint: str | None = None,
    key_prefix: str | None = None,
    key_id: str | None = None,
    is_stream: bool | None = None,
    latency_ms: int | None = None,
) -> Document:
    """One request as it is kept. What is not known is left out. USD.

    `full_cost` is what the usage costs; what of it is beyond the hold is never taken, and noted as `uncollected`.
    Without a `hold` the request was free. `lowered_to` is the output bound that the balance afforded, if lowered.
    `own_cost` is what the operator pays, None if nobody knows. Raises `BrokenInvariant` unless 0 ≤ cost ≤ hold.
    """
    usage = usage or Usage()
    cost = full_cost if hold is None else min(full_cost, hold)
    check_cost(request_id, cost, hold=ZERO if hold is None else hold)
    document = {
        "_id": request_id,
        "userId": username,
        "apiKeyPrefix": key_prefix,
        "keyId": key_id,
        "creditType": balance.value,
        "endpoint": endpoint,
        "model": model,
        "isStream": is_stream,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cacheWriteTokens": usage.cache_write_tokens,
        "cacheHitTokens": usage.cache_read_tokens,
        "tokensUsed": usage.total_tokens,
        "creditsCost": to_bson(cost),
        "uncollected": to_bson(full_cost - cost),
        "hold": None if hold is None else to_bson(hold),
        "maxTokensLowered": lowered_to,
        "ownCost": None if own_cost is None else to_bson(own_cost),
        "ownCostSource": None if own_cost_source is None else own_cost_source.value,
        "price": None if price is None else price.snapshot(usage, terms),
        "usageSource": usage_source.value,
        "usageProblem": usage_problem,
        "outcome": outcome,
        "statusCode": status,
        "isSuccess": outcome == "ok",
        "latencyMs": latency_ms,
        "createdAt": created_at,
    }
    document |= {f"{name}Tokens": count for name, count in usage.special_tokens.items()}
    if usage.tool_uses:
        document["toolUses"] = dict(usage.tool_uses)
    return {name: value for name, value in document.items() if value is not None}


def record(document: Document, *, patience_seconds: float) -> tuple[Document, bool]:
    """Insert the write-ahead record; returns the log that decides, and whether it was inserted here.

    The other one is the same document, of a try that had arrived, or what the sweep wrote when it gave the request up.
    Tried again for `patience_seconds`: an answer must not go unbilled for a moment without database. Raises
    `ServiceUnavailable` after that; it may still arrive. Safe to repeat with the same document.
    """

    def write() -> tuple[Document, bool]:
        try:
            insert_one(RequestLog, document)
        except DuplicateKeyError:
            return collection_of(RequestLog).find_one({"_id": document["_id"]}) or document, False
        return document, True

    try:
        return keep_trying(write, seconds=patience_seconds, name=f"the log of request {document['_id']}")
    except PyMongoError as error:
        raise ServiceUnavailable(f"request {document['_id']} could not be recorded") from error
