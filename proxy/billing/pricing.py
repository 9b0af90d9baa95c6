"""What a request costs, and the most it could cost: pure functions over one price row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from money.amounts import ZERO, round_up_usd, round_usd

MILLION = Decimal(1_000_000)
ONE = Decimal(1)


@dataclass(frozen=True)
class Usage:
    """What one request used, each token counted once.

    `input_tokens` are those of text that were neither written to nor read from a cache; `cache_write_tokens` are kept
    for five minutes, `cache_write_1h_tokens` for an hour. `tool_uses` counts the uses of each server tool, by its name.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    tool_uses: tuple[tuple[str, int], ...] = ()

    @property
    def total_input_tokens(self) -> int:
        return (
            self.input_tokens
            + self.cache_write_tokens
            + self.cache_read_tokens
            + self.cache_write_1h_tokens
            + self.input_audio_tokens
            + self.input_image_tokens
        )

    @property
    def total_output_tokens(self) -> int:
        return self.output_tokens + self.output_audio_tokens + self.output_image_tokens

    @property
    def total_tokens(self) -> int:
        return self.total_input_tokens + self.total_output_tokens

    @property
    def special_tokens(self) -> dict[str, int]:
        """The kinds of tokens that few requests have, by their names in the log; only those that there are."""
        counts = {
            "cacheWrite1h": self.cache_write_1h_tokens,
            "inputAudio": self.input_audio_tokens,
            "inputImage": self.input_image_tokens,
            "outputAudio": self.output_audio_tokens,
            "outputImage": self.output_image_tokens,
        }
        return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True)
class Terms:
    """What a request asks for that has a price of its own.

    `options` are such as `service_tier=priority`, each with a multiplier in the price row. `tool_uses` bounds the uses
    of each server tool. The flags say which kinds of tokens the request can be billed for beside those of text.
    """

    options: tuple[str, ...] = ()
    tool_uses: tuple[tuple[str, int], ...] = ()
    has_1h_cache: bool = False
    has_audio_input: bool = False
    has_audio_output: bool = False
    has_image_output: bool = False


PLAIN = Terms()
"""A request that asks for nothing special."""


@dataclass(frozen=True)
class Rates:
    """USD per million tokens of each kind."""

    input: Decimal
    output: Decimal
    cache_write: Decimal
    cache_read: Decimal
    cache_write_1h: Decimal
    input_audio: Decimal
    input_image: Decimal
    output_audio: Decimal
    output_image: Decimal

    def of_tokens(self, usage: Usage) -> Decimal:
        """The tokens of a usage at these rates, in USD, not rounded."""
        return (
            usage.input_tokens * self.input
            + usage.output_tokens * self.output
            + usage.cache_write_tokens * self.cache_write
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_1h_tokens * self.cache_write_1h
            + usage.input_audio_tokens * self.input_audio
            + usage.input_image_tokens * self.input_image
            + usage.output_audio_tokens * self.output_audio
            + usage.output_image_tokens * self.output_image
        ) / MILLION

    @property
    def special(self) -> dict[str, Decimal]:
        """The rates of the kinds of tokens that few requests have, by their names in the log."""
        return {
            "cacheWrite1h": self.cache_write_1h,
            "inputAudio": self.input_audio,
            "inputImage": self.input_image,
            "outputAudio": self.output_audio,
            "outputImage": self.output_image,
        }

    def dearest_input(self, terms: Terms) -> Decimal:
        """The dearest kind of input token that a request with these terms can be billed for."""
        dearest = max(self.input, self.cache_write, self.cache_read, self.input_image)
        if terms.has_1h_cache:
            dearest = max(dearest, self.cache_write_1h)
        return max(dearest, self.input_audio) if terms.has_audio_input else dearest

    def dearest_output(self, terms: Terms) -> Decimal:
        """The dearest kind of output token that a request with these terms can be billed for."""
        dearest = max(self.output, self.output_image) if terms.has_image_output else self.output
        return max(dearest, self.output_audio) if terms.has_audio_output else dearest


