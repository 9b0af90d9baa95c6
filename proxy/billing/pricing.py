"""What a request costs, and the most it could cost: pure functions over one price row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
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

    def dearest_input(self, terms: Terms) -> Decimal:
        """The dearest kind of input token that a request with these terms can be billed for."""
        dearest = max(self.input, self.cache_write, self.cache_read, self.input_image)
        if terms.has_1h_cache:
            dearest = max(dearest, self.cache_write_1h)
        return max(dearest, self.input_audio) if terms.has_audio_input else dearest

    def dearest_output(self, terms: Terms) -> Decimal:
        """The dearest kind of output token that a request with these terms can be billed for."""
        return max(self.output, self.output_audio) if terms.has_audio_output else self.output


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
    """The rates of one model with all that changes them: what customers pay, or what the operator pays."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    fees: Mapping[str, ToolFee] = field(default_factory=dict)

    def amount(self, usage: Usage, terms: Terms = PLAIN) -> Decimal:
        """What a usage costs, in USD, not rounded. An option or a tool that is not in the list adds nothing."""
        tokens = self._rates_of(usage.total_input_tokens).of_tokens(usage) * self._factor(terms)
        fees = sum((self.fees[name].usd * count for name, count in usage.tool_uses if name in self.fees), Decimal(0))
        return tokens + fees

    def most(self, input_tokens: int, output_tokens: int, terms: Terms = PLAIN) -> Decimal:
        """The most that this many tokens can cost with these terms, in USD, not rounded.

        All input at the dearest input rate, in whichever tier it may come to, with what the uses of tools may add.
        """
        fees = Decimal(0)
        for name, uses in terms.tool_uses:
            fees += self.fees[name].usd * uses
            input_tokens += self.fees[name].input_tokens * uses
        tokens = max(
            input_tokens * rates.dearest_input(terms) + output_tokens * rates.dearest_output(terms)
            for rates in self._reachable(input_tokens)
        )
        return tokens / MILLION * self._factor(terms) + fees

    def _rates_of(self, input_tokens: int) -> Rates:
        reached = [tier.rates for tier in self.tiers if input_tokens > tier.above]
        return reached[-1] if reached else self.rates

    def _reachable(self, input_tokens: int) -> Iterator[Rates]:
        yield self.rates
        yield from (tier.rates for tier in self.tiers if input_tokens > tier.above)

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
        """The largest output whose worst case `available` USD covers; 0 if it does not even cover the input."""
        without = self.charged.most(input_tokens, 0, terms) * self.multiplier
        if round_up_usd(without) > available:
            return 0
        each = self.charged.most(input_tokens, 1, terms) * self.multiplier - without
        if each == ZERO:
            return self.max_output_tokens
        guess = int(((available - without) / each).to_integral_value(rounding=ROUND_FLOOR))
        # Another tier may be the dearest from some output on: then the guess by the first token is too large.
        return (
            guess
            if self.worst_case(input_tokens, guess, terms) <= available
            else self._search(input_tokens, guess, available, terms)
        )

    def _search(self, input_tokens: int, too_many: int, available: Decimal, terms: Terms) -> int:
        fits = 0
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self.worst_case(input_tokens, middle, terms) <= available:
                fits = middle
            else:
                too_many = middle
        return fits

    @cached_property
    def snapshot(self) -> dict[str, Any]:
        """The row for the requests' logs, amounts as text so that nothing is lost; beside it, what of it applied."""
        rates = self.charged.rates
        return {
            "id": self.price_id,
            "input": str(rates.input),
            "output": str(rates.output),
            "cacheWrite": str(rates.cache_write),
            "cacheRead": str(rates.cache_read),
            "multiplier": str(self.multiplier),
        }
