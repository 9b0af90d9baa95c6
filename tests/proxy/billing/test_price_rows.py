"""What a price row may hold, read strictly: a slip makes the whole row unusable, never free and never an exception."""

import contextlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Balance
from proxy.billing.price_rows import KINDS, UnusablePrice, document_of, price_of, read_price_row
from proxy.billing.pricing import PriceList, Rates, Tier, ToolFee
from proxy.models import ModelPrice

ROW: dict[str, Any] = {"_id": "x", "modelId": "m", "inputPricePerMTok": 3, "outputPricePerMTok": 14.0}
OWN: dict[str, Any] = {"ownInputPricePerMTok": 2, "ownOutputPricePerMTok": 10}
FEE = {"usd": "0.01", "maxUses": 10, "inputTokens": 20000}
ODD_VALUES: list[Any] = [
    True,
    False,
    "text",
    "",
    "-1",
    "1e3",
    "٣",
    -1,
    -1e-12,
    1e-12,
    1e300,
    float("nan"),
    float("inf"),
    Int64(-5),
    2**62,
    Decimal128("NaN"),
    Decimal128("sNaN"),
    Decimal128("-Infinity"),
    Decimal128("1E+6000"),
    Decimal128("1E-6000"),
    [],
    [1],
    [None],
    [[]],
    {},
    {"a": 1},
    {"": 1},
    {"a": None},
    {"a": {}},
    [{"above": 1}, {"above": 1}],
    b"bytes",
    Binary(b"x", 4),
    ObjectId(),
    datetime(2026, 1, 1, tzinfo=UTC),
    Regex("a"),
    Code("a"),
    Timestamp(1, 1),
    MinKey(),
    MaxKey(),
]


def rates_of(price_list: PriceList | None) -> Rates:
    assert price_list
    return price_list.rates


def test_an_old_row_means_what_it_meant() -> None:
    row = read_price_row(ROW | {"cacheWritePricePerMTok": "1", "cacheHitPricePerMTok": None, "multiplier": "2"})
    price, rates = row.price, row.price.charged.rates
    assert (row.model_id, row.aliases, row.upstream) == ("m", (), None)
    assert (rates.input, rates.output, rates.cache_write, rates.cache_read, price.multiplier) == (3, 14, 3, 3, 1)
    assert (rates.cache_write_1h, rates.input_audio, rates.input_image) == (6, 3, 3)
    assert (rates.output_audio, rates.output_image) == (14, 14)
    assert (price.max_output_tokens, price.output_member, price.passed_members) == (8192, None, frozenset())
    assert (price.own, dict(price.attachment_tokens)) == (None, {})
    assert (price.charged.tiers, dict(price.charged.multipliers), dict(price.charged.fees)) == ((), {}, {})
    assert (price.has_audio_input, price.has_audio_output, price.has_image_output) == (False, False, False)


