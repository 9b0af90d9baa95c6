"""Lists of huge collections: bounded counts, times and dates. (`test_query_plans.py` reads their queries' plans.)"""

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from support.admin import base
from tests.factories import InsertUser
from tests.pages import page


def test_the_count_of_a_big_list_stops_at_the_cap(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_COUNT", 120)
    connection.database["usersNew"].insert_many({"_id": f"user{index:04}"} for index in range(300))
    assert "120 or more accounts" in page(admin_client, "/admin/accounts/account/")
    assert "50 or more" not in page(admin_client, "/admin/accounts/account/?q=user00")
    last = page(admin_client, "/admin/accounts/account/?p=3")
    assert "user0119" in last
    assert "user0120" not in last


def test_a_page_beyond_the_end_leads_back(admin_client: Client) -> None:
    connection.database["usersNew"].insert_one({"_id": "alice"})
    assert "alice" in page(admin_client, "/admin/accounts/account/?p=1")
    assert admin_client.get("/admin/accounts/account/?p=9").status_code in (200, 302)


@pytest.mark.parametrize(
    "address",
    [
        "proxy/requestlog/?created_at_to=9999-12-31",
        "proxy/requestlog/?created_at_from=0001-01-01",
        "support/accounts/alice/timeline/?before=9999-12-31",
        "support/accounts/alice/timeline/?before=0001-01-01",
        "support/accounts/alice/timeline/?before=0001-01-01T00:00:00%2B23:59",
        "support/export/proxy/requestlog/?created_at_to=9999-12-31",
        "support/export/proxy/requestlog/?p=99",
        "support/export/proxy/requestlog/?p=x",
    ],
)
def test_any_date_gives_a_page(admin_client: Client, insert_user: InsertUser, address: str) -> None:
    insert_user("alice")
    connection.database["request_logs"].insert_one({"_id": "r1", "userId": "alice", "createdAt": timezone.now()})
    assert admin_client.get(f"/admin/{address}").status_code == 200


@pytest.mark.parametrize("query", ["?nonsense=1", "?is_success__exact=maybe"])
def test_an_export_of_a_list_that_cannot_be_is_no_error(admin_client: Client, query: str) -> None:
    response = admin_client.get(f"/admin/support/export/proxy/requestlog/{query}")
    assert response.status_code == 302
    assert response["Location"] == "/admin/proxy/requestlog/"


def test_a_list_that_is_not_counted_in_time_says_so(
    admin_client: Client, insert_user: InsertUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "COUNT_SECONDS", 1e-6)
    insert_user("alice")
    text = page(admin_client, "/admin/accounts/account/")
    assert "1 account" in text
    assert "10000 or more" not in text
    connection.database["usersNew"].insert_many({"_id": f"user{index}"} for index in range(60))
    text = page(admin_client, "/admin/accounts/account/")
    assert "Not counted in time" in text
    assert "10000 or more" not in text


def test_a_page_that_is_not_found_in_time_says_so(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PAGE_SECONDS", 1e-6)
    connection.database["usersNew"].insert_one({"_id": "alice"})
    text = page(admin_client, "/admin/accounts/account/?status=active&openhands=some")
    assert "These filters together match too few rows to be found in time." in text
    assert "alice" not in text
