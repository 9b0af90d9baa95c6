"""Filters of the admin's own pages."""

from decimal import Decimal

from django import template

from accounts.money import format_usd

register = template.Library()


@register.filter
def usd(value: Decimal | None) -> str:
    """`$1.23`; a dash for nothing."""
    return "–" if value is None else format_usd(value)
