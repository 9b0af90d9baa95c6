"""`manage.py seed_demo`: makes its own accounts, keeps their keys as configured, and leaves everybody else's alone."""

import json
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from accounts import credits
from accounts.authentication import find_account_by_key
from accounts.errors import OperationConflict
from accounts.models import Account, Balance, LedgerEntry
from accounts.registration import rotate_key
from tests.conftest import key_of
from tests.factories import InsertUser


@pytest.fixture
def seed(db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command with secrets that end in `generation`, and return what it prints."""

    def run(generation: str = "1") -> Any:
        monkeypatch.setenv("ADMIN_PASSWORD", f"password-{generation}")
        for name in ("ALICE", "BOB"):
            monkeypatch.setenv(f"DEMO_API_KEY_{name}", f"key-of-{name.lower()}-{generation}")
        out = StringIO()
        call_command("seed_demo", "--json", stdout=out)
        return json.loads(out.getvalue())

    return run


def assert_works(demo: Any) -> None:
    """Every printed key and the login work."""
    assert [find_account_by_key(account["api_key"]).username for account in demo["accounts"]] == ["alice", "bob"]
    user = User.objects.get(username=demo["admin_username"])
    assert user.check_password(demo["admin_password"])
    assert user.is_superuser
    assert demo["notices"] == []


def test_first_run_makes_two_accounts_and_a_login(seed: Callable[..., Any]) -> None:
    demo = seed()
    assert_works(demo)
    assert [(a["credits_new"], a["credits"]) for a in demo["accounts"]] == [("5.00", "0.00"), ("0.00", "25.00")]


def test_repeat_changes_nothing(seed: Callable[..., Any], usersnew: Any) -> None:
    first = seed()
    documents = list(usersnew.find())
    hashed = User.objects.get().password
    assert seed() == first
    assert list(usersnew.find()) == documents
    assert User.objects.get().password == hashed


def test_new_secrets_are_those_of_its_own_accounts_from_then_on(seed: Callable[..., Any]) -> None:
    seed()
    assert_works(seed("2"))
    assert LedgerEntry.objects.filter(kind="adjustment").count() == 2


def test_key_and_password_that_were_changed_meanwhile_work_again(seed: Callable[..., Any]) -> None:
    seed()
    rotate_key(username="alice")
    user = User.objects.get()
    user.set_password("another")
    user.save()
    assert_works(seed())


def test_customers_and_staff_of_the_same_name_are_left_alone(
    seed: Callable[..., Any], insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", creditsNew=1.5, strange=True)
    insert_user("bob")
    real = User.objects.create_user("admin", password="their own")
    before = list(usersnew.find())

    demo = seed()

    assert list(usersnew.find()) == before
    assert find_account_by_key(key_of("alice")).username == "alice"
    assert LedgerEntry.objects.count() == 0
    assert User.objects.get().password == real.password
    assert (demo["accounts"], demo["admin_password"]) == ([], None)
    assert [notice.split()[0] for notice in demo["notices"]] == ["admin", "alice", "bob"]
    assert "ADMIN_USERNAME=" in demo["notices"][0]


def test_one_name_that_is_taken_does_not_keep_the_other(seed: Callable[..., Any], insert_user: InsertUser) -> None:
    insert_user("alice")
    demo = seed()
    assert [account["username"] for account in demo["accounts"]] == ["bob"]


def test_account_whose_credits_cannot_be_booked_is_not_made(seed: Callable[..., Any], insert_user: InsertUser) -> None:
    insert_user("carol")
    credits.adjust(
        username="carol",
        balance=Balance.OPENHANDS,
        amount=Decimal(1),
        operation="demo:alice:openhands",
        actor="staff",
        reason="takes the operation",
    )
    with pytest.raises(OperationConflict):
        seed()
    assert [account.pk for account in Account.objects.all()] == ["carol"]
