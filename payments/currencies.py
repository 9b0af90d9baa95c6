"""How many decimals a currency's smallest unit has, as Stripe counts them."""

# https://docs.stripe.com/currencies: amounts of all others have two decimals.
_DECIMALS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"), 0
) | dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3)


def decimals_of(currency: str) -> int:
    """The decimals that Stripe's whole-number amounts of a currency stand for."""
    return _DECIMALS.get(currency.upper(), 2)
