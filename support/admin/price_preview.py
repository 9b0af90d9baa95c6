"""What requests cost by a price row, in lines of the preview of its form."""

from collections.abc import Collection

from money.amounts import ZERO, format_usd
from mongo.collections import Document
from proxy.billing.price_rows import UnusablePrice, price_of, read_price_row
from proxy.billing.pricing import Price, Usage
from proxy.models import ModelPrice
from support.actions.action import Line

USUAL = Usage(input_tokens=1000, output_tokens=500)
USUAL_WORDS = "1,000 input and 500 output tokens"
SAMPLE = Usage(input_tokens=3000, output_tokens=1000, cache_write_tokens=2000, cache_read_tokens=5000)
SAMPLE_WORDS = "10,000 input tokens (5,000 read from the cache, 2,000 written to it) and 1,000 output tokens"


def lines_of_price(before: Document | None, after: ModelPrice, *, kept: Collection[str] = ()) -> list[Line]:
    """What a usual request costs by the stored row, and by the row as it would be saved.

    `kept` names what cannot be read and stays as it is stored, so that the row stays unused.
    """
    old, new = _old_price(before), _new_price(after, kept)
    return [
        Line("Requests for it", _use_of(before, old), _use(new, is_active=after.is_active)),
        Line(f"A usual request ({USUAL_WORDS}) costs", _cost(old, USUAL), _cost(new, USUAL)),
        Line("Its margin", _margin(old), _margin(new)),
        Line(f"A request of {SAMPLE_WORDS} costs", _cost(old, SAMPLE), _cost(new, SAMPLE)),
    ]


def sample_cost(price: Price, *, has_own: bool = True) -> str:
    """What the sample costs a customer, and if `has_own` also the operator, where the row says it. USD."""
    cost, own = price.cost(SAMPLE), price.own_cost(SAMPLE)
    return format_usd(cost) + (f" (the operator pays {format_usd(own)})" if has_own and own is not None else "")


def _old_price(stored: Document | None) -> Price | str:
    """The price by a stored row, or why there is none."""
    if stored is None:
        return "–"
    try:
        return read_price_row(stored).price
    except UnusablePrice as error:
        return f"the row is not used: {error}"


def _new_price(row: ModelPrice, kept: Collection[str]) -> Price | str:
    if kept:
        return f"the row is not used: {', '.join(sorted(kept))} cannot be read and is kept"
    try:
        return price_of(row)
    except UnusablePrice as error:
        return f"the row is not used: {error}"


def _use_of(stored: Document | None, price: Price | str) -> str:
    return "–" if stored is None else _use(price, is_active=stored.get("isActive") is not False)


def _use(price: Price | str, *, is_active: bool) -> str:
    if isinstance(price, str):
        return "refused: the model is not found"
    return "answered and billed" if is_active else "refused: the row is not active"


def _cost(price: Price | str, usage: Usage) -> str:
    if isinstance(price, str):
        return price
    cost = price.cost(usage)
    return format_usd(cost) if cost else "nothing: it is free"


def _margin(price: Price | str) -> str:
    """What is left of a usual request when the operator has paid for it."""
    if isinstance(price, str):
        return "–"
    cost, own = price.cost(USUAL), price.own_cost(USUAL)
    if own is None:
        return "not known: the row does not say what the operator pays"
    left = cost - own
    share = f", {left / cost * 100:.1f} % of the price" if cost else ""
    words = "a loss of " if left < ZERO else ""
    return f"{words}{format_usd(abs(left))} (the operator pays {format_usd(own)}){share}"
