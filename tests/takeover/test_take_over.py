"""`manage.py take_over`: what becomes of each kind of account, against a plain model of the rules."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import credits
from accounts.expiry import sweep_expired_accounts
from accounts.models import LedgerEntry
from accounts.registration import create_account
from accounts.takeover import Decisions, Referral, Unmigrated
from books.reconciliation import reconcile_all
from support.models import AuditEntry
from support.takeover.run import Order, Prices, UserKeysAnswer, take_over
from tests.factories import InThreads
from tests.processes import wait_for
from tests.serving import ROOT
from tests.takeover.conftest import contents
from tests.takeover.database import OldDatabase, old_database
from tests.takeover.model import CONVERTING, GENEROUS, STRICT, UNREADABLE, expected, found, options_of, usd

SIZE = 100


@pytest.fixture
def made(database: Any) -> OldDatabase:
    made = old_database(size=SIZE, now=datetime.now(UTC).replace(microsecond=0))
    made.insert(database)
    return made


def run(decisions: Decisions, *more: str) -> str:
    out = StringIO()
    call_command("take_over", *options_of(decisions), "--user-keys", "leave", "--stop-old-prices", *more, stdout=out)
    return out.getvalue()


def check_against_the_model(database: Any, made: OldDatabase, decisions: Decisions) -> None:
    now = datetime.now(UTC)
    stored = {account["_id"]: account for account in database["usersNew"].find()}
    for account in made.accounts():
        kind = made.kinds[account["_id"]]
        after = stored[account["_id"]]
        if kind in UNREADABLE:
            assert after == next(iter(after_insertion(account)))
            continue
        if kind == "referral as text":
            assert (after["refCredits"], after["credits"]) == ("5", account["credits"])
            continue
        assert found(after) == expected(account, decisions, now), kind
        untouched = account.keys() - {"credits", "refCredits", "expiresAt", "migration", "isActive"}
        assert {name: after[name] for name in untouched} == next(iter(after_insertion(account, *untouched)))


def after_insertion(account: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    """The document as the driver returns it: times without a zone."""
    chosen = names or tuple(account)
    values = {name: account[name] for name in chosen}
    return [
        {name: value.replace(tzinfo=None) if isinstance(value, datetime) else value for name, value in values.items()}
    ]


def check_the_books(database: Any, made: OldDatabase) -> None:
    results = list(reconcile_all())
    assert sum(not isinstance(result, list) for result in results) == sum(
        kind in UNREADABLE for kind in made.kinds.values()
    )
    assert all(one.drift == 0 for result in results if isinstance(result, list) for one in result)
    entries = list(LedgerEntry.objects.values_list("operation", "balance", "kind"))
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize("decisions", [GENEROUS, STRICT, CONVERTING], ids=["generous", "strict", "converting"])
def test_no_customer_gains_or_loses_a_cent_and_a_second_run_changes_nothing(
    database: Any, made: OldDatabase, decisions: Decisions
) -> None:
    output = run(decisions, "--yes", "--actor", "staff:olga", "--reason", "Monday")
    assert output.count("Done:") == 1
    check_against_the_model(database, made, decisions)
    openings = LedgerEntry.objects.filter(kind="opening")
    readable = SIZE - sum(kind in UNREADABLE for kind in made.kinds.values())
    assert openings.count() == 2 * readable
    check_the_books(database, made)

    entry = AuditEntry.objects.get(action="take over", target="")
    assert (entry.actor, entry.reason, entry.after["decisions"]["expiry"]) == ("staff:olga", "Monday", "later")
    before = contents(database)
    run(decisions, "--yes")
    after = contents(database)
    assert AuditEntry.objects.filter(action="take over", target="").count() == 2
    assert {**after, "audit_entries": []} == {**before, "audit_entries": []}
    assert len(after["audit_entries"]) == len(before["audit_entries"]) + 1


def test_every_change_of_an_account_has_its_audit_entry_and_every_credit_its_ledger_entry(
    database: Any, made: OldDatabase
) -> None:
    run(GENEROUS, "--yes", "--actor", "staff:olga")
    stored = {account["_id"]: account for account in database["usersNew"].find()}
    audited = {entry.target: entry for entry in AuditEntry.objects.filter(action="take over").exclude(target="")}
    for account in made.accounts():
        before = next(iter(after_insertion(account)))
        assert (stored[account["_id"]] != before) == (account["_id"] in audited)
    (converted,) = [name for name, kind in made.kinds.items() if kind == "not migrated"][:1]
    entry = LedgerEntry.objects.get(account_id=converted, kind="adjustment")
    there = usd(next(account["credits"] for account in made.accounts() if account["_id"] == converted))
    assert entry.amount == round(there / Decimal("2.5"), 8) - there
    assert entry.actor == "staff:olga"
    assert "÷ 2.5" in entry.reason
    assert audited[converted].before["migration"] == "False"
    assert audited[converted].after["migration"] == "True"


def test_nothing_is_written_without_yes(database: Any, made: OldDatabase) -> None:
    before = contents(database)
    output = run(GENEROUS)
    assert contents(database) == before
    assert "Would be done:" in output
    assert "Nothing was written" in output
    referral = sum(usd(account["refCredits"]) for account in made.accounts("referral", "not migrated, referral"))
    assert f"${referral:.2f} of referral credits" in output


def test_what_is_undecided_is_refused_with_the_list(database: Any, made: OldDatabase) -> None:
    before = contents(database)
    with pytest.raises(CommandError) as refused:
        call_command("take_over", "--yes", "--expiry", "later", "--stop-old-prices", stdout=StringIO())
    assert contents(database) == before
    text = str(refused.value)
    for option in ("--unmigrated block or --unmigrated convert", "--without-migration keep", "--referral add"):
        assert option in text
    assert "--inactive disable or --inactive enable" in text
    assert "--user-keys adopt or --user-keys leave" in text
    assert "--expiry" not in text
    assert "--stop-old-prices" not in text


def test_inspect_asks_nothing_more_afterwards(database: Any, made: OldDatabase) -> None:
    for decisions in (STRICT, GENEROUS):
        run(decisions, "--yes")
        out = StringIO()
        call_command("inspect", "--json", stdout=out)
        assert json.loads(out.getvalue())["must_be_decided"] == []
    # What the replaced programs write later is asked about again; what was decided for good is not.
    database["usersNew"].update_one({"_id": "old00000"}, {"$set": {"expiresAtNew": datetime(2099, 1, 1, tzinfo=UTC)}})
    with pytest.raises(CommandError, match=r"decided: expiry\."):
        call_command("inspect", stdout=StringIO())


def test_nothing_expires_wrongly_before_and_all_that_has_expired_does_after(database: Any, made: OldDatabase) -> None:
    undecided = [name for name, kind in made.kinds.items() if kind.startswith("split") and "new null" not in kind]
    before = {account["_id"]: account for account in database["usersNew"].find({"_id": {"$in": undecided}})}
    sweep_expired_accounts()
    assert {account["_id"]: account for account in database["usersNew"].find({"_id": {"$in": undecided}})} == before

    run(GENEROUS, "--yes")
    sweep_expired_accounts()
    now = datetime.now(UTC)
    for account in made.accounts():
        kind = made.kinds[account["_id"]]
        if kind in UNREADABLE or "referral" in kind:
            continue
        model = expected(account, GENEROUS, now)
        after = found(database["usersNew"].find_one({"_id": account["_id"]}))
        is_over = model["expiresAt"] is not None and model["expiresAt"] <= now
        for name in ("credits", "creditsNew"):
            assert after[name] == (min(model[name], Decimal(0)) if is_over else model[name]), kind
    check_the_books(database, made)


class Interrupted(Exception):
    """Stands for a kill between two writes."""


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_interrupted_anywhere_is_finished_by_the_next(
    database: Any, made: OldDatabase, seed: int
) -> None:
    chance = random.Random(seed)
    order = Order(CONVERTING, actor="staff:olga", user_keys=UserKeysAnswer.LEAVE, prices=Prices.STOP)
    for _ in range(4):
        calls = chance.randrange(1, 40)

        def interrupt(what: str, done: int, total: int, left: list[int] = [calls]) -> None:  # noqa: B006
            left[0] -= 1
            if not left[0]:
                raise Interrupted

        with suppress(Interrupted):  # Perhaps it finishes before.
            take_over(order, interrupt, batch_size=5)
    take_over(order, lambda what, done, total: None)
    check_against_the_model(database, made, CONVERTING)
    check_the_books(database, made)


@pytest.mark.parametrize("changes", [1, 9])
def test_a_run_that_is_killed_is_finished_by_the_next(database: Any, made: OldDatabase, changes: int) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "manage.py",
            "take_over",
            *options_of(GENEROUS),
            "--user-keys",
            "leave",
            "--stop-old-prices",
            "--yes",
        ],
        cwd=ROOT,
        env={**os.environ, "DATABASE_NAME": connection.settings_dict["NAME"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        changed = AuditEntry.objects.filter(action="take over").exclude(target="")
        while changed.count() < changes and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait(timeout=30)
    assert changed.count() >= changes
    # The server ends the dead run's transaction in its own time: 20 s here, and as long as the next run is patient.
    status = connection.database.client.admin.command
    wait_for(lambda: status("serverStatus")["transactions"]["currentOpen"] == 0, 60)
    run(GENEROUS, "--yes")
    check_against_the_model(database, made, GENEROUS)
    check_the_books(database, made)


def test_two_runs_and_purchases_at_once_add_everything_once(database: Any, in_threads: InThreads) -> None:
    database["usersNew"].insert_one(
        {"_id": "alice", "credits": 10.0, "refCredits": 4.0, "migration": False, "isActive": True}
    )
    order = Order(CONVERTING, actor="staff:olga", prices=Prices.STOP)

    def act(index: int) -> None:
        if index % 2:
            take_over(order, lambda what, done, total: None)
        else:
            credits.top_up(username="alice", amount=Decimal(5), operation=f"payment:{index}", actor="sepay")

    in_threads(6, act)
    alice = database["usersNew"].find_one()
    assert (alice["credits"], alice["refCredits"], alice["creditsNew"], alice["migration"]) == (8.0, 0.0, 15.0, True)
    (results,) = reconcile_all()
    assert [one.drift for one in results] == [0, 0]


def test_referral_credits_of_a_blocked_account_wait_for_its_conversion(database: Any) -> None:
    database["usersNew"].insert_one({"_id": "alice", "credits": 10.0, "refCredits": 4.0, "migration": False})
    for decisions, there in (
        (Decisions(referral=Referral.ADD, unmigrated=Unmigrated.BLOCK), (10.0, 4.0)),
        (Decisions(referral=Referral.ADD, unmigrated=Unmigrated.CONVERT), (8.0, 0.0)),
    ):
        take_over(Order(decisions, actor="staff:olga"), lambda what, done, total: None)
        alice = database["usersNew"].find_one()
        assert (alice["credits"], alice["refCredits"]) == there


def test_credits_held_for_a_request_are_not_converted(database: Any) -> None:
    hold = {"balance": "ohmygpt", "amount": 2.0, "at": datetime.now(UTC), "process": "gone"}
    database["usersNew"].insert_one({"_id": "alice", "credits": 8.0, "migration": False, "holds": {"req_1": hold}})
    order = Order(Decisions(unmigrated=Unmigrated.CONVERT), actor="staff:olga")
    outcome = take_over(order, lambda what, done, total: None)
    assert sum(outcome.left.values()) == 1
    assert (database["usersNew"].find_one()["credits"], database["usersNew"].find_one()["migration"]) == (8.0, False)


def test_an_account_made_here_is_never_converted(database: Any) -> None:
    create_account(username="alice")
    database["usersNew"].update_one({"_id": "alice"}, {"$unset": {"migration": ""}, "$set": {"credits": 10.0}})
    take_over(Order(CONVERTING, actor="staff:olga"), lambda what, done, total: None)
    assert database["usersNew"].find_one()["credits"] == 10.0
