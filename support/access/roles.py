"""The roles of staff, made and completed by every `manage.py migrate`.

They only ever gain what this release adds. For other rights make a role of your own beside them.
"""

from typing import Any

from django.contrib.auth.models import Group, Permission

VIEWED = (
    "accounts.account",
    "accounts.ledgerentry",
    "payments.payment",
    "payments.webhookevent",
    "payments.promotion",
    "payments.reversal",
    "proxy.requestlog",
    "proxy.modelprice",
    "support.auditentry",
)
VIEWER = tuple("{}.view_{}".format(*model.split(".")) for model in VIEWED)
SUPPORT = (
    *VIEWER,
    "support.transfer_credits",
    "support.set_status",
    "support.rotate_key",
    "support.review_payments",
    "support.export_lists",
)
BILLING_ADMIN = (
    *SUPPORT,
    "support.adjust_credits",
    "support.set_expiry",
    "support.switch_purchasing",
    "accounts.add_account",
    "accounts.change_account",
    "proxy.add_modelprice",
    "proxy.change_modelprice",
    "payments.add_promotion",
    "payments.change_promotion",
)
ROLES = {"Viewer": VIEWER, "Support": SUPPORT, "Billing admin": BILLING_ADMIN}


def ensure_roles(**kwargs: Any) -> None:
    """Make each role that is missing, and give it the permissions that it lacks. Safe to repeat."""
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    for name, permissions in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*(known[permission] for permission in permissions if permission in known))
