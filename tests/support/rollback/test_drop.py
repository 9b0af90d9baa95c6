"""What `drop_new_fields` destroys: shown first, with an entry in the ledger for each balance, and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import credits
from accounts.errors import InsufficientCredits
from accounts.models import Balance, LedgerEntry
from accounts.registration import create_account
from books.reconciliation import reconcile_account
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.support.rollback.conftest import PROCESSES

PAST = datetime.now(UTC) - timedelta(hours=1)


def run(**options: Any) -> dict[str, Any]:
    out = StringIO()
    call_command("drop_new_fields", json=True, stdout=out, **options)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def document(username: str = "alice") -> dict[str, Any]:
    found: dict[str, Any] = connection.database["usersNew"].find_one({"_id": username})
    return found


def test_without_yes_it_shows_the_sums_and_writes_nothing(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5.5, tokensUserNew=7, credits=1)
    insert_user("bob", creditsNew=0, credits=1)
    before = [document("alice"), document("bob")]
    report = run()
    assert [document("alice"), document("bob")] == before
    assert LedgerEntry.objects.count() == AuditEntry.objects.count() == 0
    found = report["rows"]["credits"]
    assert (report["applied"], found["found"], found["found_usd"]) == (False, 1, "5.50000000")
    assert report["rows"]["empty"]["done"] == 2


def test_each_balance_goes_by_the_ledger_and_the_rest_stays(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5.5, tokensUserNew=7, creditsNewUsed=1, credits=1, note="kept")
    insert_user("bob", creditsNew=-2, credits=1)
    insert_user("carol", creditsNew=3, expiresAt=PAST)
    insert_user("dave", creditsNew=0, tokensUserNew=0)
    run(yes=True)
    kept = {"_id": "alice", "apiKey": key_of("alice"), "creditsNewUsed": 1, "credits": 1, "note": "kept"}
    assert document() == kept
    assert all("creditsNew" not in document(name) for name in ("bob", "carol", "dave"))
    entries = LedgerEntry.objects.filter(kind="adjustment")
    assert {entry.account_id: entry.amount for entry in entries} == {"alice": Decimal("-5.5"), "bob": 2, "carol": -3}
    for name in ("alice", "bob", "carol", "dave"):
        assert [result.drift for result in reconcile_account(name)] == [0, 0]
    assert {entry.target for entry in AuditEntry.objects.all()} == {"alice", "bob", "carol", "accounts"}
    assert (AuditEntry.objects.get(target="alice").before or {})["openhands"] == "$5.50"


def test_a_second_run_finds_nothing(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5.5)
    run(yes=True, other_fields=True)
    before = (document(), LedgerEntry.objects.count(), AuditEntry.objects.count())
    report = run(yes=True, other_fields=True)
    assert (document(), LedgerEntry.objects.count(), AuditEntry.objects.count()) == before
    assert sum(row["done"] for row in report["rows"].values()) == 0


def test_other_fields_go_but_not_a_key_that_is_only_hashed(insert_user: InsertUser) -> None:
    _, key = create_account(username="alice")
    insert_user("bob", creditsNew=1, creditsNewUsed=2, requestsPerMinute=5, heldSince=None, holds={}, credits=3)
    credits.check_may_hold(api_key=key_of("bob"), balance=Balance.OHMYGPT, minimum=Decimal(1))  # Adopts its key.
    assert "apiKeyHash" in document("bob")
    report = run(yes=True, other_fields=True)
    assert document("bob") == {"_id": "bob", "apiKey": key_of("bob"), "credits": 3}
    assert "apiKeyHash" in document("alice")
    assert report["rows"]["hashed"]["left"] == 1
    with pytest.raises(InsufficientCredits, match="insufficient"):
        credits.check_may_hold(api_key=key, balance=Balance.OHMYGPT, minimum=Decimal(1))


def test_an_account_with_an_open_hold_or_odd_numbers_is_left(insert_user: InsertUser) -> None:
    hold = {"balance": "openhands", "amount": 0.5, "at": datetime.now(UTC)}
    insert_user("alice", creditsNew=5, holds={"r1": hold})
    insert_user("bob", creditsNew="five")
    insert_user("carol", creditsNew=1)
    insert_user("dave", creditsNew=0, heldSince=hold["at"], holds={"r1": hold})
    dave = document("dave")
    shown = run()["rows"]["credits"]
    assert (shown["done"], shown["left"], shown["examples"]) == (1, 1, ["alice"])
    out = StringIO()
    with pytest.raises(CommandError, match="Not all of it"):
        call_command("drop_new_fields", yes=True, other_fields=True, stdout=out)
    assert "prepare_rollback first" in out.getvalue()
    assert (document()["creditsNew"], document()["holds"]["r1"]["amount"]) == (5, 0.5)
    assert document("bob")["creditsNew"] == "five"
    assert "creditsNew" not in document("carol")
    assert document("dave") == dave
    assert "Accounts with open holds, left as they are, 2 left" in out.getvalue()


def test_while_a_process_serves_it_refuses(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    told = {"_id": "p1", "host": "web-1", "pid": 7, "requests": [], "heardAt": datetime.now(UTC)}
    connection.database[PROCESSES].insert_one(told)
    with pytest.raises(CommandError, match="process 7 on web-1"):
        call_command("drop_new_fields", yes=True)
    assert document()["creditsNew"] == 5
