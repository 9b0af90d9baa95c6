"""Counts as upstreams report them, in whatever spelling: what is one, and the largest over all places. Pure.

Both formats' normalisers (`openai_usage.py`, `anthropic_usage.py`) read usage by these functions.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from proxy.formats.json_body import JsonObject

MOST_TOKENS = 20_000_000
"""More tokens than any request can have: a count above is a mistake of the upstream, not usage."""
MOST_TOOL_USES = 1000
MOST_USD = 10_000
MOST_KEPT = 16
"""Usage objects of one answer that are kept apart; streams that tell their usage in every chunk have thousands."""

Path = tuple[str, ...]
"""Names of members, from the usage object inwards."""

_TOLD_PLACES = Decimal("1e-12")
_COUNT = re.compile(r"[0-9]{1,12}(?:\.0{1,12})?")


def as_count(value: object, *, most: int = MOST_TOKENS) -> int | None:
    """A value as a count, also one that is told as text or as 120.0; None for what is none or cannot be true."""
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    elif isinstance(value, float) and value.is_integer():
        count = int(value)
    elif isinstance(value, str) and _COUNT.fullmatch(value.strip()):
        count = int(float(value))
    else:
        return None
    return count if 0 <= count <= most else None


def as_usd(value: object) -> Decimal | None:
    """A cost in USD that an upstream told, as a number or as text; None for what is none, and for 0 (not known)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        cost = Decimal(repr(value) if isinstance(value, float) else str(value).strip()[:40])
    except InvalidOperation:
        return None
    if not (cost.is_finite() and 0 < cost <= MOST_USD):
        return None
    # Gateways add binary floats: what they tell as 0.00010927499999999999 is 0.000109275, which rounds up.
    return cost.quantize(_TOLD_PLACES) or None


class Told:
    """The usage objects of one answer, in the order they were told."""

    def __init__(self, usages: Sequence[JsonObject]) -> None:
        self.usages = usages
        self.rejected: str | None = None
        """The first value that stood in the place of a count and is none."""

    def most(self, *paths: Path) -> int | None:
        """The largest valid count at any of the paths, in any of the objects; None if there is none."""
        largest: int | None = None
        for usage in self.usages:
            for path in paths:
                value = value_at(usage, path)
                if value is None:
                    continue
                count = as_count(value)
                if count is None:
                    self.rejected = self.rejected or f"{path[-1]} is {str(value)[:40]}"
                elif largest is None or count > largest:
                    largest = count
        return largest

    def tool_uses(self, *paths: Path) -> tuple[tuple[str, int], ...]:
        """Uses of server tools by the tool's name; `paths` are other places that tell web searches.

        `server_tool_use` is `{"web_search_requests": 2, …}`.
        """
        uses: dict[str, int] = {}
        for usage in self.usages:
            told = [("web_search", value_at(usage, path)) for path in paths]
            by_name = usage.get("server_tool_use")
            if isinstance(by_name, dict):
                told += [(name.removesuffix("_requests"), value) for name, value in list(by_name.items())[:20]]
            for name, value in told:
                count = as_count(value, most=MOST_TOOL_USES)
                if count and len(name) <= 40:
                    uses[name] = max(count, uses.get(name, 0))
        return tuple(sorted(uses.items()))

    def cost(self, *, beside: str = "") -> Decimal | None:
        """What the upstream says that the answer cost the operator, in USD; only where `beside` is reported, too.

        OpenRouter's `cost` leaves out what its operator pays to the model's vendor directly (`is_byok`).
        """
        usages = [usage for usage in self.usages if not beside or usage.get(beside) is not None]
        costs = [cost for usage in usages if (cost := _cost_of(usage)) is not None]
        return max(costs, default=None)


def _cost_of(usage: JsonObject) -> Decimal | None:
    told = usage.get("cost")
    cost = as_usd(told.get("total_cost") if isinstance(told, dict) else told)
    details = usage.get("cost_details")
    if usage.get("is_byok") is True and isinstance(details, dict):
        beside = as_usd(details.get("upstream_inference_cost"))
        return beside if cost is None else cost + (beside or 0)
    return cost


def value_at(usage: JsonObject, path: Path) -> Any:
    """What stands at a path; None where there is nothing."""
    value: Any = usage
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def keep_usage(kept: list[JsonObject], usage: JsonObject) -> None:
    """Add a usage object of a stream to those kept; the older ones are merged when there are too many."""
    kept.append(usage)
    if len(kept) > MOST_KEPT:
        merged: JsonObject = {}
        for older in kept[:-1]:
            _merge(merged, older)
        kept[:-1] = [merged]


def _merge(into: JsonObject, usage: JsonObject) -> None:
    """Keep the larger of each two counts, at every depth; of anything else the later."""
    for name, value in usage.items():
        known = into.get(name)
        if isinstance(value, dict):
            inner = dict(known) if isinstance(known, dict) else {}
            _merge(inner, value)
            into[name] = inner
        elif (as_count(known) or 0) <= (as_count(value) or 0) and value not in (None, []):
            into[name] = value


def find_usages(message: JsonObject) -> Iterator[JsonObject]:
    """Every usage object of an answer or a stream's event, wherever a vendor puts it."""
    usage = message.get("usage")
    if isinstance(usage, dict):
        yield usage
    for name in ("message", "response", "delta", "x_groq"):
        inner = message.get(name)
        if isinstance(inner, dict) and isinstance(inner.get("usage"), dict):
            yield inner["usage"]
    choices = message.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and isinstance(choice.get("usage"), dict):
                yield choice["usage"]
