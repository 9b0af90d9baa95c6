"""What `prepare_rollback` does with keys: each works there as it does here, or is listed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import credits
from accounts.api_keys import create_key, delete_key, rotate_further_key, set_key_disabled, update_key
from accounts.authentication import find_account_by_key
from accounts.errors import BillingError
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.keys import hash_key, key_id
from accounts.models import Balance
from accounts.registration import create_account, hash_stored_key, rotate_key
from accounts.user_keys import adopt_records, record_batches
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.support.rollback.conftest import Run, counts, document, everything
from tests.takeover import old_programs


def give_user_key(username: str, key: str, **fields: Any) -> None:
    connection.database["user_keys"].insert_one({"_id": key, "name": username, "isActive": True, **fields})


def user_key(key: str) -> Any:
    return connection.database["user_keys"].find_one({"_id": key})


def bills(key: str) -> str:
    return str(old_programs.authenticate(connection.database, key)["_id"])


def test_a_hashed_key_that_user_keys_has_is_given_back(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", credits=1)
    give_user_key("alice", key_of("alice"))
    hash_stored_key(username="alice")
    report = run(yes=True)
    assert (counts(report, "restored_keys"), counts(report, "hashed_keys")) == ((1, 1, 0), (0, 0, 0))
    assert document()["apiKey"] == key_of("alice")
    assert bills(key_of("alice")) == "alice"
    credits.check_may_hold(api_key=key_of("alice"), balance=Balance.OHMYGPT, minimum=Decimal(1))


def test_a_key_that_is_only_hashed_is_listed_or_replaced(insert_user: InsertUser, run: Run, tmp_path: Path) -> None:
    _, key = create_account(username="alice")
    credits.top_up(username="alice", amount=Decimal(20), operation="p", actor="sepay")
    report = run(yes=True)
    assert (counts(report, "hashed_keys"), report["rows"]["hashed_keys"]["left_usd"]) == ((1, 0, 1), "20.00000000")
    assert document()["apiKeyHash"] == hash_key(key)
    file = tmp_path / "keys"
    assert counts(run(yes=True, new_keys=file), "hashed_keys") == (1, 1, 0)
    assert file.stat().st_mode & 0o777 == 0o600
    name, new = file.read_text().strip().split("\t")
    assert (name, document()["apiKey"], user_key(new)["name"]) == ("alice", new, "alice")
    assert bills(new) == "alice"
    with pytest.raises(old_programs.Refused):
        bills(key)
    credits.check_may_hold(api_key=new, balance=Balance.OPENHANDS, minimum=Decimal(1))
    assert new not in str(list(AuditEntry.objects.values_list("before", "after", "reason", "target")))
    run(yes=True, new_keys=file)
    assert len(file.read_text().splitlines()) == 1


def test_a_file_that_others_can_read_is_refused(insert_user: InsertUser, tmp_path: Path) -> None:
    create_account(username="alice")
    file = tmp_path / "keys"
    file.touch(mode=0o644)
    with pytest.raises(CommandError, match="chmod 600"):
        call_command("prepare_rollback", yes=True, new_keys=file)
    assert "apiKey" not in document()


def test_a_replaced_key_does_not_work_there_either(insert_user: InsertUser, run: Run, tmp_path: Path) -> None:
    insert_user("alice", credits=1, migration=True, isActive=True)
    give_user_key("alice", key_of("alice"))
    rotate_key(username="alice")
    assert bills(key_of("alice")) == "alice", "until then the old proxy takes it"
    report = run(yes=True, new_keys=tmp_path / "keys")
    assert counts(report, "replaced_keys") == (1, 1, 0)
    with pytest.raises(old_programs.Refused, match="revoked"):
        bills(key_of("alice"))
    assert bills((tmp_path / "keys").read_text().split()[1]) == "alice"


@pytest.mark.parametrize("mark", ["isRetired", "isDisabled"])
def test_a_key_that_was_disabled_or_deleted_here_does_not_work_there(
    insert_user: InsertUser, run: Run, mark: str
) -> None:
    key = "sk-trollllm-" + "e" * 64
    entry = {"hash": hash_key(key), mark: True}
    keys = {hash_key(key)[:24]: entry}
    insert_user("alice", credits=1, migration=True, isActive=True, keys=keys, keyHashes=[hash_key(key)])
    give_user_key("alice", key)
    give_user_key("alice", key_of("alice"))
    assert counts(run(yes=True), "replaced_keys") == (1, 1, 0)
    with pytest.raises(old_programs.Refused, match="revoked"):
        bills(key)
    assert bills(key_of("alice")) == "alice"


def test_further_keys_are_told(insert_user: InsertUser, run: Run) -> None:
    made, adopted = {"hash": "a" * 64}, {"hash": "b" * 64, "isAdopted": True}
    insert_user("alice", keys={"a" * 24: made}, keyHashes=["a" * 64])
    insert_user("bob", keys={"b" * 24: adopted}, keyHashes=["b" * 64])
    report = run()
    assert report["rows"]["further_keys"]["examples"] == ["alice"]


def test_other_keys_are_told_and_left(insert_user: InsertUser, run: Run) -> None:
    for name in ("alice", "bob", "carol"):
        insert_user(name, credits=1, migration=True, isActive=True)
    give_user_key("alice", "sk-trollllm-extra")
    give_user_key("bob", key_of("bob"), isActive=False)
    give_user_key("alice", key_of("carol"))
    before = list(connection.database["user_keys"].find())
    report = run(yes=True)
    assert list(connection.database["user_keys"].find()) == before
    assert (counts(report, "extra_keys"), counts(report, "revoked_keys")) == ((2, 2, 0), (1, 0, 1))
    assert report["rows"]["foreign_keys"]["examples"] == ["carol (given to alice)"]


FURTHER = "sk-trollllm-" + "f" * 64


def id_of(key: str) -> str:
    return key_id(hash_key(key))


def works_here(key: str) -> bool:
    try:
        return bool(find_account_by_key(key))
    except BillingError:
        return False


def works_there(key: str) -> bool:
    try:
        return bool(bills(key))
    except old_programs.Refused:
        return False


def expire_soon(username: str, wanted_id: str) -> None:
    later = datetime.now(UTC) + timedelta(seconds=1)
    update_key(username=username, wanted_id=wanted_id, expires_at=later)
    connection.database["usersNew"].update_one(
        {"_id": username}, {"$set": {f"keys.{wanted_id}.expiresAt": datetime.now(UTC) - timedelta(seconds=1)}}
    )


CHANGES: dict[str, Callable[[str], object]] = {
    "disabled": lambda wanted_id: set_key_disabled(username="alice", wanted_id=wanted_id, is_disabled=True),
    "deleted": lambda wanted_id: delete_key(username="alice", wanted_id=wanted_id),
    "replaced": lambda wanted_id: rotate_further_key(username="alice", wanted_id=wanted_id),
    "expired": lambda wanted_id: expire_soon("alice", wanted_id),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_key_that_was_adopted_works_there_only_as_long_as_here(
    insert_user: InsertUser, run: Run, change: str
) -> None:
    insert_user("alice", credits=1, migration=True, isActive=True)
    give_user_key("alice", key_of("alice"))
    give_user_key("alice", FURTHER)
    assert works_here(FURTHER)
    report = run(yes=True)
    assert counts(report, "extra_keys") == (1, 1, 0)
    assert works_there(FURTHER)
    CHANGES[change](id_of(FURTHER))
    assert not works_here(FURTHER)
    assert works_there(FURTHER), "until then the old proxy takes it"
    assert counts(run(yes=True), "replaced_keys") == (1, 1, 0)
    assert not works_there(FURTHER)
    assert works_there(key_of("alice"))


@pytest.mark.parametrize("has_document", [True, False])
@pytest.mark.parametrize("change", ["disabled", "expired"])
def test_an_own_key_that_is_not_valid_here_does_not_work_there_either(
    insert_user: InsertUser, run: Run, change: str, has_document: bool
) -> None:
    insert_user("alice", credits=1, migration=True, isActive=True)
    if has_document:
        give_user_key("alice", key_of("alice"))
    if change == "disabled":
        set_key_disabled(username="alice", wanted_id=id_of(key_of("alice")), is_disabled=True)
    else:
        expire_soon("alice", id_of(key_of("alice")))
    assert (works_here(key_of("alice")), works_there(key_of("alice"))) == (False, True)
    assert counts(run(), "replaced_keys" if has_document else "disabled_keys") == (1, 1, 0)
    run(yes=True)
    assert not works_there(key_of("alice"))
    before = everything()
    assert sum(row["done"] for row in run(yes=True)["rows"].values()) == 0
    assert everything() == before


def test_what_was_made_inactive_there_is_judged_by_its_entry_after_coming_back(
    insert_user: InsertUser, run: Run
) -> None:
    insert_user("alice", credits=1, migration=True, isActive=True)
    give_user_key("alice", FURTHER)
    assert works_here(FURTHER)
    set_key_disabled(username="alice", wanted_id=id_of(FURTHER), is_disabled=True)
    run(yes=True)
    set_key_disabled(username="alice", wanted_id=id_of(FURTHER), is_disabled=False)
    for batch in record_batches(100):
        adopt_records(batch)
    assert works_here(FURTHER)
    assert counts(run(yes=True), "revoked_keys") == (1, 0, 1)


def test_further_keys_and_limits_are_listed_with_their_names(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", credits=1, migration=True, isActive=True)
    create_key(username="alice", name="laptop", limits=Limits(budget=Budget(Decimal(5), BudgetPeriod.DAY)))
    create_key(username="alice", name="old", new_key=FURTHER)
    set_key_disabled(username="alice", wanted_id=id_of(FURTHER), is_disabled=True)
    update_key(username="alice", wanted_id=id_of(key_of("alice")), models=("gpt-4o",))
    report = run(yes=True)
    assert (counts(report, "further_keys"), counts(report, "limited_keys")) == ((1, 0, 1), (1, 0, 1))
    ((laptop,), limited) = report["further_keys"], report["limited_keys"]
    assert (laptop["account"], laptop["name"]) == ("alice", "laptop")
    by_name = {one["name"]: one for one in limited}
    assert by_name["laptop"]["budget"] == "5.00000000 a day"
    assert by_name["First key"]["models"] == "gpt-4o"
    assert "--json lists them" in report["rows"]["further_keys"]["advice"]


def test_a_key_of_two_accounts_is_left_and_told(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", credits=1, migration=True, isActive=True)
    insert_user("bob", credits=1, migration=True, isActive=True)
    hash_stored_key(username="bob")
    give_user_key("alice", key_of("bob"))
    report = run(yes=True)
    assert report["rows"]["foreign_keys"]["examples"] == ["bob (given to alice)"]
    assert user_key(key_of("bob"))["isActive"] is True
