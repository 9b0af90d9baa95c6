"""What staff do to single API keys of an account: each with preview, confirmation, reason and audit."""

import html
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.api_keys import create_key, find_key, list_keys, update_key
from accounts.authentication import find_account_by_key
from accounts.errors import InvalidApiKey, KeyDisabled
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.keys import hash_key, key_id
from accounts.models import Account
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.pages import page, text_of
from tests.proxy.requests import MODEL

FURTHER = key_of("further")
FURTHER_ID, FIRST_ID = key_id(hash_key(FURTHER)), key_id(hash_key(key_of("alice")))


def url(slug: str) -> str:
    return f"/admin/support/do/account/alice/{slug}/"


def inputs(response: Any) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode())
    return {name: html.unescape(value) for name, value in found}


def preview(client: Client, slug: str, **fields: str) -> Any:
    token = inputs(client.get(url(slug), {"key": fields.get("key", "")}))["token"]
    return client.post(url(slug), {"reason": "asked", "budget_period": "day", **fields, "token": token})


def do(client: Client, slug: str, **fields: str) -> Any:
    return client.post(url(slug), {**inputs(preview(client, slug, **fields)), "confirm": "1"})


def further() -> Any:
    return find_key(Account.objects.get(pk="alice"), FURTHER_ID).entry


def secret_in(response: Any) -> str:
    (secret,) = set(re.findall(r"sk-trollllm-[0-9a-f]{64}", response.content.decode()))
    assert "no-store" in response["Cache-Control"]
    return secret


@pytest.fixture
def alice(insert_user: InsertUser, prices: None) -> str:
    insert_user("alice", credits=10, creditsNew=2.5, strange="kept")
    limits = Limits(budget=Budget(Decimal(5), BudgetPeriod.MONTH), models=(MODEL,))
    create_key(username="alice", name="ci", limits=limits, new_key=FURTHER)
    return "alice"


def test_a_key_is_added_with_limits_and_shown_once(admin_client: Client, alice: str, usersnew: Any) -> None:
    fields = {"name": "laptop", "budget": "2.5", "models": f"{MODEL}", "upstream": "openhands"}
    shown = text_of(preview(admin_client, "add-key", **fields))
    assert f"Budget – $2.50 a day Models – {MODEL} Upstreams – openhands Expires – never" in shown
    secret = secret_in(do(admin_client, "add-key", **fields))
    assert find_account_by_key(secret).pk == "alice"
    _, _, added = list_keys(Account.objects.get(pk="alice"))
    assert (added.entry.budget, added.entry.upstreams) == (Decimal("2.5"), ("openhands",))
    (entry,) = AuditEntry.objects.filter(action="add-key")
    assert (entry.actor, entry.target, entry.reason, entry.outcome) == ("staff:admin", "alice", "asked", "done")
    assert "laptop" in entry.after["keys"]
    assert "laptop" not in entry.before["keys"]
    assert secret not in str(list(AuditEntry.objects.values_list()))
    assert usersnew.find_one()["strange"] == "kept"


