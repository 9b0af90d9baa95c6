"""Requests that nobody runs any more: the sweep closes their holds by what they left, else at cost 0."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.errors import AccountNeedsRepair
from accounts.fields import is_hold
from accounts.models import Account, Balance
from accounts.processes import Census, forget_silent_processes, take_census
from money.amounts import from_bson
from mongo.collections import Document, collection_of
from mongo.each_item import sum_one_by_one
from mongo.times import as_utc
from mongo.unreadable import Unreadable
from proxy.billing.closing import ABANDONED, Closure, close
from proxy.billing.request_log import log_document
from proxy.models import IdempotentRequest

Held = tuple[str, str, dict[str, Any]]
"""An account's name, a request id, and the hold."""


def sweep_holds(*, now: datetime | None = None) -> int:
    """Settle or release every hold that nobody works for any more; returns how many were closed.

    That is: its process died or has been silent too long, its process does not run the request, or it is older than any
    request can be. Safe to repeat, and to run beside itself and the requests: the log's key and the hold's existence
    decide. A hold that fails does not keep the others from being closed: raises `SomeFailed` after the last one.
    """
    now = now or timezone.now()
    # The holds first: whoever made one of these had told of itself before.
    held = list(_find_held(now - timedelta(seconds=settings.PROCESS_SILENT_SECONDS / 4)))
    forget_silent_processes()
    census, deadline = take_census(), now - timedelta(seconds=settings.HOLD_MAX_AGE_SECONDS)

    def close_left(found: Held) -> int:
        _check_readable(found)
        _, request_id, hold = found
        if as_utc(hold["at"]) > deadline and not _is_over(census, request_id, hold):
            return 0
        return _close(found)

    return sum_one_by_one(held, close_left, name=_name)


def find_open_holds() -> Iterator[Held]:
    """Every open hold, with its account and request; what is no hold stands under no name. Reads all accounts."""
    return _holds_of({"holds": {"$nin": [None, {}]}})


def close_all_holds() -> int:
    """Settle or release every hold, as the sweep does; returns how many. Only while nothing serves requests.

    Safe to repeat. A hold that fails does not keep the others from being closed: raises `SomeFailed` after the last.
    """

    def close_one(found: Held) -> int:
        _check_readable(found)
        return _close(found)

    return sum_one_by_one(list(find_open_holds()), close_one, name=_name)


def _name(found: Held) -> str:
    return f"hold {found[1]} of {found[0]}"[:300]


def _check_readable(found: Held) -> None:
    username, request_id, hold = found
    if not is_hold(request_id, hold) or hold.get("at") is None:
        raise AccountNeedsRepair(username, {f"holds.{request_id}"[:200]: Unreadable.of(hold)})


def _close(found: Held) -> int:
    closure = close_abandoned(*found)
    if closure.problem:
        raise closure.problem
    return int(closure.balance_after is not None)


def _find_held(deadline: datetime) -> Iterator[Held]:
    """Every hold, with its account and request, of the accounts that held something before `deadline`.

    Whatever the documents hold: in the place of holds that are none it is what is there, under no name.
    """
    return _holds_of({"heldSince": {"$lte": deadline}})


def _holds_of(query: Document) -> Iterator[Held]:
    for account in collection_of(Account).find(query, projection={"holds": 1}):
        holds = account.get("holds")
        for request_id, hold in holds.items() if isinstance(holds, dict) else [("", holds)] if holds else []:
            yield account["_id"], request_id, hold


def _is_over(census: Census, request_id: str, hold: dict[str, Any]) -> bool:
    return census.is_over(process=hold.get("process"), request_id=request_id, since=hold["at"])


def close_abandoned(username: str, request_id: str, hold: dict[str, Any]) -> Closure:
    """Close the hold of a request that is over: by its log, by the bill that is kept with its answer, or at cost 0.

    Its idempotency key is free again unless its answer is kept. Raises `ServiceUnavailable`. Safe to repeat.
    """
    claims = collection_of(IdempotentRequest)
    claim = claims.find_one({"requestId": request_id}, projection={"bill": 1}) or {}
    closure = close(claim.get("bill") or _abandoned_log(username, request_id, hold))
    if "_id" in claim:
        claims.delete_one({"_id": claim["_id"], "requestId": request_id, "answer": None})
    return closure


def _abandoned_log(username: str, request_id: str, hold: dict[str, Any]) -> Document:
    return log_document(
        request_id=request_id,
        username=username,
        key_id=hold["keyId"] if isinstance(hold.get("keyId"), str) else None,
        balance=Balance(hold["balance"]),
        hold=from_bson(hold["amount"]),
        status=500,
        outcome=ABANDONED,
        created_at=hold["at"],
    )
