"""Counts as upstreams report them, in whatever spelling: what is one, and the largest over all places. Pure.

Both formats' normalisers (`openai_usage.py`, `anthropic_usage.py`) read usage by these functions.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

from proxy.formats.json_body import JsonObject

MOST_TOKENS = 20_000_000
"""More tokens than any request can have: a count above is a mistake of the upstream, not usage."""
MOST_TOOL_USES = 1000
MOST_USD = 10_000
MOST_KEPT = 16
"""Usage objects of one answer that are kept apart; streams that report their usage in every chunk have thousands."""

Kinds = dict[str, "Kinds | tuple[str, ...]"]
"""Which kinds of count the members of a usage object are, by their names; an inner object has kinds of its own."""

LIVES: Kinds = {"ephemeral_5m_input_tokens": ("written_5m",), "ephemeral_1h_input_tokens": ("written_1h",)}
"""Of cache writes, as Anthropic and LiteLLM report them."""

_TOLD_PLACES = Decimal("1e-12")
_COUNT = re.compile(r"[0-9]{1,12}(?:\.0{1,12})?")


def as_count(value: object, *, most: int = MOST_TOKENS) -> int | None:
    """A value as a count, also one that is reported as text or as 120.0; None for what is none or cannot be true."""
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
    """A cost in USD that an upstream reported, as a number or as text; None for what is none, and for 0 (not known)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        text = repr(value) if isinstance(value, float) else str(value).strip()[:40]
        cost = Decimal(text if text.isascii() else "NaN")  # It takes the digits of every script.
    except (InvalidOperation, ValueError):  # An integer has too many digits to be written.
        return None
    if not (cost.is_finite() and 0 < cost <= MOST_USD):
        return None
    # Gateways add binary floats: what they tell as 0.00010927499999999999 is 0.000109275, which rounds up.
    return cost.quantize(_TOLD_PLACES) or None


class Reported:
    """The counts that the usage objects of one answer report: of each kind the largest valid one."""

    def __init__(self, usages: Sequence[JsonObject], kinds: Kinds) -> None:
        self.usages = usages
        self.rejected: str | None = None
        """The first value that stood in the place of a count and is none."""
        self._counts: dict[str, int] = {}
        for usage in usages:
            self._read(usage, kinds)

    def get(self, kind: str) -> int | None:
        """The count of a kind; None if it is not reported."""
        return self._counts.get(kind)

    def count(self, kind: str) -> int:
        """The count of a kind; 0 if it is not reported."""
        return self._counts.get(kind, 0)

    def _read(self, members: JsonObject, kinds: Kinds) -> None:
        for name, value in members.items():
            kind = kinds.get(name)
            if kind is None or value is None:
                continue
            if isinstance(kind, dict):
                if isinstance(value, dict):
                    self._read(value, kind)
                continue
            count = value if type(value) is int and 0 <= value <= MOST_TOKENS else as_count(value)
            if count is None:
                self.rejected = self.rejected or f"{name} is {str(value)[:40]}"
                continue
            counts = self._counts
            for each in kind:
                if count >= counts.get(each, 0):
                    counts[each] = count

    def tool_uses(self) -> tuple[tuple[str, int], ...]:
        """Uses of server tools by the tool's name. `server_tool_use` is `{"web_search_requests": 2, …}`."""
        uses: dict[str, int] = {}
        if searches := self.count("searches"):
            uses["web_search"] = min(searches, MOST_TOOL_USES)
        for usage in self.usages:
            by_name = usage.get("server_tool_use")
            for name, value in list(by_name.items())[:20] if isinstance(by_name, dict) else ():
                count, tool = as_count(value, most=MOST_TOOL_USES), name.removesuffix("_requests")
                if count and len(tool) <= 40:
                    uses[tool] = max(count, uses.get(tool, 0))
        return tuple(sorted(uses.items()))

    def cost(self, *, beside: str = "") -> Decimal | None:
        """What the upstream says that the answer cost the operator, in USD; only where `beside` is reported, too.

        OpenRouter's `cost` leaves out what its operator pays to the model's vendor directly (`is_byok`).
        """
        usages = [usage for usage in self.usages if "cost" in usage and (not beside or usage.get(beside) is not None)]
        costs = [cost for usage in usages if (cost := _cost_of(usage)) is not None]
        return max(costs, default=None)


def _cost_of(usage: JsonObject) -> Decimal | None:
    reported = usage.get("cost")
    cost = as_usd(reported.get("total_cost") if isinstance(reported, dict) else reported)
    details = usage.get("cost_details")
    if usage.get("is_byok") is True and isinstance(details, dict):
        beside = as_usd(details.get("upstream_inference_cost"))
        return beside if cost is None else cost + (beside or 0)
    return cost


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
