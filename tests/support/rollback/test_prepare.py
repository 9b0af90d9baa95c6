"""What `prepare_rollback` finds, and does only when it is told to: each kind of thing on its own."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from django.core.management import CommandError, call_command
from django.db import connection
from pymongo.errors import WriteError

from accounts import credits
from accounts.models import Account, LedgerEntry
from accounts.registration import create_account
from books.reconciliation import reconcile_account
from mongo.collections import collection_of
from payments import orders
from payments.models import Payment
from proxy.models import RequestLog
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.support.rollback.conftest import PROCESSES, Run, counts, document, everything
from tests.takeover import old_programs

SOON = {"expiresAt": datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)}
PAST = {"expiresAt": datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)}
ASKED = {"yes": True, "transfer": True, "expires_in": 7}


def processes_have(**told: Any) -> None:
    process = {"_id": "p1", "host": "web-1", "pid": 7, "requests": [], "beatAt": datetime.now(UTC)}
    connection.database[PROCESSES].replace_one({"_id": "p1"}, process | told, upsert=True)


# --- Nothing without being told ----------------------------------------------------------------------------------


def test_without_yes_nothing_is_written(insert_user: InsertUser, run: Run, tmp_path: Path) -> None:
    insert_user("alice", creditsNew=Decimal128("5"), credits=1, **SOON)
    insert_user("bob", creditsNew=3.5, holds={"r1": {"balance": "openhands", "amount": 0.5, "at": datetime.now(UTC)}})
    create_account(username="carol")
    connection.database["user_keys"].insert_one({"_id": "sk-of-carol-00000000", "name": "carol", "isActive": True})
    orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    before = everything()
    keys = tmp_path / "keys"
    report = run(transfer=True, expires_in=7, new_keys=keys, cancel_orders=True)
    assert everything() == before
    assert not keys.exists()
    assert (report["applied"], counts(report, "openhands"), counts(report, "orders")) == (False, (2, 2, 0), (1, 1, 0))
    assert report["rows"]["openhands"]["found_usd"] == "8.50000000"


def test_with_yes_alone_no_credits_move_and_all_is_told(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, credits=1, **SOON)
    insert_user("bob", creditsNew=3, credits=2)
    report = run(yes=True)
    assert (counts(report, "openhands"), report["rows"]["openhands"]["left_usd"]) == ((2, 0, 2), "8.00000000")
    assert (counts(report, "undated"), report["rows"]["undated"]["examples"]) == ((1, 0, 1), ["bob"])
    assert "--transfer" in report["rows"]["openhands"]["advice"]
    assert (document()["creditsNew"], document()["credits"]) == (5, 1)
    assert "expiresAt" not in document("bob")


def test_the_table_says_what_is_left_and_what_to_do(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, **SOON)
    out = StringIO()
    call_command("prepare_rollback", stdout=out)
    assert "OpenHands credits, transferred, 1 left ($5.00): the old programs do not see them" in out.getvalue()
    assert "Nothing was written: look at it, then add --yes." in out.getvalue()


# --- Only when all is stopped ------------------------------------------------------------------------------------


def test_while_a_process_serves_it_refuses(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, **SOON)
    processes_have(heardAt=datetime.now(UTC))
    with pytest.raises(CommandError, match="process 7 on web-1"):
        call_command("prepare_rollback", **ASKED)
    assert document()["creditsNew"] == 5
    assert run()["serving"][0].startswith("process 7 on web-1, heard 0 s ago")


def test_a_process_that_is_long_silent_is_dead_and_forgotten(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, **SOON)
    processes_have(heardAt=datetime.now(UTC) - timedelta(seconds=60))
    run(**ASKED)
    assert document()["credits"] == 5
    assert connection.database[PROCESSES].count_documents({"_id": "p1"}) == 0


def test_a_process_that_beats_again_after_an_outage_is_seen(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, **SOON)
    processes_have(heardAt=datetime.now(UTC) - timedelta(seconds=60))
    beat = {"$set": {"heardAt": datetime.now(UTC) + timedelta(seconds=1)}}
    timer = threading.Timer(0.2, connection.database[PROCESSES].update_one, ({"_id": "p1"}, beat))
    timer.start()
    with pytest.raises(CommandError, match="still served"):
        call_command("prepare_rollback", **ASKED)
    timer.join()
    assert document()["creditsNew"] == 5


# --- Money -------------------------------------------------------------------------------------------------------


def test_openhands_credits_are_transferred_by_the_ledger(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5.25, credits=1, **SOON)
    report = run(**ASKED)
    assert counts(report, "openhands") == (1, 1, 0)
    assert (document()["creditsNew"], document()["credits"]) == (0, 6.25)
    moved = {entry.balance: entry.amount for entry in LedgerEntry.objects.filter(kind="transfer")}
    assert moved == {"openhands": Decimal("-5.25"), "ohmygpt": Decimal("5.25")}
    assert [result.drift for result in reconcile_account("alice")] == [0, 0]
    entry = AuditEntry.objects.get(target="alice")
    assert (entry.actor, entry.action) == ("manage.py prepare_rollback", "prepare-rollback")
    assert (entry.before or {})["openhands"] == "$5.25"
    assert old_programs.log_in(connection.database, "alice", datetime.now()) == 6.25  # noqa: DTZ005


def test_credits_without_a_date_get_one_or_stay(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, credits=1, isActive=True)
    report = run(yes=True, transfer=True)
    assert (counts(report, "undated"), counts(report, "openhands")) == ((1, 0, 1), (1, 0, 1))
    assert (document()["creditsNew"], document()["credits"]) == (5, 1)
    run(**ASKED)
    left = document()["expiresAt"].replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert (document()["creditsNew"], document()["credits"]) == (0, 6)
    assert old_programs.log_in(connection.database, "alice", datetime.now(UTC).replace(tzinfo=None)) == 6


def test_credits_that_stay_here_get_no_date(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5)
    run(yes=True, expires_in=7)
    assert "expiresAt" not in document()


def test_expired_credits_are_taken_off_and_never_revived(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, credits=1, **PAST)
    report = run(**ASKED)
    assert (counts(report, "expired"), counts(report, "openhands")) == ((1, 1, 0), (0, 0, 0))
    assert (document()["creditsNew"], document()["credits"]) == (0, 0)
    assert document()["expiresAt"].replace(tzinfo=UTC) == PAST["expiresAt"]
    assert LedgerEntry.objects.filter(kind="expiry").count() == 2


def test_a_second_later_date_is_not_judged_here(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, credits=1, expiresAtNew=SOON["expiresAt"], **PAST)
    insert_user("bob", creditsNew=5, credits=1, expiresAtNew=SOON["expiresAt"], expiresAt=None)
    before = [document("alice"), document("bob")]
    report = run(**ASKED)
    assert (counts(report, "undecided"), report["rows"]["undecided"]["left_usd"]) == ((2, 0, 2), "12.00000000")
    for found, was in zip((document("alice"), document("bob")), before, strict=True):
        assert {name: found[name] for name in ("creditsNew", "credits", "expiresAt", "expiresAtNew")} == {
            name: was[name] for name in ("creditsNew", "credits", "expiresAt", "expiresAtNew")
        }


def test_credits_that_were_never_converted_are_not_moved(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=5, credits=1, migration=False, **SOON)
    insert_user("bob", credits=1, migration=False)
    report = run(**ASKED)
    assert (counts(report, "openhands"), counts(report, "undated")) == ((1, 0, 1), (1, 0, 1))
    assert (document()["creditsNew"], document()["credits"], document("bob").get("expiresAt")) == (5, 1, None)


def test_a_debt_stays_where_it_is(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=-5, credits=1, **SOON)
    assert counts(run(**ASKED), "debts") == (1, 0, 1)
    assert document()["creditsNew"] == -5


def test_holds_are_closed_as_the_sweep_does(insert_user: InsertUser, run: Run) -> None:
    hold = {"balance": "openhands", "amount": 0.5, "at": datetime.now(UTC), "process": "gone"}
    insert_user("alice", creditsNew=4, holds={"r1": hold, "r2": hold}, **SOON)
    log = {"_id": "r1", "userId": "alice", "creditType": "openhands", "creditsCost": 0.25, "hold": 0.5}
    collection_of(RequestLog).insert_one(log | {"createdAt": datetime.now(UTC)})
    report = run(**ASKED)
    assert counts(report, "holds") == (2, 2, 0)
    assert (document()["holds"], document()["credits"]) == ({}, 4.75)
    assert [result.drift for result in reconcile_account("alice")] == [0, 0]


def test_a_second_run_finds_nothing_left_to_do(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=Decimal128("5"), credits=1)
    insert_user("bob", creditsNew=2, **PAST)
    run(**ASKED)
    before = everything()
    report = run(**ASKED)
    assert everything() == before
    assert sum(row["done"] for row in report["rows"].values()) == 0


def test_what_fails_is_told_and_the_others_are_done(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", creditsNew=2_000_000, **SOON)  # More than one movement may move.
    insert_user("bob", creditsNew=2, **SOON)
    insert_user("carol", creditsNew="two", **SOON)
    report = run(**ASKED, fails=True)
    assert list(report["failures"]) == ["alice"]
    assert (document("bob")["credits"], document("alice")["creditsNew"]) == (2, 2_000_000)
    assert (counts(report, "repair"), report["rows"]["repair"]["examples"]) == ((1, 0, 1), ["carol"])


# --- Documents as the old programs read them ---------------------------------------------------------------------


def test_wide_numbers_become_doubles_of_the_same_value(insert_user: InsertUser, run: Run) -> None:
    wide = {name: Decimal128("1.234567894") for name in credits.NUMBERS}
    insert_user("alice", migration=True, isActive=True, **wide, **SOON)
    with pytest.raises(old_programs.Refused, match="float64"):
        old_programs.authenticate(connection.database, key_of("alice"))
    assert counts(run(yes=True), "numbers") == (1, 1, 0)
    assert {name: document()[name] for name in credits.NUMBERS} == dict.fromkeys(credits.NUMBERS, 1.23456789)
    old_programs.authenticate(connection.database, key_of("alice"))
    assert [result.drift for result in reconcile_account("alice")] == [0, 0]


def test_null_becomes_zero_so_that_a_purchase_there_is_not_lost(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", migration=True, isActive=True, credits=None, creditsNew=None, refCredits=None, **SOON)
    now = datetime.now(UTC).replace(tzinfo=None)
    memo = old_programs.order(connection.database, "alice", 25, now)
    with pytest.raises(WriteError, match="non-numeric"):
        old_programs.receive_webhook(connection.database, memo, now)
    assert counts(run(yes=True), "numbers") == (1, 1, 0)
    assert (document()["credits"], document()["creditsNew"], document()["refCredits"]) == (0.0, 0.0, 0.0)
    memo = old_programs.order(connection.database, "alice", 25, now)
    assert old_programs.receive_webhook(connection.database, memo, now)
    assert document()["credits"] == 25


def test_what_cannot_be_decoded_is_told(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", totalInputTokens="many", refCredits=[1])
    report = run(yes=True)
    assert (counts(report, "odd"), report["rows"]["odd"]["examples"]) == ((1, 0, 1), ["alice"])


def test_flags_that_are_missing_become_true_and_false_stays(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice", credits=1)
    insert_user("bob", credits=1, migration=False, isActive=False)
    insert_user("carol", credits=1, migration=None, isActive=None)
    report = run(yes=True)
    assert counts(report, "flags") == (4, 4, 0)
    assert (counts(report, "unmigrated"), counts(report, "disabled")) == ((1, 0, 1), (1, 0, 1))
    flags = {name: (document(name)["migration"], document(name)["isActive"]) for name in ("alice", "bob", "carol")}
    assert flags == {"alice": (True, True), "bob": (False, False), "carol": (True, True)}


def test_dates_of_a_later_version_only_move_forward(insert_user: InsertUser, run: Run) -> None:
    later = SOON["expiresAt"] + timedelta(days=1)
    insert_user("alice", credits=1, purchasedAt=PAST["expiresAt"], expiresAtNew=PAST["expiresAt"], **SOON)
    insert_user("bob", credits=1, expiresAtNew=later, **SOON)
    run(yes=True)
    assert document()["expiresAtNew"] == document()["expiresAt"]
    assert document()["purchasedAtNew"] == document()["purchasedAt"]
    assert document("bob")["expiresAtNew"].replace(tzinfo=UTC) == later


def test_payments_have_doubles(insert_user: InsertUser, run: Run) -> None:
    payment = {"userId": "alice", "credits": Decimal128("20"), "amount": Decimal128("50000"), "status": "success"}
    connection.database["payments"].insert_one({"_id": ObjectId(), **payment})
    assert counts(run(yes=True), "payments") == (1, 1, 0)
    found = connection.database["payments"].find_one({}, {"_id": 0})
    assert found == payment | {"credits": 20.0, "amount": 50000.0}


def test_open_orders_are_listed_and_cancelled_only_when_asked(insert_user: InsertUser, run: Run) -> None:
    insert_user("alice")
    order = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    old_programs.order(connection.database, "alice", 20, datetime.now(UTC))
    report = run(yes=True)
    assert counts(report, "orders") == (1, 0, 1)
    assert report["open_orders"] == [{"code": order.order_code, "account": "alice", "amount": "50000.0"}]
    assert not old_programs.receive_webhook(connection.database, str(order.order_code), datetime.now(UTC))
    run(yes=True, cancel_orders=True)
    assert Payment.objects.get(pk=order.pk).status == "failed"
    assert AuditEntry.objects.filter(target=order.order_code).count() == 1
    assert Payment.objects.filter(status="pending").count() == 1
