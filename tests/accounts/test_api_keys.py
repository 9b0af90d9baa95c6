"""Several keys an account: made, limited, replaced, deleted."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import override_settings

from accounts.api_keys import (
    check_may_manage,
    create_key,
    delete_key,
    find_key,
    list_keys,
    rotate_further_key,
    set_key_disabled,
    update_key,
)
from accounts.authentication import find_account_by_key
from accounts.errors import (
    AccountNeedsRepair,
    AccountNotFound,
    FirstKeyRequired,
    FirstKeyStays,
    InvalidApiKey,
    InvalidKeyLimits,
    KeyNotFound,
    TooManyKeys,
)
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.keys import hash_key, key_id
from accounts.models import Account
from accounts.registration import create_account, rotate_key
from mongo.transactions import run_in_transaction
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALL_LIMITS = Limits(
    budget=Budget(Decimal("2.5"), BudgetPeriod.MONTH),
    models=("haiku",),
    upstreams=("openhands",),
    expires_at=NOW + timedelta(days=30),
)


def alice() -> Account:
    return Account.objects.get(pk="alice")


def test_a_new_key_is_stored_as_its_hash_and_shown_once(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", strange=1)
    key, secret = create_key(username="alice", name=" CI ", limits=ALL_LIMITS, now=NOW)
    document = usersnew.find_one({"_id": "alice"})
    assert secret not in str(document)
    assert document["keyHashes"] == [hash_key(secret)]
    assert document["keys"] == {
        key.key_id: {
            "id": key_id(hash_key(secret)),
            "hash": hash_key(secret),
            "name": "CI",
            "prefix": secret[:16] + "…",
            "createdAt": NOW.replace(tzinfo=None),
            "budget": 2.5,
            "budgetPeriod": "month",
            "models": ["haiku"],
            "upstreams": ["openhands"],
            "expiresAt": (NOW + timedelta(days=30)).replace(tzinfo=None),
        }
    }
    assert (document["strange"], document["apiKey"]) == (1, key_of("alice"))
    assert [(one.entry.name, one.is_first) for one in list_keys(alice())] == [("First key", True), ("CI", False)]


def test_the_same_new_key_twice_is_one(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    for _ in range(2):
        create_key(username="alice", name="ci", new_key=key_of("ci"))
    assert len(list_keys(alice())) == 2
    assert find_account_by_key(key_of("ci")).pk == "alice"


def test_many_at_once_make_no_more_keys_than_allowed(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice")

    def make(_: int) -> int:
        try:
            create_key(username="alice", name="ci")
        except TooManyKeys:
            return 0
        return 1

    with override_settings(MAX_KEYS=3):
        assert sum(in_threads(8, make)) == 3
        delete_key(username="alice", wanted_id=list_keys(alice())[1].key_id)
        assert make(0) == 1


def test_what_is_rolled_back_is_not_there(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    before = usersnew.find_one()

    def fail() -> None:
        create_key(username="alice", name="ci")
        raise KeyNotFound("x")

    with pytest.raises(KeyNotFound):
        run_in_transaction(fail)
    assert usersnew.find_one() == before


def test_a_key_is_renamed_and_its_limits_change_one_by_one(insert_user: InsertUser) -> None:
    insert_user("alice")
    key, _ = create_key(username="alice", name="ci", limits=ALL_LIMITS, now=NOW)
    changed = update_key(username="alice", wanted_id=key.key_id, name="deploy", models=None, now=NOW).entry
    assert (changed.name, changed.models, changed.upstreams) == ("deploy", None, ("openhands",))
    assert (changed.budget, changed.budget_period) == (Decimal("2.5"), BudgetPeriod.MONTH)
    changed = update_key(username="alice", wanted_id=key.key_id, budget=None, upstreams=None, expires_at=None).entry
    assert not changed.has_limits
    assert find_key(alice(), key.key_id).entry == changed


def test_the_first_key_is_limited_like_the_others_but_stays(insert_user: InsertUser) -> None:
    insert_user("alice")
    (first,) = list_keys(alice())
    changed = update_key(username="alice", wanted_id=first.key_id, upstreams=("ohmygpt",))
    assert (changed.is_first, changed.entry.upstreams) == (True, ("ohmygpt",))
    assert [one.key_id for one in list_keys(alice())] == [first.key_id]
    with pytest.raises(FirstKeyStays):
        delete_key(username="alice", wanted_id=first.key_id)
    with pytest.raises(FirstKeyStays):
        rotate_further_key(username="alice", wanted_id=first.key_id)
    set_key_disabled(username="alice", wanted_id=first.key_id, is_disabled=True)
    new = rotate_key(username="alice")
    (again,) = list_keys(alice())
    assert (again.key_id, again.entry.is_disabled, again.entry.upstreams) == (first.key_id, False, ("ohmygpt",))
    assert find_account_by_key(new).pk == "alice"


def test_of_two_rotations_with_the_same_key_one_succeeds(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice")
    key, secret = create_key(username="alice", name="ci")

    def rotate(_: int) -> str | None:
        try:
            return rotate_further_key(username="alice", wanted_id=key.key_id, current_key=secret)[1]
        except InvalidApiKey:
            return None

    (new,) = [one for one in in_threads(5, rotate) if one]
    assert find_account_by_key(new).pk == "alice"
    with pytest.raises(InvalidApiKey):
        find_account_by_key(secret)
    assert len(list_keys(alice())) == 2


def test_a_further_key_does_not_replace_the_first_one(insert_user: InsertUser) -> None:
    insert_user("alice")
    _, secret = create_key(username="alice", name="ci")
    with pytest.raises(InvalidApiKey):
        rotate_key(username="alice", current_key=secret)
    assert find_account_by_key(key_of("alice")).pk == "alice"


def test_only_an_unlimited_first_key_manages_keys(insert_user: InsertUser) -> None:
    insert_user("alice")
    _, secret = create_key(username="alice", name="ci")
    check_may_manage(alice(), key_of("alice"))
    with pytest.raises(FirstKeyRequired):
        check_may_manage(alice(), secret)
    update_key(username="alice", wanted_id=list_keys(alice())[0].key_id, models=("haiku",))
    with pytest.raises(FirstKeyRequired):
        check_may_manage(alice(), key_of("alice"))


def test_what_does_not_exist_is_said(insert_user: InsertUser) -> None:
    insert_user("alice")
    for wanted in ("", "x", "0" * 24):
        with pytest.raises(KeyNotFound):
            update_key(username="alice", wanted_id=wanted, name="x")
        with pytest.raises(KeyNotFound):
            delete_key(username="alice", wanted_id=wanted)
    with pytest.raises(AccountNotFound):
        create_key(username="nobody", name="ci")


@pytest.mark.parametrize(
    ("limits", "param"),
    [
        (Limits(budget=Budget(Decimal(0), BudgetPeriod.DAY)), "budget"),
        (Limits(budget=Budget(Decimal(-1), BudgetPeriod.DAY)), "budget"),
        (Limits(budget=Budget(Decimal("NaN"), BudgetPeriod.DAY)), "budget"),
        (Limits(budget=Budget(Decimal("0.000000001"), BudgetPeriod.DAY)), "budget"),
        (Limits(budget=Budget(Decimal("1e9"), BudgetPeriod.DAY)), "budget"),
        (Limits(models=()), "models"),
        (Limits(models=("a" * 151,)), "models"),
        (Limits(models=("a\0",)), "models"),
        (Limits(upstreams=()), "upstreams"),
        (Limits(upstreams=("elsewhere",)), "upstreams"),
        (Limits(expires_at=NOW), "expires_at"),
        (Limits(expires_at=NOW + timedelta(days=4000)), "expires_at"),
    ],
)
def test_limits_that_no_key_can_have_are_refused(insert_user: InsertUser, limits: Limits, param: str) -> None:
    insert_user("alice")
    with pytest.raises(InvalidKeyLimits) as caught:
        create_key(username="alice", name="ci", limits=limits, now=NOW)
    assert caught.value.param == param


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb", "a\0b"])
def test_a_name_that_is_none_is_refused(insert_user: InsertUser, name: str) -> None:
    insert_user("alice")
    with pytest.raises(InvalidKeyLimits):
        create_key(username="alice", name=name)


def test_a_damaged_account_gets_no_keys(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", keys="none")
    with pytest.raises(AccountNeedsRepair, match="keys"):
        create_key(username="alice", name="ci")
    rotate_key(username="alice")
    assert usersnew.find_one({"_id": "alice"})["keys"] == "none"


def test_a_damaged_entry_harms_its_key_alone(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    key, secret = create_key(username="alice", name="ci")
    other, _ = create_key(username="alice", name="other")
    usersnew.update_one({"_id": "alice"}, {"$set": {f"keys.{key.key_id}.budget": "many"}})
    with pytest.raises(AccountNeedsRepair, match="budget"):
        find_account_by_key(secret)
    assert update_key(username="alice", wanted_id=other.key_id, name="new").entry.name == "new"
    update_key(username="alice", wanted_id=key.key_id, budget=None)
    assert find_account_by_key(secret).pk == "alice"
    usersnew.update_one({"_id": "alice"}, {"$set": {f"keys.{key.key_id}": "text"}})
    with pytest.raises(AccountNeedsRepair):
        update_key(username="alice", wanted_id=key.key_id, name="x")
    assert len(list_keys(alice())) == 3
    for wanted_id in (other.key_id, key.key_id):
        delete_key(username="alice", wanted_id=wanted_id)
    assert len(list_keys(alice())) == 1
    with pytest.raises(InvalidApiKey):
        find_account_by_key(secret)


def test_two_accounts_cannot_have_the_same_further_key(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    insert_user("bob")
    create_key(username="alice", name="ci", new_key=key_of("ci"))
    with pytest.raises(IntegrityError):
        create_key(username="bob", name="ci", new_key=key_of("ci"))
    for username in ("alice", "bob"):  # No list is left that would collide with another empty one.
        key, _ = create_key(username=username, name="x")
        delete_key(username=username, wanted_id=key.key_id)
    delete_key(username="alice", wanted_id=key_id(hash_key(key_of("ci"))))
    assert usersnew.count_documents({"keyHashes": {"$exists": True}}) == 0


def test_an_account_made_here_lists_its_key(db: None) -> None:
    _, secret = create_account(username="alice")
    (first,) = list_keys(alice())
    assert (first.entry.prefix, first.is_first) == (secret[:16] + "…", True)
