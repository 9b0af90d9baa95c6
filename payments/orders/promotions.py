"""Promotions: which one an order gets, and what it is worth."""

from datetime import datetime
from decimal import Decimal

from accounts.errors import InvalidAmount
from money.amounts import round_usd
from payments.models import MOST_PERCENT, Promotion


def find_promotion(*, at: datetime) -> Promotion | None:
    """The promotion of an order made at `at`: the highest percentage whose window [start, end) holds it."""
    running = Promotion.objects.filter(is_active=True, starts_at__lte=at, ends_at__gt=at, percent__gt=0)
    usable = [promotion for promotion in running if promotion.percent and 0 < promotion.percent <= MOST_PERCENT]
    return max(usable, key=lambda promotion: promotion.percent, default=None)


def bonus_of(*, credits: Decimal, percent: Decimal | None) -> Decimal:
    """The bonus on `credits` (USD) at `percent`, rounded half-up to 8 places; 0 without a promotion.

    Raises `InvalidAmount` for a percentage that no promotion can have.
    """
    percent = percent or Decimal(0)
    if not 0 <= percent <= MOST_PERCENT:
        raise InvalidAmount(f"a promotion of {percent} % is none: it must be from 0 to {MOST_PERCENT} %")
    return round_usd(credits * percent / 100)
