"""The admin's sidebar: what each staff member may see, in the order of how often it is needed."""

from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from payments.models import WAITING_FOR_STAFF, WebhookEvent
from support.access.roles import sees_margin
from support.admin.display import list_url

Item = dict[str, Any]


def stylesheet(request: HttpRequest) -> str:
    """The address of our own styles, on top of Unfold's."""
    return static("support/support.css")


def script(request: HttpRequest) -> str:
    """The address of our own script: opens dialogs."""
    return static("support/support.js")


def favicon(request: HttpRequest) -> str:
    """The address of the site's icon."""
    return static("support/favicon.svg")


def environment(request: HttpRequest) -> list[str]:
    """The label beside the user menu, so that nobody mistakes production for a try-out."""
    colour = {"production": "danger", "development": "info"}.get(settings.ENVIRONMENT, "warning")
    return [settings.ENVIRONMENT.capitalize(), colour]


def _list(title: str, icon: str, model: str) -> Item:
    """A sidebar entry to the list of `app.model`, for those who may view it."""
    app, name = model.split(".")

    def may_view(request: HttpRequest) -> bool:
        user = cast(User, request.user)
        return user.has_perm(f"{app}.view_{name}") or user.has_perm(f"{app}.change_{name}")

    return {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{app}_{name}_changelist"),
        "permission": may_view,
    }


def _webhook_events(request: HttpRequest) -> Item:
    """The inbox: with a badge and a link to the events that wait for a person, or neither."""
    item = _list("Webhook events", "inbox", "payments.webhookevent")
    if not item["permission"](request):
        return item
    count = WebhookEvent.objects.filter(status__in=WAITING_FOR_STAFF)[:100].count()
    if not count:
        return item
    address = list_url(WebhookEvent, queue="waiting")
    return item | {"badge": "99+" if count > 99 else str(count), "badge_variant": "warning", "link": address}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of the sidebar."""
    return [
        {
            "items": [
                {"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index")},
                {
                    "title": "Business",
                    "icon": "monitoring",
                    "link": reverse("support:business"),
                    "permission": lambda request: sees_margin(request.user),
                },
                {"title": "Help", "icon": "help", "link": reverse("support:help")},
            ]
        },
        {
            "title": "Customers",
            "separator": True,
            "items": [
                _list("Accounts", "group", "accounts.account"),
                _list("Ledger", "receipt_long", "accounts.ledgerentry"),
            ],
        },
        {
            "title": "Payments",
            "separator": True,
            "items": [
                _list("Payments", "payments", "payments.payment"),
                _webhook_events(request),
                _list("Promotions", "redeem", "payments.promotion"),
            ],
        },
        {
            "title": "Use",
            "separator": True,
            "items": [
                _list("Requests", "swap_horiz", "proxy.requestlog"),
                _list("Refusals", "block", "proxy.refusedrequest"),
                _list("Prices", "sell", "proxy.modelprice"),
            ],
        },
        {
            "title": "Staff",
            "separator": True,
            "items": [
                _list("Audit", "policy", "support.auditentry"),
                _list("Staff users", "badge", "auth.user"),
                _list("Second factors", "phonelink_lock", "support.secondfactor"),
                _list("Roles", "shield_person", "auth.group"),
            ],
        },
    ]
