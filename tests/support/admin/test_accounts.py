"""The account and ledger pages of the admin, on documents as they really occur."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.keys import hash_key
from accounts.models import Account, Balance, LedgerEntry
from accounts.registration import create_account
from support.admin.accounts import expiry_badge
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.pages import page, text_of

LIST = "/admin/accounts/account/"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def change_url(username: str) -> str:
    return f"{LIST}{username}/change/"


def form_of(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "is_active": "on", "discord_id": "", "reason": "asked", "_save": "Save", **fields}


@pytest.fixture
def legacy_accounts(insert_user: InsertUser, usersnew: Any) -> None:
    """Documents of every age: missing fields, every number type, old names."""
    insert_user("bare")
    insert_user("ints", credits=5, creditsNew=Int64(6), tokensUserNew=1234.0, expiresAt=None)
    insert_user("doubles", credits=0.1 + 0.2, creditsNew=-4.5, role="priority", discordId="123456789012345678")
    insert_user("decimals", credits=Decimal128("7.125"), creditsNew=Decimal128("NaN"), totalInputTokens=Int64(10**12))
    insert_user("nulls", credits=None, creditsNew=None, isActive=None, role=None, discordId=None, holds=None)
    insert_user(" Old Name", credits=1, createdAt=NOW, migration=True, referralCode="undefined")
    usersnew.insert_one({"_id": "keyless"})


def test_list_shows_both_balances_of_legacy_documents(admin_client: Client, legacy_accounts: None) -> None:
    text = page(admin_client, LIST)

    assert "OpenHands credits (port 8004)" in text
    assert "OhMyGPT credits (port 8005)" in text
    for name in ("bare", "ints", "doubles", "decimals", "nulls", "Old Name", "keyless"):
        assert name in text
    for amount in ("$6.00", "$5.00", "$0.30", "-$4.50", "$7.125"):
        assert amount in text
    assert "7 accounts" in text


@pytest.mark.parametrize("name", ["bare", "ints", "doubles", "decimals", "nulls", " Old Name", "keyless"])
def test_detail_page_of_legacy_documents(admin_client: Client, legacy_accounts: None, name: str) -> None:
    text = page(admin_client, change_url(name.replace(" ", "%20")))
    assert "Pays for OpenHands requests on port 8004 only." in text
    assert "Never expires" in text


def test_no_page_shows_a_whole_key_or_its_hash(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    _, new_key = create_account(username="erin")
    for address in (LIST, change_url("alice"), change_url("erin"), f"{change_url('erin')}../history/"):
        body = admin_client.get(address).content.decode()
        for secret in (key_of("alice"), hash_key(key_of("alice")), new_key, hash_key(new_key)):
            assert secret not in body
    assert key_of("alice")[:16] + "…" in page(admin_client, change_url("alice"))
    assert new_key[:16] + "…" in page(admin_client, change_url("erin"))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ali", {"alice"}),
        ("ALICE", {"alice"}),
        ("old", {" Old Name"}),
        ("  bob  ", {"bob"}),
        ("lice", set()),
        ("a.*", set()),
        ("123456789012345678", {"bob"}),
        ("sk-trollllm-616c6963", {"alice"}),
        ("sk-trollllm-616c…", {"alice"}),
        ("$where", set()),
    ],
)
def test_search(admin_client: Client, insert_user: InsertUser, query: str, found: set[str]) -> None:
    insert_user("alice")
    insert_user("bob", discordId="123456789012345678")
    insert_user(" Old Name")
    response = admin_client.get(LIST, {"q": query})
    assert {account.pk for account in response.context["cl"].result_list} == found


def test_search_of_a_new_key_by_its_first_characters(admin_client: Client) -> None:
    _, key = create_account(username="erin")
    for query in (key[:16], key[:20], f"{key[:16]}…"):
        response = admin_client.get(LIST, {"q": query})
        assert [account.pk for account in response.context["cl"].result_list] == ["erin"]


def test_a_pasted_whole_key_leads_to_its_account(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    _, new_key = create_account(username="erin")
    assert admin_client.get(LIST, {"q": key_of("alice")})["Location"] == change_url("alice")
    assert admin_client.get(LIST, {"q": f" {new_key} "})["Location"] == change_url("erin")

    insert_user("carol", isActive=False)
    assert admin_client.get(LIST, {"q": key_of("carol")})["Location"] == change_url("carol")

    found = admin_client.post("/admin/support/find-key/", {"key": f" {new_key} "})
    assert found["Location"] == change_url("erin")

    strange = admin_client.post("/admin/support/find-key/", {"key": "no key\n"}, follow=True)
    assert "No account has this API key" in text_of(strange)

    response = admin_client.get(LIST, {"q": "sk-trollllm-" + "0" * 64}, follow=True)
    assert "No account has this API key" in text_of(response)
    assert "0" * 64 not in response.content.decode()


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (None, "Never expires"),
        (timedelta(days=6, hours=5), "6 days left"),
        (timedelta(days=1), "1 day left"),
        (timedelta(hours=5, minutes=1), "Expires in 5 hours"),
        (timedelta(seconds=10), "Expires in less than a minute"),
        (timedelta(0), "Expired just now"),
        (timedelta(seconds=-1), "Expired just now"),
        (timedelta(days=-3), "Expired 3 days ago"),
    ],
)
def test_expiry_in_words(left: timedelta | None, words: str) -> None:
    account = Account(username="alice", expires_at=None if left is None else NOW + left)
    assert words in expiry_badge(account, NOW)


EVERYBODY = {"soon", "valid", "expired", "never", "missing", "off", "empty"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"expiry": "soon"}, {"soon"}),
        ({"expiry": "valid"}, {"soon", "valid"}),
        ({"expiry": "expired"}, {"expired"}),
        ({"expiry": "never"}, {"never", "missing", "off", "empty"}),
        ({"status": "disabled"}, {"off"}),
        ({"status": "active"}, {"soon", "valid", "expired", "never", "missing", "empty"}),
        ({"openhands": "debt"}, {"off"}),
        ({"openhands": "some"}, {"soon"}),
        ({"ohmygpt": "20"}, {"valid"}),
        ({"openhands": "zero"}, {"valid", "expired", "never", "missing", "empty"}),
        ({"openhands": "zero", "ohmygpt": "some"}, {"valid"}),
        ({"credits_from": "19.99", "credits_to": "20"}, {"soon", "valid"}),
        ({"credits_new_from": "0.1"}, {"soon"}),
        ({"credits_new_to": "-0.5"}, {"off"}),
        ({"credits_to": "5"}, {"expired", "never", "missing", "off", "empty"}),
        ({"credits_from": "NaN", "credits_to": "1e999999"}, set()),
        ({"ohmygpt": "x"}, set()),
        ({"expiry": "nonsense"}, set()),
        ({"expiry": "", "credits_from": " ", "status": ""}, EVERYBODY),
    ],
)
def test_filters(admin_client: Client, insert_user: InsertUser, query: dict[str, str], found: set[str]) -> None:
    now = timezone.now()
    insert_user("soon", expiresAt=now + timedelta(hours=2), creditsNew=0.5, credits=19.99)
    insert_user("valid", expiresAt=now + timedelta(days=3), credits=20)
    insert_user("expired", expiresAt=now - timedelta(days=3))
    insert_user("never", expiresAt=None, isActive=True)
    insert_user("missing")
    insert_user("off", isActive=False, creditsNew=-1)
    insert_user("empty", creditsNew=0.0, credits=None)
    response = admin_client.get(LIST, query)
    assert {account.pk for account in response.context["cl"].result_list} == found


def test_save_keeps_unknown_fields_and_writes_no_balance(
    admin_client: Client, insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", credits=50, strange={"kept": [1, 2]}, passwordHash="aa")
    before = usersnew.find_one({"_id": "alice"})

    response = admin_client.post(
        change_url("alice"),
        form_of(role="priority", discord_id="123456789012345678", credits="999", credits_new="999", username="mallory"),
    )

    assert response.status_code == 302
    assert usersnew.find_one({"_id": "alice"}) == {**before, "role": "priority", "discordId": "123456789012345678"}
    assert usersnew.count_documents({}) == 1
    assert LedgerEntry.objects.count() == 0


def test_save_does_not_undo_a_purchase_made_meanwhile(
    admin_client: Client, insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", credits=1)
    admin_client.get(change_url("alice"))
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay")
    admin_client.post(change_url("alice"), form_of(role="priority"))
    document = usersnew.find_one({"_id": "alice"})
    assert (document["creditsNew"], document["role"]) == (20.0, "priority")


def test_a_wrong_discord_id_is_refused_in_words(admin_client: Client, insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    response = admin_client.post(change_url("alice"), form_of(discord_id="12x"))
    assert "A Discord id has 17 to 19 digits." in text_of(response)
    assert "discordId" not in usersnew.find_one({"_id": "alice"})


def test_accounts_cannot_be_deleted(admin_client: Client, insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    assert admin_client.post(f"{LIST}alice/delete/", {"post": "yes"}).status_code == 403
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": ["alice"], "post": "yes"})
    assert usersnew.count_documents({}) == 1


def test_a_new_account_shows_its_key_once(admin_client: Client, usersnew: Any) -> None:
    response = admin_client.post(f"{LIST}add/", form_of(username="newbie"))

    (key,) = set(re.findall(r"sk-trollllm-[0-9a-f]{64}", response.content.decode()))
    assert "no-store" in response["Cache-Control"]
    assert usersnew.find_one({"_id": "newbie"})["apiKeyHash"] == hash_key(key)
    assert key not in admin_client.get(change_url("newbie")).content.decode()
    assert LedgerEntry.objects.filter(account_id="newbie").count() == 2


@pytest.mark.parametrize("name", ["alice", "UPPER", "x", "a b"])
def test_a_new_account_with_a_wrong_or_taken_name_is_refused(
    admin_client: Client, insert_user: InsertUser, usersnew: Any, name: str
) -> None:
    insert_user("alice", credits=5)
    response = admin_client.post(f"{LIST}add/", form_of(username=name))
    assert response.status_code == 200
    assert "Please correct the error" in text_of(response)
    assert [document["_id"] for document in usersnew.find()] == ["alice"]


def test_view_permission_alone_shows_but_saves_nothing(client: Client, insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=5)
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_account"))
    client.force_login(viewer)
    assert "$5.00" in page(client, change_url("alice"))
    assert client.post(change_url("alice"), form_of(role="admin")).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.get("/admin/accounts/ledgerentry/").status_code == 403
    assert "role" not in usersnew.find_one({"_id": "alice"})


def test_customers_and_strangers_see_the_log_in_page_only(client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    for address in (LIST, change_url("alice"), "/admin/"):
        assert client.get(address)["Location"].startswith("/admin/login/")


def test_an_account_that_is_not_there_is_said_so(admin_client: Client) -> None:
    response = admin_client.get(change_url("nobody"), follow=True)
    assert "doesn’t exist" in text_of(response)


def test_ledger_list_and_page(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=50)
    credits.transfer(
        username="alice",
        source=Balance.OHMYGPT,
        amount=Decimal("10.5"),
        operation="transfer:1",
        actor="staff:admin",
        reason="Customer asked <b>",
    )
    text = page(admin_client, "/admin/accounts/ledgerentry/")
    assert "-$10.50" in text
    assert "+$10.50" in text
    assert "staff:admin" in text
    entry = LedgerEntry.objects.filter(balance="openhands").get()
    address = f"/admin/accounts/ledgerentry/{entry.pk}/change/"
    assert "Customer asked &lt;b&gt;" in page(admin_client, address)
    assert admin_client.post(address, {"amount": "1000"}).status_code == 403
    assert admin_client.post(f"{address}../delete/", {"post": "yes"}).status_code == 403
    assert admin_client.get("/admin/accounts/ledgerentry/add/").status_code == 403


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"q": "Alice"}, 2),
        ({"q": "transfer:1"}, 2),
        ({"q": "zoe"}, 0),
        ({"balance__exact": "openhands"}, 1),
        ({"kind__exact": "purchase"}, 0),
        ({"created_at_from": "2026-11-20", "created_at_to": "2026-11-20"}, 2),
        ({"created_at_to": "2026-11-19"}, 0),
        ({"created_at_from": "2026-11-21"}, 0),
        ({"created_at_from": "garbage"}, 0),
    ],
)
def test_ledger_search_and_filters(
    admin_client: Client, insert_user: InsertUser, query: dict[str, str], count: int
) -> None:
    insert_user("alice", credits=50)
    credits.transfer(
        username="alice",
        source=Balance.OHMYGPT,
        amount=Decimal(1),
        operation="transfer:1",
        actor="x",
        reason="y",
        now=NOW,
    )
    response = admin_client.get("/admin/accounts/ledgerentry/", query)
    assert len(response.context["cl"].result_list) == count


def test_ledger_of_an_account_that_is_gone_still_shows(
    admin_client: Client, insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", credits=50)
    credits.adjust(username="alice", balance=Balance.OHMYGPT, amount=Decimal(1), operation="a:1", actor="x", reason="y")
    usersnew.delete_many({})
    assert "alice" in page(admin_client, "/admin/accounts/ledgerentry/")
    entry = LedgerEntry.objects.get()
    assert "alice" in page(admin_client, f"/admin/accounts/ledgerentry/{entry.pk}/change/")
