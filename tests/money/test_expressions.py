"""What the database reads in a stored amount or count is what Python reads in it, whatever its type."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from money.amounts import from_bson
from money.expressions import exact, number, whole

ODD = [
    None,
    True,
    False,
    "",
    "0.5",
    "abc",
    b"5",
    [],
    [5],
    {},
    {"$numberDecimal": "1"},
    ObjectId(),
    datetime(2026, 1, 1, tzinfo=UTC),
    Timestamp(1, 1),
    Regex("5"),
    MinKey(),
    MaxKey(),
    float("nan"),
    float("inf"),
    float("-inf"),
    Decimal128("NaN"),
    Decimal128("sNaN"),
    Decimal128("Infinity"),
    Decimal128("-Infinity"),
    Decimal128("1e6000"),
    Decimal128("-1e6000"),
]
NUMBERS = [0, 5, -7, Int64(2**40), 0.0, 0.1, 0.1 + 0.2, -2.5, 2.9, -2.9, 1e12, Decimal128("7.125"), Decimal128("-0")]


def read(collection: Any, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keyed = [{"_id": f"user{index:03}", **document} for index, document in enumerate(documents)]
    collection.insert_many(keyed)
    shown = {"exact": exact("amount"), "number": number("amount"), "whole": whole("amount")}
    return list(collection.aggregate([{"$sort": {"_id": 1}}, {"$project": shown}]))


@pytest.mark.parametrize("name", ["exact", "number", "whole"])
def test_what_is_no_finite_number_is_nothing(usersnew: Any, name: str) -> None:
    rows = read(usersnew, [{"amount": value} for value in ODD] + [{}])
    assert [from_bson(row[name]) for row in rows] == [0] * (len(ODD) + 1)
    assert [from_bson(value) for value in ODD] == [0] * len(ODD)


def test_numbers_of_every_type_are_read_as_python_reads_them(usersnew: Any) -> None:
    rows = read(usersnew, [{"amount": value} for value in NUMBERS])
    assert [from_bson(row["exact"]) for row in rows] == [from_bson(value) for value in NUMBERS]
    assert [from_bson(row["number"]) for row in rows] == [from_bson(value) for value in NUMBERS]
    assert [from_bson(row["whole"]) for row in rows] == [int(from_bson(value)) for value in NUMBERS]
