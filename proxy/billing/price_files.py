"""Published price lists, read: LiteLLM's `model_prices_and_context_window.json` and the `api.json` of models.dev. Pure.

Both are wrong at times, so they are read strictly: an entry that says anything odd is refused, by name and with a
reason, and what a file says of a price that a row cannot hold is never left out silently.
https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.schema.json, https://models.dev
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Any

from money.amounts import QUANTUM, round_usd
from proxy.billing.price_rows import LARGEST_PRICE, MOST_TOKENS

MILLION = Decimal(1_000_000)
WEB_SEARCH, SEARCH_USES, SEARCH_INPUT_TOKENS = "web_search", 10, 20_000
"""The bounds of a tool whose fee a file tells: it tells none of them."""
MAX_COMPLETION_TOKENS = "max_completion_tokens"

Rates = dict[str, Decimal]
"""USD per million tokens, by the names of `pricing.Rates`; only those that the file states."""


class UnreadableFile(ValueError):
    """The file is no price list of a form that is known here."""


class OddEntry(ValueError):
    """An entry that no price can be taken from."""


class NotChat(ValueError):
    """An entry of a model that does not chat."""


@dataclass(frozen=True)
class ListedPrice:
    """What a file says of one model: its list prices, and what else changes them."""

    name: str
    provider: str
    rates: Rates
    tiers: dict[int, Rates] = field(default_factory=dict)
    multipliers: dict[str, Decimal] = field(default_factory=dict)
    search_usd: Decimal | None = None
    max_output_tokens: int | None = None
    output_member: str | None = None
    display_name: str | None = None


@dataclass(frozen=True)
class PriceFile:
    """All of a file: prices by model, what was refused and why, and how many entries are not of models that chat."""

    listed: dict[str, ListedPrice]
    refused: dict[str, str]
    not_chat: frozenset[str]


def read_price_file(data: bytes, *, provider: str | None = None) -> PriceFile:
    """Read a file of either form; with `provider`, only what that provider (of the file's own names) sells.

    Raises `UnreadableFile`.
    """
    document = _parse(data)
    if any(isinstance(value, dict) and isinstance(value.get("models"), dict) for value in document.values()):
        entries = _models_dev_entries(document)
        read = _read_models_dev
    elif any(isinstance(value, dict) and "litellm_provider" in value for value in document.values()):
        entries = _litellm_entries(document)
        read = _read_litellm
    else:
        raise UnreadableFile("It is neither LiteLLM's list of prices nor the one of models.dev.")
    listed: dict[str, list[ListedPrice]] = {}
    refused, not_chat = {}, set()
    for name, seller, entry in entries:
        if provider not in (None, seller):
            continue
        try:
            price = read(name, seller, entry)
        except NotChat:
            not_chat.add(name)
        except OddEntry as error:
            refused[name] = f"{error} ({seller})"
        else:
            listed.setdefault(name, []).append(price)
    sold = {name: prices[0] for name, prices in listed.items() if len({_sold(price) for price in prices}) == 1}
    for name in listed.keys() - sold.keys():
        sellers = ", ".join(sorted(price.provider for price in listed[name]))
        refused[name] = f"It has several prices: choose one of its providers with --provider: {sellers}."
    for name in sold:  # Some provider's entry of it was odd, and another one's is not.
        refused.pop(name, None)
    return PriceFile(sold, refused, frozenset(not_chat - sold.keys() - refused.keys()))


def _sold(price: ListedPrice) -> str:
    """What must be the same wherever a model is sold under one name."""
    return repr((sorted(price.rates.items()), sorted(price.tiers), sorted(price.multipliers.items())))


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(
            data.decode("utf-8-sig"), parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_unique
        )
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UnreadableFile(f"It is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableFile("It is not a JSON object.")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return members


# --- Amounts ----------------------------------------------------------------------------------------------------------


def _amount(entry: Mapping[str, Any], name: str, *, times: Decimal = Decimal(1)) -> Decimal | None:
    """A price of an entry in USD; None where it is absent, null or 0. Raises `OddEntry` for what is no price."""
    value = entry.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise OddEntry(f"{name} is not a number.")
    if value < 0:
        raise OddEntry(f"{name} is negative.")
    if value == 0:
        return None
    if value > LARGEST_PRICE:
        raise OddEntry(f"{name} is too large.")
    amount = round_usd(value * times)
    if not QUANTUM <= amount <= LARGEST_PRICE:
        raise OddEntry(f"{name} is too large or too small.")
    return amount.normalize() + 0


def _rates(entry: Mapping[str, Any], names: Mapping[str, str], *, times: Decimal = Decimal(1)) -> Rates:
    found = {rate: _amount(entry, name, times=times) for name, rate in names.items()}
    return {rate: amount for rate, amount in found.items() if amount is not None}


def _check_base(rates: Rates) -> None:
    for name in ("input", "output"):
        if name not in rates:
            raise OddEntry(f"Its {name} price is missing or 0.")


def _largest_ratio(pairs: Iterable[tuple[Decimal, Decimal]]) -> Decimal | None:
    """How many times dearer an option is at most, over all kinds of tokens: to 4 places, rounded up."""
    ratios = [(special / usual).quantize(Decimal("0.0001"), rounding=ROUND_CEILING) for special, usual in pairs]
    return max(ratios).normalize() + 0 if ratios else None


def _count(value: object) -> int | None:
    """A limit of tokens; what is none is not there."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS
    return value if is_count and isinstance(value, int) else None


def _bounds_by_completion(provider: str, is_reasoning: object) -> str | None:
    return MAX_COMPLETION_TOKENS if provider in ("openai", "azure") and is_reasoning is True else None


# --- LiteLLM ----------------------------------------------------------------------------------------------------------

_LITELLM = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_read_input_token_cost": "cache_read",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_image_token": "output_image",
}
_LITELLM_KEY = re.compile(rf"({'|'.join(_LITELLM)})(?:_above_([0-9]+)(k?)_tokens)?(?:_(priority|flex))?")
_LITELLM_MODES = {"us": "inference_geo=us", "fast": "speed=fast"}
_UNSAYABLE = (
    "input_cost_per_request",
    "input_cost_per_query",
    "citation_cost_per_token",
    "input_cost_per_character",
    "output_cost_per_character",
    "cost_per_second",
    "input_cost_per_second",
    "output_cost_per_second",
    "input_cost_per_image",
    "output_cost_per_image",
)
"""Prices of LiteLLM's that an ordinary request can come to, and that a row cannot hold."""
_INCLUSIVE = frozenset(("xai",))
"""Providers whose tiers begin at the border itself, as in LiteLLM's own calculation."""


