"""Which balance a request was billed to: any stored credit type but `openhands` means OhMyGPT.

Documents older than the dual credits have no credit type: they were billed to the one balance there was.
"""

from collections.abc import Collection, Iterable
from functools import cache

from bson.raw_bson import RawBSONDocument
from django.db.models import Q

from accounts.models import Balance
from mongo.collections import encoded


def balance_of(credit_type: object) -> Balance:
    """The balance that a stored credit type means: a value of any type, None if it is absent."""
    return Balance.OPENHANDS if credit_type == Balance.OPENHANDS.value else Balance.OHMYGPT


@cache
def balance_expression() -> RawBSONDocument:
    """The same in the database, from a log's `creditType`: the value of the balance."""
    is_openhands = {"$eq": ["$creditType", Balance.OPENHANDS.value]}
    return encoded({"$cond": [is_openhands, Balance.OPENHANDS.value, Balance.OHMYGPT.value]})


def is_billed_to(balances: Collection[Balance], *, stored: Iterable[object]) -> Q:
    """The condition of logs billed to one of `balances`, where `stored` are the credit types that occur.

    It names every value: an index finds, and sorts by its next field, what is equal, but not what is different.
    """
    named = [value for value in (*Balance.values, *stored) if value is not None and balance_of(value) in balances]
    condition = Q(credit_type__in=named)
    return condition | Q(credit_type=None) if balance_of(None) in balances else condition
