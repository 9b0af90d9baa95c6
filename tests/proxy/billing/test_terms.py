"""What a request may ask for at its model's row, and the bound of its input that it is held for."""

import base64
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from proxy.billing.pricing import Price, PriceList, Rates, ToolFee
from proxy.billing.terms import PricedCall, price_call
from proxy.errors import UnsupportedParameter
from proxy.formats.anthropic_messages import AnthropicMessages
from proxy.formats.json_body import JsonObject
from proxy.formats.openai_chat import OpenAiChat
from tests.proxy.formats.test_images import png

RATES = Rates(*(Decimal(number) for number in ("1", "5", "1.25", "0.1", "2", "1", "1", "5", "5")))
PRICE = Price("p", "m", "m", PriceList(RATES), Decimal(1), 8192)
BODY_BYTES = 10_000
TEXT_TOKENS = BODY_BYTES // 2
IMAGE = base64.b64encode(png(1000, 750) + bytes(3000)).decode()
"""1000 tokens by its pixels, in about 4,000 bytes."""
WORDS = base64.b64encode(b"words " * 500).decode()


def chat(*parts: Any, price: Price = PRICE, **members: Any) -> PricedCall:
    body = {"model": "m", "messages": [{"role": "user", "content": list(parts) or "hi"}], **members}
    return price_call(OpenAiChat().parse(body, BODY_BYTES), price)


def messages(*parts: Any, price: Price = PRICE, **members: Any) -> PricedCall:
    body: JsonObject = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": list(parts) or "hi"}]}
    return price_call(AnthropicMessages().parse(body | members, BODY_BYTES), price)


def image_url(data: str, kind: str = "image/png") -> JsonObject:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def image(data: str, kind: str = "image/png") -> JsonObject:
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


# --- The bound of the input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [lambda: chat(image_url(IMAGE)), lambda: messages(image(IMAGE))])
def test_an_image_counts_by_its_pixels_and_not_by_its_bytes(call: Callable[[], PricedCall]) -> None:
    assert call().input_bound_tokens == -(-(BODY_BYTES - len(IMAGE)) // 2) + 1000


def test_an_image_in_the_result_of_a_tool_counts_the_same() -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image(IMAGE), {"type": "text", "text": "x"}]}
    assert messages(result).input_bound_tokens == -(-(BODY_BYTES - len(IMAGE)) // 2) + 1000


@pytest.mark.parametrize("kind", ["image/png", "image/webp", "text/plain"])
def test_text_that_says_it_is_an_image_counts_by_its_bytes(kind: str) -> None:
    assert chat(image_url(WORDS, kind)).input_bound_tokens == TEXT_TOKENS
    assert messages(image(WORDS, kind)).input_bound_tokens == TEXT_TOKENS


def test_text_counts_wherever_it_stands() -> None:
    """Also in what looks like an image in a tool's input, which the model reads as text."""
    use = {"type": "tool_use", "id": "t", "name": "n", "input": {"content": [image(IMAGE)]}}
    assert messages(use).input_bound_tokens == TEXT_TOKENS


def test_a_row_may_bound_images_otherwise() -> None:
    price = replace(PRICE, attachment_tokens={"image": 7000})
    assert chat(image_url(IMAGE), image_url(IMAGE), price=price).input_bound_tokens == (
        -(-(BODY_BYTES - 2 * len(IMAGE)) // 2) + 14_000
    )


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}, "image_url"),
        ({"type": "image_url", "image_url": "https://example.com/x.png"}, "image_url"),
        ({"type": "video_url", "video_url": {"url": "https://example.com/x.mp4"}}, "video_url"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file_id"),
    ],
)
def test_what_is_not_in_the_body_needs_a_bound_in_the_row(part: JsonObject, kind: str) -> None:
    with pytest.raises(UnsupportedParameter):
        chat(part)
    assert chat(part, price=replace(PRICE, attachment_tokens={kind: 500})).input_bound_tokens == TEXT_TOKENS + 500


# --- The bound of the output -------------------------------------------------------------------------------------


def test_the_output_is_the_larger_of_limit_and_thinking_budget() -> None:
    thinking = {"type": "enabled", "budget_tokens": 3000}
    assert messages(thinking=thinking).most_output_tokens == 3000
    assert messages(thinking=thinking, max_tokens=5000).most_output_tokens == 5000
    assert chat(reasoning={"max_tokens": 9000}).most_output_tokens == 9000
    assert chat(reasoning={"max_tokens": 10}).most_output_tokens == 8192, "the row's"
    assert chat(max_tokens=10, max_completion_tokens=20).most_output_tokens == 20


# --- Options, tools, sound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member", [{"service_tier": "auto"}, {"service_tier": "default"}, {"service_tier": None}, {"speed": "standard"}]
)
def test_the_plain_value_of_an_option_needs_no_price(member: JsonObject) -> None:
    assert chat(**member).terms.options == ()


def test_an_option_needs_its_multiplier() -> None:
    with pytest.raises(UnsupportedParameter, match="'service_tier=priority' has no price for 'm'"):
        chat(service_tier="priority")
    price = replace(PRICE, charged=replace(PRICE.charged, multipliers={"service_tier=priority": Decimal(2)}))
    priced = chat(service_tier="priority", price=price)
    assert priced.terms.options == ("service_tier=priority",)
    assert price.worst_case(1_000_000, 0, priced.terms) == 2 * price.worst_case(1_000_000, 0)


def test_a_priced_server_tool_stays_and_its_uses_are_held_for() -> None:
    price = replace(PRICE, charged=replace(PRICE.charged, fees={"web_search": ToolFee(Decimal("0.01"), 8, 20_000)}))
    tool = {"type": "web_search_20250305", "name": "web_search"}
    assert messages(tools=[tool]).removed_tools
    priced = messages(tools=[tool], price=price)
    assert (priced.removed_tools, priced.terms.tool_uses) == ((), (("web_search", 8),))
    assert messages(tools=[tool | {"max_uses": 2}], price=price).terms.tool_uses == (("web_search", 2),)
    # 8 x $0.01, and 8 x 20,000 tokens at the dearest input price.
    assert price.worst_case(0, 0, priced.terms) == Decimal("0.08") + Decimal("0.2")


def test_sound_needs_a_price() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    with pytest.raises(UnsupportedParameter, match="Sound has no price"):
        chat(sound)
    with pytest.raises(UnsupportedParameter, match="Sound has no price"):
        chat(modalities=["text", "audio"])
    heard = replace(PRICE, has_audio_input=True)
    assert chat(sound, price=heard).terms.has_audio_input
    spoken = replace(PRICE, has_audio_output=True)
    assert chat(modalities=["text", "audio"], price=spoken).terms.has_audio_output


def test_an_hour_in_the_cache_is_held_for_at_its_price() -> None:
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    terms = messages(part).terms
    assert terms.has_1h_cache
    assert PRICE.worst_case(1_000_000, 0, terms) == 2
    assert not messages(part | {"cache_control": {"type": "ephemeral"}}).terms.has_1h_cache


def test_a_member_passes_where_the_row_lists_it() -> None:
    with pytest.raises(UnsupportedParameter, match="shiny"):
        chat(shiny=1)
    assert chat(shiny=1, price=replace(PRICE, passed_members=frozenset(("shiny",))))
