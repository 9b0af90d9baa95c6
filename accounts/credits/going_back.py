"""What a roll-back does to balances: numbers as the replaced programs read them, and the end of the OpenHands balance.

`manage.py prepare_rollback` and `manage.py drop_new_fields` call it while nothing else runs.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128
from django.utils import timezone

from accounts.credits.posting import Cause, Change, Kind, accounts, post, read_account
from accounts.errors import BillingError
from accounts.models import Balance
from money.amounts import from_bson
from money.expressions import number
from mongo.collections import Document, current_session
from mongo.transactions import run_in_transaction

NUMBERS = (
    *(field for balance in Balance for field in (balance.field, balance.used_field)),
    "refCredits",
    "tokensUserNew",
    "totalInputTokens",
    "totalOutputTokens",
)
"""Fields of an account that the replaced proxy decodes as 64-bit numbers. With a Decimal128 it refuses the account.

To a null the replaced programs can add nothing: what is bought there then is lost.
"""
OPENHANDS_FIELDS = ("creditsNew", "tokensUserNew")
"""What the dual credits brought: the fields that a roll-back may remove."""


def unlike_doubles(document: Mapping[str, Any]) -> list[str]:
    """The fields of a raw account that hold a Decimal128, or null for 0, and can be stored as a double."""
    return [field for field in NUMBERS if field in document and isinstance(document[field], Decimal128 | None)]


def store_as_doubles(*, username: str) -> list[str]:
    """Store every Decimal128 and null of an account as a double of 8 places, as it is read; returns the fields.

    No credit moves: what is read stays the same. Raises `AccountNotFound` and `AccountNeedsRepair`. Safe to repeat.
    """

    def run() -> list[str]:
        fields = unlike_doubles(read_account(username))
        if fields:
            doubles = {field: number(field) for field in fields}
            accounts().update_one({"_id": username}, [{"$set": doubles}], session=current_session())
        return fields

    return run_in_transaction(run)


def drop_openhands(*, username: str, operation: str, actor: str, reason: str, now: datetime | None = None) -> Decimal:
    """Destroy the OpenHands balance of an account and remove its fields; returns what was there, in USD.

    An adjustment to zero in the ledger says so, whether the credits have expired or are a debt. Raises
    `AccountNotFound`, `AccountNeedsRepair`, and `BillingError` while a request holds credits. Safe to repeat: a second
    call finds nothing.
    """

    def run() -> Decimal:
        document = read_account(username)
        if document.get("holds"):
            raise BillingError(f"account {username!r} has open holds: run prepare_rollback first")
        amount = from_bson(document.get(Balance.OPENHANDS.field))
        if amount:
            change = Change(Balance.OPENHANDS, Kind.ADJUSTMENT, -amount)
            post(username, [change], Cause(operation, actor, reason, now or timezone.now()), allow_debt=True)
        unset = {"$unset": dict.fromkeys(OPENHANDS_FIELDS, "")}
        accounts().update_one({"_id": username}, unset, session=current_session())
        return amount

    return run_in_transaction(run)


def drop_empty_fields(*, fields: tuple[str, ...], query: Document) -> int:
    """Remove `fields` from the accounts that `query` selects, but no balance, and nothing of one with an open hold.

    Returns how many accounts changed. Raises `PyMongoError`. Safe to repeat.
    """
    empty: list[Document] = [{"creditsNew": {"$in": [0, None]}}] if "creditsNew" in fields else []
    empty.append({"holds": {"$in": [{}, None]}})
    is_there = {"$or": [{field: {"$exists": True}} for field in fields]}
    selected = {"$and": [query, is_there, *empty]}
    return int(accounts().update_many(selected, {"$unset": dict.fromkeys(fields, "")}).modified_count)
