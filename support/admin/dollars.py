"""Sums as an overview shows them: to the cent."""

from decimal import Decimal

CENT = Decimal("0.01")


def usd(amount: Decimal) -> str:
    """An amount to the cent; below a cent, as far as it says something."""
    if amount and abs(amount) < CENT:
        return f"{'-' if amount < 0 else ''}${abs(amount):.8f}".rstrip("0")
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"
