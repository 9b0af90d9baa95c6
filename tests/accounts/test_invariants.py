"""What must hold at run time: each check refuses what breaks it, and what is refused leaves nothing behind."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from accounts import credits
from accounts.errors import AccountNeedsRepair, BrokenInvariant
from accounts.invariants import check_balance, check_cost, check_entries, check_hold, check_reversed
from accounts.models import Balance, LedgerEntry
from tests.conftest import key_of
from tests.factories import InsertUser

ONE = Decimal(1)
UNIT = Decimal("0.00000001")


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_balance("OpenHands", -UNIT, moved=-ONE, may_be_debt=False),
        lambda: check_entries("OpenHands", ONE + UNIT, before=ONE, entries=Decimal(0)),
        lambda: check_entries("OpenHands", ONE, before=ONE, entries=-UNIT),
        lambda: check_hold("req_1", ONE, minimum=ONE + UNIT, maximum=2 * ONE),
        lambda: check_hold("req_1", ONE, minimum=UNIT, maximum=ONE - UNIT),
        lambda: check_hold("req_1", ONE, minimum=-UNIT, maximum=ONE),
        lambda: check_cost("req_1", ONE + UNIT, hold=ONE),
        lambda: check_cost("req_1", -UNIT, hold=ONE),
        lambda: check_reversed("credits of payment NAP1", ONE + UNIT, credited=ONE),
        lambda: check_reversed("credits of payment NAP1", -UNIT, credited=ONE),
    ],
)
def test_a_broken_invariant_is_refused_to_the_unit(check: Callable[[], None]) -> None:
    with pytest.raises(BrokenInvariant):
        check()


def test_what_just_holds_passes() -> None:
    check_balance("OpenHands", Decimal(0), moved=-ONE, may_be_debt=False)
    check_balance("OpenHands", -ONE, moved=-ONE, may_be_debt=True)
    check_balance("OpenHands", -ONE, moved=ONE, may_be_debt=False)  # A debt that is paid in part.
    check_entries("OpenHands", ONE, before=2 * ONE, entries=-ONE)
    check_hold("req_1", ONE, minimum=ONE, maximum=ONE)
    check_cost("req_1", Decimal(0), hold=Decimal(0))
    check_cost("req_1", ONE, hold=ONE)
    check_reversed("credits of payment NAP1", Decimal(0), credited=ONE)
    check_reversed("credits of payment NAP1", ONE, credited=ONE)


def test_a_balance_whose_sums_a_double_cannot_hold_is_not_touched(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1e15, credits=5)
    before = usersnew.find_one()
    with pytest.raises(AccountNeedsRepair, match="creditsNew"):
        credits.top_up(username="alice", amount=Decimal("0.3"), operation="payment:1", actor="sepay")
    with pytest.raises(AccountNeedsRepair, match="creditsNew"):
        credits.transfer(
            username="alice",
            source=Balance.OHMYGPT,
            amount=Decimal("0.3"),
            operation="transfer:1",
            actor="staff",
            reason="test",
        )
    assert usersnew.find_one() == before
    assert LedgerEntry.objects.count() == 0


@pytest.mark.parametrize(("minimum", "maximum"), [("0.2", "0.1"), ("-0.1", "0.1")])
def test_an_impossible_hold_is_refused_before_the_write(
    insert_user: InsertUser, usersnew: Any, minimum: str, maximum: str
) -> None:
    insert_user("alice", creditsNew=1)
    before = usersnew.find_one()
    with pytest.raises(BrokenInvariant):
        credits.hold(
            api_key=key_of("alice"),
            balance=Balance.OPENHANDS,
            request_id="req_1",
            minimum=Decimal(minimum),
            maximum=Decimal(maximum),
        )
    assert usersnew.find_one() == before


def test_a_negative_cost_is_refused_before_the_write(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1)
    hold = {"api_key": key_of("alice"), "minimum": ONE, "maximum": ONE}
    credits.hold(balance=Balance.OPENHANDS, request_id="req_1", **hold)
    before = usersnew.find_one()
    with pytest.raises(BrokenInvariant):
        credits.settle(username="alice", request_id="req_1", balance=Balance.OPENHANDS, cost=-UNIT)
    assert usersnew.find_one() == before
