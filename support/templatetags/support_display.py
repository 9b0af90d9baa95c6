"""Filters of the admin's own pages."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import template

from money.amounts import format_usd
from mongo.days import zone_name
from support.access.roles import roles_with, who_may

register = template.Library()


@register.filter
def usd(value: Decimal | None) -> str:
    """`$1.23`; a dash for nothing."""
    return "–" if value is None else format_usd(value)


@register.simple_tag
def zone() -> str:
    """The time zone of what is shown: `UTC`, or a place."""
    return zone_name()


@register.filter
def grouped(value: int) -> str:
    """A count with its thousands apart: `1,234,567`."""
    return f"{value:,}"


@register.simple_tag(takes_context=True)
def request_totals(context: dict[str, Any], changelist: Any) -> Any:
    """What the filtered requests of an account come to, and links to its usual days."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin.request_totals import totals_of

    return totals_of(context["request"], changelist)


@register.simple_tag(takes_context=True)
def list_sums(context: dict[str, Any], changelist: Any) -> Any:
    """What the rows of a list come to, where the owner's page leads to it."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin.list_sums import sums_of

    return sums_of(context["request"], changelist)


@register.filter
def document_key(key: object) -> str:
    """A document's key in the address of a page."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin import display

    return display.document_key(key)


@register.simple_tag(takes_context=True)
def who_else_may(context: dict[str, Any], permission: str) -> str:
    """Who may do something that this staff member may not, in words; '' if they may."""
    if context["request"].user.has_perm(permission):
        return ""
    return who_may(roles_with([permission])[permission])


@register.simple_tag(takes_context=True)
def list_hints(context: dict[str, Any], changelist: Any) -> list[str]:
    """What this staff member may not do with a list, and who may."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin.list_hints import hints_for

    return hints_for(context["request"].user, changelist.model_admin)


@register.simple_tag(takes_context=True)
def history_heading(context: dict[str, Any]) -> Any:
    """What a list of the audit is the history of, if it is of one thing."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin import history

    return history.heading_of(context["request"].GET.get("thing", ""))


@register.simple_tag
def copy_button(text: str, what: str, *, is_wide: bool = False) -> Any:
    """A button that copies `text`."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin import display

    return display.copy_button(text, what, is_wide=is_wide)


@register.inclusion_tag("support/action_links.html", takes_context=True)
def action_links(context: dict[str, Any], kind: str, target: Any) -> dict[str, Any]:
    """Buttons for what can be done to `target` now; those that are not this staff member's say whose they are."""
    # Django imports tag libraries while the admin is still being imported.
    from support.actions.dialogs import KINDS, dialog_url

    user = context["request"].user
    key = str(getattr(target, "pk", target))
    offered = [action for action in KINDS[kind].actions.values() if action.is_offered(target)]
    links = [(action, dialog_url(kind, key, action)) for action in offered if user.has_perm(action.permission)]
    others = [action for action in offered if not user.has_perm(action.permission)]
    roles = roles_with(action.permission for action in others) if others else {}
    return {"links": links, "others": [(action, who_may(roles[action.permission])) for action in others]}


@register.inclusion_tag("support/extend_links.html", takes_context=True)
def extend_links(context: dict[str, Any], account: Any) -> dict[str, Any]:
    """Beside the date at which credits expire: some days more, for who may set it, or who may."""
    # Django imports tag libraries while the admin is still being imported.
    from support.actions.account import ACTIONS, LATER
    from support.actions.dialogs import dialog_url

    action = ACTIONS["expiry"]
    may = context["request"].user.has_perm(action.permission)
    address = dialog_url("account", str(account.pk), action)
    days = [(count, f"{address}?{urlencode({'choice': f'{LATER}{count}'})}") for count in (3, 7)]
    who = "" if may else who_may(roles_with([action.permission])[action.permission])
    return {"days": days if account.expiry is not None else [], "may": may, "who": who}


@register.inclusion_tag("support/account_lists.html", takes_context=True)
def account_lists(context: dict[str, Any], account: Any) -> dict[str, Any]:
    """Where an account's requests and refusals are listed, for who may see them."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin.request_totals import lists_of_account

    return {"lists": lists_of_account(account.pk, context["request"].user)}


@register.inclusion_tag("support/key_list.html", takes_context=True)
def key_list(context: dict[str, Any], account: Any) -> dict[str, Any]:
    """The API keys of an account, and what this staff member may do to each now."""
    # Django imports tag libraries while the admin is still being imported.
    from support.admin.key_rows import rows_of

    return {"rows": rows_of(account, context["request"].user), "problem": account.unreadable.get("keys")}


@register.inclusion_tag("support/saved_filters.html", takes_context=True)
def saved_filters(context: dict[str, Any], changelist: Any) -> dict[str, Any]:
    """What this staff member has saved of a list's filters, and the form that saves what is shown."""
    # Django imports tag libraries while the admin is still being imported.
    from support.pages.saved_filters import saved_filters_of

    return {
        "saved": saved_filters_of(context["request"], changelist),
        "csrf_token": context.get("csrf_token"),
    }
