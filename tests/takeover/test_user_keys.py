"""`manage.py take_over --user-keys`: active keys become keys of their accounts, revoked ones are refused."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.api_keys import list_keys
from accounts.authentication import find_account_by_key
from accounts.errors import BillingError
from accounts.keys import hash_key, mask_key
from accounts.models import Account
from accounts.registration import rotate_key
from accounts.takeover import Decisions
from support.models import AuditEntry
from support.takeover.run import Order, UserKeysAnswer, take_over
from tests.conftest import key_of
from tests.takeover.conftest import contents
from tests.takeover.database import old_database

ANSWERS = (
    *("--expiry", "later", "--referral", "leave", "--unmigrated", "block", "--without-migration", "keep"),
    *("--inactive", "enable", "--stop-old-prices"),
)


def run(answer: str, *more: str) -> str:
    out = StringIO()
    call_command("take_over", *ANSWERS, "--user-keys", answer, *more, stdout=out)
    return out.getvalue()


def inspect() -> dict[str, Any]:
    out = StringIO()
    with suppress(CommandError):
        call_command("inspect", "--json", stdout=out)
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


def answer_to(key: str) -> str:
    """Whose key it is here, or why it is refused."""
    try:
        return find_account_by_key(key).username
    except BillingError as error:
        return error.code


def insert(database: Any, *names: str) -> None:
    database["usersNew"].insert_many(
        {"_id": name, "apiKey": key_of(name), "creditsNew": 5.0, "isActive": True, "migration": True} for name in names
    )


def record(key: Any, name: Any = "alice", **fields: Any) -> dict[str, Any]:
    return {"_id": key, "name": name, "isActive": True, "tokensUsed": 0, "expiresAt": None, **fields}


def test_active_keys_work_revoked_ones_are_refused_and_a_second_run_changes_nothing(database: Any) -> None:
    made = old_database(size=100, now=datetime.now(UTC))
    made.insert(database)
    output = run("adopt", "--yes", "--actor", "staff:olga")
    kinds = {account["_id"]: made.kinds[account["_id"]] for account in made.accounts()}
    own = {account["apiKey"]: account["_id"] for account in made.accounts() if "apiKey" in account}
    for one in made.collections["user_keys"]:
        expected = one["name"] if one["isActive"] else "key_disabled"
        assert answer_to(one["_id"]) == (expected if one["name"] in kinds else "invalid_api_key")
    assert all(answer_to(friend["_id"]) == "invalid_api_key" for friend in made.collections["friend_keys"])
    for key, name in own.items():
        if kinds[name] == "user key revoked":
            assert answer_to(key) == "key_disabled"
    for name in (account["_id"] for account in made.accounts("user key extra")):
        assert [key.is_first for key in list_keys(Account.objects.get(pk=name))] == [True, False]
    without = sorted(account["_id"] for account in made.accounts("user key revoked"))
    assert f"{len(without)} accounts have no key that can be used, as theirs was revoked: give them a new key" in output
    assert ", ".join(without) in output
    assert "1 keys of user_keys name no account: left as they are, and refused" in output

    before = contents(database)
    again = run("adopt", "--yes")
    after = contents(database)
    assert {**after, "audit_entries": []} == {**before, "audit_entries": []}
    assert "become keys of their accounts" not in again
    assert ", ".join(without) in again
    report = inspect()
    found = {finding["name"]: finding for finding in report["findings"]}
    assert "user_keys" not in report["must_be_decided"]
    assert (found["without_usable_key"]["count"], found["without_usable_key"]["examples"]) == (len(without), without)
    assert "They are refused here" in found["friend_keys"]["advice"]

    for name in without:
        assert answer_to(rotate_key(username=name)) == name
    assert "no key that can be used" not in run("adopt", "--yes")


def test_each_account_that_changes_has_an_audit_entry_without_a_key(database: Any) -> None:
    insert(database, "alice", "bob")
    database["user_keys"].insert_many([record(key_of("extra")), record(key_of("bob"), "bob")])
    run("adopt", "--yes", "--actor", "staff:olga", "--reason", "Monday")
    (entry,) = AuditEntry.objects.filter(action="take over").exclude(target="")
    assert (entry.target, entry.actor, entry.reason) == ("alice", "staff:olga", "Monday")
    assert (entry.before, entry.after) == ({"keys": []}, {"keys": [f"{mask_key(key_of('extra'))} (in use)"]})
    (whole,) = AuditEntry.objects.filter(action="take over", target="")
    assert whole.after["decisions"]["user_keys"] == "adopt"
    assert whole.after["done"]["keys"]["new"] == 1
    assert key_of("extra") not in str(list(database["audit_entries"].find()))


def test_what_cannot_be_taken_is_told_and_left(database: Any) -> None:
    insert(database, "alice", "bob", "carol")
    database["usersNew"].update_one({"_id": "carol"}, {"$set": {"creditsNew": "five"}})
    odd = [
        record(key_of("odd-expiry"), expiresAt="soon"),
        record(key_of("bob")),
        record(7),
        record("short"),
        record(key_of("of-carol"), "carol"),
    ]
    nobody = [record(key_of("list"), ["alice"]), record(key_of("number"), 7), record(key_of("gone"), "gone")]
    revoked = [record(key_of("yes"), isActive="yes"), record(key_of("missing"))]
    del revoked[1]["isActive"]
    database["user_keys"].insert_many([*odd, *nobody, *revoked, record(key_of("good"))])
    before = list(database["user_keys"].find().sort("_id"))
    shown, output = run("adopt"), run("adopt", "--yes")
    for line in (
        "1 keys of user_keys become keys of their accounts",
        "2 keys of user_keys are revoked, and refused here",
        "3 keys of user_keys name no account",
        "6 keys of user_keys cannot be taken",  # One of them names one account and is the key of another.
    ):
        assert line in output
        assert line in shown
    assert list(database["user_keys"].find().sort("_id")) == before
    assert [answer_to(one["_id"]) for one in revoked] == ["key_disabled"] * 2
    assert [answer_to(one["_id"]) for one in nobody] == ["invalid_api_key"] * 3
    assert answer_to(key_of("good")) == "alice"
    assert answer_to(key_of("of-carol")) in ("account_needs_repair", "invalid_api_key")
    assert not any(key_of(name) in output for name in ("bob", "odd-expiry", "of-carol", "good"))
    assert "user_keys" not in inspect()["must_be_decided"]


def test_nothing_is_written_without_yes_and_what_is_shown_is_what_is_done(database: Any) -> None:
    old_database(size=100, now=datetime.now(UTC)).insert(database)
    before = contents(database)
    shown = run("adopt")
    assert contents(database) == before
    lines = [line for line in shown.splitlines() if "user_keys" in line and "documents of" not in line]
    assert lines
    done = run("adopt", "--yes").splitlines()
    assert [line for line in lines if line not in done] == []


def test_what_the_old_programs_write_later_is_asked_about_again(database: Any) -> None:
    insert(database, "alice")
    database["user_keys"].insert_many([record(key_of("alice")), record(key_of("extra"))])
    assert "user_keys" in inspect()["must_be_decided"]
    run("adopt", "--yes")
    assert "user_keys" not in inspect()["must_be_decided"]
    changes: list[Callable[[], Any]] = [
        lambda: database["user_keys"].insert_one(record(key_of("another"))),
        lambda: database["user_keys"].update_one({"_id": key_of("extra")}, {"$set": {"isActive": False}}),
        lambda: database["user_keys"].update_one({"_id": key_of("alice")}, {"$set": {"isActive": False}}),
    ]
    for change in changes:
        change()
        assert "user_keys" in inspect()["must_be_decided"]
        run("adopt", "--yes")
        assert "user_keys" not in inspect()["must_be_decided"]
    assert [answer_to(key_of(name)) for name in ("another", "extra", "alice")] == ["alice"] + ["key_disabled"] * 2


def test_those_that_are_left_are_judged_at_their_first_use(database: Any) -> None:
    insert(database, "alice", "bob")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    database["user_keys"].insert_many(
        [
            record(key_of("extra")),
            record(key_of("bob"), "bob", isActive=False),
            record(key_of("x"), expiresAt=yesterday),
        ]
    )
    run("leave", "--yes")
    assert database["usersNew"].count_documents({"keys": {"$exists": True}}) == 0
    assert "user_keys" not in inspect()["must_be_decided"]
    answers = [answer_to(key_of(name)) for name in ("extra", "bob", "x")]
    assert answers == ["alice", "key_disabled", "key_expired"]


class Interrupted(Exception):
    """Stands for a kill between two transactions."""


def test_a_run_that_is_interrupted_is_finished_by_the_next(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"user{number:03}" for number in range(250)]
    insert(database, *names)
    database["user_keys"].insert_many(record(key_of(f"extra-{name}"), name) for name in names)
    order = Order(Decisions(), actor="staff:olga", user_keys=UserKeysAnswer.ADOPT)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "user_keys" and done >= 100:
            raise Interrupted

    with pytest.raises(Interrupted):
        take_over(order, interrupt)
    adopted = {"keyHashes": {"$size": 1}}
    assert 0 < database["usersNew"].count_documents(adopted) < len(names)
    outcome = take_over(order, lambda what, done, total: None)
    assert database["usersNew"].count_documents(adopted) == len(names)
    assert outcome.keys is not None
    assert 0 < outcome.keys.new < len(names)
    assert AuditEntry.objects.filter(action="take over").exclude(target="").count() == len(names)


def test_a_key_that_was_used_before_is_not_adopted_twice(database: Any) -> None:
    insert(database, "alice")
    database["user_keys"].insert_one(record(key_of("extra")))
    assert answer_to(key_of("extra")) == "alice"
    assert "become keys" not in run("adopt", "--yes")
    assert connection.database["usersNew"].find_one()["keyHashes"] == [hash_key(key_of("extra"))]
