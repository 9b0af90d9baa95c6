"""The roles of staff, made and completed by every `manage.py migrate`.

They only ever gain what this release adds. For other rights make a role of your own beside them.
"""

from collections.abc import Iterable, Sequence
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
    "proxy.refusedrequest",
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


def roles_with(permissions: Iterable[str]) -> dict[str, list[str]]:
    """The names of the roles that grant each of some permissions (`app.codename`), in order; none = superusers only.

    By ids, as in `permissions.py`: joins are slow on this database.
    """
    wanted = set(permissions)
    codenames = [permission.partition(".")[2] for permission in wanted]
    found = Permission.objects.filter(codename__in=codenames).order_by()
    names = {
        pk: f"{app}.{codename}" for pk, app, codename in found.values_list("pk", "content_type__app_label", "codename")
    }
    granted = list(
        Group.permissions.through.objects.filter(permission_id__in=list(names)).values_list("permission_id", "group_id")
    )
    groups = dict(Group.objects.filter(pk__in=[group for _, group in granted]).values_list("pk", "name"))
    roles: dict[str, list[str]] = {permission: [] for permission in wanted}
    for permission_id, group_id in granted:
        if names[permission_id] in roles and group_id in groups:
            roles[names[permission_id]].append(groups[group_id])
    return {permission: sorted(found_roles) for permission, found_roles in roles.items()}


def who_may(roles: Sequence[str]) -> str:
    """In words, for a button that somebody else may use: `Billing admin only`."""
    return f"{' or '.join(roles) if roles else 'Superusers'} only"


def ensure_roles(**kwargs: Any) -> None:
    """Make each role that is missing, and give it the permissions that it lacks. Safe to repeat."""
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    for name, permissions in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*(known[permission] for permission in permissions if permission in known))