def _litellm_entries(document: dict[str, Any]) -> Iterator[tuple[str, str, object]]:
    for name, entry in document.items():
        if name not in ("sample_spec", "fallback_generalizations"):
            yield name, str(entry.get("litellm_provider")) if isinstance(entry, dict) else "", entry


def _read_litellm(name: str, provider: str, entry: object) -> ListedPrice:
    if not isinstance(entry, dict):
        raise OddEntry("It is not an object.")
    if entry.get("mode") != "chat":
        raise NotChat
    for key in _UNSAYABLE:
        if _amount(entry, key):
            raise OddEntry(f"It has a price that a row cannot hold: {key}.")
    rates = _rates(entry, _LITELLM, times=MILLION)
    tiers = _litellm_tiers(entry, provider)
    if (steps := entry.get("tiered_pricing")) is not None:
        rates, tiers = _litellm_steps(steps, rates)
    if cached := _amount(entry, "input_cost_per_token_cache_hit", times=MILLION):
        rates.setdefault("cache_read", cached)
    _check_base(rates)
    reasoning = _amount(entry, "output_cost_per_reasoning_token", times=MILLION)
    if reasoning and reasoning > rates["output"]:
        raise OddEntry("It has a price that a row cannot hold: output_cost_per_reasoning_token.")
    return ListedPrice(
        name=name,
        provider=provider,
        rates=rates,
        tiers=tiers,
        multipliers=_litellm_multipliers(entry),
        search_usd=_litellm_search(entry.get("search_context_cost_per_query")),
        max_output_tokens=_count(entry.get("max_output_tokens")),
        output_member=_bounds_by_completion(provider, entry.get("supports_reasoning")),
    )


def _litellm_tiers(entry: dict[str, Any], provider: str) -> dict[int, Rates]:
    tiers: dict[int, Rates] = {}
    for key in entry:
        found = _LITELLM_KEY.fullmatch(key)
        if not found or not found[2] or found[4]:
            continue
        if amount := _amount(entry, key, times=MILLION):
            above = int(found[2]) * (1000 if found[3] else 1) - (provider in _INCLUSIVE)
            tiers.setdefault(above, {})[_LITELLM[found[1]]] = amount
    return tiers


def _litellm_steps(steps: object, base: Rates) -> tuple[Rates, dict[int, Rates]]:
    """`tiered_pricing`: prices by ranges of the input, the first of which begins at 0."""
    tiers: dict[int, Rates] = {}
    if not isinstance(steps, list):
        raise OddEntry("Its tiered_pricing is not a list.")
    for step in steps:
        bounds = step.get("range") if isinstance(step, dict) else None
        if not isinstance(bounds, list) or len(bounds) != 2 or not isinstance(bounds[0], int | Decimal):
            raise OddEntry("Its tiered_pricing has no range.")
        tiers[int(bounds[0])] = _rates(step, _LITELLM, times=MILLION)
    first = tiers.pop(0, {})
    for rates in tiers.values():
        _check_base(rates)
    return first | base, tiers


