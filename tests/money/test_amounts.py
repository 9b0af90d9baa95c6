"""The border between Decimal and the database's doubles: exact in both directions."""

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from bson import Decimal128, Int64
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from money import expressions
from money.amounts import format_cents, format_usd, from_bson, round_up_usd, round_usd, to_bson


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (5, "5"),
        (Int64(2**40), "1099511627776"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.3"),
        (1e-9, "0"),
        (-2.5, "-2.5"),
        (999_999_999_999_999.9, "999999999999999.875"),
        (1e15, "1000000000000000"),
        (-1e15, "-1000000000000000"),
        (1.7e308, str(int(1.7e308))),
        (Decimal128("0.123456785"), "0.12345678"),
        (Decimal128("1e6000"), "0"),
        (Decimal128("0.123456795"), "0.12345679"),  # The double nearest to it is below the half.
        (Decimal128("-1e6000"), "0"),
        (Decimal128("NaN"), "0"),
        (Decimal128("sNaN"), "0"),
        (float("nan"), "0"),
        (float("-inf"), "0"),
        (None, "0"),
        (True, "0"),
        ("12", "0"),
        ({"$numberDecimal": "1"}, "0"),
    ],
)
def test_from_bson_reads_every_type(stored: object, expected: str) -> None:
    assert from_bson(stored) == Decimal(expected)


@given(st.decimals(min_value=-10_000_000, max_value=10_000_000, places=8))
def test_a_rounded_amount_survives_the_double(amount: Decimal) -> None:
    assert from_bson(to_bson(amount)) == amount


@pytest.mark.django_db
@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.decimals(min_value=0, max_value=10_000_000, places=8),
            st.decimals(min_value=-1_000_000, max_value=1_000_000, places=8),
        ),
        min_size=1,
        max_size=500,
    )
)
def test_adding_in_the_database_is_exact_fixed_point(pairs: list[tuple[Decimal, Decimal]]) -> None:
    collection = connection.database["money_test"]
    collection.delete_many({})
    collection.insert_many([{"_id": n, "a": to_bson(a), "b": to_bson(b)} for n, (a, b) in enumerate(pairs)])
    collection.update_many({}, [{"$set": {"sum": {"$round": [{"$add": ["$a", "$b"]}, 8]}}}])
    sums = [document["sum"] for document in collection.find().sort("_id")]
    collection.drop()
    assert sums == [to_bson(a + b) for a, b in pairs]


@pytest.mark.django_db
def test_python_reads_a_legacy_double_as_the_server_rounds_it() -> None:
    # Tokens times odd prices leave ninth places that end in 5: the two sides must agree on each.
    collection = connection.database["money_test"]
    values = [n * 3.825e-6 for n in range(1, 4000)] + [100 + n * 1e-9 * 5 for n in range(1, 999)]
    collection.insert_many([{"_id": n, "value": value} for n, value in enumerate(values)])
    rounded = collection.aggregate([{"$sort": {"_id": 1}}, {"$project": {"r": {"$round": ["$value", 8]}}}])
    differences = [v for v, row in zip(values, rounded, strict=True) if to_bson(from_bson(v)) != row["r"]]
    collection.drop()
    assert differences == []


def test_python_reads_every_number_type_as_the_server_rounds_it(usersnew: Any) -> None:
    random = Random(20261120)
    values: list[object] = [Int64(2**53 + 1), Int64(-(2**63)), -7, Decimal128("1e40"), Decimal128("-0"), 1e300]
    for digits in range(9, 35):
        for _ in range(20):
            number = Decimal(random.randint(-(10**digits), 10**digits)).scaleb(-random.choice((9, 10, digits)))
            values += [Decimal128(number), float(number)]
    # Halves of the last place, exact in decimal and above, below or on them in binary.
    values += [Decimal128(f"{random.randint(0, 10**6)}.{random.randint(0, 10**8):08}5") for _ in range(300)]
    usersnew.insert_many([{"_id": f"user{n:05}", "creditsNew": value} for n, value in enumerate(values)])
    # The expression that guards and changes balances, in one aggregate.
    pipeline = [{"$sort": {"_id": 1}}, {"$project": {"read": expressions.number("creditsNew")}}]
    rows = list(usersnew.aggregate(pipeline))
    differences = [value for value, row in zip(values, rows, strict=True) if from_bson(value) != from_bson(row["read"])]
    assert differences == []


def test_rounding_is_half_up_and_up() -> None:
    assert round_usd(Decimal("0.000000005")) == Decimal("0.00000001")
    assert round_usd(Decimal("0.0000000049")) == 0
    assert round_up_usd(Decimal("0.0000000001")) == Decimal("0.00000001")


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0.00"), ("1234.5", "$1,234.50"), ("-0.00042", "-$0.00042"), ("1.00000001", "$1.00000001")],
)
def test_format_usd(amount: str, text: str) -> None:
    assert format_usd(Decimal(amount)) == text


def test_format_cents_never_flatters() -> None:
    assert format_cents(Decimal("0.009")) == "$0.00"
    assert format_cents(Decimal("0.001"), round_up=True) == "$0.01"
    assert format_cents(Decimal("-0.5")) == "-$0.50"
    assert format_cents(Decimal("1234.567")) == "$1,234.56"