def test_a_second_click_adds_no_second_key(admin_client: Client, alice: str) -> None:
    data = {**inputs(preview(admin_client, "add-key", name="laptop")), "confirm": "1"}
    secret = secret_in(admin_client.post(url("add-key"), data))
    again = admin_client.post(url("add-key"), data, follow=True)
    assert secret not in again.content.decode()
    assert len(list_keys(Account.objects.get(pk="alice"))) == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"budget": "0"}, "A budget is more than $0"),
        ({"budget": "-1"}, "A budget is more than $0"),
        ({"models": "no-such-model"}, "No price row has the model no-such-model"),
        ({"expires_at": "2020-01-01T00:00"}, "The expiry must be in the future"),
        ({"upstream": "elsewhere"}, "Select a valid choice"),
        ({"budget_period": "year"}, "Select a valid choice"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_limits_that_no_key_can_have_are_said(
    admin_client: Client, alice: str, fields: dict[str, str], said: str
) -> None:
    assert said in text_of(preview(admin_client, "add-key", **{"name": "laptop", **fields}))
    assert len(list_keys(Account.objects.get(pk="alice"))) == 2


def test_a_key_is_changed_and_what_is_not_changed_stays(admin_client: Client, alice: str) -> None:
    opened = admin_client.get(url("change-key"), {"key": FURTHER_ID}).content.decode()
    assert 'value="ci"' in opened
    assert MODEL in opened
    fields = {"key": FURTHER_ID, "name": "deploy", "budget": "7", "budget_period": "month", "models": MODEL}
    assert "Budget $5.00 a month $7.00 a month" in text_of(preview(admin_client, "change-key", **fields))
    do(admin_client, "change-key", **fields)
    assert (further().name, further().budget, further().models) == ("deploy", 7, (MODEL,))
    do(admin_client, "change-key", key=FURTHER_ID, name="deploy")
    assert not further().has_limits


def test_an_expired_key_can_be_renamed(admin_client: Client, alice: str, usersnew: Any) -> None:
    past = timezone.now() - timedelta(days=1)
    usersnew.update_one({"_id": "alice"}, {"$set": {f"keys.{FURTHER_ID}.expiresAt": past}})
    do(admin_client, "change-key", key=FURTHER_ID, name="old", expires_at=f"{past:%Y-%m-%dT%H:%M}")
    assert further().name == "old"
    assert further().expires_at is not None


def test_a_key_is_disabled_and_enabled(admin_client: Client, alice: str) -> None:
    do(admin_client, "disable-key", key=FURTHER_ID)
    with pytest.raises(KeyDisabled):
        find_account_by_key(FURTHER)
    assert find_account_by_key(key_of("alice")).pk == "alice"
    do(admin_client, "enable-key", key=FURTHER_ID)
    assert find_account_by_key(FURTHER).pk == "alice"
    do(admin_client, "disable-key", key=FIRST_ID)
    with pytest.raises(KeyDisabled):
        find_account_by_key(key_of("alice"))


def test_a_key_is_replaced_and_deleted(admin_client: Client, alice: str) -> None:
    secret = secret_in(do(admin_client, "replace-key", key=FURTHER_ID))
    with pytest.raises(InvalidApiKey):
        find_account_by_key(FURTHER)
    assert find_account_by_key(secret).pk == "alice"
    assert further().models == (MODEL,)
    do(admin_client, "delete-key", key=FURTHER_ID)
    with pytest.raises(InvalidApiKey):
        find_account_by_key(secret)
    for slug in ("replace-key", "delete-key"):
        assert "Select a valid choice" in text_of(preview(admin_client, slug, key=FIRST_ID))


def test_the_account_page_lists_the_keys_masked_with_what_can_be_done(admin_client: Client, alice: str) -> None:
    update_key(username="alice", wanted_id=FIRST_ID, upstreams=("openhands",))
    address = "/admin/accounts/account/alice/change/"
    body = admin_client.get(address).content.decode()
    assert FURTHER not in body
    assert hash_key(FURTHER) not in body
    assert f"ci {FURTHER[:16]}…" in page(admin_client, address)
    assert f"Budget: $5.00 a month · Models: {MODEL}" in page(admin_client, address)
    for slug in ("change-key", "disable-key", "replace-key", "delete-key"):
        assert f"{url(slug)}?key={FURTHER_ID}" in body
    assert f"{url('change-key')}?key={FIRST_ID}" in body
    assert f"{url('delete-key')}?key={FIRST_ID}" not in body


def test_a_damaged_entry_is_shown_and_can_be_repaired_or_deleted(
    admin_client: Client, alice: str, usersnew: Any
) -> None:
    usersnew.update_one({"_id": "alice"}, {"$set": {f"keys.{FURTHER_ID}.budget": "many"}})
    assert "Unreadable: budget" in page(admin_client, "/admin/accounts/account/alice/change/")
    do(admin_client, "change-key", key=FURTHER_ID, name="ci", budget="3")
    assert find_account_by_key(FURTHER).pk == "alice"
    usersnew.update_one({"_id": "alice"}, {"$set": {f"keys.{FURTHER_ID}": "text"}})
    assert "Unreadable" in page(admin_client, "/admin/accounts/account/alice/change/")


def test_a_viewer_sees_the_keys_and_can_do_nothing(log_in: Any, alice: str) -> None:
    client = log_in("Viewer")
    body = client.get("/admin/accounts/account/alice/change/").content.decode()
    assert "API keys of this account" in body
    assert "change-key" not in body
