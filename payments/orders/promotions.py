"""Promotions: which one an order gets, and what it is worth."""

from datetime import datetime
from decimal import Decimal

from money.amounts import round_usd
from payments.models import Promotion


def find_promotion(*, at: datetime) -> Promotion | None:
    """The promotion of an order made at `at`: the highest percentage whose window [start, end) holds it."""
    running = Promotion.objects.filter(is_active=True, starts_at__lte=at, ends_at__gt=at, percent__gt=0)
    return max(running, key=lambda promotion: promotion.percent, default=None)


def bonus_of(*, credits: Decimal, percent: Decimal | None) -> Decimal:
    """The bonus on `credits` (USD) at `percent`, rounded half-up to 8 places; 0 without a promotion."""
    return round_usd(credits * (percent or Decimal(0)) / 100)
