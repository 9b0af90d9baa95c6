"""What later versions of the replaced system wrote, before anybody has decided: nobody loses or gains by it."""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.checks import run_checks

from accounts import credits
from accounts.administration import set_expiry
from accounts.errors import AccountNotConverted, CreditsExpired, ExpiryChanged
from accounts.expiry import sweep_expired_accounts
from accounts.models import Account, Balance, LedgerEntry
from accounts.undecided import IS_SPLIT, expiry_of
from tests.conftest import key_of
from tests.factories import InsertUser

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAST, LATER_PAST, SOON, IN_A_WEEK = NOW - 5 * HOUR, NOW - HOUR, NOW + HOUR, NOW + timedelta(days=7)
DATES: list[tuple[datetime | None, datetime | None, datetime | None]] = [
    (PAST, IN_A_WEEK, IN_A_WEEK),
    (None, IN_A_WEEK, IN_A_WEEK),
    (None, PAST, PAST),
    (PAST, LATER_PAST, LATER_PAST),
    (SOON, IN_A_WEEK, IN_A_WEEK),
    (IN_A_WEEK, PAST, IN_A_WEEK),
    (IN_A_WEEK, None, IN_A_WEEK),
    (None, None, None),
]
"""`expiresAt`, `expiresAtNew`, and the date that counts."""


def hold(username: str, balance: Balance, request_id: str = "req_1") -> credits.Hold:
    one = Decimal(1)
    return credits.hold(
        api_key=key_of(username), balance=balance, request_id=request_id, minimum=one, maximum=one, now=NOW
    )


@pytest.mark.parametrize("is_there", [True, False], ids=["null", "missing"])
@pytest.mark.parametrize(("old", "new", "effective"), DATES)
def test_the_later_date_counts_for_both_balances(
    insert_user: InsertUser,
    usersnew: Any,
    old: datetime | None,
    new: datetime | None,
    effective: datetime | None,
    is_there: bool,
) -> None:
    dates = {name: date for name, date in {"expiresAt": old, "expiresAtNew": new}.items() if date or is_there}
    insert_user("alice", credits=5, creditsNew=5, **dates)
    account = Account.objects.get(pk="alice")
    assert account.expiry == effective == expiry_of(usersnew.find_one())
    is_split = new is not None and (old is None or new > old)
    assert usersnew.count_documents({"$expr": IS_SPLIT}) == is_split
    for index, balance in enumerate(Balance):
        if effective is None or effective > NOW:
            assert hold("alice", balance, f"req_{index}").balance_after == 4
        else:
            with pytest.raises(CreditsExpired, match=credits.format_time(effective)):
                hold("alice", balance)


@pytest.mark.parametrize(("old", "new", "effective"), DATES)
def test_the_sweep_expires_only_where_the_stored_date_is_the_later_one(
    insert_user: InsertUser,
    usersnew: Any,
    caplog: pytest.LogCaptureFixture,
    old: datetime | None,
    new: datetime | None,
    effective: datetime | None,
) -> None:
    insert_user("alice", credits=5, creditsNew=5, expiresAt=old, expiresAtNew=new)
    insert_user("bob", credits=5, expiresAt=PAST)
    with caplog.at_level(logging.WARNING):
        assert sweep_expired_accounts(now=NOW) == 1
    assert usersnew.find_one({"_id": "bob"})["credits"] == 0
    assert (usersnew.find_one()["credits"], usersnew.find_one()["creditsNew"]) == (5, 5)
    is_told = any("1 accounts are left alone" in record.message for record in caplog.records)
    assert is_told == (old == PAST)


