"""Staff of each role, and money that comes in."""

import json
from collections.abc import Callable, Iterator

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client

from payments.models import WebhookEvent
from tests.payments.conftest import transfer

ADMIN_MODELS = [model for model in apps.get_models() if admin.site.is_registered(model)]
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
