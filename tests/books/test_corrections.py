"""What other programs moved is accepted: the ledger learns of it, the customer's balance stays."""

import re
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from bson import ObjectId
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import credits
from accounts.models import Balance, LedgerEntry
from books.corrections import accept_drift, read_drift
from books.reconciliation import read_last_run, reconcile_account
from books.timeline import read_timeline
from mongo.collections import collection_of
from proxy.models import RequestLog
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import text_of


@pytest.fixture
def opens_ledger() -> bool:
    """The books are open before other programs come."""
    return True


def drifts(username: str = "alice") -> list[Decimal]:
    return [result.drift for result in reconcile_account(username)]


def accept(username: str = "alice") -> list[Decimal]:
    found = accept_drift(username=username, actor="staff:sam", reason="The old proxy ran on Monday")
    return [drift.amount for drift in found]


def spend(cost: str, request_id: str, *, settles: bool = True) -> None:
    amount = Decimal(cost)
    credits.hold(
        api_key=key_of("alice"), balance=Balance.OHMYGPT, request_id=request_id, minimum=amount, maximum=amount
    )
    log = {"_id": request_id, "userId": "alice", "creditType": "ohmygpt", "createdAt": timezone.now()}
    collection_of(RequestLog).insert_one(log | {"creditsCost": float(amount), "hold": float(amount)})
    if settles:
        credits.settle(username="alice", request_id=request_id, balance=Balance.OHMYGPT, cost=amount)


def test_what_was_taken_and_what_was_added_become_corrections(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10, creditsNew=5)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -3.25, "creditsNew": 20}})
    assert accept() == [20, Decimal("-3.25")]
    assert drifts() == [0, 0]
    assert usersnew.find_one({"_id": "alice"}, {"credits": 1, "creditsNew": 1}) == {
        "_id": "alice",
        "credits": 6.75,
        "creditsNew": 25,
    }
    entries = {entry.balance: entry for entry in LedgerEntry.objects.filter(kind="correction")}
    assert {name: (entry.amount, entry.balance_after) for name, entry in entries.items()} == {
        "openhands": (20, 25),
        "ohmygpt": (Decimal("-3.25"), Decimal("6.75")),
    }
    assert {(entry.actor, entry.reason) for entry in entries.values()} == {("staff:sam", "The old proxy ran on Monday")}


def test_a_second_time_there_is_nothing_to_accept(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10)
    usersnew.update_one({"_id": "alice"}, {"$set": {"credits": 0}})
    assert accept() == [-10]
    assert accept() == []
    assert LedgerEntry.objects.filter(kind="correction").count() == 1
    usersnew.update_one({"_id": "alice"}, {"$set": {"credits": 2}})
    assert accept() == [2]
    assert drifts() == [0, 0]


def test_drift_beside_open_holds_and_unsettled_requests_is_told_apart(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10)
    spend("0.5", "req_1")
    spend("0.25", "req_2", settles=False)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -1}})
    assert accept() == [-1]
    assert drifts() == [0, 0]
    credits.settle(username="alice", request_id="req_2", balance=Balance.OHMYGPT, cost=Decimal("0.25"))
    assert drifts() == [0, 0]
    assert usersnew.find_one({"_id": "alice"})["credits"] == 8.25


def test_logs_of_the_old_proxy_are_told_beside_what_they_took(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10)
    old = {"userId": "alice", "creditsCost": 1.5, "createdAt": timezone.now()}
    collection_of(RequestLog).insert_many([{"_id": ObjectId(), **old} for _ in range(2)])
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -3.0, "creditsUsed": 3.0}})
    assert [(drift.amount, drift.logged) for drift in read_drift("alice")] == [(-3, 3)]
    accept()
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -1.0}})
    assert [(drift.amount, drift.logged) for drift in read_drift("alice")] == [(-1, 0)]


def test_two_at_once_accept_it_once(insert_user: InsertUser, usersnew: Any, in_threads: InThreads) -> None:
    insert_user("alice", credits=10)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -4}})
    accepted = in_threads(6, lambda index: accept())
    assert sorted(accepted, key=len) == [[], [], [], [], [], [-4]]
    assert drifts() == [0, 0]


def test_requests_and_purchases_meanwhile_are_no_drift(
    insert_user: InsertUser, usersnew: Any, in_threads: InThreads
) -> None:
    insert_user("alice", credits=50)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -4}})

    def act(index: int) -> list[Decimal]:
        if index % 3 == 0:
            return accept()
        for step in range(4):
            spend("0.01", f"req_{index}_{step}")
        operation = f"payment:{index}"
        credits.top_up(username="alice", amount=Decimal(1), operation=operation, actor="sepay")
        return []

    accepted = in_threads(6, act)
    assert sum(len(found) for found in accepted) == 1
    assert drifts() == [0, 0]
    assert usersnew.find_one({"_id": "alice"})["credits"] == pytest.approx(46 - 16 * 0.01)


def test_the_timeline_shows_it_and_the_balance_before_it(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -4}})
    accept()
    row = read_timeline(username="alice", kind="correction").rows[0]
    assert (row.label, row.amount, row.after, row.actor) == ("Correction", -4, 6, "staff:sam")
    opening = next(
        row for row in read_timeline(username="alice", balance=Balance.OHMYGPT).rows if row.kind == "opening"
    )
    assert opening.after == 10


# --- The command -------------------------------------------------------------------------------------------------


