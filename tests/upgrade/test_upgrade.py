"""A database of the version before (commit f4687af) runs `manage.py migrate` of this one, and goes on.

`before_the_house.json.gz` is what that version left after a purchase, a transfer, requests of which one was killed
between its record and its settlement and one before its record, an event in review, staff's work and a reconciliation:
all documents and indexes, as canonical extended JSON.
"""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from django.db import connection

from benchmarks.browser import Browser
from development.fake_upstream.server import FakeUpstream
from tests.conftest import upstream_environment
from tests.proxy.requests import chat
from tests.serving import ROOT, serve

NAME = "test_upgrade"
DUMP = Path(__file__).parent / "before_the_house.json.gz"
ALICE_KEY = "sk-trollllm-" + "a" * 64
NO_OLD_HOLDS = {
    "REQUEST_MAX_SECONDS": "0.1",
    "UPSTREAM_READ_TIMEOUT_SECONDS": "0.1",
    "CLIENT_TIMEOUT_SECONDS": "0.1",
    "CLIENT_BYTES_PER_SECOND": "10000000",
    "RECORD_PATIENCE_SECONDS": "0.01",
    "HOLD_MAX_AGE_SECONDS": "0.5",
}
"""For a sweep that takes every hold for abandoned."""


@pytest.fixture
def before(db: None) -> Iterator[Any]:
    """The database of the version before, whose credits are valid for another week."""
    database = connection.database.client[NAME]
    database.client.drop_database(NAME)
    dump = json_util.loads(gzip.decompress(DUMP.read_bytes()).decode())
    for name, documents in dump["collections"].items():
        database.create_collection(name)
        if documents:
            database[name].insert_many(documents)
        for index in dump["indexes"][name]:
            options = {option: value for option, value in index.items() if option != "key"}
            database[name].create_index(list(index["key"].items()), **options)
    in_a_week = datetime.now(UTC) + timedelta(days=7)
    database["usersNew"].update_many({"expiresAt": {"$ne": None}}, {"$set": {"expiresAt": in_a_week}})
    yield database
    database.client.drop_database(NAME)


def manage(*arguments: str, **environment: str) -> str:
    """Run a command of this version on that database; returns what it printed."""
    result = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_NAME": NAME, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def read_all(database: Any) -> dict[str, list[dict[str, Any]]]:
    names = sorted(database.list_collection_names())
    return {name: list(database[name].find().sort("_id")) for name in names if name != "django_migrations"}


NEW_INDEXES = {
    "usersNew": {"under_review", "key_hashes_lookup", "key_hashes_unique"},
    "payments": {
        "payment_charge",
        "staff_amount_time",
        "staff_received_time",
        "staff_credits_time",
        "staff_flag_time",
        "staff_provider_time",
        "staff_method_time",
        "staff_bonus_time",
    },
    "webhook_events": {
        "webhook_event_source",
        "webhook_event_money",
        "webhook_event_reference",
        "staff_reference_time",
        "webhook_event_needed",
        "webhook_event_gave_up",
    },
    "payment_reversals": {"reversal_time"},
    "idempotent_requests": {"idempotent_request_id"},
    "request_logs": {"log_account_cost", "staff_failed_code", "staff_uncollected"},
    "audit_entries": {"audit_thing_time"},
}
"""What versions after the dump's added."""
NEW_RIGHTS = {
    "django_content_type": {"refusedrequest", "refusalcount", "releasedrole", "savedfilter"},
    "auth_permission": {"view_refusedrequest", "view_margin"},
}
"""The models that they added, and the rights: to see what was refused for every role, the margin for the new one."""
ROLES = ("Billing admin", "Owner", "Support", "Viewer")


def test_migrate_changes_no_document_and_no_index(before: Any) -> None:
    documents = read_all(before)
    indexes = {name: before[name].index_information() for name in documents}
    said = manage("migrate", "--noinput")
    after = read_all(before)
    added = {name: [one for one in found if one not in documents.get(name, [])] for name, found in after.items()}
    assert {name: [one for one in found if one not in added[name]] for name, found in after.items()} == {
        name: documents.get(name, []) for name in after
    }
    assert documents.keys() <= after.keys()
    named = {name: {one.get("model") or one.get("codename") for one in found} for name, found in added.items() if found}
    assert [named.pop(name) for name in ("auth_group_permissions", "auth_group", "released_roles")] == [{None}] * 3
    assert named.pop("audit_entries") == {None}
    assert named == NEW_RIGHTS
    rights = {one["codename"]: one["_id"] for one in added["auth_permission"]}
    (owner,) = added["auth_group"]
    granted = {(one["group_id"], one["permission_id"]) for one in added["auth_group_permissions"]}
    seen = {(role["_id"], rights["view_refusedrequest"]) for role in documents["auth_group"]}
    assert {one for one in granted if one[0] != owner["_id"]} == seen
    assert (owner["_id"], rights["view_margin"]) in granted
    assert "Role Support: gains proxy.view_refusedrequest\n" in said
    assert "Role Owner: made with accounts.view_account, " in said
    told = {one["target"]: one["after"]["gained"] for one in added["audit_entries"]}
    assert sorted(told) == sorted(ROLES) == sorted(one["_id"] for one in added["released_roles"])
    assert told["Viewer"] == ["proxy.view_refusedrequest"]
    for name, old in indexes.items():
        now = before[name].index_information()
        assert {index: now[index] for index in old} == old
        assert now.keys() - old.keys() == NEW_INDEXES.get(name, set())
    assert "No migrations to apply" in manage("migrate", "--noinput")


def test_the_platform_goes_on_with_it(before: Any, upstream: FakeUpstream, tmp_path: Path) -> None:
    manage("migrate", "--noinput")
    assert "holds closed: 2" in manage("sweep", **NO_OLD_HOLDS)
    alice = before["usersNew"].find_one({"_id": "alice"})
    assert alice["holds"] == {}
    recorded = before["request_logs"].find({"userId": "alice"})
    assert alice["creditsNewUsed"] == pytest.approx(sum(log["creditsCost"] for log in recorded), abs=1e-9)
    assert "0 with drift" in manage("reconcile")

    upstream.clear()
    with serve(tmp_path, {**upstream_environment(upstream), "DATABASE_NAME": NAME}) as server:
        answer = server.http.request(
            "POST",
            f"{server.openhands}/v1/chat/completions",
            json=chat("Hello"),
            headers={"Authorization": f"Bearer {ALICE_KEY}"},
        )
        assert answer.status == 200, answer.data
        staff = Browser(server.ports["SITE_PORT"])
        staff.log_in("admin", "of-the-version-before")
        for page in ("", "accounts/account/alice/change/", "payments/webhookevent/", "support/auditentry/"):
            staff.open(f"/admin/{page}")
    after = before["usersNew"].find_one({"_id": "alice"})
    assert after["creditsNew"] == pytest.approx(alice["creditsNew"] - float(answer.headers["X-Credits-Cost"]), abs=1e-9)
    assert "0 with drift" in manage("reconcile")
