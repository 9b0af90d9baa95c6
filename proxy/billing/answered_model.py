"""Which price row an answer is billed by, where it says that another model answered than was asked for."""

import re

from accounts.errors import BillingError
from accounts.models import Balance
from proxy.billing.price_book import PRICES
from proxy.billing.pricing import Price, Usage
from proxy.billing.terms import PricedCall

LONGEST_NAME = 60
_FAMILY = re.compile(
    r"claude|opus|sonnet|haiku|gpt|o[1-9]\b|gemini|gemma|llama|mistral|mixtral|codestral|qwen|deepseek|grok|command|nova"
    r"|kimi|glm|minimax|phi|jamba|sonar|granite|nemotron"
)
_VARIANT = re.compile(r"\[[^]]*\]|[@:].*|-v[0-9]+\Z|-latest\Z|-(?:[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})(?=-|\Z)")
"""What vendors and gateways add to the name of the same model: context sizes, routes, versions, dates."""


def row_of_answer(priced: PricedCall, answered: str, usage: Usage, *, balance: Balance) -> tuple[Price, str | None]:
    """The row that a usage is billed by when `answered` is the model that the answer names, and what to note of it.

    Another model with a row of its own is billed by the dearer of the two rows. One without is noted where its name is
    clearly that of another model.
    """
    price = priced.price
    same = {_words(name) for name in (price.upstream_model_id, price.model_id, priced.call.model)}
    words = _words(answered)
    if words in same:
        return price, None
    note = f"answered by {answered[:LONGEST_NAME]}"
    other = _find(balance, answered)
    if other is not None and other.price_id != price.price_id:
        is_dearer = other.cost(usage, priced.terms) > price.cost(usage, priced.terms)
        return (other, f"{note}, billed by its price") if is_dearer else (price, note)
    is_other = other is None and _FAMILY.search(answered.lower()) and not any(words <= s or s <= words for s in same)
    return price, note if is_other else None


def _find(balance: Balance, model: str) -> Price | None:
    """The row of a model, whatever a gateway puts in front of its name; None without one."""
    for name in dict.fromkeys((model, model.rpartition("/")[2])):
        try:
            return PRICES.find(balance, name)
        except BillingError:
            continue
    return None


def _words(model: str) -> frozenset[str]:
    """The parts of a model's name in any order: `anthropic/claude-4.5-haiku-20251001` is `claude-haiku-4-5`."""
    name = model.lower().rpartition("/")[2]
    name = re.sub(r"\A(?:[a-z]{2,6}\.)?(?:anthropic|openai|meta|amazon|mistral|google)\.", "", name)
    return frozenset(re.split(r"[-._ ]+", _VARIANT.sub("", _VARIANT.sub("", name))))
