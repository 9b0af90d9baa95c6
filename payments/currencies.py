"""How Stripe writes amounts of a currency, and the smallest amount of it that can be paid.

https://docs.stripe.com/currencies
"""

from decimal import Decimal

# How many decimals the whole numbers of the API stand for; of all other currencies two.
_DECIMALS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"), 0
) | dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3)

# These have no smaller unit any more, but the API still writes them with two decimals, which must be 00.
_WHOLE = ("ISK", "UGX")


def decimals_of(currency: str) -> int:
    """The decimals that Stripe's whole-number amounts of a currency stand for."""
    return _DECIMALS.get(currency.upper(), 2)


def smallest_amount(currency: str) -> Decimal:
    """What every price in a currency must be a multiple of: of those with three decimals, the last must be 0."""
    if currency.upper() in _WHOLE:
        return Decimal(1)
    return Decimal(1).scaleb(-min(decimals_of(currency), 2))
