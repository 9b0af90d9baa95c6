"""An answer by another model than was asked for: billed by the dearer row, and noted where it is clearly another."""

from decimal import Decimal

import pytest

from accounts.models import Balance
from proxy.billing.answered_model import row_of_answer
from proxy.billing.price_book import PRICES
from proxy.billing.pricing import Usage
from proxy.billing.terms import PricedCall, price_call
from proxy.formats.openai_chat import OpenAiChat
from tests.proxy.requests import chat

HAIKU, SONNET, OPUS = "claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101"
USAGE = Usage(1000, 100)


def asked_for(model: str) -> PricedCall:
    body = chat(model=model)
    return price_call(OpenAiChat().parse(body, 100), PRICES.find(Balance.OPENHANDS, model))


@pytest.mark.parametrize(
    "answered",
    [
        HAIKU,
        "claude-haiku-4-5",
        "anthropic/claude-haiku-4.5",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "anthropic/claude-4.5-haiku-20251001",
        "claude-haiku-4-5@20251001",
        "claude-haiku-4-5[1m]",
        "claude-haiku-4-5-latest",
        "openrouter/anthropic/claude-haiku-4.5:beta",
    ],
)
def test_another_name_of_the_same_model_is_the_same(prices: None, answered: str) -> None:
    priced = asked_for("claude-haiku-4-5")
    assert row_of_answer(priced, answered, USAGE, balance=Balance.OPENHANDS) == (priced.price, None)


@pytest.mark.parametrize("answered", [OPUS, "claude-opus-4-5", "anthropic/claude-opus-4-5"])
def test_a_dearer_model_is_billed_by_its_own_row(prices: None, answered: str) -> None:
    price, note = row_of_answer(asked_for(HAIKU), answered, USAGE, balance=Balance.OPENHANDS)
    assert price.cost(USAGE) == (1000 * Decimal(4) + 100 * Decimal(20)) * Decimal("1.02") / 10**6
    assert note == f"answered by {answered}, billed by its price"


def test_a_cheaper_model_is_billed_as_asked_for_and_noted(prices: None) -> None:
    priced = asked_for(OPUS)
    note = f"answered by {HAIKU}"
    assert row_of_answer(priced, HAIKU, USAGE, balance=Balance.OPENHANDS) == (priced.price, note)


def test_which_of_two_is_dearer_depends_on_the_usage(prices: None) -> None:
    priced = asked_for(SONNET)
    for usage in (Usage(cache_read_tokens=1000), Usage(1000)):
        price, _ = row_of_answer(priced, OPUS, usage, balance=Balance.OPENHANDS)
        assert price.cost(usage) >= priced.price.cost(usage)


@pytest.mark.parametrize(
    ("answered", "is_noted"),
    [("gpt-4o-mini", True), ("llama-3.3-70b", True), ("deployment-7", False), ("", False), ("x" * 500, False)],
)
def test_a_model_without_a_row_is_noted_where_its_name_is_clearly_another(
    prices: None, answered: str, is_noted: bool
) -> None:
    priced = asked_for(HAIKU)
    note = f"answered by {answered}" if is_noted else None
    assert row_of_answer(priced, answered, USAGE, balance=Balance.OPENHANDS) == (priced.price, note)
