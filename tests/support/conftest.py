"""Staff of each role, and money that comes in."""

import json
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from payments.models import WebhookEvent
from tests.payments.conftest import transfer

LogIn = Callable[..., Client]
provider = Client()  # One for all: each new client loads the middleware again, 0.05 s.


def send_money(memo: str, amount: int = 50_000) -> WebhookEvent:
    """Deliver a bank's webhook and return the event."""
    payload = transfer(memo, amount)
    response = provider.post(
        "/api/payment/webhook",
        json.dumps(payload),
        content_type="application/json",
        headers={"Authorization": "Apikey sepay-test-key"},
    )
    assert response.status_code == 200, response.content
    return WebhookEvent.objects.get(event_id__endswith=str(payload["id"]))


@pytest.fixture
def refusing_database(db: None) -> Iterator[Callable[..., None]]:
    """Have the database refuse every write to an account: `refusing_database("bob")`; without a name, none."""

    def run(username: str = "") -> None:
        connection.database.command("collMod", "usersNew", validator={"_id": {"$ne": username}} if username else {})

    yield run
    run()


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
