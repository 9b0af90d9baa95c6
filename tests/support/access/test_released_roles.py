"""What a release adds to the roles: given once, said, and never given back to whom an operator took it from."""

from collections.abc import Iterator
from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission

from support.access.released_roles import complete_roles, note_permissions
from support.access.roles import ROLES
from support.models import AuditEntry, ReleasedRole


@pytest.fixture(autouse=True)
def _roles_as_they_were(db: None) -> Iterator[None]:
    yield
    ReleasedRole.objects.all().delete()
    Group.objects.all().delete()
    note_permissions()
    complete_roles()


def permissions_of(name: str) -> set[str]:
    granted = Group.objects.get(name=name).permissions.select_related("content_type")
    return {f"{one.content_type.app_label}.{one.codename}" for one in granted}


def permission(name: str) -> Permission:
    app, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def migrate(*, added: tuple[str, ...] = ()) -> str:
    """What a migration says that makes the rights `added`, which are no longer there before it."""
    out = StringIO()
    kept = {name: permission(name) for name in added}
    Permission.objects.filter(pk__in=[one.pk for one in kept.values()]).delete()
    note_permissions()
    Permission.objects.bulk_create(kept.values())
    complete_roles(stdout=out, verbosity=1)
    return out.getvalue()


def test_a_new_installation_gets_every_role(db: None) -> None:
    Group.objects.all().delete()
    assert "Role Owner: made with " in migrate()
    assert {name: permissions_of(name) for name in ROLES} == {name: set(given) for name, given in ROLES.items()}
    assert not AuditEntry.objects.exists()
    assert migrate() == ""


def test_a_release_gives_what_it_adds_and_nothing_back(db: None) -> None:
    migrate()
    support = Group.objects.get(name="Support")
    support.permissions.remove(permission("support.rotate_key"))
    support.permissions.add(permission("support.set_expiry"))
    Group.objects.filter(name="Viewer").update(name="Reader")
    Group.objects.get(name="Owner").delete()
    ReleasedRole.objects.filter(pk="Support").update(
        permissions=[one for one in ROLES["Support"] if one != "support.export_lists"]
    )
    ReleasedRole.objects.filter(pk="Viewer").update(permissions=list(ROLES["Viewer"][1:]))
    support.permissions.remove(permission("support.export_lists"))
    Group.objects.get(name="Reader").permissions.remove(permission(ROLES["Viewer"][0]))
    assert migrate() == "  Role Viewer: gains accounts.view_account\n  Role Support: gains support.export_lists\n"
    assert permissions_of("Support") == {*ROLES["Support"], "support.set_expiry"} - {"support.rotate_key"}
    assert permissions_of("Reader") == set(ROLES["Viewer"])
    assert not Group.objects.filter(name__in=["Viewer", "Owner"]).exists()
    told = AuditEntry.objects.get(target="Support")
    assert (told.actor, told.action, told.after) == ("release", "role", {"gained": ["support.export_lists"]})
    assert migrate() == ""


def test_roles_of_a_release_without_records_keep_what_was_taken_away(db: None) -> None:
    migrate()
    ReleasedRole.objects.all().delete()
    Group.objects.get(name="Owner").delete()
    Group.objects.get(name="Support").permissions.remove(permission("support.rotate_key"))
    said = migrate(added=("support.view_margin",))
    assert said.startswith("  Role Owner: made with ")
    assert said.count("Role") == 1
    assert permissions_of("Support") == set(ROLES["Support"]) - {"support.rotate_key"}
    assert permissions_of("Owner") == set(ROLES["Owner"])
    assert migrate() == ""
