"""What an account had at the moment in which one of its requests was refused, for the record of the refusal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounts.models import Balance
from money.amounts import ZERO, number_from_bson
from mongo.collections import Document
from mongo.times import as_utc
from mongo.unreadable import text_of_id


@dataclass(frozen=True)
class HeldThen:
    """Credits that one request held at that moment. USD."""

    request_id: str
    balance: str
    amount: Decimal
    since: datetime | None


@dataclass(frozen=True)
class AccountAtRefusal:
    """An account as the refusal saw it. USD; a balance that cannot be read is None. The largest hold comes first."""

    username: str
    available: Mapping[Balance, Decimal | None]
    holds: tuple[HeldThen, ...]


def account_at_refusal(document: Document) -> AccountAtRefusal:
    """Read a document of an account, whatever is in it. Raises nothing."""
    username, holds = document["_id"], document.get("holds")
    found = holds.items() if isinstance(holds, Mapping) else ()
    read = [_held_then(request_id, hold) for request_id, hold in found if isinstance(hold, Mapping)]
    return AccountAtRefusal(
        username=username if type(username) is str and username else text_of_id(username),
        available={balance: _amount(document.get(balance.field)) for balance in Balance},
        holds=tuple(sorted(read, key=lambda held: held.amount, reverse=True)),
    )


def _held_then(request_id: str, hold: Mapping[str, object]) -> HeldThen:
    since = hold.get("at")
    return HeldThen(
        request_id=request_id,
        balance=str(hold.get("balance")),
        amount=_amount(hold.get("amount")) or ZERO,
        since=as_utc(since) if isinstance(since, datetime) else None,
    )


def _amount(value: object) -> Decimal | None:
    return ZERO if value is None else number_from_bson(value)