def _litellm_multipliers(entry: dict[str, Any]) -> dict[str, Decimal]:
    multipliers = {}
    for tier in ("priority", "flex"):
        pairs = []
        for key in entry:
            if (found := _LITELLM_KEY.fullmatch(key)) and found[4] == tier:
                special = _amount(entry, key, times=MILLION)
                usual = _amount(entry, key.removesuffix(f"_{tier}"), times=MILLION)
                pairs += [(special, usual)] if special and usual else []
        if ratio := _largest_ratio(pairs):
            multipliers[f"service_tier={tier}"] = ratio
    modes = entry.get("provider_specific_entry")
    for mode, option in _LITELLM_MODES.items():
        if isinstance(modes, dict) and (multiplier := _amount(modes, mode)):
            multipliers[option] = multiplier
    return multipliers


def _litellm_search(costs: object) -> Decimal | None:
    """What a search costs at most: the file tells it by how much is read."""
    if not isinstance(costs, dict):
        return None
    return max((amount for size in costs if (amount := _amount(costs, size))), default=None)


# --- models.dev -------------------------------------------------------------------------------------------------------

_MODELS_DEV = {
    "input": "input",
    "output": "output",
    "cache_read": "cache_read",
    "cache_write": "cache_write",
    "input_audio": "input_audio",
    "output_audio": "output_audio",
}
_OLD_TIER = 200_000
"""The border of `context_over_200k`, which is the whole of the tiers where there is no list of them."""
_OPTIONS = ("service_tier", "speed", "inference_geo")


def _models_dev_entries(document: dict[str, Any]) -> Iterator[tuple[str, str, object]]:
    for seller, provider in document.items():
        models = provider.get("models") if isinstance(provider, dict) else None
        for name, entry in models.items() if isinstance(models, dict) else ():
            yield name, seller, entry


def _read_models_dev(name: str, provider: str, entry: object) -> ListedPrice:
    if not isinstance(entry, dict):
        raise OddEntry("It is not an object.")
    modalities = entry.get("modalities")
    if isinstance(modalities, dict) and "text" not in (modalities.get("output") or ["text"]):
        raise NotChat
    cost = entry.get("cost")
    if not isinstance(cost, dict):
        raise OddEntry("It has no prices.")
    rates = _rates(cost, _MODELS_DEV)
    _check_base(rates)
    reasoning = _amount(cost, "reasoning")
    if reasoning and reasoning > rates["output"]:
        raise OddEntry("It has a price that a row cannot hold: reasoning.")
    limit, shown = entry.get("limit"), entry.get("name")
    return ListedPrice(
        name=name,
        provider=provider,
        rates=rates,
        tiers=_models_dev_tiers(cost),
        multipliers=_models_dev_multipliers(entry, rates),
        max_output_tokens=_count(limit.get("output")) if isinstance(limit, dict) else None,
        output_member=_bounds_by_completion(provider, entry.get("reasoning")),
        display_name=shown[:150] if isinstance(shown, str) else None,
    )


def _models_dev_tiers(cost: dict[str, Any]) -> dict[int, Rates]:
    listed, old = cost.get("tiers"), cost.get("context_over_200k")
    if listed is None:
        return {} if old is None else {_OLD_TIER: _tier_rates(old)}
    if not isinstance(listed, list):
        raise OddEntry("Its tiers are not a list.")
    tiers = {}
    for tier in listed:
        bound = tier.get("tier") if isinstance(tier, dict) else None
        above = _count(bound.get("size")) if isinstance(bound, dict) and bound.get("type") == "context" else None
        if above is None or above in tiers:
            raise OddEntry("It has a tier that a row cannot hold.")
        tiers[above] = _tier_rates(tier)
    return tiers


def _tier_rates(tier: object) -> Rates:
    if not isinstance(tier, dict):
        raise OddEntry("A tier of it is not an object.")
    rates = _rates(tier, _MODELS_DEV)
    _check_base(rates)
    return rates


def _models_dev_multipliers(entry: dict[str, Any], usual: Rates) -> dict[str, Decimal]:
    """Modes such as `fast`, which a member of the request switches on."""
    experimental = entry.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, dict) else None
    multipliers = {}
    for mode in modes.values() if isinstance(modes, dict) else ():
        cost, provider = (mode.get(name) if isinstance(mode, dict) else None for name in ("cost", "provider"))
        body = provider.get("body") if isinstance(provider, dict) else None
        if not isinstance(cost, dict) or not isinstance(body, dict) or len(body) != 1:
            continue
        (name, value), rates = next(iter(body.items())), _rates(cost, _MODELS_DEV)
        ratio = _largest_ratio([(amount, usual[kind]) for kind, amount in rates.items() if kind in usual])
        if name in _OPTIONS and isinstance(value, str) and ratio:
            multipliers[f"{name}={value}"] = ratio
    return multipliers
