"""Filters of the admin's own pages."""

from decimal import Decimal
from typing import Any

from django import template

from money.amounts import format_usd

register = template.Library()


@register.filter
def usd(value: Decimal | None) -> str:
    """`$1.23`; a dash for nothing."""
    return "–" if value is None else format_usd(value)


@register.filter
def document_key(key: object) -> str:
    """A document's key in the address of a page."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin import display

    return display.document_key(key)


@register.inclusion_tag("support/action_links.html", takes_context=True)
def action_links(context: dict[str, Any], kind: str, target: Any) -> dict[str, Any]:
    """Buttons for what this staff member may do to `target` now."""
    # Django imports tag libraries while the admin is still being imported.
    from support.actions.dialogs import KINDS, dialog_url

    user = context["request"].user
    key = str(getattr(target, "pk", target))
    links = [
        (action, dialog_url(kind, key, action))
        for action in KINDS[kind].actions.values()
        if user.has_perm(action.permission) and action.is_offered(target)
    ]
    return {"links": links}


@register.inclusion_tag("support/key_list.html", takes_context=True)
def key_list(context: dict[str, Any], account: Any) -> dict[str, Any]:
    """The API keys of an account, and what this staff member may do to each now."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin.key_rows import rows_of

    return {"rows": rows_of(account, context["request"].user), "problem": account.unreadable.get("keys")}
