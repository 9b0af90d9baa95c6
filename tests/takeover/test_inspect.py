"""`manage.py inspect` on a database of the replaced system: it finds what is there, asks, and writes nothing."""

import json
from collections import Counter
from datetime import UTC, datetime
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command

from support.takeover.topics import TOPICS
from tests.takeover.conftest import Manage, contents
from tests.takeover.database import old_database

SIZE = 120


def inspect(*arguments: str) -> tuple[bool, str]:
    """Run it; whether something must be decided, and what it printed."""
    out = StringIO()
    try:
        call_command("inspect", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode == 1 and "Something must be decided" in str(error), out.getvalue()
    return False, out.getvalue()


def test_inspect_finds_every_kind_and_writes_nothing(database: Any) -> None:
    made = old_database(size=SIZE, now=datetime.now(UTC))
    made.insert(database)
    before = contents(database)
    must_decide, output = inspect("--json")
    assert must_decide
    assert contents(database) == before

    report = json.loads(output)
    found = {finding["name"]: finding for finding in report["findings"]}
    kinds = Counter(made.kinds.values())
    count = {name: finding["count"] for name, finding in found.items()}
    split = sum(number for kind, number in kinds.items() if kind.startswith("split") and "new" in kind.split(", ")[-1])
    assert report["accounts"] == SIZE
    assert count["expiry"] == split - kinds["split, new null"]
    assert count["unmigrated"] == sum(number for kind, number in kinds.items() if kind.startswith("not migrated"))
    assert count["without_migration"] == kinds["without migration"] + kinds["bare"]
    assert count["referral"] == kinds["not migrated, referral"] + kinds["referral"] + kinds["referral, expired"]
    no_status = ("without isActive", "isActive null", "isActive 0", "bare")
    assert count["inactive"] == sum(kinds[kind] for kind in no_status)
    assert count["needs_repair"] == sum(kinds[kind] for kind in ("isActive text", "isActive 0", "text number"))
    assert count["user_keys"] == count["user_keys_revoked"] + count["user_keys_extra"]
    assert count["user_keys_extra"] == kinds["user key extra"]
    assert count["user_keys_revoked"] == kinds["user key revoked"] + kinds["user key extra, revoked"]
    assert count["user_keys_unknown"] == 1
    assert count["friend_keys"] == kinds["friend key"]
    assert count["negative"] == kinds["negative"]
    assert count["disabled"] == kinds["inactive"]
    assert count["plain_keys"] == SIZE - kinds["without a key"]
    assert count["without_key"] == kinds["without a key"]
    assert count["prices"] == 4
    assert count["pending_orders"] == database["payments"].count_documents({"status": "pending"})
    assert "indexes_added" not in count  # The database of the tests has them.
    assert set(found["unknown"]["examples"]) == {f"{name} {kinds['unknown field']}" for name in ("note", "tags")}
    assert set(report["must_be_decided"]) == {
        "expiry",
        "unmigrated",
        "without_migration",
        "referral",
        "inactive",
        "user_keys",
        "prices",
    }
    keys = [document["_id"] for document in made.collections["user_keys"]]
    keys += [account["apiKey"] for account in made.accounts() if "apiKey" in account]
    assert not any(key in output for key in keys)


def test_inspect_says_for_each_decision_what_to_type(database: Any) -> None:
    old_database(size=60, now=datetime.now(UTC)).insert(database)
    must_decide, output = inspect("--without-requests")
    assert must_decide
    for topic in TOPICS:
        for option in topic.answers:
            assert option in output


def test_inspect_has_nothing_to_ask_of_an_empty_database(database: Any) -> None:
    must_decide, output = inspect("--json")
    report = json.loads(output)
    assert (must_decide, report["accounts"], report["must_be_decided"]) == (False, 0, [])


def test_a_key_of_two_accounts_must_be_decided(database: Any) -> None:
    key = "sk-trollllm-" + "a" * 64
    database["usersNew"].insert_many([{"_id": name, "apiKey": key, "migration": True} for name in ("alice", "bob")])
    report = json.loads(inspect("--json")[1])
    assert "same_api_key" in report["must_be_decided"]
    assert key not in json.dumps(report)


def test_the_indexes_that_inspect_names_are_those_that_migrate_adds(old: Any, manage: Manage) -> None:
    made = old_database(size=60)
    made.insert(old)
    made.create_indexes(old)
    documents = contents(old)
    report = json.loads(manage("inspect", "--json").stdout)
    (added,) = [finding["examples"] for finding in report["findings"] if finding["name"] == "indexes_added"]
    (dropped,) = [finding["examples"] for finding in report["findings"] if finding["name"] == "indexes_dropped"]
    assert contents(old) == documents
    before = _indexes(old)
    assert (len(added) > 40, dropped) == (True, ["model_pricing.modelId_1"])
    assert manage("migrate", "--noinput").returncode == 0
    after = {name for name in _indexes(old) if not name.startswith("django_migrations.")}
    assert set(added) == after - before
    assert set(dropped) == before - after


def _indexes(database: Any) -> set[str]:
    return {
        f"{name}.{index}"
        for name in database.list_collection_names()
        for index in database[name].index_information()
        if index != "_id_"
    }
