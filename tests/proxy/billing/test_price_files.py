"""Published price lists, read from cut-outs of the real files; and what is odd in one is refused by name."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.billing.price_files import ListedPrice, PriceFile, UnreadableFile, read_price_file

FILES = Path(__file__).parent / "price_files"
LITELLM, MODELS_DEV = ((FILES / name).read_bytes() for name in ("litellm.json", "models_dev.json"))


def amounts(**texts: str) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in texts.items()}


def test_litellm_prices_are_usd_per_million_exactly() -> None:
    listed = read_price_file(LITELLM).listed
    sonnet = listed["claude-sonnet-4-5-20250929"]
    assert sonnet.rates == amounts(input="3", output="15", cache_write="3.75", cache_write_1h="6", cache_read="0.3")
    assert (sonnet.max_output_tokens, sonnet.search_usd, sonnet.output_member) == (64000, Decimal("0.01"), None)
    assert (sonnet.tiers, sonnet.multipliers, sonnet.provider) == ({}, {}, "anthropic")


def test_litellm_tiers_begin_above_their_border() -> None:
    listed = read_price_file(LITELLM).listed
    assert listed["gpt-5.4"].tiers == {272_000: amounts(input="5", output="22.5", cache_read="0.5")}
    assert listed["claude-haiku-5-5"].tiers == {
        100_000: amounts(input="0.5", output="2.5", cache_write="0.625", cache_write_1h="1", cache_read="0.05")
    }
    assert list(listed["xai/grok-4.6"].tiers) == [199_999], "xAI's begin at the border itself"
    assert listed["dashscope/qwen-flash"].rates == amounts(input="0.05", output="0.4")
    assert listed["dashscope/qwen-flash"].tiers == {256_000: amounts(input="0.25", output="2")}


def test_litellm_options_are_the_dearest_ratio_of_any_kind_of_token() -> None:
    listed = read_price_file(LITELLM).listed
    assert listed["gpt-5"].multipliers == {"service_tier=priority": 2, "service_tier=flex": Decimal("0.5")}
    assert listed["gpt-5.4"].multipliers == {"service_tier=priority": 2, "service_tier=flex": Decimal("0.52")}
    assert listed["claude-opus-5"].multipliers == {"inference_geo=us": Decimal("1.1"), "speed=fast": 2}
    assert listed["gpt-5"].output_member == "max_completion_tokens"


def test_litellm_prices_of_sound() -> None:
    assert read_price_file(LITELLM).listed["gemini/gemini-2.5-flash"].rates["input_audio"] == 1


def test_litellm_entries_that_are_no_price_are_told_apart() -> None:
    file = read_price_file(LITELLM)
    assert file.not_chat == {"gpt-image-1", "text-embedding-3-small"}
    assert set(file.refused) == {"perplexity/pplx-70b-online", "dashscope/qwen-turbo", "codestral/codestral-2405"}
    assert "input price is missing or 0" in file.refused["codestral/codestral-2405"]
    assert "input_cost_per_request" in file.refused["perplexity/pplx-70b-online"]
    assert "output_cost_per_reasoning_token" in file.refused["dashscope/qwen-turbo"]
    assert "sample_spec" not in file.listed


def test_a_provider_can_be_chosen() -> None:
    assert set(read_price_file(LITELLM, provider="xai").listed) == {"xai/grok-4.6"}
    assert read_price_file(LITELLM, provider="nobody") == PriceFile({}, {}, frozenset())


def test_models_dev() -> None:
    file = read_price_file(MODELS_DEV)
    assert file.listed["claude-sonnet-4-5-20250929"] == ListedPrice(
        name="claude-sonnet-4-5-20250929",
        provider="anthropic",
        rates=amounts(input="3", output="15", cache_write="3.75", cache_read="0.3"),
        max_output_tokens=64000,
        display_name="Claude Sonnet 4.5",
    )
    gpt = file.listed["gpt-5.4"]
    assert (gpt.provider, gpt.output_member) == ("openai", "max_completion_tokens"), "a free one beside it is refused"
    assert gpt.tiers == {272_000: amounts(input="5", output="22.5", cache_read="0.5")}
    assert gpt.multipliers == {"service_tier=priority": 2}
    assert file.listed["claude-opus-5"].multipliers == {"speed=fast": 2}
    assert file.listed["grok-old"].tiers == {200_000: amounts(input="6", output="30")}
    assert file.not_chat == {"gpt-image-2"}
    assert set(file.refused) == {"grok-free", "no-cost"}
    assert "has no prices" in file.refused["no-cost"]


def test_a_model_with_several_prices_needs_a_provider() -> None:
    document = json.loads(MODELS_DEV)
    document["azure"] = {"models": {"gpt-5.4": {"cost": {"input": 3, "output": 15}}}}
    data = json.dumps(document).encode()
    assert "choose one of its providers with --provider: azure, openai" in read_price_file(data).refused["gpt-5.4"]
    assert read_price_file(data, provider="azure").listed["gpt-5.4"].rates["input"] == 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"a": 1}',
        b'{"a": {"mode": "chat"}}',
        LITELLM[:-20],
        LITELLM.replace(b"3e-06", b"NaN", 1),
        LITELLM.replace(b'"claude-sonnet-4-5":', b'"claude-sonnet-4-5-20250929":'),
        b"\xff\xfe",
        b'{"a":' * 200_000,
        b'{"a": {"litellm_provider": "x", "input_cost_per_token": 1e999999999999999999999}}',
        b'{"a": {"litellm_provider": "x", "input_cost_per_token": ' + b"9" * 5000 + b"}}",
    ],
)
def test_a_malformed_file_is_refused_as_a_whole(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        read_price_file(data)


CHAT = {"litellm_provider": "x", "mode": "chat", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}


@pytest.mark.parametrize(
    "odd",
    [
        {"input_cost_per_token": 0},
        {"input_cost_per_token": 0.0},
        {"input_cost_per_token": -1e-6},
        {"input_cost_per_token": None},
        {"input_cost_per_token": "1e-6"},
        {"input_cost_per_token": True},
        {"input_cost_per_token": [1e-6]},
        {"input_cost_per_token": 1e-18},
        {"input_cost_per_token": 2},
        {"output_cost_per_token": 0},
        {"cache_read_input_token_cost": -1},
        {"cache_read_input_token_cost": "free"},
        {"input_cost_per_token_above_200k_tokens": "2e-6"},
        {"input_cost_per_token_priority": {}},
        {"search_context_cost_per_query": {"search_context_size_low": "cheap"}},
        {"provider_specific_entry": {"us": -1}},
        {"input_cost_per_request": 0.005},
        {"tiered_pricing": {"range": [0, 5]}},
        {"tiered_pricing": [{"range": 5}]},
        {"tiered_pricing": [{"range": [0, 5], "input_cost_per_token": 1e-6}, {"range": [5, 9]}]},
    ],
)
def test_an_odd_entry_is_refused_and_the_others_are_read(odd: dict[str, Any]) -> None:
    file = read_price_file(json.dumps({"odd": CHAT | odd, "good": CHAT, "none": 5}).encode())
    assert (set(file.listed), set(file.refused)) == ({"good"}, {"odd", "none"})


@pytest.mark.parametrize(
    "odd",
    [
        {"cost": {"input": 0, "output": 1}},
        {"cost": {"input": 1}},
        {"cost": {"input": "1", "output": 1}},
        {"cost": []},
        {"cost": {"input": 1, "output": 1, "reasoning": 2}},
        {"cost": {"input": 1, "output": 1, "tiers": {}}},
        {"cost": {"input": 1, "output": 1, "tiers": [{"input": 1, "output": 2, "tier": {"type": "time", "size": 5}}]}},
        {"cost": {"input": 1, "output": 1, "tiers": [{"input": 1, "tier": {"type": "context", "size": 5}}]}},
        {"cost": {"input": 1, "output": 1, "context_over_200k": 5}},
    ],
)
def test_an_odd_entry_of_models_dev_is_refused(odd: dict[str, Any]) -> None:
    good = {"cost": {"input": 1, "output": 1}}
    file = read_price_file(json.dumps({"x": {"models": {"odd": odd, "good": good, "none": None}}}).encode())
    assert (set(file.listed), set(file.refused)) == ({"good"}, {"odd", "none"})


@pytest.mark.parametrize("odd", [{"experimental": odd} for odd in (True, {"modes": []}, {"modes": {"fast": 5}})])
def test_a_mode_that_is_not_understood_has_no_price(odd: dict[str, Any]) -> None:
    entry = {"cost": {"input": 1, "output": 1}, "limit": 5, "name": 5, "modalities": 5, **odd}
    price = read_price_file(json.dumps({"x": {"models": {"m": entry}}}).encode()).listed["m"]
    assert (price.multipliers, price.max_output_tokens, price.display_name) == ({}, None, None)