def test_one_command_tells_and_closes_all_drift(insert_user: InsertUser, usersnew: Any) -> None:
    for number in range(5):
        insert_user(f"user{number}", credits=10, creditsNew=2)
    insert_user("quiet", credits=1)
    usersnew.update_many({"_id": {"$ne": "quiet"}}, {"$inc": {"credits": -2.5}})
    out, err = StringIO(), StringIO()
    with pytest.raises(CommandError):
        call_command("reconcile", stdout=out, stderr=err)
    assert err.getvalue().count("OhMyGPT: drift -$2.50") == 5
    call_command("reconcile", accept=True, reason="roll-back of 3 May", stdout=out)
    assert "user0 OhMyGPT: corrected by -$2.50\n" in out.getvalue()
    assert "5 balances corrected in the ledger (OpenHands $0.00, OhMyGPT -$12.50); no balance was changed" in (
        out.getvalue()
    )
    assert "12 balances checked, 0 with drift" in out.getvalue()
    last = read_last_run()
    assert last is not None
    assert (last.accounts, last.count) == (6, 0)
    audited = AuditEntry.objects.filter(action="accept-drift")
    assert {(entry.actor, entry.reason) for entry in audited} == {("manage.py reconcile", "roll-back of 3 May")}
    assert (audited[0].before, audited[0].after) == ({"OhMyGPT": "drift -$2.50"}, {})
    again = StringIO()
    call_command("reconcile", accept=True, reason="again", stdout=again)
    assert "0 balances corrected" in again.getvalue()
    assert (audited.count(), LedgerEntry.objects.filter(kind="correction").count()) == (5, 5)


def test_only_what_is_named_is_accepted_by_whom_is_named(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10)
    insert_user("bob", credits=10)
    User.objects.create_user("sam", is_staff=True)
    usersnew.update_many({}, {"$inc": {"credits": 1}})
    call_command("reconcile", account=["bob"], accept=True, reason="x", actor="sam")
    assert (drifts("alice"), drifts("bob")) == ([0, 1], [0, 0])
    assert LedgerEntry.objects.get(kind="correction").actor == "staff:sam"
    assert AuditEntry.objects.get().actor == "staff:sam"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accept": True}, "--accept needs --reason"),
        ({"accept": True, "reason": "  "}, "--accept needs --reason"),
        ({"accept": True, "reason": "x" * 501}, "at most 500"),
        ({"accept": True, "reason": "x", "actor": "nobody"}, "no staff user"),
        ({"reason": "x"}, "add --accept"),
    ],
)
def test_what_is_not_said_well_is_refused(
    insert_user: InsertUser, usersnew: Any, options: dict[str, Any], message: str
) -> None:
    insert_user("alice", credits=10)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": 1}})
    with pytest.raises(CommandError, match=message):
        call_command("reconcile", **options)
    assert drifts() == [0, 1]


def test_a_damaged_account_is_named_and_the_others_are_accepted(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=10)
    insert_user("bob", credits=10)
    usersnew.update_one({"_id": "alice"}, {"$set": {"credits": "ten"}})
    usersnew.update_one({"_id": "bob"}, {"$inc": {"credits": 1}})
    err = StringIO()
    with pytest.raises(CommandError, match="need repair"):
        call_command("reconcile", accept=True, reason="x", stderr=err)
    assert "not checked: " in err.getvalue()
    assert drifts("bob") == [0, 0]


# --- The staff action --------------------------------------------------------------------------------------------


@pytest.fixture
def address(insert_user: InsertUser, usersnew: Any) -> str:
    """The dialog of an account that drifts by -$4."""
    insert_user("alice", credits=10)
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -4}})
    return "/admin/support/do/account/alice/accept-drift/"


def inputs(response: Any) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode()))


def test_staff_see_what_it_does_and_accept_it(address: str, log_in: LogIn) -> None:
    client = log_in("Billing admin")
    shown = client.post(address, {**inputs(client.get(address)), "reason": "the old proxy"})
    assert "OhMyGPT drift -$4.00 $0.00" in text_of(shown)
    done = client.post(address, {**inputs(shown), "reason": "the old proxy", "confirm": "1"}, follow=True)
    assert "The ledger now explains -$4.00 of OhMyGPT credits. No balance was changed." in text_of(done)
    assert drifts() == [0, 0]
    entry = AuditEntry.objects.get(action="accept-drift")
    assert (entry.actor, entry.action, entry.target, entry.outcome) == ("staff:sam", "accept-drift", "alice", "done")
    assert "This account adds up" in text_of(client.post(address, {**inputs(client.get(address)), "reason": "again"}))


def test_a_drift_that_changed_since_the_preview_is_asked_about_again(
    address: str, log_in: LogIn, usersnew: Any
) -> None:
    client = log_in("Billing admin")
    shown = client.post(address, {**inputs(client.get(address)), "reason": "x"})
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": -1}})
    again = client.post(address, {**inputs(shown), "reason": "x", "confirm": "1"}, follow=True)
    assert "This has changed since the preview" in text_of(again)
    assert drifts() == [0, -5]


def test_a_limited_role_accepts_no_more_than_it_may_move(address: str, log_in: LogIn, settings: Any) -> None:
    settings.STAFF_AMOUNT_LIMITS = {"Billing admin": Decimal("3.99")}
    client = log_in("Billing admin")
    shown = client.post(address, {**inputs(client.get(address)), "reason": "x"})
    assert "Your role may move at most $3.99 at once." in text_of(shown)


@pytest.mark.parametrize(("role", "is_shown"), [("Billing admin", True), ("Support", False)])
def test_the_timeline_offers_it_where_there_is_drift(
    address: str, log_in: LogIn, usersnew: Any, role: str, is_shown: bool
) -> None:
    client = log_in(role)
    timeline = "/admin/support/accounts/alice/timeline/"
    assert (address in client.get(timeline).content.decode()) is is_shown
    usersnew.update_one({"_id": "alice"}, {"$inc": {"credits": 4}})
    assert address not in client.get(timeline).content.decode()
