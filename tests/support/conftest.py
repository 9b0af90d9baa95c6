"""Staff of each role."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

LogIn = Callable[..., Client]


@pytest.fixture
def log_in(db: None) -> LogIn:
    """Log in as a new staff member with a role (`None` = superuser); returns the browser."""

    def run(role: str | None, name: str = "sam") -> Client:
        user = User.objects.create_user(name, password="x", is_staff=True, is_superuser=role is None)
        if role:
            user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

    return run