def test_a_row_that_says_everything() -> None:
    row = read_price_row(
        ROW
        | {kind.column: index + 1 for index, kind in enumerate(KINDS)}
        | {kind.own_column: Decimal128(f"0.{index + 1}") for index, kind in enumerate(KINDS)}
        | {
            "upstream": "ohmygpt",
            "aliases": ["a", "b"],
            "upstreamModelId": "vendor/m",
            "multiplier": 1.02,
            "maxOutputTokens": 64000.0,
            "tiers": [
                {"above": 272000, "input": "20", "own": {"output": "0.9"}},
                {"above": Int64(200000), "input": 10, "output": Decimal128("22.5"), "cacheWrite1h": 20.5},
            ],
            "optionMultipliers": {"service_tier=priority": "2", "speed=fast": 6},
            "ownOptionMultipliers": {"speed=fast": "5"},
            "toolFees": {
                "web_search": FEE,
                "web_fetch": {"usd": 0, "maxUses": 5, "inputTokens": 0, "ownUsd": "0.002"},
            },
            "attachmentTokens": {"image_url": 1600, "file_id": 50000.0},
            "outputMember": "max_completion_tokens",
            "passedMembers": ["x_vendor"],
            "createdAt": datetime(2026, 1, 1, tzinfo=UTC),
        }
    )
    price = row.price
    assert (row.upstream, row.aliases, row.created_at) == (
        Balance.OHMYGPT,
        ("a", "b"),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert (price.upstream_model_id, price.multiplier, price.max_output_tokens) == ("vendor/m", Decimal("1.02"), 64000)
    assert price.charged.rates == Rates(
        input=Decimal(1),
        output=Decimal(2),
        cache_write=Decimal(3),
        cache_write_1h=Decimal(4),
        cache_read=Decimal(5),
        input_audio=Decimal(6),
        input_image=Decimal(7),
        output_audio=Decimal(8),
        output_image=Decimal(9),
    )
    assert rates_of(price.own).output_image == Decimal("0.9")
    low, high = price.charged.tiers
    assert (low.above, low.rates.input, low.rates.output, low.rates.cache_write_1h) == (
        200000,
        10,
        Decimal("22.5"),
        20.5,
    )
    assert (low.rates.cache_write, high.above, high.rates.input, high.rates.output) == (3, 272000, 20, 2)
    assert price.own
    assert [(tier.above, tier.rates.output) for tier in price.own.tiers] == [
        (200000, Decimal("0.2")),
        (272000, Decimal("0.9")),
    ]
    assert price.charged.multipliers == {"service_tier=priority": 2, "speed=fast": 6}
    assert price.own.multipliers == {"service_tier=priority": 2, "speed=fast": 5}
    assert price.charged.fees == {
        "web_search": ToolFee(Decimal("0.01"), 10, 20000),
        "web_fetch": ToolFee(Decimal(0), 5, 0),
    }
    assert [fee.usd for fee in price.own.fees.values()] == [Decimal("0.01"), Decimal("0.002")]
    assert price.attachment_tokens == {"image_url": 1600, "file_id": 50000}
    assert (price.output_member, price.passed_members) == ("max_completion_tokens", frozenset({"x_vendor"}))
    assert price.has_audio_input
    assert price.has_audio_output
    assert price.has_image_output


def test_what_a_tier_does_not_state_follows_from_its_own_rates_where_the_row_does_not_state_it() -> None:
    row = ROW | {"cacheHitPricePerMTok": 0.3, "tiers": [{"above": 200000, "input": 6}]}
    tier = read_price_row(row).price.charged.tiers[0].rates
    assert (tier.input, tier.output, tier.cache_read) == (6, 14, Decimal("0.3"))
    assert (tier.cache_write, tier.cache_write_1h, tier.input_image) == (6, 12, 6)


def test_the_operators_rates_that_are_not_stated_follow_like_the_charged_ones() -> None:
    own = rates_of(read_price_row(ROW | OWN).price.own)
    assert (own.input, own.output, own.cache_write, own.cache_read, own.cache_write_1h) == (2, 10, 2, 2, 4)


@pytest.mark.parametrize(
    ("fields", "column", "words"),
    [
        ({"modelId": None}, "modelId", "must be text"),
        ({"modelId": ""}, "modelId", "must be text"),
        ({"inputPricePerMTok": None}, "inputPricePerMTok", "is missing"),
        ({"outputPricePerMTok": "5"}, "outputPricePerMTok", "text"),
        ({"inputPricePerMTok": float("nan")}, "inputPricePerMTok", "must be a number"),
        ({"inputPricePerMTok": 1e-12}, "inputPricePerMTok", "less than 8 places"),
        ({"inputPricePerMTok": 1_000_001}, "inputPricePerMTok", "more than 1,000,000"),
        ({"cacheHitPricePerMTok": -0.1}, "cacheHitPricePerMTok", "negative"),
        ({"cacheWrite1hPricePerMTok": "6"}, "cacheWrite1hPricePerMTok", "text"),
        ({"multiplier": 1001}, "multiplier", "more than 1,000"),
        ({"maxOutputTokens": -5}, "maxOutputTokens", "whole number"),
        ({"maxOutputTokens": 1.5}, "maxOutputTokens", "whole number"),
        ({"aliases": "m2"}, "aliases", "list of names"),
        ({"aliases": ["a", 1]}, "aliases", "list of names"),
        ({"upstream": "other"}, "upstream", "must be one of openhands, ohmygpt"),
        ({"tiers": {"above": 1}}, "tiers", "must be a list"),
        ({"tiers": [{"input": 6}]}, "tiers", "Tier 1: 'above' must be a whole number"),
        ({"tiers": [{"above": 0, "input": 6}]}, "tiers", "Tier 1: 'above'"),
        ({"tiers": [{"above": 5, "input": "6,5"}]}, "tiers", "Tier 1: 'input' must be a number"),
        ({"tiers": [{"above": 5, "cachewrite": 1}]}, "tiers", "unknown member 'cachewrite'"),
        ({"tiers": [{"above": 5}, {"above": 5.0}]}, "tiers", "Tier 2: there is another tier above 5"),
        ({"tiers": [{"above": 5, "own": {"input": 1}}]}, "tiers", "Tier 1: 'own' needs"),
        ({**OWN, "tiers": [{"above": 5, "own": {"above": 1}}]}, "tiers", "Tier 1: 'own' has an unknown member"),
        ({"optionMultipliers": {"speed=fast": 0}}, "optionMultipliers", "would make requests free"),
        ({"optionMultipliers": {"speed=fast": "two"}}, "optionMultipliers", "'speed=fast' must be a number"),
        ({"optionMultipliers": ["speed=fast"]}, "optionMultipliers", "must be an object"),
        ({"toolFees": {"web_search": "0.01"}}, "toolFees", "must be an object"),
        (
            {"toolFees": {"web_search": {"usd": "0.01", "inputTokens": 1}}},
            "toolFees",
            "'maxUses' must be a whole number",
        ),
        ({"toolFees": {"web_search": FEE | {"maxuses": 1}}}, "toolFees", "unknown member 'maxuses'"),
        ({"toolFees": {"web_search": FEE | {"usd": None}}}, "toolFees", "'usd' must be a number"),
        ({"attachmentTokens": {"image": 0}}, "attachmentTokens", "from 1 to"),
        ({"attachmentTokens": {"image": "1600"}}, "attachmentTokens", "whole number"),
        ({"outputMember": "n"}, "outputMember", "must be one of"),
        ({"passedMembers": "x"}, "passedMembers", "list of names"),
        ({"ownInputPricePerMTok": 1}, "ownOutputPricePerMTok", "at least its input and its output price"),
        ({"ownCacheReadPricePerMTok": 1}, "ownInputPricePerMTok", "at least its input and its output price"),
        ({"ownOptionMultipliers": {"speed=fast": 1}}, "ownInputPricePerMTok", "at least"),
        ({**OWN, "ownCacheReadPricePerMTok": -1}, "ownCacheReadPricePerMTok", "negative"),
    ],
)
def test_a_slip_makes_the_row_unusable_and_is_named(fields: dict[str, Any], column: str, words: str) -> None:
    with pytest.raises(UnusablePrice) as error:
        read_price_row(ROW | fields)
    assert (error.value.column, words in error.value.problem) == (column, True), error.value


COLUMNS = sorted(field.column for field in ModelPrice._meta.concrete_fields if field.column)
READ_AS_EVER = {"cacheWritePricePerMTok", "cacheHitPricePerMTok", "multiplier"}


@pytest.mark.parametrize("column", COLUMNS)
def test_no_value_of_any_type_in_any_field_is_an_exception_or_makes_a_model_cheaper(column: str) -> None:
    whole = OWN | ROW
    usual = read_price_row(whole).price
    read = []
    for value in ODD_VALUES:
        with contextlib.suppress(UnusablePrice):
            read.append(read_price_row(whole | {column: value}).price)
    if column in READ_AS_EVER:
        assert read, "it is not there"
    elif column.endswith("PerMTok"):
        assert not read
    for price in read:
        assert price.multiplier == usual.multiplier
        assert price.charged.rates == usual.charged.rates


odd = st.sampled_from([*ODD_VALUES, None, 1, 2.5, "0.5", 200000])
member = st.sampled_from(["above", "input", "output", "own", "usd", "maxUses", "inputTokens", "cacheRead"])
objects = st.dictionaries(member, odd | st.dictionaries(member, odd, max_size=2), max_size=4)


@given(st.dictionaries(st.sampled_from(COLUMNS), odd | objects | st.lists(objects, max_size=2), max_size=6))
def test_whatever_a_document_holds_it_is_read_or_refused(fields: dict[str, Any]) -> None:
    with contextlib.suppress(UnusablePrice):
        price = read_price_row(ROW | fields).price
        assert price.worst_case(1_000_000, 1_000_000) > 0


def test_a_row_in_memory_is_read_like_a_stored_one() -> None:
    row = ModelPrice(
        id="x",
        model_id="m",
        upstream="openhands",
        input_price=Decimal(3),
        output_price=Decimal(14),
        tiers=[{"above": 200000, "input": "6"}],
    )
    assert document_of(row)["inputPricePerMTok"] == 3
    price = price_of(row)
    assert price.charged.tiers == (Tier(200000, price.charged.tiers[0].rates),)
    assert price.charged.tiers[0].rates.input == 6
