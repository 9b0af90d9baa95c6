"""Costs by hand, and the bound that a hold must be."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Balance
from money.amounts import round_usd
from proxy.billing.pricing import ONE, PLAIN, Price, PriceList, Rates, Terms, Tier, ToolFee, Usage
from proxy.billing.request_log import log_document

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


# --- Tiers, an hour in the cache, sound, options, fees ---------------------------------------------------------------

TIER = Tier(200_000, rates("6", "22.5", "7.5", "0.6", cache_write_1h="12"))
FEES = {"web_search": ToolFee(Decimal("0.01"), 10, 20_000), "web_fetch": ToolFee(Decimal(0), 5, 50_000)}
FULL = PriceList(
    rates(),
    (TIER, Tier(272_000, rates("9", "20", "3", "0.9"))),
    {"service_tier=priority": Decimal(2), "service_tier=flex": Decimal("0.5"), "inference_geo=us": Decimal("1.1")},
    FEES,
)


def full_price(*, factor: str = "1.02", own: PriceList | None = None) -> Price:
    return Price("p", "m", "m", FULL, Decimal(factor), 64_000, own)


@pytest.mark.parametrize(
    ("usage", "terms", "expected"),
    [
        (Usage(200_000), PLAIN, "0.612"),  # at the border of the tier: still 3
        (Usage(199_999), PLAIN, "0.61199694"),
        (Usage(200_001), PLAIN, "1.22400612"),  # above it all of the request costs 6
        (Usage(272_000, 1000), PLAIN, "1.68759"),  # (272,000 x 6 + 1,000 x 22.5) / 10^6 x 1.02
        (Usage(272_001, 1000), PLAIN, "2.51736918"),
        (Usage(1, 0, 0, 200_000), PLAIN, "0.12240612"),  # cached input counts for the tier: (6 + 120,000) / 10^6 x 1.02
        (Usage(0, 0, 100_000, 50_001, 50_000), PLAIN, "1.40760061"),  # (750,000 + 30,000.6 + 600,000) / 10^6 x 1.02
        (Usage(0, 0, 0, 0, 100_000), PLAIN, "0.612"),  # an hour in the cache: 6
        (Usage(input_audio_tokens=1000), PLAIN, "0.03264"),
        (Usage(input_image_tokens=1000), PLAIN, "0.00408"),
        (Usage(output_audio_tokens=1000), PLAIN, "0.06528"),
        (Usage(output_image_tokens=1000), PLAIN, "0.0204"),
        (Usage(1000, 1000), Terms(options=("service_tier=priority",)), "0.03468"),
        (Usage(1000, 1000), Terms(options=("service_tier=priority", "inference_geo=us")), "0.038148"),
        (Usage(1000, 1000), Terms(options=("service_tier=flex",)), "0.00867"),
        (Usage(1000, 1000), Terms(options=("unknown",)), "0.01734"),
        (Usage(1000, tool_uses=(("web_search", 3),)), PLAIN, "0.03366"),  # (0.003 + 0.03) x 1.02
        (Usage(1000, tool_uses=(("web_search", 3), ("web_fetch", 2), ("mcp", 9))), PLAIN, "0.03366"),
        # A fee is not multiplied by options: (0.003 x 2 + 0.01) x 1.02.
        (Usage(1000, tool_uses=(("web_search", 1),)), Terms(options=("service_tier=priority",)), "0.01632"),
    ],
)
def test_cost_by_hand_with_all_that_changes_it(usage: Usage, terms: Terms, expected: str) -> None:
    assert full_price().cost(usage, terms) == Decimal(expected)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(1, "0.00000031"), (5, "0.00000153"), (15, "0.00000459"), (25, "0.00000765"), (35, "0.00001071")],
)
def test_costs_round_to_the_nearest_place(tokens: int, expected: str) -> None:
    """x 0.306 / 10^6: 0.306, 1.53, 4.59, 7.65 and 10.71 millionths, of which 0.306 rounds up and none of the rest."""
    assert price().cost(Usage(cache_read_tokens=tokens)) == Decimal(expected)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [("0.0044", "0.00000000"), ("0.0049999", "0.00000000"), ("0.005", "0.00000001"), ("0.0149", "0.00000001")],
)
def test_less_than_half_a_place_rounds_down(factor: str, expected: str) -> None:
    """One token at 1 USD a million is a hundred places: times the factor, 0.44, 0.49999, 0.5 and 1.49 of one."""
    assert price(input="1", factor=factor).cost(Usage(1)) == Decimal(expected)


def test_the_operators_cost_is_by_its_own_list_and_without_the_multiplier() -> None:
    own = PriceList(
        rates("2", "10"),
        (Tier(200_000, rates("4", "15")),),
        {"service_tier=priority": Decimal("1.5")},
        {"web_search": ToolFee(Decimal("0.008"), 10, 20_000)},
    )
    row = full_price(own=own)
    assert full_price().own_cost(Usage(1000)) is None
    assert row.own_cost(Usage(1000, 100)) == Decimal("0.003")
    assert row.own_cost(Usage(200_001, 100)) == Decimal("0.801504")
    assert row.own_cost(Usage(1000, 100), Terms(options=("service_tier=priority",))) == Decimal("0.0045")
    assert row.own_cost(Usage(tool_uses=(("web_search", 2),))) == Decimal("0.016")
    assert row.own_cost(Usage(cache_read_tokens=1)) == Decimal("0.0000003")


# --- The bound that a hold is ----------------------------------------------------------------------------------------

amounts = st.decimals(min_value=0, max_value=100, places=4)
some_rates = st.builds(Rates, *[amounts] * 9)
some_tiers = st.lists(st.tuples(st.integers(1, 400_000), some_rates), max_size=3, unique_by=lambda pair: pair[0]).map(
    lambda pairs: tuple(Tier(*pair) for pair in sorted(pairs, key=lambda pair: pair[0]))
)
OPTIONS, TOOLS = ("service_tier=priority", "speed=fast"), ("web_search", "web_fetch")
multipliers = st.fixed_dictionaries({}, optional={name: st.decimals(0, 6, places=3) for name in OPTIONS})
fees = st.fixed_dictionaries(
    {
        name: st.builds(ToolFee, st.decimals(0, 1, places=4), st.integers(1, 10), st.integers(0, 50_000))
        for name in TOOLS
    }
)
some_prices = st.builds(
    Price,
    st.just("p"),
    st.just("m"),
    st.just("m"),
    st.builds(PriceList, some_rates, some_tiers, multipliers, fees),
    st.decimals(min_value=0, max_value=5, places=3),
    st.just(64_000),
)
some_terms = st.builds(
    Terms,
    options=st.lists(st.sampled_from(OPTIONS), unique=True).map(tuple),
    tool_uses=st.lists(st.tuples(st.sampled_from(TOOLS), st.integers(1, 5)), unique_by=lambda use: use[0]).map(tuple),
    has_1h_cache=st.booleans(),
    has_audio_input=st.booleans(),
    has_audio_output=st.booleans(),
    has_image_output=st.booleans(),
)
counts = st.integers(0, 100_000)


@st.composite
def usages(draw: st.DrawFn, terms: Terms) -> Usage:
    """A usage that a request with these terms can come to."""
    return Usage(
        input_tokens=draw(counts),
        output_tokens=draw(counts),
        cache_write_tokens=draw(counts),
        cache_read_tokens=draw(counts),
        cache_write_1h_tokens=draw(counts) if terms.has_1h_cache else 0,
        input_audio_tokens=draw(counts) if terms.has_audio_input else 0,
        input_image_tokens=draw(counts),
        output_audio_tokens=draw(counts) if terms.has_audio_output else 0,
        output_image_tokens=draw(counts) if terms.has_image_output else 0,
        tool_uses=tuple((name, draw(st.integers(0, most))) for name, most in terms.tool_uses),
    )


@given(some_prices, some_terms, st.data(), st.integers(0, 1000), st.integers(0, 1000))
def test_the_worst_case_covers_every_usage_within_its_bounds_and_terms(
    row: Price, terms: Terms, data: st.DataObject, more_input: int, more_output: int
) -> None:
    usage = data.draw(usages(terms))
    added = sum(row.charged.fees[name].input_tokens * count for name, count in usage.tool_uses)
    bound = max(usage.total_input_tokens - added, 0) + more_input
    assert row.cost(usage, terms) <= row.worst_case(bound, usage.total_output_tokens + more_output, terms)


@given(some_prices, some_terms, st.integers(0, 500_000), st.decimals(min_value=0, max_value=100, places=8))
def test_what_is_affordable_is_exact_to_one_token(
    row: Price, terms: Terms, input_tokens: int, available: Decimal
) -> None:
    affordable = row.affordable_output_tokens(input_tokens, available, terms)
    if row.worst_case(input_tokens, 0, terms) > available:
        assert affordable == 0
    elif row.worst_case(input_tokens, 10**18, terms) <= available:
        assert affordable == row.max_output_tokens, "output is free"
    else:
        assert row.worst_case(input_tokens, affordable, terms) <= available
        assert row.worst_case(input_tokens, affordable + 1, terms) > available


def test_another_tier_may_be_the_dearest_from_some_output_on() -> None:
    """The first tier has the dearer input, the second one the dearer output: what is affordable is bounded by both."""
    row = Price(
        price_id="p",
        model_id="m",
        upstream_model_id="m",
        charged=PriceList(rates("10", "1", "1", "1", input_image="1"), (Tier(5, rates("1", "10", "1", "1")),)),
        multiplier=ONE,
        max_output_tokens=64,
    )
    assert row.affordable_output_tokens(100, Decimal("0.0011")) == 70  # 400 for images at 4; (1100 - 400) / 10
    assert row.worst_case(100, 70) == Decimal("0.0011")
    assert row.affordable_output_tokens(100, Decimal("0.001")) == 0  # the input at 10 takes it all
    assert row.affordable_output_tokens(100, Decimal("0.00099999")) == 0


# --- What the log keeps -----------------------------------------------------------------------------------------------


def test_the_snapshot_of_a_plain_request_is_made_once_and_small() -> None:
    row = full_price()
    first = row.snapshot(Usage(1000, 10, 5, 5))
    amounts = {"input": "3", "output": "14", "cacheWrite": "3.75", "cacheRead": "0.3", "multiplier": "1.02"}
    assert first == {"id": "p", **amounts}
    assert row.snapshot(Usage(1, 1)) is first


def test_the_snapshot_names_what_applied() -> None:
    usage = Usage(200_000, 5, cache_write_1h_tokens=7, tool_uses=(("web_search", 2), ("mcp", 1)))
    terms = Terms(options=("service_tier=priority", "unknown"), tool_uses=(("web_search", 5),), has_1h_cache=True)
    assert full_price().snapshot(usage, terms) == {
        "id": "p",
        "tier": 200_000,
        "input": "6",
        "output": "22.5",
        "cacheWrite": "7.5",
        "cacheRead": "0.6",
        "cacheWrite1h": "12",
        "multiplier": "1.02",
        "options": {"service_tier=priority": "2"},
        "tools": {"web_search": "0.01"},
    }


@given(some_prices, some_terms, st.data())
def test_a_cost_can_be_reckoned_once_more_from_the_log_alone(row: Price, terms: Terms, data: st.DataObject) -> None:
    usage = data.draw(usages(terms))
    log = log_document(
        request_id="r",
        username="alice",
        balance=Balance.OPENHANDS,
        status=200,
        outcome="ok",
        created_at=datetime(2026, 11, 20, tzinfo=UTC),
        usage=usage,
        terms=terms,
        full_cost=row.cost(usage, terms),
        hold=Decimal(10**6),
        price=row,
    )
    assert reckon(log) == row.cost(usage, terms)


NAMES = {
    "input": "inputTokens",
    "output": "outputTokens",
    "cacheWrite": "cacheWriteTokens",
    "cacheRead": "cacheHitTokens",
    **{name: f"{name}Tokens" for name in ("cacheWrite1h", "inputAudio", "inputImage", "outputAudio", "outputImage")},
}


def reckon(log: dict[str, Any]) -> Decimal:
    """The cost by a log alone, as docs/proxy.md says."""
    price = log["price"]
    cost = sum((Decimal(price[name]) * log.get(count, 0) for name, count in NAMES.items() if name in price), Decimal(0))
    for multiplier in price.get("options", {}).values():
        cost *= Decimal(multiplier)
    cost /= 10**6
    for name, usd in price.get("tools", {}).items():
        cost += Decimal(usd) * log["toolUses"][name]
    return round_usd(cost * Decimal(price["multiplier"]))
