"""What a request costs, and the most it could cost: pure functions over one price row."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from functools import cached_property

from money.amounts import ZERO, round_up_usd, round_usd

MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Usage:
    """Tokens of one request, each counted once: `input_tokens` are those neither written to nor read from a cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0

    @property
    def total_input_tokens(self) -> int:
        return self.input_tokens + self.cache_write_tokens + self.cache_read_tokens

    @property
    def total_tokens(self) -> int:
        return self.total_input_tokens + self.output_tokens


@dataclass(frozen=True)
class Price:
    """One price row as a request is billed by it: USD per million tokens, times the multiplier."""

    price_id: str
    model_id: str
    upstream_model_id: str
    input: Decimal
    output: Decimal
    cache_write: Decimal
    cache_read: Decimal
    multiplier: Decimal
    max_output_tokens: int

    @property
    def dearest_input(self) -> Decimal:
        return max(self.input, self.cache_write, self.cache_read)

    def cost(self, usage: Usage) -> Decimal:
        """Σ tokens x price / 10⁶ x multiplier, in USD, rounded half up to 8 places."""
        return round_usd(
            self._usd(
                usage.input_tokens * self.input
                + usage.output_tokens * self.output
                + usage.cache_write_tokens * self.cache_write
                + usage.cache_read_tokens * self.cache_read
            )
        )

    def worst_case(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The most that this many tokens can cost, in USD: all input at the dearest input price, rounded up."""
        return round_up_usd(self._usd(input_tokens * self.dearest_input + output_tokens * self.output))

    def affordable_output_tokens(self, input_tokens: int, available: Decimal) -> int:
        """The largest output whose worst case `available` USD covers; 0 if it does not even cover the input."""
        left = available - self.worst_case(input_tokens, 0)
        if left < 0:
            return 0
        price_of_one = self._usd(self.output)
        if price_of_one == ZERO:
            return self.max_output_tokens
        tokens = int((left / price_of_one).to_integral_value(rounding=ROUND_FLOOR))
        # The two terms are rounded together in `worst_case`: step back where that costs one quantum more.
        return tokens if self.worst_case(input_tokens, tokens) <= available else max(tokens - 1, 0)

    @cached_property
    def snapshot(self) -> dict[str, str]:
        """The row for the requests' logs, amounts as text so that nothing is lost."""
        return {
            "id": self.price_id,
            "input": str(self.input),
            "output": str(self.output),
            "cacheWrite": str(self.cache_write),
            "cacheRead": str(self.cache_read),
            "multiplier": str(self.multiplier),
        }

    def _usd(self, tokens_times_price: Decimal) -> Decimal:
        return tokens_times_price / MILLION * self.multiplier
