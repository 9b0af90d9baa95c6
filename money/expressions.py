"""Amounts and counts in the database: expressions for update pipelines and aggregations, which read as Python reads."""

from decimal import Decimal
from functools import cache
from typing import Any

from bson import Decimal128, Int64
from bson.raw_bson import RawBSONDocument

from money.amounts import LARGEST_DOUBLE, to_bson
from mongo.collections import Document, encoded


def is_finite(field: str) -> Document:
    """Whether the field holds a number that a double can hold: not text, missing, NaN, nor infinite.

    The database orders values of all types: what is missing, null and NaN before the numbers, all else after them.
    """
    return {"$and": [{"$gte": [field, -LARGEST_DOUBLE]}, {"$lte": [field, LARGEST_DOUBLE]}]}


@cache
def number(path: str) -> RawBSONDocument:
    """The field as `amounts.from_bson` reads it: a finite number rounded to 8 places; anything else is 0.

    Rounded before anything is added, so that what Python read plus what was added is what is there.
    """
    field = f"${path}"
    return encoded({"$cond": [is_finite(field), rounded({"$toDouble": field}), 0.0]})


@cache
def exact(path: str) -> RawBSONDocument:
    """The field as a Decimal128 of 8 places, to be summed: sums of many doubles wander off the eighth place.

    What is no finite number counts as 0, as everywhere.
    """
    field = f"${path}"
    return encoded({"$cond": [is_finite(field), rounded({"$toDecimal": field}), Decimal128("0")]})


@cache
def whole(path: str) -> RawBSONDocument:
    """A count such as tokens as `fields.CountField` reads it, to be summed: what is no finite number counts as 0.

    A Decimal128, as a stored count may be larger than any integer of the database.
    """
    return encoded({"$trunc": exact(path)})


def rounded(expression: Any) -> Document:
    """The value of an expression, rounded to 8 places (halves to even, on the exact value)."""
    return {"$round": [expression, 8]}


def plus(path: str, amount: Decimal) -> Document:
    """The field after `amount` was added."""
    return rounded({"$add": [number(path), to_bson(amount)]})


def at_least(path: str, amount: Decimal) -> Document:
    """Whether the field holds `amount` or more."""
    return {"$gte": [number(path), to_bson(amount)]}


LARGEST_COUNT = 2.0**62
"""A stored counter beyond it counts as this: more does not fit into a 64-bit integer with what is added."""


@cache
def _count(path: str) -> RawBSONDocument:
    return encoded({"$toLong": {"$max": [{"$min": [number(path), LARGEST_COUNT]}, -LARGEST_COUNT]}})


def count_plus(path: str, count: int) -> Document:
    """A counter after `count` was added: a 64-bit integer."""
    return {"$add": [_count(path), Int64(count)]}
