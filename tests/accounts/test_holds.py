"""Holds and settlements: the hot path's two updates, alone, repeated, in parallel and across an expiry."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, Int64

from accounts import credits
from accounts.errors import AccountDisabled, CreditsExpired, InsufficientCredits, InvalidApiKey, RateLimitExceeded
from accounts.keys import hash_key
from accounts.models import Account, Balance, LedgerEntry
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


def hold(
    username: str = "alice",
    amount: str = "0.10",
    request_id: str = "req_1",
    balance: Balance = Balance.OPENHANDS,
    **kwargs: Any,
) -> credits.Hold:
    kwargs = {"minimum": Decimal(amount), "maximum": Decimal(amount), "api_key": key_of(username), **kwargs}
    return credits.hold(balance=balance, request_id=request_id, **kwargs)


def settle(
    cost: str, request_id: str = "req_1", balance: Balance = Balance.OPENHANDS, **kwargs: Any
) -> credits.Settlement:
    return credits.settle(username="alice", request_id=request_id, balance=balance, cost=Decimal(cost), **kwargs)


def test_hold_takes_from_the_balance_and_settle_gives_the_rest_back(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1, strange="kept")
    taken = hold()
    assert (taken.username, taken.amount, taken.balance_after) == ("alice", Decimal("0.1"), Decimal("0.9"))
    assert Account.objects.get(pk="alice").held(Balance.OPENHANDS) == Decimal("0.1")

    settled = settle("0.03", input_tokens=100, output_tokens=7)

    document = usersnew.find_one({"_id": "alice"})
    assert settled.balance_after == Decimal("0.97")
    assert document.pop("rateFullAt") == pytest.approx(time.time(), abs=60)
    assert document == {
        "_id": "alice",
        "apiKey": key_of("alice"),
        "apiKeyHash": hash_key(key_of("alice")),  # From its first use on it is found by its hash.
        "apiKeyHashedFrom": key_of("alice"),
        "creditsNew": 0.97,
        "creditsNewUsed": 0.03,
        "tokensUserNew": 107,
        "totalInputTokens": 100,
        "totalOutputTokens": 7,
        "strange": "kept",
        "holds": {},
    }


def test_ohmygpt_counts_its_own_fields_only(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=Int64(2), creditsUsed=1.5, totalInputTokens=5.0, creditsNew=9)
    hold(balance=Balance.OHMYGPT)
    settle("0.1", balance=Balance.OHMYGPT, input_tokens=3, output_tokens=4)
    document = usersnew.find_one({"_id": "alice"})
    assert (document["credits"], document["creditsUsed"], document["creditsNew"]) == (1.9, 1.6, 9)
    assert (document["totalInputTokens"], document["totalOutputTokens"]) == (8, 4)
    assert "tokensUserNew" not in document


def test_settle_twice_is_a_no_op(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1)
    hold()
    settle("0.03", input_tokens=1)
    before = usersnew.find_one({"_id": "alice"})
    assert settle("0.03", input_tokens=1).balance_after is None
    assert usersnew.find_one({"_id": "alice"}) == before


def test_settle_by_many_at_once_counts_once(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice", creditsNew=1)
    hold()
    results = in_threads(20, lambda _: settle("0.04"))
    assert sum(result.balance_after is not None for result in results) == 1
    assert Account.objects.get(pk="alice").credits_new == Decimal("0.96")


def test_settle_never_takes_more_than_the_hold(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    hold()
    assert settle("5").balance_after == Decimal("0.9")
    assert Account.objects.get(pk="alice").credits_new_used == Decimal("0.1")


def test_200_holds_at_once_never_overdraw(insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice", creditsNew=1.0)

    def attempt(index: int) -> bool:
        try:
            hold(request_id=f"req_{index}")
        except InsufficientCredits:
            return False
        return True

    assert sum(in_threads(200, attempt)) == 10
    account = Account.objects.get(pk="alice")
    assert account.credits_new == 0
    assert account.held(Balance.OPENHANDS) == 1


def test_hold_takes_half_of_what_is_free_but_the_minimum_whole(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.30000000000000004)
    assert hold(minimum=Decimal("0.1"), maximum=Decimal(5)).amount == Decimal("0.15")
    assert hold(request_id="req_2", minimum=Decimal("0.1"), maximum=Decimal(5)).amount == Decimal("0.1")
    assert Account.objects.get(pk="alice").credits_new == Decimal("0.05")
    with pytest.raises(InsufficientCredits) as caught:
        hold(request_id="req_3", minimum=Decimal("0.1"), maximum=Decimal(5))
    assert (caught.value.required, caught.value.available) == (Decimal("0.1"), Decimal("0.05"))
    assert caught.value.held == Decimal("0.25")


@pytest.mark.parametrize(("ample", "held"), [("0.4", "0.4"), ("0.8", "0.4"), ("0.9", "0.4"), ("1.2", "0.4")])
def test_hold_takes_the_maximum_where_there_is_ample(insert_user: InsertUser, ample: str, held: str) -> None:
    """Or where half of what is free is as much."""
    insert_user("alice", creditsNew=1)
    assert hold(minimum=Decimal("0.1"), maximum=Decimal("0.4"), ample=Decimal(ample)).amount == Decimal(held)


def test_hold_takes_half_where_it_is_not_ample(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    assert hold(minimum=Decimal("0.1"), maximum=Decimal("0.9"), ample=Decimal("1.8")).amount == Decimal("0.5")
    assert hold(request_id="req_2", minimum=Decimal("0.1"), maximum=Decimal("0.5")).amount == Decimal("0.5")


@pytest.mark.parametrize("stored", [1, Int64(1), 1.0, Decimal128("1")])
def test_hold_of_exactly_the_balance_works_for_every_number_type(insert_user: InsertUser, stored: object) -> None:
    insert_user("alice", creditsNew=stored)
    assert hold(amount="1").balance_after == 0


@pytest.mark.parametrize("stored", [None, -1, 0.09999999])
def test_hold_is_refused_for_what_is_not_enough(insert_user: InsertUser, stored: object) -> None:
    insert_user("alice", creditsNew=stored, credits=100)
    with pytest.raises(InsufficientCredits):
        hold()


def test_a_debt_blocks_even_a_free_request(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=-0.5)
    with pytest.raises(InsufficientCredits):
        hold(amount="0")


def test_hold_expires_to_the_millisecond_without_a_sweeper(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, expiresAt=NOW)
    hold(now=NOW - timedelta(milliseconds=1))
    with pytest.raises(CreditsExpired, match="2026-11-20 12:00:00 UTC"):
        hold(request_id="req_2", now=NOW)


def test_hold_with_a_wrong_key_or_a_disabled_account_is_refused(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    insert_user("bob", creditsNew=1, isActive=False)
    for key in ("sk-trollllm-" + "0" * 64, "x", "", "ключ-ключ-ключ", "a b c d e f g h"):
        with pytest.raises(InvalidApiKey):
            hold(api_key=key)
    with pytest.raises(AccountDisabled):
        hold("bob")


def test_hold_finds_an_account_by_the_hash_of_its_key(insert_user: InsertUser) -> None:
    insert_user("alice", apiKey=None, apiKeyHash=hash_key("sk-trollllm-secret"), creditsNew=1)
    assert hold(api_key="sk-trollllm-secret").username == "alice"
    with pytest.raises(InvalidApiKey):
        hold(api_key=hash_key("sk-trollllm-secret"))


def test_held_since_follows_the_holds(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1)
    hold(now=NOW)
    hold(request_id="req_2", now=NOW + timedelta(seconds=5))
    settle("0")
    assert usersnew.find_one({"_id": "alice"})["heldSince"] == NOW.replace(tzinfo=None)
    settle("0", request_id="req_2")
    assert "heldSince" not in usersnew.find_one({"_id": "alice"})


def test_the_rest_of_a_hold_expires_with_the_credits_it_came_from(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, expiresAt=NOW)
    hold(amount="0.4", now=NOW - timedelta(minutes=1))
    later = NOW + timedelta(minutes=1)
    credits.top_up(username="alice", amount=Decimal(20), operation="p", actor="sepay", now=later)

    settled = settle("0.1", now=later)

    assert settled.balance_after == 20
    amounts = {entry.operation: entry.amount for entry in LedgerEntry.objects.filter(kind="expiry")}
    assert sorted(amounts.values()) == [Decimal("-0.6"), Decimal("-0.3")]
    assert amounts["expiry:req_1"] == Decimal("-0.3")
    assert settle("0.1", now=later).balance_after is None


def test_a_hold_settled_after_the_expiry_gives_back_what_the_next_sweep_expires(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, expiresAt=NOW)
    hold(amount="0.4", now=NOW - timedelta(minutes=1))
    settle("0.1", now=NOW + timedelta(minutes=1))
    assert Account.objects.get(pk="alice").credits_new == Decimal("0.9")
    credits.expire(username="alice", seen_expires_at=NOW, now=NOW + timedelta(minutes=2))
    assert Account.objects.get(pk="alice").credits_new == 0


def test_transfer_cannot_move_held_credits(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    hold(amount="0.4")
    with pytest.raises(InsufficientCredits, match=r"\$0.40 more is held"):
        credits.transfer(
            username="alice",
            source=Balance.OPENHANDS,
            amount=Decimal("0.7"),
            operation="t",
            actor="staff",
            reason="",
        )


def test_a_hold_that_lost_every_race_asks_to_try_again(insert_user: InsertUser) -> None:
    # What the update refuses and the look afterwards allows: so near the limit, only the rounding of the time differs.
    insert_user("alice", creditsNew=1, requestsPerMinute=60, rateFullAt=NOW.timestamp() + 59 + 5e-7)
    with pytest.raises(RateLimitExceeded, match="Try again") as raised:
        hold(now=NOW)
    assert raised.value.retry_seconds == 1
    assert raised.value.rate.limit == 60


@pytest.mark.parametrize("stored", [Decimal128("0.123456795"), Decimal128("0.1234567850000000000000000000000001")])
def test_a_decimal128_of_many_places_can_be_held_and_settled_in_full(
    insert_user: InsertUser, usersnew: Any, stored: Decimal128
) -> None:
    insert_user("alice", creditsNew=stored)
    shown = str(Account.objects.get(pk="alice").credits_new)
    assert hold(amount=shown).balance_after == 0
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": stored}})  # as an old program may write it
    settled = settle("0.1")
    assert settled.balance_after == 2 * Decimal(shown) - Decimal("0.1")


def test_a_decimal128_of_many_places_settles_after_its_expiry(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1, expiresAt=NOW)
    hold(now=NOW - timedelta(seconds=1))
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": Decimal128("0.123456795")}})
    credits.expire(username="alice", seen_expires_at=NOW, now=NOW)
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": Decimal128("0.123456795")}})
    assert settle("0.04").balance_after == Decimal("0.12345679")
    rest = LedgerEntry.objects.get(operation="expiry:req_1")
    assert rest.amount == Decimal("-0.06")


@pytest.mark.parametrize("stored", [1e300, -1e300, 2.0**63, Decimal128("1e40"), float("nan"), "many"])
def test_a_counter_that_is_no_count_keeps_no_request_from_being_settled(
    insert_user: InsertUser, usersnew: Any, stored: object
) -> None:
    insert_user("alice", creditsNew=1, totalInputTokens=stored, tokensUserNew=stored)
    hold()
    assert settle("0.1", input_tokens=5).balance_after == Decimal("0.9")
    assert isinstance(usersnew.find_one()["totalInputTokens"], int)