@dataclass(frozen=True)
class Tier:
    """Other rates for a whole request whose input is more than `above` tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True)
class ToolFee:
    """What a use of a server tool costs, in USD; how often a request may use it; what input tokens a use may add."""

    usd: Decimal
    most_uses: int
    input_tokens: int


@dataclass(frozen=True)
class PriceList:
    """The rates of one model with all that changes them: what customers pay, or what the operator pays.

    Tiers are in ascending order.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    fees: Mapping[str, ToolFee] = field(default_factory=dict)

    def amount(self, usage: Usage, terms: Terms = PLAIN) -> Decimal:
        """What a usage costs, in USD, not rounded. An option or a tool that is not in the list adds nothing."""
        tier = self.tier_of(usage)
        tokens = (tier.rates if tier else self.rates).of_tokens(usage) * self._factor(terms)
        fees = (self.fees[name].usd * count for name, count in usage.tool_uses if name in self.fees)
        return sum(fees, start=tokens)

    def tier_of(self, usage: Usage) -> Tier | None:
        """The tier that a usage has come to by all its input, cached or not; None for the usual rates."""
        if not self.tiers:
            return None
        total = usage.total_input_tokens
        return next((tier for tier in reversed(self.tiers) if total > tier.above), None)

    def most(self, input_tokens: int, output_tokens: int, terms: Terms = PLAIN) -> Decimal:
        """The most that this many tokens can cost with these terms, in USD, not rounded.

        All input at the dearest input rate, in whichever tier it may come to, with what the uses of tools may add.
        """
        return max(without + each * output_tokens for without, each in self.bounds(input_tokens, terms))

    def bounds(self, input_tokens: int, terms: Terms = PLAIN) -> Iterator[tuple[Decimal, Decimal]]:
        """For each tier that the input may come to: the most that a request costs without output, and each of its
        output tokens beside that. In USD, not rounded.
        """
        fees = Decimal(0)
        for name, uses in terms.tool_uses:
            fees += self.fees[name].usd * uses
            input_tokens += self.fees[name].input_tokens * uses
        factor = self._factor(terms) / MILLION
        for above, rates in ((0, self.rates), *((tier.above, tier.rates) for tier in self.tiers)):
            if not above or input_tokens > above:
                yield input_tokens * rates.dearest_input(terms) * factor + fees, rates.dearest_output(terms) * factor

    def _factor(self, terms: Terms) -> Decimal:
        factor = ONE
        for option in terms.options:
            factor *= self.multipliers.get(option, ONE)
        return factor


@dataclass(frozen=True)
class Price:
    """One price row as a request is billed by it: what customers pay, times the multiplier.

    `own` is what the operator pays, None if the row does not say. `attachment_tokens` bounds what comes by address or
    id, or is of a kind that cannot be measured, by its part type. `output_member` is the name of the member that bounds
    the output where a request names none (None: the format's usual one). `passed_members` are members beyond the
    format's table that this model may be sent.
    """

    price_id: str
    model_id: str
    upstream_model_id: str
    charged: PriceList
    multiplier: Decimal
    max_output_tokens: int
    own: PriceList | None = None
    attachment_tokens: Mapping[str, int] = field(default_factory=dict)
    output_member: str | None = None
    passed_members: frozenset[str] = frozenset()
    has_audio_input: bool = False
    has_audio_output: bool = False
    has_image_output: bool = False

    def cost(self, usage: Usage, terms: Terms = PLAIN) -> Decimal:
        """(Σ tokens x price / 10⁶ x options + fees) x multiplier, in USD, rounded half up to 8 places."""
        return round_usd(self.charged.amount(usage, terms) * self.multiplier)

    def own_cost(self, usage: Usage, terms: Terms = PLAIN) -> Decimal | None:
        """What the operator pays for a usage, in USD, rounded half up to 8 places; None if the row does not say."""
        return None if self.own is None else round_usd(self.own.amount(usage, terms))

    def worst_case(self, input_tokens: int, output_tokens: int, terms: Terms = PLAIN) -> Decimal:
        """The most that this many tokens can cost, in USD: all input at the dearest input price, rounded up."""
        return round_up_usd(self.charged.most(input_tokens, output_tokens, terms) * self.multiplier)

    def affordable_output_tokens(self, input_tokens: int, available: Decimal, terms: Terms = PLAIN) -> int:
        """The largest output whose worst case `available` USD covers; 0 if it does not even cover the input.

        Where output is free it is the model's maximum.
        """
        affordable = []
        for without, each in self.charged.bounds(input_tokens, terms):
            left = available - without * self.multiplier
            if left < ZERO:
                return 0
            if token := each * self.multiplier:
                count = int(left / token)
                affordable.append(count if count * token <= left else count - 1)  # The quotient may be rounded up.
        return min(affordable, default=self.max_output_tokens)

    def snapshot(self, usage: Usage, terms: Terms = PLAIN) -> dict[str, Any]:
        """What of the row a request was billed by, amounts as text so that nothing is lost.

        With the usage in the log it is enough to reckon the cost once more: the rates of the tier that was reached,
        those of special kinds of tokens, the multipliers of options and the fees of tools, only where they applied.
        """
        tier, special = self.charged.tier_of(usage), usage.special_tokens
        if tier is None and not (special or terms.options or usage.tool_uses):
            return self._plain_snapshot
        rates = tier.rates if tier else self.charged.rates
        snapshot = self._plain_snapshot | _rates_as_text(rates)
        if tier:
            snapshot["tier"] = tier.above
        snapshot |= {name: str(rate) for name, rate in rates.special.items() if name in special}
        multipliers, fees = self.charged.multipliers, self.charged.fees
        if options := {name: str(multipliers[name]) for name in terms.options if name in multipliers}:
            snapshot["options"] = options
        if tools := {name: str(fees[name].usd) for name, _ in usage.tool_uses if name in fees}:
            snapshot["tools"] = tools
        return snapshot

    @cached_property
    def _plain_snapshot(self) -> dict[str, Any]:
        rates = _rates_as_text(self.charged.rates)
        return {"id": self.price_id, **rates, "multiplier": str(self.multiplier)}


def _rates_as_text(rates: Rates) -> dict[str, str]:
    return {
        "input": str(rates.input),
        "output": str(rates.output),
        "cacheWrite": str(rates.cache_write),
        "cacheRead": str(rates.cache_read),
    }
