"""Staff users: nobody without a superuser's rights edits a superuser, their own rights, or who has more rights."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tests.factories import LogIn

PASSWORD = "a-long-staff-password"
NEW_PASSWORD = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
JOINED = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
LIST = "/admin/auth/user/"


@pytest.fixture
def manager(log_in: LogIn) -> Iterator[Client]:
    """A browser of sam, who may add, change and delete users and roles, and all that Support may."""
    role = Group.objects.create(name="temporary: managers")
    role.permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    client = log_in("Support")
    User.objects.get(username="sam").groups.add(role)
    yield client
    role.delete()


def make_user(name: str, role: str = "", **fields: bool) -> User:
    user = User.objects.create_user(name, password="x", is_staff=True, **fields)
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


def state() -> list[object]:
    users = User.objects.order_by("username")
    rights = [(list(user.groups.all()), list(user.user_permissions.all())) for user in users]
    return [*users.values_list("username", "password", "email", "is_active", "is_staff", "is_superuser"), *rights]


def form(user: User, **fields: object) -> dict[str, object]:
    return {"username": user.username, "is_active": "on", "is_staff": "on", "reason": "x", **JOINED, **fields}


def try_everything(client: Client, user: User) -> list[int]:
    """Change, password, delete, delete from the list; what each was answered."""
    address = f"{LIST}{user.pk}/"
    selected = {"action": "delete_selected", "_selected_action": [str(user.pk)], "post": "yes"}
    return [
        client.post(f"{address}change/", form(user, email="new@example.com")).status_code,
        client.post(f"{address}password/", NEW_PASSWORD).status_code,
        client.post(f"{address}delete/", {"post": "yes"}).status_code,
        client.post(LIST, selected).status_code,
    ]


@pytest.mark.parametrize(
    ("role", "fields"),
    [
        ("", {"is_superuser": True}),
        ("", {"is_superuser": True, "is_active": False}),
        ("Billing admin", {}),
        ("Billing admin", {"is_active": False}),
    ],
)
def test_who_may_do_more_is_not_edited(manager: Client, role: str, fields: dict[str, bool]) -> None:
    other = make_user("boss", role, **fields)
    before = state()
    assert try_everything(manager, other) == [403, 403, 403, 403]
    assert state() == before


def test_nobody_edits_themselves(manager: Client) -> None:
    before = state()
    assert try_everything(manager, User.objects.get(username="sam")) == [403, 403, 403, 403]
    assert state() == before


def test_who_may_do_less_is_edited_but_for_the_rights(manager: Client) -> None:
    sue = make_user("sue", "Viewer")
    everything = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    roles = [str(pk) for pk in Group.objects.values_list("pk", flat=True)]
    sent = form(sue, email="sue@example.com", is_superuser="on", groups=roles, user_permissions=everything)
    assert manager.post(f"{LIST}{sue.pk}/change/", sent).status_code == 302
    sue.refresh_from_db()
    assert (sue.email, sue.is_superuser) == ("sue@example.com", False)
    assert [group.name for group in sue.groups.all()] == ["Viewer"]
    assert sue.user_permissions.count() == 0
    assert manager.post(f"{LIST}{sue.pk}/password/", NEW_PASSWORD).status_code == 302
    assert manager.post(f"{LIST}{sue.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="sue").exists()


def test_a_new_user_has_no_rights(manager: Client) -> None:
    sent = {"username": "new", **NEW_PASSWORD, "is_superuser": "on", "is_staff": "on", "groups": ["x"]}
    assert manager.post(f"{LIST}add/", sent).status_code == 302
    new = User.objects.get(username="new")
    assert (new.is_superuser, new.is_staff, new.groups.count()) == (False, False, 0)


def test_roles_are_for_superusers(manager: Client, log_in: LogIn) -> None:
    role = Group.objects.get(name="temporary: managers")
    everything = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    sent = {"name": role.name, "permissions": everything, "reason": "x"}
    selected = {"action": "delete_selected", "_selected_action": [str(role.pk)], "post": "yes"}
    had = role.permissions.count()
    assert [
        manager.post(f"/admin/auth/group/{role.pk}/change/", sent).status_code,
        manager.post("/admin/auth/group/add/", sent | {"name": "temporary: more"}).status_code,
        manager.post(f"/admin/auth/group/{role.pk}/delete/", {"post": "yes"}).status_code,
    ] == [403, 403, 403]
    manager.post("/admin/auth/group/", selected)
    assert role.permissions.count() == had
    assert Group.objects.filter(name__startswith="temporary").count() == 1
    assert log_in(None, "root").post(f"/admin/auth/group/{role.pk}/change/", sent).status_code == 302
    assert role.permissions.count() == len(everything)


def test_a_superuser_edits_anybody(log_in: LogIn) -> None:
    client, other = log_in(None, "root"), make_user("boss", is_superuser=True)
    roles = [str(Group.objects.get(name="Viewer").pk)]
    assert client.post(f"{LIST}{other.pk}/change/", form(other, groups=roles)).status_code == 302
    other.refresh_from_db()
    assert (other.is_superuser, other.groups.count()) == (False, 1)
    assert client.post(f"{LIST}{other.pk}/password/", NEW_PASSWORD).status_code == 302
