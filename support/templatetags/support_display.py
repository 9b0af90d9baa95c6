"""Filters of the admin's own pages."""

from decimal import Decimal
from typing import Any

from django import template

from accounts.models import Account
from accounts.money import format_usd
from support.account_actions import ACTIONS, AccountAction

register = template.Library()


@register.filter
def usd(value: Decimal | None) -> str:
    """`$1.23`; a dash for nothing."""
    return "–" if value is None else format_usd(value)


@register.simple_tag(takes_context=True)
def allowed_actions(context: dict[str, Any], account: Account) -> list[AccountAction]:
    """What this staff member may do to this account now."""
    hidden = "enable" if account.is_active else "disable"
    user = context["request"].user
    return [action for action in ACTIONS.values() if action.slug != hidden and user.has_perm(action.permission)]
