"""Usage in every shape that vendors and gateways report it in, as what is billed: each token once, at its own price."""

from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.billing.pricing import Usage
from proxy.formats import anthropic_usage, openai_usage
from proxy.formats.api_format import UsageReport
from proxy.formats.usage_counts import MOST_KEPT, MOST_TOKENS, as_count, as_usd, find_usages, keep_usage

Reported = list[dict[str, Any]]


def prompt(*counts: int | None, **members: Any) -> dict[str, Any]:
    """`prompt_tokens`, `completion_tokens`, `total_tokens`, and what else is reported."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {**dict(zip(names, counts, strict=False)), **members}


def details(**members: Any) -> dict[str, Any]:
    return {"prompt_tokens_details": members}


def reasoning(count: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": count}}


TWO_SEARCHES = Usage(9, 1, tool_uses=(("web_search", 2),))
OPENAI: list[tuple[str, Reported, Usage]] = [
    ("plain", [prompt(100, 20, 120)], Usage(100, 20)),
    ("no total", [prompt(100, 20)], Usage(100, 20)),
    ("null details", [prompt(100, 20, 120, prompt_tokens_details=None)], Usage(100, 20)),
    ("cached inside", [prompt(1000, 20, 1020, **details(cached_tokens=900))], Usage(100, 20, 0, 900)),
    ("cached beside", [prompt(100, 20, 1020, **details(cached_tokens=900))], Usage(100, 20, 0, 900)),
    ("cached beside, no total", [prompt(100, 20, None, **details(cached_tokens=900))], Usage(100, 20, 0, 900)),
    ("cached beside, total without", [prompt(100, 20, 120, **details(cached_tokens=900))], Usage(100, 20, 0, 900)),
    ("cached inside, total without", [prompt(1000, 20, 120, **details(cached_tokens=900))], Usage(100, 20, 0, 900)),
    ("cached at the top", [prompt(1000, 20, 1020, cache_read_input_tokens=900)], Usage(100, 20, 0, 900)),
    ("cached reported twice", [prompt(9, 1, 10, cached_tokens=4, **details(cached_tokens=4))], Usage(5, 1, 0, 4)),
    ("Moonshot's cached", [prompt(1000, 20, 1020, cached_tokens=900)], Usage(100, 20, 0, 900)),
    (
        "DeepSeek",
        [prompt(1000, 20, 1020, prompt_cache_hit_tokens=900, prompt_cache_miss_tokens=100)],
        Usage(100, 20, 0, 900),
    ),
    (
        "DeepSeek's misses as the prompt",
        [prompt(100, 20, 1020, prompt_cache_hit_tokens=900, prompt_cache_miss_tokens=100)],
        Usage(100, 20, 0, 900),
    ),
    (
        "DeepSeek without a prompt",
        [{"completion_tokens": 20, "prompt_cache_hit_tokens": 900, "prompt_cache_miss_tokens": 100}],
        Usage(100, 20, 0, 900),
    ),
    ("written", [prompt(20, 1, 21, **details(cached_tokens=3, cache_creation_tokens=5))], Usage(12, 1, 5, 3)),
    ("OpenAI's written", [prompt(20, 1, 21, **details(cached_tokens=3, cache_write_tokens=5))], Usage(12, 1, 5, 3)),
    ("written at the top", [prompt(20, 1, 21, cache_creation_input_tokens=5)], Usage(15, 1, 5)),
    (
        "written beside, read inside",
        [prompt(20, 1, 26, **details(cached_tokens=3, cache_creation_tokens=5))],
        Usage(17, 1, 5, 3),
    ),
    ("both beside", [prompt(20, 1, 29, **details(cached_tokens=3, cache_creation_tokens=5))], Usage(20, 1, 5, 3)),
    (
        "LiteLLM's two lives",
        [
            prompt(
                100,
                1,
                101,
                **details(
                    cache_creation_tokens=90,
                    cache_creation_token_details={"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 60},
                ),
            )
        ],
        Usage(10, 1, 30, 0, 60),
    ),
    (
        "two lives without a sum",
        [prompt(100, 1, 101, cache_creation={"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 60})],
        Usage(10, 1, 30, 0, 60),
    ),
    ("reasoning inside", [prompt(100, 500, 600, **reasoning(400))], Usage(100, 500)),
    ("reasoning beside (xAI)", [prompt(10120, 1499, 14428, **reasoning(2809))], Usage(10120, 4308)),
    ("reasoning beside, no total", [prompt(100, 20, None, **reasoning(80))], Usage(100, 100)),
    ("reasoning inside, no total", [prompt(100, 80, None, **reasoning(20))], Usage(100, 80)),
    (
        "reasoning and cached beside",
        [prompt(100, 20, 1100, **details(cached_tokens=900), **reasoning(80))],
        Usage(100, 100, 0, 900),
    ),
    (
        "reasoning beside, cached inside",
        [prompt(1000, 20, 1100, **details(cached_tokens=900), **reasoning(80))],
        Usage(100, 100, 0, 900),
    ),
    ("the other names", [{"input_tokens": 100, "output_tokens": 20}], Usage(100, 20)),
    (
        "Anthropic's usage in a chat",
        [{"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 7}],
        Usage(100, 20, 7, 50),
    ),
    (
        "both formats' names",
        [prompt(150, 20, 170, input_tokens=100, output_tokens=20, cache_read_input_tokens=50)],
        Usage(100, 20, 0, 50),
    ),
    ("text", [{"prompt_tokens": "100", "completion_tokens": " 20 ", "total_tokens": "120.0"}], Usage(100, 20)),
    ("whole fractions", [{"prompt_tokens": 100.0, "completion_tokens": 20.0}], Usage(100, 20)),
    ("no completion but a total", [prompt(100, None, 120)], Usage(100, 20)),
    ("no prompt but a total", [{"completion_tokens": 20, "total_tokens": 120}], Usage(100, 20)),
    (
        "sound and images",
        [
            prompt(
                100,
                50,
                150,
                prompt_tokens_details={"cached_tokens": 10, "audio_tokens": 30, "image_tokens": 20, "text_tokens": 50},
                completion_tokens_details={"audio_tokens": 15, "image_tokens": 5},
            )
        ],
        Usage(40, 30, 0, 10, 0, 30, 20, 15, 5),
    ),
    (
        "more sound than tokens",
        [prompt(10, 5, 15, **details(cached_tokens=4, audio_tokens=9))],
        Usage(0, 5, 0, 4, 0, 6),
    ),
    (
        "Google's names",
        [{"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 80, "totalTokenCount": 200}],
        Usage(100, 100),
    ),
    ("Amazon's names", [{"inputTokens": 100, "outputTokens": 20, "totalTokens": 120}], Usage(100, 20)),
    ("searches", [prompt(9, 1, 10, server_tool_use={"web_search_requests": 2})], TWO_SEARCHES),
    ("LiteLLM's searches", [prompt(9, 1, 10, **details(web_search_requests=2))], TWO_SEARCHES),
    ("Perplexity's searches", [prompt(9, 1, 10, num_search_queries=2)], TWO_SEARCHES),
    ("{} last", [prompt(100, 20, 120), {}], Usage(100, 20)),
    ("zeros last", [prompt(100, 20, 120), prompt(0, 0, 0)], Usage(100, 20)),
    ("details last", [prompt(100, 20, 120), details(cached_tokens=40)], Usage(60, 20, 0, 40)),
    ("cumulative", [prompt(100, 1, 101), prompt(100, 20, 120)], Usage(100, 20)),
    ("cumulative, first with a total", [prompt(100, 1, 101), {"completion_tokens": 20}], Usage(100, 20)),
    (
        "cached reported as 0 later",
        [prompt(100, 20, 120, **details(cached_tokens=40)), prompt(100, 20, 120, **details(cached_tokens=0))],
        Usage(60, 20, 0, 40),
    ),
]


@pytest.mark.parametrize(("name", "reported", "expected"), OPENAI, ids=[name for name, _, _ in OPENAI])
def test_every_shape_of_a_chats_usage(name: str, reported: Reported, expected: Usage) -> None:
    report = openai_usage.read_usage(reported)
    assert (report.usage, report.problem, report.is_exact) == (expected, None, True)
    for others in permutations(reported):
        assert openai_usage.read_usage(others).usage == expected


def inputs(*counts: int | None, **members: Any) -> dict[str, Any]:
    """`input_tokens`, `output_tokens`, cache creation and cache read, and what else is reported."""
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return {**dict(zip(names, counts, strict=False)), **members}


LIVES = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 600}
ANTHROPIC: list[tuple[str, Reported, Usage]] = [
    ("plain", [inputs(100, 20)], Usage(100, 20)),
    ("cached", [inputs(100, 20, 7, 50)], Usage(100, 20, 7, 50)),
    ("two lives", [inputs(100, 20, 900, 50, cache_creation=LIVES)], Usage(100, 20, 300, 50, 600)),
    ("two lives without a sum", [inputs(100, 20, None, 50, cache_creation=LIVES)], Usage(100, 20, 300, 50, 600)),
    ("all from the cache", [inputs(0, 20, 0, 50)], Usage(0, 20, 0, 50)),
    ("thinking is inside", [inputs(100, 20, output_tokens_details={"thinking_tokens": 15})], Usage(100, 20)),
    ("a stream", [inputs(100, 1, 7, 50), {"output_tokens": 20}], Usage(100, 20, 7, 50)),
    ("a stream with zeros last", [inputs(100, 1, 7, 50), inputs(0, 20, 0, 0)], Usage(100, 20, 7, 50)),
    ("a stream with null last", [inputs(100, 1, 7, 50), inputs(None, 20, None, None)], Usage(100, 20, 7, 50)),
    ("a stream with zeros first", [inputs(0, 0), inputs(100, 20, 7, 50)], Usage(100, 20, 7, 50)),
    ("text", [{"input_tokens": "100", "output_tokens": 20.0}], Usage(100, 20)),
    (
        "server tools",
        [inputs(9, 1, server_tool_use={"web_search_requests": 2, "web_fetch_requests": 1, "code_requests": 0})],
        Usage(9, 1, tool_uses=(("web_fetch", 1), ("web_search", 2))),
    ),
    (
        "compaction beside the message",
        [inputs(100, 20, iterations=[inputs(300, 40, type="compaction"), inputs(100, 20, type="message")])],
        Usage(400, 60),
    ),
    ("compaction alone", [inputs(100, 20, iterations=[inputs(300, 40, type="compaction")])], Usage(400, 60)),
    (
        "a loop of messages",
        [inputs(300, 50, iterations=[inputs(100, 20, type="message"), inputs(200, 30, type="message")])],
        Usage(300, 50),
    ),
    (
        "a loop of which the top reports the last",
        [inputs(200, 30, iterations=[inputs(100, 20, type="message"), inputs(200, 30, type="message")])],
        Usage(300, 50),
    ),
    (
        "a fallback attempt",
        [inputs(90, 30, iterations=[inputs(100, 0, type="message"), inputs(90, 30, type="fallback_message")])],
        Usage(190, 30),
    ),
    (
        "an advisor",
        [inputs(100, 20, iterations=[inputs(100, 20, type="message"), inputs(50, 5, 1, 2, type="advisor_message")])],
        Usage(150, 25, 1, 2),
    ),
    ("no iterations", [inputs(100, 20, iterations=[])], Usage(100, 20)),
    ("garbage for iterations", [inputs(100, 20, iterations=[1, None, "x"])], Usage(100, 20)),
    (
        "a stream with iterations last",
        [
            inputs(100, 1),
            inputs(100, 20, iterations=[inputs(300, 40, type="compaction"), inputs(100, 20, type="message")]),
        ],
        Usage(400, 60),
    ),
    ("the other format's names", [prompt(1000, 20, 1020, **details(cached_tokens=900))], Usage(100, 20, 0, 900)),
]


@pytest.mark.parametrize(("name", "reported", "expected"), ANTHROPIC, ids=[name for name, _, _ in ANTHROPIC])
def test_every_shape_of_a_messages_usage(name: str, reported: Reported, expected: Usage) -> None:
    report = anthropic_usage.read_usage(reported)
    assert (report.usage, report.problem, report.is_exact) == (expected, None, True)
    for others in permutations(reported):
        assert anthropic_usage.read_usage(others).usage == expected


CONTRADICTIONS = [
    (prompt(100, 20, 170), Usage(100, 70)),
    (prompt(100, 20, 110), Usage(100, 10)),
    (prompt(100, 20, 90), Usage(100, 20)),
    (prompt(100, 20, 0), Usage(100, 20)),
    (prompt(1000, 20, 1100, **details(cached_tokens=900)), Usage(100, 100, 0, 900)),
]


@pytest.mark.parametrize(("reported", "expected"), CONTRADICTIONS)
def test_a_contradiction_is_decided_towards_the_total_and_named(reported: dict[str, Any], expected: Usage) -> None:
    report = openai_usage.read_usage([reported])
    assert (report.usage, report.is_exact) == (expected, True)
    assert (report.problem or "").startswith(f"total_tokens is {reported['total_tokens']}, its parts are ")
    assert len(report.problem or "") <= 100


PARTIAL = [
    (prompt(-1, 3), Usage(0, 3), "prompt_tokens is -1"),
    (prompt(5, 99999999999), Usage(5, 0), "completion_tokens is 99999999999"),
    ({"prompt_tokens": 5.5, "completion_tokens": 3}, Usage(0, 3), "prompt_tokens is 5.5"),
    ({"prompt_tokens": True, "completion_tokens": 3}, Usage(0, 3), "prompt_tokens is True"),
    ({"prompt_tokens": {"a": 1}, "completion_tokens": 3}, Usage(0, 3), "prompt_tokens is {'a': 1}"),
    ({"prompt_tokens": float("nan"), "completion_tokens": 3}, Usage(0, 3), "prompt_tokens is nan"),
    (prompt(5), Usage(5, 0), "no output tokens"),
    (prompt(5, None), Usage(5, 0), "no output tokens"),
    ({"completion_tokens": 5}, Usage(0, 5), "no input tokens"),
    (prompt(0, 5), Usage(0, 5), "no input tokens"),
    (prompt(0, 0, 0), None, "no tokens"),
    ({}, None, "no tokens"),
]


@pytest.mark.parametrize(("reported", "usage", "problem"), PARTIAL)
def test_what_was_reported_counts_though_the_rest_is_missing(
    reported: dict[str, Any], usage: Usage | None, problem: str
) -> None:
    report = openai_usage.read_usage([reported])
    assert (report.usage, report.problem, report.is_exact) == (usage, f"rejected: {problem}", False)
    if usage is not None:
        assert (report.lacks_input, report.lacks_output) == (not usage.input_tokens, not usage.output_tokens)


def test_an_output_of_0_is_as_good_as_none() -> None:
    for report in (openai_usage.read_usage([prompt(5, 0)]), anthropic_usage.read_usage([inputs(5, 0)])):
        assert (report.usage, report.problem, report.lacks_input, report.lacks_output) == (Usage(5), None, False, True)


def test_a_message_that_broke_off_lacks_its_output() -> None:
    report = anthropic_usage.read_usage([inputs(100, 1, 7, 50)], is_final=False)
    assert report == UsageReport(Usage(100, 1, 7, 50), "incomplete", is_output_reported=False)


def test_no_usage_is_missing() -> None:
    assert openai_usage.read_usage([]) == anthropic_usage.read_usage([]) == UsageReport(None, "missing")


@pytest.mark.parametrize("reported", [[inputs(100, 0)], [inputs(100, 1, 7, 50), {"output_tokens": 0}]])
def test_a_refusal_without_output_is_not_billed(reported: Reported) -> None:
    report = anthropic_usage.read_usage(reported, is_refusal=True)
    assert (report.usage, report.is_exact) == (Usage(), True)


def test_a_refusal_after_output_is_billed() -> None:
    assert anthropic_usage.read_usage([inputs(100, 20)], is_refusal=True).usage == Usage(100, 20)
    assert openai_usage.read_usage([prompt(100, 20)], is_refusal=True).usage == Usage(100, 20)
    assert openai_usage.read_usage([prompt(100, 0)], is_refusal=True).usage == Usage()


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"cost": 3.5e-05}, Decimal("0.000035")),
        ({"cost": "0.5"}, Decimal("0.5")),
        ({"cost": 0.00010927499999999999}, Decimal("0.000109275")),
        ({"cost": "4.649999999999999e-05"}, Decimal("0.0000465")),
        ({"cost": 1e-30}, None),
        ({"cost": 1}, Decimal(1)),
        ({"cost": {"total_cost": 0.006}}, Decimal("0.006")),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, Decimal("0.21")),
        ({"cost": 0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, Decimal("0.2")),
        ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.01}}, Decimal("0.01")),
        *(({"cost": cost}, None) for cost in (0, -1, "NaN", "x", None, True, [], 1e12, float("inf"))),
    ],
)
def test_the_operators_cost_is_read(usage: dict[str, Any], cost: Decimal | None) -> None:
    assert openai_usage.read_usage([prompt(5, 5, **usage)]).told_cost == cost
    assert anthropic_usage.read_usage([inputs(5, 5, **usage)]).told_cost == cost


def test_a_cost_of_the_output_alone_is_not_the_requests() -> None:
    """LiteLLM reckons the cost of a streamed message from its last event, which may have no input."""
    assert anthropic_usage.read_usage([inputs(5, 1), {"output_tokens": 5, "cost": 0.1}]).told_cost is None
    assert anthropic_usage.read_usage([inputs(5, 1), inputs(5, 5, cost=0.1)]).told_cost == Decimal("0.1")


NAMES = sorted(
    {name for rows in (OPENAI, ANTHROPIC) for _, reported, _ in rows for usage in reported for name in usage}
    | {"cached_tokens", "reasoning_tokens", "ephemeral_1h_input_tokens", "web_search_requests", "audio_tokens", "type"}
    | {"cache_creation_token_details", "cost"}
)
counts = st.one_of(
    st.integers(-10, 10**9), st.integers(0, 50), st.floats(), st.booleans(), st.none(), st.text(max_size=5)
)
garbage = st.recursive(
    counts,
    lambda inner: st.one_of(st.dictionaries(st.sampled_from(NAMES), inner, max_size=6), st.lists(inner, max_size=3)),
    max_leaves=6,
)
usages = st.lists(st.dictionaries(st.sampled_from(NAMES), garbage, max_size=8), max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # The machine may be busy with other tests.
@given(usages, st.booleans(), st.booleans())
def test_garbage_never_raises_and_is_never_negative(reported: Reported, is_final: bool, is_refusal: bool) -> None:
    for report in (
        openai_usage.read_usage(reported, is_refusal=is_refusal),
        anthropic_usage.read_usage(reported, is_final=is_final, is_refusal=is_refusal),
    ):
        assert report.problem or report.usage is not None
        if report.usage is not None:
            numbers = [value for value in vars(report.usage).values() if isinstance(value, int)]
            assert all(0 <= number <= 3 * MOST_TOKENS for number in numbers)
            assert all(uses > 0 for _, uses in report.usage.tool_uses)


@given(usages)
def test_the_order_in_which_usage_comes_does_not_matter(reported: Reported) -> None:
    for read in (openai_usage.read_usage, anthropic_usage.read_usage):
        assert len({read(order).usage for order in permutations(reported)}) <= 1


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_every_token_is_billed_once(plain: int, output: int, read: int, written: int) -> None:
    if not plain + read + written:
        return
    reported = prompt(plain + read + written, output, plain + read + written + output)
    reported |= details(cached_tokens=read, cache_creation_tokens=written)
    assert openai_usage.read_usage([reported]).usage == Usage(plain, output, written, read)
    assert anthropic_usage.read_usage([inputs(plain, output, written, read)]).usage == Usage(
        plain, output, written, read
    )


def test_counts() -> None:
    assert [as_count(value) for value in (7, 7.0, "7", " 7 ", "7.0", "7.000")] == [7] * 6
    assert (as_count(0), as_count(MOST_TOKENS)) == (0, MOST_TOKENS)
    bad = (None, True, -1, 1.5, "", "x", "1.5", "-1", "1e3", [], {}, float("nan"), float("inf"), MOST_TOKENS + 1)
    assert [as_count(value) for value in bad] == [None] * len(bad)
    assert {as_usd(value) for value in (Decimal("0.1"), "0.1", 0.1)} == {Decimal("0.1")}


def test_usage_is_found_wherever_vendors_put_it() -> None:
    message = {
        "usage": {"a": 1},
        "x_groq": {"usage": {"a": 2}},
        "choices": [{"usage": {"a": 3}}, None, {"usage": 5}],
        "message": {"usage": {"a": 4}},
    }
    assert [usage["a"] for usage in find_usages(message)] == [1, 4, 2, 3]
    assert list(find_usages({"usage": None, "choices": None, "message": []})) == []


def test_usage_of_many_chunks_is_merged_by_the_larger_count() -> None:
    kept: Reported = []
    for count in range(100):
        keep_usage(kept, prompt(9, count, **details(cached_tokens=count % 7)))
    assert len(kept) <= MOST_KEPT + 1
    assert openai_usage.read_usage(kept).usage == Usage(3, 99, 0, 6)


def test_a_cost_in_other_digits_is_none() -> None:
    for told in ("٣", "０.5", "１", "\ud800", 10**5000, "nan"):
        assert as_usd(told) is None
        assert as_count(told) is None
