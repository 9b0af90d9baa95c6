"""The equation of the books: adoption of old accounts, movements and use explained, drift found."""

from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import credits
from accounts.models import Account, Balance, LedgerEntry
from accounts.registration import create_account
from books.reconciliation import reconcile_account
from mongo.collections import collection_of
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads


@pytest.fixture
def opens_ledger() -> bool:
    """Adoption is what these tests are about."""
    return False


def drifts(username: str = "alice") -> list[Decimal]:
    return [result.drift for result in reconcile_account(username)]


def test_an_old_account_is_adopted_with_what_it_had(insert_user: InsertUser) -> None:
    insert_user("alice", credits=12.5)
    collection_of(RequestLog).insert_one({"_id": ObjectId(), "userId": "alice", "creditsCost": 3.0})
    assert drifts() == [0, 0]
    openings = {entry.balance: entry.amount for entry in LedgerEntry.objects.filter(kind="opening")}
    assert openings == {"openhands": 0, "ohmygpt": Decimal("12.5")}
    assert drifts() == [0, 0]
    assert LedgerEntry.objects.count() == 2


def test_adoption_after_movements_and_use_finds_what_was_there_before(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=7, credits=1)
    credits.top_up(username="alice", amount=Decimal(20), operation="p", actor="sepay")
    take(Decimal("0.5"), "req_1")
    assert drifts() == [0, 0]
    assert LedgerEntry.objects.get(kind="opening", balance="openhands").amount == 7


def take(cost: Decimal, request_id: str, *, settles: bool = True) -> None:
    hold = credits.hold(
        api_key=key_of("alice"), balance=Balance.OPENHANDS, request_id=request_id, minimum=cost, maximum=cost
    )
    log = {"_id": request_id, "userId": "alice", "creditType": "openhands", "createdAt": timezone.now()}
    collection_of(RequestLog).insert_one(log | {"creditsCost": float(cost), "hold": float(hold.amount)})
    if settles:
        credits.settle(username="alice", request_id=request_id, balance=Balance.OPENHANDS, cost=cost)


def test_open_holds_and_recorded_but_unsettled_requests_are_no_drift(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=7)
    assert drifts() == [0, 0]
    take(Decimal("0.1"), "req_1")
    take(Decimal("0.2"), "req_2", settles=False)
    assert drifts() == [0, 0]


def test_credits_that_nothing_explains_are_drift(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=7)
    assert drifts() == [0, 0]
    usersnew.update_one({"_id": "alice"}, {"$inc": {"creditsNew": 1}})
    assert drifts() == [1, 0]
    usersnew.update_one({"_id": "alice"}, {"$inc": {"creditsNew": -3}})
    assert drifts() == [-2, 0]


def test_an_account_made_here_has_no_place_for_drift_to_hide(usersnew: Any) -> None:
    create_account(username="alice")
    usersnew.update_one({"_id": "alice"}, {"$set": {"credits": 5}})
    assert drifts() == [0, 5]


def test_thousands_of_tiny_costs_add_up_exactly(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=7)
    assert drifts() == [0, 0]
    cost = Decimal("0.00000007")
    collection_of(RequestLog).insert_many(
        [
            {"_id": f"r{n}", "userId": "alice", "creditType": "openhands", "creditsCost": float(cost), "hold": 1.0}
            for n in range(5000)
        ]
    )
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": float(7 - 5000 * cost)}})
    assert drifts() == [0, 0]


def test_the_command_tells_and_fails_on_drift(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=7)
    insert_user("bob")
    out, err = StringIO(), StringIO()
    call_command("reconcile", stdout=out)
    assert out.getvalue() == "4 balances checked, 0 with drift\n"
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": 8.25}})
    with pytest.raises(CommandError):
        call_command("reconcile", stdout=out, stderr=err)
    assert "alice OpenHands: drift $1.25" in err.getvalue()
    with pytest.raises(CommandError, match="No such account"):
        call_command("reconcile", "nobody")
    call_command("reconcile", "bob")


def test_reconciling_during_requests_sees_one_moment(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice", creditsNew=50)
    assert drifts() == [0, 0]

    def act(index: int) -> list[Decimal]:
        if index % 4 == 0:
            return drifts()
        for step in range(5):
            take(Decimal("0.01"), f"req_{index}_{step}")
        return [Decimal(0)]

    assert all(drift == 0 for result in in_threads(12, act) for drift in result)
    assert Account.objects.get(pk="alice").credits_new == 50 - Decimal("0.01") * 45
    assert drifts() == [0, 0]
