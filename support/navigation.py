"""The admin's sidebar: what each staff member may see, in the order of how often it is needed."""

from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

from payments.models import WebhookEvent

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


def waiting_badge(request: HttpRequest) -> str:
    """How many events wait for a person; nothing when none does."""
    waiting = WebhookEvent.objects.filter(status__in=[WebhookEvent.Status.REVIEW, WebhookEvent.Status.DEAD])
    count = waiting[:100].count()
    return "99+" if count > 99 else str(count or "")


def _list(title: str, icon: str, model: str, **extra: Any) -> Item:
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
        **extra,
    }


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of the sidebar."""
    return [
        {
            "items": [
                {"title": "Dashboard", "icon": "dashboard", "link": reverse("admin:index")},
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
                _list(
                    "Webhook events",
                    "inbox",
                    "payments.webhookevent",
                    badge="support.navigation.waiting_badge",
                    badge_variant="warning",
                ),
                _list("Promotions", "redeem", "payments.promotion"),
            ],
        },
        {
            "title": "Use",
            "separator": True,
            "items": [
                _list("Requests", "swap_horiz", "proxy.requestlog"),
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
