"""Accounts read and saved by the ORM: old documents as they are, unknown fields kept, balances never written."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64

from accounts.authentication import find_account_by_key, read_keys
from accounts.errors import AccountDisabled, BalanceWriteForbidden, InvalidApiKey, InvalidUsername, UsernameTaken
from accounts.keys import hash_key
from accounts.models import Account, Balance, LedgerEntry, LedgerError
from accounts.registration import create_account, rotate_key
from tests.conftest import key_of
from tests.factories import InsertUser


def test_an_empty_document_reads_as_defaults(insert_user: InsertUser) -> None:
    insert_user("Old Name ")
    account = Account.objects.get(pk="Old Name ")
    assert (account.credits, account.credits_new, account.credits_used, account.credits_new_used) == (0, 0, 0, 0)
    assert (account.tokens_user_new, account.total_input_tokens, account.ref_credits) == (0, 0, 0)
    assert (account.is_active, account.expires_at, account.holds) == (True, None, {})
    assert not account.is_expired()


@pytest.mark.parametrize("stored", [7, Int64(7), 7.0, Decimal128("7")])
def test_numbers_of_every_type_are_decimals_and_ints(insert_user: InsertUser, stored: object) -> None:
    insert_user("alice", credits=stored, creditsNew=stored, totalInputTokens=stored)
    account = Account.objects.get(pk="alice")
    assert isinstance(account.credits, Decimal)
    assert (account.credits, account.credits_new) == (7, 7)
    assert (type(account.total_input_tokens), account.total_input_tokens) == (int, 7)


def test_a_save_writes_only_what_changed_and_keeps_unknown_fields(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=Int64(3), referralCode="undefined", nested={"a": [1, None]}, passwordHash="ab")
    before = usersnew.find_one({"_id": "alice"})
    account = Account.objects.get(pk="alice")
    usersnew.update_one({"_id": "alice"}, {"$set": {"credits": 99}})  # a purchase while the form is open

    account.is_active = False
    account.save(update_fields=["is_active"])

    assert usersnew.find_one({"_id": "alice"}) == before | {"credits": 99, "isActive": False}


def test_the_orm_cannot_write_a_balance(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=3)
    account = Account.objects.get(pk="alice")
    account.credits = Decimal(1000)
    with pytest.raises(BalanceWriteForbidden):
        account.save()
    with pytest.raises(BalanceWriteForbidden):
        account.save(update_fields=["credits"])
    with pytest.raises(BalanceWriteForbidden):
        Account.objects.filter(pk="alice").update(credits_new=5)
    with pytest.raises(BalanceWriteForbidden):
        Account.objects.create(username="bob", credits=1)
    assert usersnew.find_one({"_id": "alice"})["credits"] == 3
    assert usersnew.find_one({"_id": "bob"}) is None


def test_accounts_without_a_key_do_not_collide_in_the_old_sparse_index(usersnew: Any) -> None:
    usersnew.create_index("apiKey", unique=True, sparse=True, name="apiKey_1")
    try:
        create_account(username="alice")
        create_account(username="bob")
        rotate_key(username="alice")
        rotate_key(username="bob")
    finally:
        usersnew.drop_index("apiKey_1")
    assert "apiKey" not in usersnew.find_one({"_id": "alice"})


def test_create_account_stores_only_the_hash_of_the_key(usersnew: Any) -> None:
    account, key = create_account(username="alice", discord_id="12345678901234567")
    document = usersnew.find_one({"_id": "alice"})
    assert key not in str(document)
    assert document["apiKeyHash"] == hash_key(key)
    assert find_account_by_key(key).pk == account.pk
    assert {(entry.balance, entry.amount) for entry in LedgerEntry.objects.all()} == {("openhands", 0), ("ohmygpt", 0)}
    with pytest.raises(UsernameTaken):
        create_account(username="alice")
    for name in ("Al", "Älice", "a b c", "x" * 51, "UPPER"):
        with pytest.raises(InvalidUsername):
            create_account(username=name)


def test_a_rotated_key_stops_at_once(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", strange=1)
    new = rotate_key(username="alice")
    assert find_account_by_key(new).pk == "alice"
    with pytest.raises(InvalidApiKey):
        find_account_by_key(key_of("alice"))
    assert usersnew.find_one({"_id": "alice"})["strange"] == 1


def test_a_disabled_account_is_told_apart_from_a_wrong_key(insert_user: InsertUser) -> None:
    insert_user("alice", isActive=False)
    with pytest.raises(AccountDisabled):
        find_account_by_key(key_of("alice"))


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "api_key", "keys"),
    [
        ("Bearer abc", None, None, ["abc"]),
        ("bearer  abc ", None, None, ["abc"]),
        ("abc", None, None, ["abc"]),
        (None, "abc", None, ["abc"]),
        (None, None, " abc", ["abc"]),
        ("Basic abc", "b", None, ["b"]),
        ("Bearer a", "b", "a", ["a", "b"]),
        ("Bearer a", "sk-trollllm-b", None, ["sk-trollllm-b", "a"]),
    ],
)
def test_read_keys_takes_each_header(
    authorization: str | None, x_api_key: str | None, api_key: str | None, keys: list[str]
) -> None:
    assert read_keys(authorization, x_api_key, api_key) == keys


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic abc"])
def test_read_keys_refuses_what_is_no_key(authorization: str | None) -> None:
    with pytest.raises(InvalidApiKey):
        read_keys(authorization, None)


def test_ledger_entries_are_immutable(db: None) -> None:
    create_account(username="alice")
    entry = LedgerEntry.objects.first()
    assert entry is not None
    entry.amount = Decimal(5)
    for attempt in (
        entry.save,
        entry.delete,
        LedgerEntry.objects.all().delete,
        lambda: LedgerEntry.objects.update(amount=5),
    ):
        with pytest.raises(LedgerError):
            attempt()


def test_expiry_is_to_the_moment(insert_user: InsertUser) -> None:
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    insert_user("alice", expiresAt=at, holds={"r": {"balance": "ohmygpt", "amount": 2}})
    account = Account.objects.get(pk="alice")
    assert account.is_expired(at)
    assert not account.is_expired(at.replace(minute=0) - (at - at.replace(hour=11)))
    assert (account.held(Balance.OHMYGPT), account.held(Balance.OPENHANDS)) == (2, 0)