def test_a_purchase_wins_over_both_dates_and_expires_nothing_that_was_valid(
    insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", credits=5, creditsNew=20, expiresAt=PAST, expiresAtNew=SOON)
    credits.top_up(username="alice", amount=Decimal(30), operation="payment:1", actor="sepay", now=NOW)
    alice = usersnew.find_one()
    assert (alice["credits"], alice["creditsNew"]) == (5, 50)
    assert expiry_of(alice) == IN_A_WEEK
    assert alice["expiresAt"] == alice["expiresAtNew"]
    # Nothing is undecided any more: the next sweep that is due takes it.
    assert usersnew.count_documents({"$expr": IS_SPLIT}) == 0
    assert sweep_expired_accounts(now=IN_A_WEEK) == 1
    assert (usersnew.find_one()["credits"], usersnew.find_one()["creditsNew"]) == (0, 0)


def test_a_purchase_after_both_dates_revives_nothing(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=5, creditsNew=20, expiresAt=None, expiresAtNew=PAST)
    credits.top_up(username="alice", amount=Decimal(30), operation="payment:1", actor="sepay", now=NOW)
    assert (usersnew.find_one()["credits"], usersnew.find_one()["creditsNew"]) == (0, 30)
    kinds = LedgerEntry.objects.values_list("kind", "balance", "amount")
    assert sorted(map(tuple, kinds)) == [
        ("expiry", "ohmygpt", Decimal(-5)),
        ("expiry", "openhands", Decimal(-20)),
        ("purchase", "openhands", Decimal(30)),
    ]


def test_a_purchase_adds_no_second_date_to_an_account_without_one(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice")
    credits.top_up(username="alice", amount=Decimal(30), operation="payment:1", actor="sepay", now=NOW)
    assert "expiresAtNew" not in usersnew.find_one()


@pytest.mark.parametrize("date", [SOON, None])
def test_staff_set_the_one_date_that_counts(insert_user: InsertUser, usersnew: Any, date: datetime | None) -> None:
    insert_user("alice", creditsNew=20, expiresAt=PAST, expiresAtNew=IN_A_WEEK)
    with pytest.raises(ExpiryChanged):
        set_expiry(username="alice", expires_at=date, seen_expires_at=PAST, now=NOW)
    set_expiry(username="alice", expires_at=date, seen_expires_at=IN_A_WEEK, now=NOW)
    assert expiry_of(usersnew.find_one()) == date
    assert usersnew.find_one()["creditsNew"] == 20


def test_credits_that_were_never_converted_are_neither_spent_nor_moved(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=50, creditsNew=20, migration=False)
    for balance in Balance:
        with pytest.raises(AccountNotConverted, match="take_over"):
            hold("alice", balance)
        with pytest.raises(AccountNotConverted):
            credits.transfer(
                username="alice", source=balance, amount=Decimal(1), operation="1", actor="staff:sam", reason="x"
            )
    with pytest.raises(AccountNotConverted):
        credits.adjust(
            username="alice",
            balance=Balance.OHMYGPT,
            amount=Decimal(1),
            operation="2",
            actor="staff:sam",
            reason="x",
        )
    assert usersnew.find_one()["credits"] == 50
    # What is bought here was never at the old price.
    credits.top_up(username="alice", amount=Decimal(30), operation="payment:1", actor="sepay", now=NOW)
    assert usersnew.find_one()["creditsNew"] == 50


@pytest.mark.parametrize("fields", [{}, {"migration": None}, {"migration": True}])
def test_only_an_explicit_no_is_undecided(insert_user: InsertUser, fields: dict[str, Any]) -> None:
    insert_user("alice", credits=5, **fields)
    assert hold("alice", Balance.OHMYGPT).balance_after == 4


def test_the_deployment_check_counts_what_is_undecided(insert_user: InsertUser) -> None:
    def found() -> list[str]:
        messages = run_checks(include_deployment_checks=True, databases=["default"])
        return [message.msg for message in messages if message.id == "billing.W017"]

    insert_user("bob", expiresAt=IN_A_WEEK, expiresAtNew=PAST)
    assert found() == []
    insert_user("alice", expiresAt=PAST, expiresAtNew=IN_A_WEEK)
    insert_user("carol", expiresAtNew=PAST)
    insert_user("dave", migration=False)
    assert len(found()) == 1
    assert "2 with a later second expiry" in found()[0]
    assert "1 that were never converted" in found()[0]
