"""The sidebar's number of what waits for staff."""

import re

from django.db import connection
from django.test import Client
from django.utils import timezone


def entry(client: Client) -> str:
    """The sidebar's link to the webhook events."""
    content = client.get("/admin/support/help/").content.decode()
    sidebar = content[content.index('id="nav-sidebar-apps"') :]
    found = re.search(r'<a href="(/admin/payments/webhookevent/[^"]*)".*?</a>', sidebar, flags=re.S)
    assert found
    return found[0]


def test_the_number_is_there_only_when_something_waits_and_leads_to_it(admin_client: Client) -> None:
    events = connection.database["webhook_events"]
    events.insert_one({"status": "done", "error": "", "receivedAt": timezone.now()})
    shown = entry(admin_client)
    assert 'href="/admin/payments/webhookevent/"' in shown
    assert "bg-orange" not in shown

    events.insert_many({"status": status, "error": "", "receivedAt": timezone.now()} for status in ("review", "dead"))
    shown = entry(admin_client)
    assert "bg-orange" in shown
    assert re.search(r">\s*2\s*</span>", shown)
    response = admin_client.get("/admin/payments/webhookevent/?queue=waiting")
    assert 'href="/admin/payments/webhookevent/?queue=waiting"' in shown
    assert sorted(event.status for event in response.context["cl"].result_list) == ["dead", "review"]
