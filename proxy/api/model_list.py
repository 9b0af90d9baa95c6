"""The models that an upstream sells, as the clients of OpenAI, of Anthropic and of LiteLLM read them. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from border.digits import read_whole_number
from proxy.billing.price_rows import PriceRow
from proxy.billing.pricing import MILLION, Rates
from proxy.errors import InvalidRequest
from proxy.formats.json_body import JsonObject

Named = tuple[str, PriceRow]
"""A name that clients may send, a model's id or an alias of it, and the model's row."""

USUAL_PAGE, LARGEST_PAGE = 20, 1000
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""What Anthropic answers for a model whose date is not known."""


def openai_model(named: Named, owner: str) -> JsonObject:
    """One model as OpenAI's clients read it."""
    name, row = named
    created = int(row.created_at.timestamp()) if row.created_at else 0
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def anthropic_model(named: Named) -> JsonObject:
    """One model as Anthropic's clients read it."""
    name, row = named
    created_at = (row.created_at or _UNKNOWN_TIME).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = row.display_name or name
    return {"type": "model", "id": name, "display_name": shown, "created_at": created_at}


def anthropic_page(
    models: Sequence[Named], *, limit: str | None, after_id: str | None, before_id: str | None
) -> JsonObject:
    """A page of the models as Anthropic's clients read it. The arguments are the query's, as text.

    `has_more` is whether there are more in the direction that was asked for. Raises `InvalidRequest`.
    """
    size = USUAL_PAGE if limit is None else read_whole_number(limit)
    if size is None or not 1 <= size <= LARGEST_PAGE:
        raise InvalidRequest(f"'limit' must be a whole number from 1 to {LARGEST_PAGE}.", param="limit")
    if after_id and before_id:
        raise InvalidRequest("Only one of 'after_id' and 'before_id' can be asked for.", param="before_id")
    if before_id:
        earlier = models[: _position(models, before_id, "before_id")]
        page, has_more = earlier[-size:], len(earlier) > size
    else:
        later = models[_position(models, after_id, "after_id") + 1 :] if after_id else models
        page, has_more = later[:size], len(later) > size
    return {
        "data": [anthropic_model(named) for named in page],
        "has_more": has_more,
        "first_id": page[0][0] if page else None,
        "last_id": page[-1][0] if page else None,
    }


def _position(models: Sequence[Named], name: str, param: str) -> int:
    for position, (known, _) in enumerate(models):
        if known == name:
            return position
    raise InvalidRequest(f"There is no model {name[:200]!r} here.", param=param)


def litellm_info(named: Named) -> JsonObject:
    """One model as the clients of a LiteLLM proxy read it, with what customers pay, in USD a token."""
    name, row = named
    price = row.price
    info: JsonObject = {
        "id": name,
        "mode": "embedding" if price.charged.rates.input and not price.charged.rates.output else "chat",
        "max_tokens": price.max_output_tokens,
        "max_input_tokens": None,  # No price row says it.
        "max_output_tokens": price.max_output_tokens,
        **_costs(price.charged.rates, price.multiplier),
    }
    for tier in price.charged.tiers:
        if tier.above % 1000 == 0:
            info |= _costs(tier.rates, price.multiplier, f"_above_{tier.above // 1000}k_tokens")
    return {"model_name": name, "litellm_params": {"model": row.model_id}, "model_info": info}


def _costs(rates: Rates, multiplier: Decimal, suffix: str = "") -> JsonObject:
    costs = {
        "input_cost_per_token": rates.input,
        "output_cost_per_token": rates.output,
        "cache_read_input_token_cost": rates.cache_read,
        "cache_creation_input_token_cost": rates.cache_write,
    }
    # LiteLLM's clients read numbers, such as 1.05e-06. What is billed is reckoned from the row, not from these.
    return {f"{name}{suffix}": float(rate * multiplier / MILLION) for name, rate in costs.items()}
