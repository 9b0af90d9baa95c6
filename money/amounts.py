"""Money: USD as `Decimal` with 8 places. The only place that rounds, and the only border to the database's doubles.

Balances are BSON doubles, because the programs that a roll-back returns to read only those. Doubles that are rounded
to 8 places after every addition are exact fixed-point numbers below 2^25 (33.5 million) USD: there they lie closer than
half a unit of the eighth place, above they do not, and sums go wrong. Tested with MongoDB to 10 million.
"""

import sys
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal

from bson import Decimal128

QUANTUM = Decimal("0.00000001")
ZERO = Decimal("0.00000000")
MAX_AMOUNT = Decimal("1000000")
"""The largest single movement, in USD."""

LARGEST_BALANCE = Decimal(2**25)
"""USD. A larger balance, or debt, cannot be counted with: sums of it are not exact."""

LARGEST_DOUBLE = sys.float_info.max
_LARGEST = Decimal(LARGEST_DOUBLE)  # Compared with as a Decimal: a float is converted anew each time, at 2 µs.
WIDE = Context(prec=400)  # A stored double may have 309 digits before the point; reading it must not raise.


def round_usd(value: Decimal) -> Decimal:
    """Round to 8 places, halves away from zero."""
    return value.quantize(QUANTUM, rounding=ROUND_HALF_UP)


def round_up_usd(value: Decimal) -> Decimal:
    """Round up to 8 places: for a hold, which must cover every cost below its bound."""
    return value.quantize(QUANTUM, rounding=ROUND_CEILING)


def from_bson(value: object) -> Decimal:
    """Read a balance as it is stored: int32, int64, double or Decimal128; anything else (missing, null, NaN) is 0.

    Reads as the expressions in the database do, `$toDouble` and then `$round` (halves to even, on the exact binary
    value), so what Python shows is what a comparison there sees.
    """
    number = number_from_bson(value)
    return ZERO if number is None else number


def number_from_bson(value: object) -> Decimal | None:
    """The same for an amount that must be there, such as a price: None for what is not a number."""
    if not isinstance(value, float):  # As nearly all are.
        if isinstance(value, bool):
            return None
        if isinstance(value, Decimal128 | int):
            value = float(str(value))  # By the text: a signalling NaN and a huge integer have no other way.
        if not isinstance(value, float | Decimal):
            return None
    number = Decimal(value)
    if not number.is_finite() or abs(number) > _LARGEST:
        return None
    return number.quantize(QUANTUM, rounding=ROUND_HALF_EVEN, context=WIDE)


def to_bson(value: Decimal) -> float:
    """The double that stands for a rounded amount in a document."""
    return float(value)


def usd_text(value: Decimal) -> str:
    """An amount for a program: all 8 places, `0.00042000`."""
    return f"{value:.8f}"


def format_usd(value: Decimal) -> str:
    """An amount for a person: `$1.23`, with up to 8 places where they matter (`$0.00042`), `-$1.00` below zero."""
    sign, size = ("-", -value) if value < 0 else ("", value)
    whole, _, places = f"{size:,.8f}".partition(".")
    return f"{sign}${whole}.{places.rstrip('0').ljust(2, '0')}"


def format_cents(value: Decimal, *, round_up: bool = False) -> str:
    """An amount in whole cents, `$1.23`: rounded down, or up for what is to be paid."""
    cents = value.quantize(Decimal("0.01"), rounding=ROUND_CEILING if round_up else ROUND_FLOOR)
    return f"-${-cents:,.2f}" if cents < 0 else f"${cents:,.2f}"
