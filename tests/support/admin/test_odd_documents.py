"""What staff see of documents of which something cannot be read, how they find them, and that a save keeps it."""

from datetime import datetime
from typing import Any

import pytest
from bson import ObjectId
from django.db import connection
from django.test import Client

from accounts.models import Account
from books.daily_figures import count_day
from books.reconciliation import reconcile_account, settled_costs
from support.models import AuditEntry
from tests.factories import InsertUser
from tests.pages import page, text_of

pytestmark = pytest.mark.usefixtures("odd_documents")

LIST = "/admin/accounts/account/"


def change_url(name: str) -> str:
    return f"{LIST}{name}/change/"


def test_the_page_of_a_damaged_account_says_what_is_wrong(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits="12", creditsNew=5, expiresAt="soon", role=7, holds={"req_1": "text"})
    insert_user("bob", credits=3)
    text = page(admin_client, LIST)
    assert "unreadable: text 12" in text
    assert text.count("Needs repair") == 1
    assert "$3.00" in text
    text = page(admin_client, change_url("alice"))
    for words in ("credits: unreadable: text 12", "expiresAt: unreadable: text soon", "role: unreadable: number 7"):
        assert words in text
    assert "Held for requests in flight: unreadable: object" in text
    assert "no credits of it move" in text
    text = page(admin_client, "/admin/support/accounts/alice/timeline/")
    assert "cannot be told: account 'alice' needs repair" in text.replace("&#x27;", "'")


def test_the_filter_finds_what_cannot_be_read(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits="12")
    insert_user("carol", holds={"req_1": {"balance": "ohmygpt", "amount": "x"}})
    insert_user("dave", lastLoginAt="yesterday")
    insert_user("bob", credits=3, holds={"req_1": {"balance": "ohmygpt", "amount": 1, "at": datetime(2026, 1, 1)}})  # noqa: DTZ001
    text = page(admin_client, f"{LIST}?unreadable=any")
    assert "3 accounts" in text
    assert "bob" not in text


@pytest.mark.parametrize("slug", ["transfer", "adjust", "expiry"])
def test_actions_that_move_credits_are_refused_with_the_field(
    admin_client: Client, insert_user: InsertUser, slug: str
) -> None:
    insert_user("alice", credits="12", creditsNew=5)
    address = f"/admin/support/do/account/alice/{slug}/"
    token = admin_client.get(address).content.decode().partition('name="token" value="')[2].partition('"')[0]
    fields = {"source": "openhands", "balance": "openhands", "direction": "add", "amount": "1", "choice": "7"}
    response = admin_client.post(address, fields | {"reason": "asked", "token": token})
    assert "needs repair: credits (unreadable: text 12)" in text_of(response)


def test_a_save_keeps_what_cannot_be_read(admin_client: Client, insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", role=7, discordId={"a": 1}, credits="12")
    form = {"role": "", "discord_id": "123456789012345678", "reason": "asked", "_save": "Save"}
    assert admin_client.post(change_url("alice"), form).status_code == 302
    stored = usersnew.find_one()
    assert (stored["role"], stored["discordId"], stored["credits"]) == (7, "123456789012345678", "12")
    entry = AuditEntry.objects.get(action="change account")
    assert entry.before == {"discord_id": "unreadable: object {'a': 1}"}
    assert admin_client.post(change_url("alice"), form | {"replace_unreadable": "on"}).status_code == 302
    stored = usersnew.find_one()
    assert (stored["role"], stored["credits"]) == (None, "12")


@pytest.mark.parametrize("key", ["", 5, {"a": 1}, ObjectId(), b"x", "..", "a/b c", "a\0b", "~odd"])
def test_a_link_of_the_list_leads_to_the_page_of_any_key(admin_client: Client, usersnew: Any, key: Any) -> None:
    usersnew.insert_one({"_id": key, "creditsNew": 4.5})
    body = admin_client.get(LIST).content.decode()
    address = body.partition(f'href="{LIST}')[2]
    while "/change/" not in address.partition('"')[0]:
        address = address.partition(f'href="{LIST}')[2]
    text = page(admin_client, LIST + address.partition('"')[0])
    assert "$4.50" in text
    assert ("_id: unreadable" in text) is (not isinstance(key, str) or not key)


def test_a_name_too_long_for_an_address_is_said_to_be(admin_client: Client, usersnew: Any) -> None:
    usersnew.insert_one({"_id": "x" * 5000})
    assert "~too-long" in admin_client.get(LIST).content.decode()
    response = admin_client.get(change_url("~too-long"), follow=True)
    assert "too long for the address of a page" in text_of(response)


def test_a_list_with_an_accounts_name_in_it_is_nobodys_use(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=5)
    reconcile_account("alice")
    logs = usersnew.database["request_logs"]
    now = datetime(2026, 11, 20, 12)  # noqa: DTZ001
    log = {"userId": "alice", "creditsCost": 1.0, "hold": 2.0, "creditType": "openhands", "createdAt": now}
    logs.insert_many([log | {"userId": ["alice"]}, log | {"hold": [2.0]}])
    assert [result.drift for result in reconcile_account("alice")] == [0, 0]
    logs.insert_one(log | {"createdAt": [now]})
    assert settled_costs(Account.objects.get())["openhands"] == 1
    assert count_day(day=now.date())["use"]["openhands"]["requests"] == 2


def test_events_that_say_nothing_are_listed(admin_client: Client) -> None:
    event = {"provider": "sepay", "eventId": "bare", "receivedAt": datetime(2026, 1, 1), "body": b"{}"}  # noqa: DTZ001
    stored = [event | {"_id": ObjectId(), "status": status} for status in ("review", "done", "ignored")]
    connection.database["webhook_events"].insert_many([one | {"eventId": one["status"]} for one in stored])
    for query in ("", "?q=bare", "?q=50.000"):
        page(admin_client, f"/admin/payments/webhookevent/{query}")
    for one in stored:
        page(admin_client, f"/admin/payments/webhookevent/{one['_id']}/change/")
