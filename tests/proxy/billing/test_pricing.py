"""Costs by hand, and the bound that a hold must be."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.billing.pricing import Price, PriceList, Rates, Usage

tokens = st.integers(min_value=0, max_value=2_000_000)
usd = st.decimals(min_value=0, max_value=1000, places=4)


def price(
    *, input: str = "3", output: str = "14", write: str = "3.75", read: str = "0.3", factor: str = "1.02"
) -> Price:
    return Price(
        price_id="p",
        model_id="m",
        upstream_model_id="m",
        charged=PriceList(rates(input, output, write, read)),
        multiplier=Decimal(factor),
        max_output_tokens=64_000,
    )


def rates(input: str = "3", output: str = "14", write: str = "3.75", read: str = "0.3", **others: str) -> Rates:
    given = {"cache_write_1h": "6", "input_audio": "32", "input_image": "4", "output_audio": "64", "output_image": "20"}
    return Rates(
        input=Decimal(input),
        output=Decimal(output),
        cache_write=Decimal(write),
        cache_read=Decimal(read),
        **{name: Decimal(value) for name, value in (given | others).items()},
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(), "0"),
        (Usage(1_000_000), "3.06"),
        (Usage(0, 1_000_000), "14.28"),
        (Usage(1000, 500, 200, 700), "0.01117920"),  # (3000 + 7000 + 750 + 210) / 10^6 * 1.02
        (Usage(0, 0, 1, 0), "0.00000383"),  # 0.000003825: half up
        (Usage(0, 0, 0, 1), "0.00000031"),  # 0.000000306
    ],
)
def test_cost_by_hand(usage: Usage, expected: str) -> None:
    assert price().cost(usage) == Decimal(expected)


@given(tokens, tokens, tokens, tokens, usd, usd, usd, usd, st.decimals(min_value=0, max_value=5, places=3))
def test_the_worst_case_covers_every_split_of_the_same_tokens(
    plain: int, out: int, write: int, read: int, p1: Decimal, p2: Decimal, p3: Decimal, p4: Decimal, factor: Decimal
) -> None:
    row = price(input=str(p1), output=str(p2), write=str(p3), read=str(p4), factor=str(factor))
    assert row.cost(Usage(plain, out, write, read)) <= row.worst_case(plain + write + read, out)


@given(st.integers(0, 1_000_000), st.decimals(min_value=0, max_value=100, places=8))
def test_what_is_affordable_is_the_most_that_fits(input_tokens: int, available: Decimal) -> None:
    row = price()
    affordable = row.affordable_output_tokens(input_tokens, available)
    if row.worst_case(input_tokens, 0) > available:
        assert affordable == 0
    else:
        assert row.worst_case(input_tokens, affordable) <= available
        assert row.worst_case(input_tokens, affordable + 2) > available


def test_a_free_output_is_bounded_by_the_model() -> None:
    assert price(output="0").affordable_output_tokens(10, Decimal(1)) == 64_000
