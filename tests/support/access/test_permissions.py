"""The permissions of a staff user: those that Django would find, by queries that join nothing big."""

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from support.access.permissions import RoleBackend
from tests.factories import LogIn


@pytest.mark.parametrize("role", ["Viewer", "Billing admin", None])
@pytest.mark.parametrize("is_active", [True, False])
def test_they_are_those_that_django_finds(log_in: LogIn, role: str | None, is_active: bool) -> None:
    log_in(role)
    User.objects.update(is_active=is_active)
    User.objects.get().user_permissions.add(Permission.objects.get(codename="add_user"))
    ours, djangos = RoleBackend(), ModelBackend()

    def found(backend: ModelBackend) -> list[set[str]]:
        user = User.objects.get()  # Anew: Django keeps what it found on the user.
        return [
            backend.get_user_permissions(user),
            backend.get_group_permissions(user),
            backend.get_all_permissions(user),
            backend.get_user_permissions(user, obj=user),
            backend.get_group_permissions(user, obj=user),
        ]

    assert found(ours) == found(djangos)
    assert bool(found(ours)[2]) == is_active
    if role and is_active:
        assert found(ours)[0] == {"auth.add_user"}


def test_they_are_read_once_for_each_request_and_by_ids(log_in: LogIn) -> None:
    log_in("Support")
    user = User.objects.get()
    with CaptureQueriesContext(connection) as queries:
        assert user.has_perm("support.transfer_credits")
        assert user.has_perm("accounts.view_account")
        assert not user.has_perm("support.adjust_credits")
    assert len(queries) == 4
    joined = [query["sql"] for query in queries if "lookup" in query["sql"]]
    assert all("auth_permission" in sql and "auth_group" not in sql for sql in joined)
