"""What a release adds to the roles of staff: applied by `manage.py migrate`, said there and in the audit.

Each right is given once. So whoever takes one away from a role, renames a role or deletes it, finds it so after the
next release, too. For other rights make a role of your own beside them.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.auth.models import Group, Permission

from mongo.transactions import run_in_transaction
from support.access.roles import ROLES
from support.audit.trail import record
from support.models import ReleasedRole

RELEASE = "release"
"""Who gave it, in the audit."""
_existing: set[str] = set()
"""The permissions that there were when this migration began: an earlier release has given those to its roles."""


def note_permissions(**kwargs: Any) -> None:
    """Before a migration: remember which permissions there are, for roles of releases that kept no record of it."""
    _existing.clear()
    _existing.update(_permissions())


def complete_roles(**kwargs: Any) -> None:
    """After a migration: make each role that no release has made, and give each what no release has given it yet.

    Says what it did, on `stdout` if that is among the arguments of the signal. Safe to repeat.
    """
    known = _permissions()
    is_new_installation = not Group.objects.exists()
    for name in ROLES:
        gained = run_in_transaction(partial(_complete, name, known))
        if gained is None:
            continue
        words = f"Role {name}: {'made with' if gained.is_new else 'gains'} {', '.join(gained.permissions)}"
        if not is_new_installation:
            record(actor=RELEASE, action="role", target=name, reason=words[:500], after={"gained": gained.permissions})
        if kwargs.get("stdout") is not None and kwargs.get("verbosity", 1) > 0:
            kwargs["stdout"].write(f"  {words}\n")


@dataclass(frozen=True)
class _Gained:
    """What a role got, which may be new itself."""

    permissions: list[str]
    is_new: bool


def _complete(name: str, known: dict[str, Permission]) -> _Gained | None:
    """Bring one role up to this release, together with the record of it; None if it has all of it."""
    released = ReleasedRole.objects.filter(pk=name).first()
    is_new = False
    if released is None:
        group = Group.objects.filter(name=name).first()
        is_new = group is None
        group = group or Group.objects.create(name=name)
        given = set() if is_new else {one for one in ROLES[name] if one in _existing}
        released = ReleasedRole(name=name, group_key=str(group.pk))
        released.save(force_insert=True)
    else:
        group = Group.objects.filter(pk=released.group_key).first()
        given = set(released.permissions)
    added = [one for one in ROLES[name] if one in known and one not in given]
    if group is not None:  # Else somebody has deleted the role.
        group.permissions.add(*(known[one] for one in added))
    if set(released.permissions) != given | set(added):
        ReleasedRole.objects.filter(pk=name).update(permissions=sorted(given | set(added)))
    return _Gained(added, is_new=is_new) if added and group is not None else None


def _permissions() -> dict[str, Permission]:
    """All permissions by their names, `app.codename`."""
    return {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
