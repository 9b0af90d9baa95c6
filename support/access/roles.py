"""The roles of staff: what each may do, and who may do something. `released_roles.py` makes them."""

from collections.abc import Iterable, Sequence

from django.contrib.auth.models import Group, Permission, User

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
VIEW_MARGIN = "support.view_margin"
OWNER = (*BILLING_ADMIN, VIEW_MARGIN)
ROLES = {"Viewer": VIEWER, "Support": SUPPORT, "Billing admin": BILLING_ADMIN, "Owner": OWNER}


def sees_margin(user: object) -> bool:
    """Whether a staff user may see what requests cost the operator, and the margin: superusers, and owners."""
    return isinstance(user, User) and user.has_perm(VIEW_MARGIN)


def sees_price_costs(user: object) -> bool:
    """Whether a staff user may see what a price row says of the operator's cost: also who writes it there."""
    return sees_margin(user) or (isinstance(user, User) and user.has_perm("proxy.change_modelprice"))


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
