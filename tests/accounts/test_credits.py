"""Movements of credits: each happy, refused, repeated, rolled back and concurrent, on documents as they occur."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64

from accounts import credits
from accounts.errors import AccountNotFound, CreditsExpired, InsufficientCredits, InvalidAmount, OperationConflict
from accounts.models import Account, Balance, LedgerEntry
from mongo.transactions import run_in_transaction
from tests.factories import InsertUser, InThreads

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def top_up(username: str, amount: str = "20", operation: str = "payment:1", **kwargs: Any) -> credits.Movement:
    return credits.top_up(username=username, amount=Decimal(amount), operation=operation, actor="sepay", **kwargs)


def adjust(username: str, amount: str, operation: str = "adjust:1", **kwargs: Any) -> credits.Movement:
    kwargs.setdefault("balance", Balance.OPENHANDS)
    return credits.adjust(
        username=username, amount=Decimal(amount), operation=operation, actor="staff", reason="test", **kwargs
    )


def transfer(username: str, amount: str, operation: str = "transfer:1", **kwargs: Any) -> credits.Movement:
    kwargs.setdefault("source", Balance.OHMYGPT)
    return credits.transfer(
        username=username, amount=Decimal(amount), operation=operation, actor="staff", reason="test", **kwargs
    )


def test_top_up_of_a_document_without_credits_new_gives_exactly_the_purchase(
    insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", credits=50, strange={"kept": [1, 2]})

    movement = top_up("alice", now=NOW)

    document = usersnew.find_one({"_id": "alice"})
    assert document["creditsNew"] == 20.0
    assert isinstance(document["creditsNew"], float)
    assert document["credits"] == 50
    assert document["expiresAt"] == (NOW + timedelta(days=7)).replace(tzinfo=None)
    assert document["purchasedAt"] == NOW.replace(tzinfo=None)
    assert document["strange"] == {"kept": [1, 2]}
    assert movement.balance_after(Balance.OPENHANDS) == Decimal(20)
    (entry,) = LedgerEntry.objects.all()
    assert (entry.kind, entry.balance, entry.amount, entry.balance_after) == ("purchase", "openhands", 20, 20)
    assert (entry.actor, entry.operation, entry.created_at) == ("sepay", "payment:1", NOW)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (5, "25"),
        (Int64(5), "25"),
        (5.5, "25.5"),
        (Decimal128("5.25"), "25.25"),
        (None, "20"),
        (0.1 + 0.2, "20.3"),
        (-3.0, "17"),
    ],
)
def test_top_up_adds_to_every_number_type(
    insert_user: InsertUser, usersnew: Any, stored: object, expected: str
) -> None:
    insert_user("alice", creditsNew=stored)
    before = Account.objects.get(pk="alice").credits_new

    top_up("alice")

    assert Account.objects.get(pk="alice").credits_new == Decimal(expected)
    assert before == Decimal(expected) - 20
    assert usersnew.find_one({"_id": "alice"})["creditsNew"] == float(expected)


def test_top_up_repeated_changes_nothing(insert_user: InsertUser) -> None:
    insert_user("alice")
    first = top_up("alice", bonus=Decimal(4), now=NOW)
    second = top_up("alice", bonus=Decimal(4), now=NOW + timedelta(days=1))

    account = Account.objects.get(pk="alice")
    assert (first.is_repeat, second.is_repeat) == (False, True)
    assert [entry.pk for entry in second.entries] == [entry.pk for entry in first.entries]
    assert account.credits_new == 24
    assert account.expires_at == NOW + timedelta(days=7)
    assert [entry.balance_after for entry in first.entries] == [20, 24]


def test_top_up_with_the_operation_of_another_movement_is_refused(insert_user: InsertUser) -> None:
    insert_user("alice")
    insert_user("bob")
    top_up("alice")
    with pytest.raises(OperationConflict):
        top_up("alice", amount="21")
    with pytest.raises(OperationConflict):
        top_up("bob")
    assert LedgerEntry.objects.count() == 1


def test_top_up_50_times_at_once_credits_once(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice")
    results = in_threads(50, lambda _: top_up("alice"))
    assert sorted(result.is_repeat for result in results) == [False] + [True] * 49
    assert Account.objects.get(pk="alice").credits_new == 20
    assert LedgerEntry.objects.count() == 1


def test_different_top_ups_at_once_all_count(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice")
    in_threads(20, lambda index: top_up("alice", amount="0.1", operation=f"payment:{index}"))
    assert Account.objects.get(pk="alice").credits_new == 2
    assert LedgerEntry.objects.count() == 20


def test_top_up_rolled_back_leaves_no_trace(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=1)
    before = usersnew.find_one({"_id": "alice"})

    def fail_after() -> None:
        top_up("alice")
        raise RuntimeError("after the update")

    with pytest.raises(RuntimeError, match="after the update"):
        run_in_transaction(fail_after)
    assert usersnew.find_one({"_id": "alice"}) == before
    assert LedgerEntry.objects.count() == 0


def test_top_up_of_an_unknown_account_is_refused(db: None) -> None:
    with pytest.raises(AccountNotFound):
        top_up("nobody")


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "-Infinity", "0.000000001", "1000000.01", "1e400"])
def test_an_impossible_amount_is_refused(insert_user: InsertUser, amount: str) -> None:
    insert_user("alice", credits=10, creditsNew=10)
    with pytest.raises(InvalidAmount):
        top_up("alice", amount=amount)
    with pytest.raises(InvalidAmount):
        transfer("alice", amount)
    assert LedgerEntry.objects.count() == 0


def test_a_purchase_after_expiry_does_not_revive_the_old_credits(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5.0, credits=3.0, expiresAt=NOW - timedelta(hours=1))
    top_up("alice", now=NOW)
    account = Account.objects.get(pk="alice")
    assert (account.credits_new, account.credits) == (20, 0)
    assert sorted((e.kind, e.balance, e.amount) for e in LedgerEntry.objects.all()) == [
        ("expiry", "ohmygpt", -3),
        ("expiry", "openhands", -5),
        ("purchase", "openhands", 20),
    ]


def test_a_purchase_restarts_the_expiry_and_does_not_stack(insert_user: InsertUser) -> None:
    insert_user("alice", expiresAt=NOW + timedelta(days=6))
    top_up("alice", now=NOW)
    assert Account.objects.get(pk="alice").expires_at == NOW + timedelta(days=7)


@pytest.mark.parametrize("set_by_staff", [None, timedelta(days=30)])
def test_an_older_purchase_that_commits_later_does_not_change_the_dates(
    insert_user: InsertUser, usersnew: Any, set_by_staff: timedelta | None
) -> None:
    insert_user("alice")
    top_up("alice", now=NOW)
    if set_by_staff:
        usersnew.update_one({"_id": "alice"}, {"$set": {"expiresAt": NOW + set_by_staff}})
    top_up("alice", operation="payment:older", now=NOW - timedelta(minutes=5))
    account = Account.objects.get(pk="alice")
    assert account.credits_new == 40
    assert (account.purchased_at, account.expires_at) == (NOW, NOW + (set_by_staff or timedelta(days=7)))

    newer = NOW + timedelta(minutes=5)
    top_up("alice", operation="payment:newer", now=newer)
    account = Account.objects.get(pk="alice")
    assert (account.purchased_at, account.expires_at) == (newer, newer + timedelta(days=7))


def test_adjust_adds_and_deducts(insert_user: InsertUser) -> None:
    insert_user("alice", credits=1)
    adjust("alice", "2.5", operation="a", balance=Balance.OHMYGPT)
    movement = adjust("alice", "-3.5", operation="b", balance=Balance.OHMYGPT)
    assert movement.balance_after(Balance.OHMYGPT) == 0
    assert Account.objects.get(pk="alice").expires_at is None


def test_adjust_below_zero_is_refused_and_says_what_is_there(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1.5)
    with pytest.raises(InsufficientCredits, match=r"Required: \$2.00, Balance: \$1.50"):
        adjust("alice", "-2")
    assert LedgerEntry.objects.count() == 0


def test_transfer_moves_between_the_balances_with_two_entries(insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    movement = transfer("alice", "10")
    account = Account.objects.get(pk="alice")
    assert (account.credits, account.credits_new) == (0, 10)
    assert (movement.amount(Balance.OHMYGPT), movement.amount(Balance.OPENHANDS)) == (-10, 10)
    transfer("alice", "4", operation="back", source=Balance.OPENHANDS)
    account = Account.objects.get(pk="alice")
    assert (account.credits, account.credits_new) == (4, 6)
    assert transfer("alice", "4", operation="back", source=Balance.OPENHANDS).is_repeat


def test_transfer_of_more_than_there_is_is_refused(insert_user: InsertUser) -> None:
    insert_user("alice", credits=10, creditsNew=100)
    with pytest.raises(InsufficientCredits):
        transfer("alice", "10.00000001")
    assert Account.objects.get(pk="alice").credits_new == 100


def test_transfer_of_expired_credits_is_refused(insert_user: InsertUser) -> None:
    insert_user("alice", credits=10, expiresAt=NOW)
    with pytest.raises(CreditsExpired):
        transfer("alice", "1", now=NOW)


def test_concurrent_transfers_never_overdraw(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice", credits=1)

    def attempt(index: int) -> bool:
        try:
            transfer("alice", "0.15", operation=f"t{index}")
        except InsufficientCredits:
            return False
        return True

    assert sum(in_threads(20, attempt)) == 6
    account = Account.objects.get(pk="alice")
    assert (account.credits, account.credits_new) == (Decimal("0.1"), Decimal("0.9"))


def test_take_back_can_make_a_debt_and_a_purchase_pays_it(insert_user: InsertUser) -> None:
    insert_user("alice")
    top_up("alice", operation="p1")
    adjust("alice", "-15")
    for _ in range(2):
        credits.reverse(
            username="alice",
            amount=Decimal(20),
            kind=LedgerEntry.Kind.REFUND,
            operation="refund:1",
            actor="sepay",
            reason="refunded",
        )
    assert Account.objects.get(pk="alice").credits_new == -15
    top_up("alice", operation="p2")
    assert Account.objects.get(pk="alice").credits_new == 5


def test_give_back_returns_what_was_taken_once_and_keeps_the_expiry(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=-20.0, expiresAt=NOW)
    for _ in range(2):
        credits.reinstate(
            username="alice",
            amount=Decimal(20),
            kind=LedgerEntry.Kind.CHARGEBACK,
            operation="dispute:1:won",
            actor="stripe",
            reason="dispute won",
        )
    account = Account.objects.get(pk="alice")
    assert (account.credits_new, account.expires_at) == (0, NOW)
    with pytest.raises(ValueError, match="only a refund"):
        credits.reinstate(
            username="alice",
            amount=Decimal(1),
            kind=LedgerEntry.Kind.PURCHASE,
            operation="x",
            actor="staff",
            reason="",
        )


def test_expire_takes_both_balances_and_repeats_as_nothing(insert_user: InsertUser) -> None:
    insert_user("alice", credits=1, creditsNew=2, expiresAt=NOW)
    movement = credits.expire(username="alice", seen_expires_at=NOW, now=NOW)
    assert movement is not None
    assert {entry.balance: entry.amount for entry in movement.entries} == {"openhands": -2, "ohmygpt": -1}
    assert credits.expire(username="alice", seen_expires_at=NOW, now=NOW) is None
    account = Account.objects.get(pk="alice")
    assert (account.credits, account.credits_new, account.expires_at) == (0, 0, NOW)


def test_expire_does_nothing_once_a_purchase_came_in_between(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=2, expiresAt=NOW)
    top_up("alice", now=NOW + timedelta(seconds=1))
    assert credits.expire(username="alice", seen_expires_at=NOW, now=NOW + timedelta(days=30)) is None
    assert Account.objects.get(pk="alice").credits_new == 20


def test_expire_before_its_time_does_nothing_and_keeps_debts(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=-2, credits=1, expiresAt=NOW)
    early = NOW - timedelta(milliseconds=1)
    assert credits.expire(username="alice", seen_expires_at=NOW, now=early) is None
    credits.expire(username="alice", seen_expires_at=NOW, now=NOW)
    account = Account.objects.get(pk="alice")
    assert (account.credits_new, account.credits) == (-2, 0)


MANY_PLACES = [
    # As a decimal the ninth place rounds up; the double nearest to it lies below the half and rounds down.
    Decimal128("0.123456795"),
    Decimal128("0.1234567850000000000000000000000001"),
    Decimal128("123.0000000049999999999999999"),
]


@pytest.mark.parametrize("stored", MANY_PLACES)
def test_a_decimal128_of_many_places_expires_and_moves_in_full(
    insert_user: InsertUser, usersnew: Any, stored: Decimal128
) -> None:
    insert_user("alice", creditsNew=stored, expiresAt=NOW)
    insert_user("bob", credits=stored)
    shown = Account.objects.get(pk="bob").credits

    movement = credits.expire(username="alice", seen_expires_at=NOW, now=NOW)
    transfer("bob", str(shown))

    assert movement is not None
    assert movement.amount(Balance.OPENHANDS) == -shown
    assert usersnew.find_one({"_id": "alice"})["creditsNew"] == 0
    account = Account.objects.get(pk="bob")
    assert (account.credits, account.credits_new) == (0, shown)


def test_open_ledger_once_under_concurrency(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice")
    amounts = {Balance.OPENHANDS: Decimal(1), Balance.OHMYGPT: Decimal(2)}
    results = in_threads(10, lambda _: credits.open_ledger(username="alice", amounts=amounts, actor="system"))
    assert sorted(results) == [False] * 9 + [True]
    assert LedgerEntry.objects.count() == 2
