"""Which accounts are refused because their document cannot be read where that would harm, and why.

What harms is what decides whether credits are there, may be spent, and come back: a balance, the expiry, open holds,
the limits, whether the account is active. Everything else (a role, a counter of tokens, the key's prefix) is shown as
unreadable and harms nobody. docs/odd-documents.md has the table.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from bson.raw_bson import RawBSONDocument
from django.db import connection

from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance
from mongo.collections import Document, encoded
from mongo.fields import AdoptedField
from mongo.unreadable import Unreadable, id_of_text

HARMFUL = (
    "is_active",
    "review_since",
    "credits_new",
    "credits",
    "expires_at",
    "expires_at_new",
    "is_migrated",
    "purchased_at",
    "holds",
    "held_since",
    "requests_per_minute",
    "concurrent_requests",
    "keys",
    "key_hashes",
)
"""Fields of `Account` that must be readable for its credits to move."""
KEYS = ("apiKey", "apiKeyHash")
"""A list of keys would let each of them in: the database looks into lists."""


@cache
def _fields() -> dict[str, AdoptedField]:
    fields = (Account._meta.get_field(name) for name in HARMFUL)
    return {str(field.column): field for field in fields if isinstance(field, AdoptedField)}


def problems_of(document: Mapping[str, Any]) -> dict[str, Unreadable]:
    """What of a raw account cannot be read and harms, by the stored field. Empty for a healthy one."""
    username = document.get("_id")
    found: dict[str, Any] = {} if type(username) is str and username else {"_id": Unreadable.of(username)}
    found |= {
        column: field.from_db_value(document.get(column), None, connection) for column, field in _fields().items()
    }
    found |= {key: Unreadable.of(document[key], is_secret=True) for key in KEYS if isinstance(document.get(key), list)}
    return {column: problem for column, problem in found.items() if isinstance(problem, Unreadable)}


def check(document: Mapping[str, Any]) -> None:
    """Raise `AccountNeedsRepair` unless everything of a raw account that matters can be read."""
    if problems := problems_of(document):
        raise AccountNeedsRepair(document.get("_id"), problems)


def problems_of_account(account: Account) -> dict[str, Unreadable]:
    """The same for an account that was read as a model."""
    harmful = {field.attname: column for column, field in _fields().items()} | {"username": "_id"}
    return {harmful[name]: problem for name, problem in account.unreadable.items() if name in harmful}


def check_account(account: Account) -> None:
    """Raise `AccountNeedsRepair` for an account, read as a model, of which something that matters cannot be read."""
    if problems := problems_of_account(account):
        raise AccountNeedsRepair(id_of_text(account.pk), problems)


@cache
def balance_is_readable(balance: Balance) -> RawBSONDocument:
    """Expression: whether one balance can be read."""
    return encoded(_fields()[balance.field].readable(f"${balance.field}"))


@cache
def is_readable() -> RawBSONDocument:
    """Expression: the same in the database, but for single holds, at which only Python looks. Raises no error."""
    parts: list[Document] = [
        {"$gt": ["$_id", ""]},
        {"$lt": ["$_id", {}]},  # What comes after all texts.
        *(field.readable(f"${column}") for column, field in _fields().items()),
        *({"$not": [{"$isArray": f"${key}"}]} for key in KEYS),
    ]
    return encoded({"$and": parts})
