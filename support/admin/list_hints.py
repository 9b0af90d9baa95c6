"""What somebody may not do with a list, and who may: buttons that Django leaves out for those without the right."""

from typing import Any

from django.contrib.auth.models import User

from support.access.roles import roles_with, who_may
from support.admin.base import ReadOnlyAdmin


def hints_for(user: User, model_admin: Any) -> list[str]:
    """A sentence for each role or roles who may do more with this list than `user`, such as `Add price: Owner only`."""
    lacking = {what: right for what, right in _rights_of(model_admin).items() if not user.has_perm(right)}
    roles = roles_with(lacking.values()) if lacking else {}
    by_whom: dict[str, list[str]] = {}
    for what, right in lacking.items():
        by_whom.setdefault(who_may(roles[right]), []).append(what)
    return [f"{', '.join(whats)}: {who}." for who, whats in by_whom.items()]


def _rights_of(model_admin: Any) -> dict[str, str]:
    """What can be done with a list, in words, with the permission that it needs."""
    # These show documents as this package does, and import it.
    from support.actions.account import ACTIONS
    from support.actions.bulk import BULK_ACTIONS
    from support.pages.exports import COLUMNS

    opts = model_admin.opts
    rights = {}
    if not isinstance(model_admin, ReadOnlyAdmin):
        rights[f"Add {opts.verbose_name}"] = f"{opts.app_label}.add_{opts.model_name}"
    if opts.label_lower == "accounts.account":
        bulk = (ACTIONS[slug] for slug in BULK_ACTIONS)
        rights |= {f"{action.title} (of those that are selected)": action.permission for action in bulk}
    if opts.model in COLUMNS:
        rights["Export as CSV"] = "support.export_lists"
    return rights
