"""What a promotion gives, in lines of the preview of its form."""

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from money.amounts import format_usd
from payments.models import Promotion
from payments.orders.promotions import bonus_of
from support.actions.action import Line
from support.admin.display import in_words
from support.typed import moment_in_words, write_amount

MOST_OTHERS = 5


def lines_of_promotion(before: Promotion | None, after: Promotion, *, now: datetime | None = None) -> list[Line]:
    """When it runs, and what usual orders get by it. Reads the other promotions of that time."""
    now = now or timezone.now()
    orders = dict.fromkeys((settings.ORDER_MIN_CREDITS, settings.ORDER_MAX_CREDITS))
    return [
        Line("Runs", _window(before), _window(after)),
        Line("Now", _state(before, now), _state(after, now), drifts=True),
        *(Line(f"An order of ${size} in that time", _gift(before, size), _gift(after, size)) for size in orders),
        *_others(after),
    ]


def _window(promotion: Promotion | None) -> str:
    if promotion is None:
        return "–"
    length = in_words(promotion.ends_at - promotion.starts_at).removeprefix("in ")
    first, end = moment_in_words(promotion.starts_at), moment_in_words(promotion.ends_at)
    return f"from {first} until {end}: {length}"


def _state(promotion: Promotion | None, now: datetime) -> str:
    if promotion is None:
        return "–"
    if not promotion.is_active:
        return "off: it is not active"
    if promotion.ends_at <= now:
        return f"over: it ended {in_words(promotion.ends_at - now)}"
    if promotion.starts_at > now:
        return f"not yet: it starts {in_words(promotion.starts_at - now)}"
    return f"runs: it ends {in_words(promotion.ends_at - now)}"


def _gift(promotion: Promotion | None, size: int) -> str:
    bought = Decimal(size)
    if promotion is None or not promotion.is_active or not promotion.percent:
        return f"{format_usd(bought)}, no bonus"
    bonus = bonus_of(credits=bought, percent=promotion.percent)
    return f"{format_usd(bought)} and a bonus of {format_usd(bonus)}: {format_usd(bought + bonus)}"


def _others(promotion: Promotion) -> list[Line]:
    """Promotions that run at some of the same time: an order gets the larger bonus, never both."""
    if not promotion.is_active:
        return []
    others = Promotion.objects.filter(is_active=True, ends_at__gt=promotion.starts_at).exclude(pk=promotion.pk)
    found = [one for one in others.order_by("ends_at")[:50] if one.starts_at < promotion.ends_at and one.percent]
    words = "an order gets the larger bonus of the two, not both"
    return [
        Line(f"At the same time: {one.name}", f"{write_amount(one.percent)} %, {_window(one)}", words)
        for one in found[:MOST_OTHERS]
    ]
