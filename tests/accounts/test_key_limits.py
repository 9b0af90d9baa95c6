"""What a key's own limits allow, judged inside the hold's update: budgets are hard, whatever runs in parallel."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from accounts import credits
from accounts.api_keys import create_key, delete_key, rotate_further_key, set_key_disabled, update_key
from accounts.authentication import find_account_by_key
from accounts.errors import (
    AccountNeedsRepair,
    BillingError,
    InvalidApiKey,
    KeyBudgetReached,
    KeyDisabled,
    KeyExpired,
    ModelNotAllowed,
    RateLimitExceeded,
)
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.key_limits import KeyInUse, Use, budget_refusal, unusable_key, use_refusal
from accounts.keys import first_key_hash, hash_key, key_filter, key_id
from accounts.models import Account, Balance
from accounts.rate_limits import check_rate, take_one
from accounts.registration import rotate_key
from books.reconciliation import reconcile_account
from proxy.billing.abandoned import sweep_holds
from proxy.billing.request_log import log_document, record
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads
from tests.odd_values import VALUES

NOW = datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC)
TOMORROW = NOW + timedelta(seconds=20)
"""Another day, and another month."""
DOLLAR_A_DAY = Limits(budget=Budget(Decimal(1), BudgetPeriod.DAY))


def hold(key: str, amount: str = "0.1", request_id: str = "req_1", **options: Any) -> credits.Hold:
    options = {"minimum": Decimal(amount), "maximum": Decimal(amount), "now": NOW, **options}
    return credits.hold(
        api_key=key, balance=options.pop("balance", Balance.OPENHANDS), request_id=request_id, **options
    )


def settle(cost: str, request_id: str = "req_1") -> None:
    credits.settle(username="alice", request_id=request_id, balance=Balance.OPENHANDS, cost=Decimal(cost))


def make_key(limits: Limits = DOLLAR_A_DAY, name: str = "ci") -> str:
    """Another key of alice's; returns its secret."""
    return create_key(username="alice", name=name, limits=limits, now=NOW)[1]


def entry_of(key: str) -> dict[str, Any]:
    document = connection.database["usersNew"].find_one({"_id": "alice"})  # type: ignore[attr-defined]
    found: dict[str, Any] = document["keys"][key_id(hash_key(key))]
    return found


def id_of(key: str) -> str:
    return str(entry_of(key)["id"])


@pytest.fixture
def alice(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=100.0, credits=100.0, requestsPerMinute=100_000, concurrentRequests=1000)


def test_a_further_key_pays_from_the_same_balance_and_counts_for_itself(alice: None, usersnew: Any) -> None:
    key = make_key()
    held = hold(key, "0.4")
    assert (held.username, held.balance_after, held.key_id) == ("alice", Decimal("99.6"), id_of(key))
    entry = entry_of(key)
    assert (entry["spent"], entry["period"], entry["lastUsedAt"]) == (0.4, "2026-11-30", NOW.replace(tzinfo=None))
    settle("0.15")
    assert entry_of(key)["spent"] == 0.15
    settle("0.15")
    assert entry_of(key)["spent"] == 0.15
    assert usersnew.find_one({"_id": "alice"})["creditsNew"] == 99.85
    assert hold(key_of("alice"), request_id="req_2").key_id == key_id(hash_key(key_of("alice")))
    assert entry_of(key)["spent"] == 0.15


def test_200_holds_at_once_never_exceed_a_budget_and_what_is_spent_is_what_they_cost(
    alice: None, in_threads: InThreads
) -> None:
    key, chance = make_key(), random.Random(7)
    costs = [Decimal(chance.randrange(1, 1000)) / 10_000 for _ in range(200)]
    highest: list[float] = []

    def attempt(index: int) -> Decimal:
        try:
            held = hold(key, request_id=f"req_{index}", maximum=Decimal("0.3"))
        except KeyBudgetReached:
            return Decimal(0)
        highest.append(entry_of(key)["spent"])
        cost = min(costs[index], held.amount)
        settle(str(cost), f"req_{index}")
        return cost

    cost = sum(in_threads(200, attempt), Decimal(0))
    assert max(highest) <= 1
    assert Decimal(str(entry_of(key)["spent"])) == cost
    assert cost <= 1
    assert Account.objects.get(pk="alice").credits_new == 100 - cost
    assert [result.drift for result in reconcile_account("alice")] == [0, 0]


def test_a_budget_bounds_what_is_held_and_says_what_helps(alice: None) -> None:
    key = make_key()
    assert hold(key, minimum=Decimal("0.1"), maximum=Decimal(5)).amount == Decimal("0.5")  # Half of what it leaves.
    settle("0")
    assert hold(key, "1").amount == 1
    with pytest.raises(KeyBudgetReached) as caught:
        hold(key, request_id="req_2")
    assert caught.value.is_freed_soon
    assert (caught.value.held, caught.value.spent) == (1, 0)
    assert "held by running requests of this key: $1.00. Try again when they have finished" in str(caught.value)
    settle("0.95")
    with pytest.raises(KeyBudgetReached) as caught:
        hold(key, request_id="req_2")
    assert not caught.value.is_freed_soon
    assert "budget of $1.00 a day" in str(caught.value)
    assert "It begins anew at 2026-12-01 00:00 UTC" in str(caught.value)
    assert hold(key, "0.05", request_id="req_3").amount == Decimal("0.05")
    assert hold(key_of("alice"), "5", request_id="req_4").amount == 5


@pytest.mark.parametrize("period", BudgetPeriod)
def test_a_request_is_counted_in_the_period_in_which_it_began(alice: None, period: BudgetPeriod) -> None:
    key = make_key(Limits(budget=Budget(Decimal(1), period)))
    hold(key, "0.8")
    hold(key, "0.9", request_id="req_2", now=TOMORROW)
    assert (entry_of(key)["spent"], entry_of(key)["period"]) == (0.9, period.name_at(TOMORROW))
    settle("0.1")  # Of yesterday: nothing of it returns to today's budget.
    assert entry_of(key)["spent"] == 0.9
    settle("0.2", "req_2")
    assert entry_of(key)["spent"] == 0.2


def test_a_clock_that_is_behind_does_not_begin_yesterday_anew(alice: None) -> None:
    key = make_key()
    hold(key, "0.9", now=TOMORROW)
    with pytest.raises(KeyBudgetReached):
        hold(key, "0.2", request_id="req_2", now=NOW)
    hold(key, request_id="req_3", now=NOW)
    assert (entry_of(key)["spent"], entry_of(key)["period"]) == (1.0, "2026-12-01")


def test_the_sweep_gives_the_budget_of_a_dead_request_back(alice: None, usersnew: Any) -> None:
    key = make_key()
    long_ago = NOW - timedelta(hours=3)
    hold(key, "0.7", now=long_ago)
    sweep_holds(now=NOW)
    assert (entry_of(key)["spent"], usersnew.find_one()["creditsNew"]) == (0.0, 100.0)
    log = connection.database["request_logs"].find_one({"_id": "req_1"})  # type: ignore[attr-defined]
    assert (log["keyId"], log["creditsCost"]) == (id_of(key), 0)


def test_a_crash_between_record_and_settlement_is_counted_once(alice: None, usersnew: Any) -> None:
    key, long_ago = make_key(), NOW - timedelta(hours=3)
    held = hold(key, "0.7", now=long_ago)
    log = log_document(
        request_id="req_1",
        username="alice",
        balance=Balance.OPENHANDS,
        key_id=held.key_id,
        status=200,
        outcome="ok",
        created_at=long_ago,
        full_cost=Decimal("0.25"),
        hold=held.amount,
    )
    record(log, patience_seconds=0)
    for _ in range(2):
        sweep_holds(now=NOW)
        assert (entry_of(key)["spent"], usersnew.find_one()["creditsNew"]) == (0.25, 99.75)


def test_a_disabled_key_is_refused_by_every_use_and_can_be_enabled(alice: None) -> None:
    key = make_key()
    set_key_disabled(username="alice", wanted_id=id_of(key), is_disabled=True)
    for use in (hold, take_one, check_rate, find_account_by_key):
        with pytest.raises(KeyDisabled, match="is disabled"):
            use(key)  # type: ignore[operator]
    assert hold(key_of("alice")).username == "alice"
    set_key_disabled(username="alice", wanted_id=id_of(key), is_disabled=False)
    assert hold(key, request_id="req_2").username == "alice"


def test_a_key_expires_to_the_millisecond(alice: None) -> None:
    key = make_key(Limits(expires_at=TOMORROW))
    hold(key, now=TOMORROW - timedelta(milliseconds=1))
    with pytest.raises(KeyExpired, match="2026-12-01 00:00"):
        hold(key, request_id="req_2", now=TOMORROW)
    with pytest.raises(KeyExpired):
        take_one(key, now=TOMORROW)
    with pytest.raises(KeyExpired):
        check_rate(key, now=TOMORROW)


def test_a_key_is_good_for_its_models_and_upstreams_only(alice: None) -> None:
    key = make_key(Limits(models=("haiku", "$sonnet"), upstreams=("openhands",)))
    assert hold(key, models=("alias", "haiku")).username == "alice"
    assert hold(key, models=("$sonnet",), request_id="req_2").username == "alice"
    for models in (("opus",), ("$haiku",), ()):
        with pytest.raises(ModelNotAllowed, match="haiku"):
            hold(key, models=models, request_id="req_3")
        with pytest.raises(ModelNotAllowed):
            take_one(key, use=Use(Balance.OPENHANDS, models), now=NOW)
    with pytest.raises(ModelNotAllowed, match="ohmygpt"):
        hold(key, balance=Balance.OHMYGPT, models=("haiku",), request_id="req_3")
    assert take_one(key, use=Use(Balance.OPENHANDS, ("haiku",)), now=NOW)[0] == "alice"
    credits.check_may_hold(api_key=key, balance=Balance.OPENHANDS, minimum=Decimal(1), now=NOW)
    with pytest.raises(ModelNotAllowed):
        credits.check_may_hold(api_key=key, balance=Balance.OHMYGPT, minimum=Decimal(1), now=NOW)


def test_the_first_key_may_have_limits_which_a_replacement_inherits(alice: None) -> None:
    first = key_of("alice")
    own_id = key_id(hash_key(first))
    update_key(username="alice", wanted_id=own_id, budget=DOLLAR_A_DAY.budget, now=NOW)
    assert hold(first, "0.7").key_id == own_id
    new = rotate_key(username="alice", current_key=first, now=NOW)
    with pytest.raises(InvalidApiKey):
        hold(first)
    with pytest.raises(KeyBudgetReached):
        hold(new, "0.4", request_id="req_2")
    settle("0.1")
    assert hold(new, "0.9", request_id="req_2").key_id == own_id


def test_the_first_limit_of_a_key_counts_at_once_where_it_was_used_without(alice: None) -> None:
    first, own_id = key_of("alice"), key_id(hash_key(key_of("alice")))
    for number in range(2):
        hold(first, "5", request_id=f"req_before_{number}")
    update_key(username="alice", wanted_id=own_id, budget=DOLLAR_A_DAY.budget, models=("haiku",), now=NOW)
    with pytest.raises(ModelNotAllowed):
        hold(first)
    assert hold(first, "1", models=("haiku",)).amount == 1
    with pytest.raises(KeyBudgetReached):
        hold(first, models=("haiku",), request_id="req_2")
    update_key(username="alice", wanted_id=own_id, budget=None, models=None, now=NOW)
    assert hold(first, "5", request_id="req_3").amount == 5
    assert entry_of(first)["spent"] == 6.0


def test_limits_of_the_first_key_hold_for_the_one_that_the_old_programs_write(alice: None, usersnew: Any) -> None:
    hold(key_of("alice"))
    update_key(username="alice", wanted_id=key_id(hash_key(key_of("alice"))), models=("haiku",), now=NOW)
    usersnew.update_one({"_id": "alice"}, {"$set": {"apiKey": key_of("other")}})
    with pytest.raises(ModelNotAllowed):
        hold(key_of("other"), models=("opus",), request_id="req_2")
    assert hold(key_of("other"), models=("haiku",), request_id="req_2").username == "alice"
    with pytest.raises(InvalidApiKey):
        hold(key_of("alice"), models=("haiku",), request_id="req_3")


def test_a_rotated_key_keeps_its_limits_and_what_running_requests_give_back(alice: None) -> None:
    old = make_key()
    hold(old, "0.8")
    key, new = rotate_further_key(username="alice", wanted_id=id_of(old), current_key=old, now=NOW)
    with pytest.raises(InvalidApiKey):
        hold(old, request_id="req_2")
    with pytest.raises(KeyBudgetReached):
        hold(new, "0.3", request_id="req_2")
    settle("0.1")
    assert entry_of(new)["spent"] == 0.1
    assert hold(new, "0.9", request_id="req_2").key_id == key.key_id == key_id(hash_key(old))


def test_a_key_may_be_deleted_while_its_requests_run(alice: None, usersnew: Any) -> None:
    key = make_key()
    hold(key)
    delete_key(username="alice", wanted_id=id_of(key))
    with pytest.raises(InvalidApiKey):
        hold(key, request_id="req_2")
    settle("0.04")
    document = usersnew.find_one({"_id": "alice"})
    assert (document["creditsNew"], document["holds"]) == (99.96, {})
    assert not {"keys", "keyHashes"} & document.keys()


def test_another_period_begins_anew_and_no_running_request_gives_back_too_much(alice: None) -> None:
    key = make_key()
    hold(key, "0.6")
    month, day = (Budget(Decimal(1), period) for period in (BudgetPeriod.MONTH, BudgetPeriod.DAY))
    assert update_key(username="alice", wanted_id=id_of(key), budget=month, now=NOW).entry.spent == Decimal("0.6")
    assert update_key(username="alice", wanted_id=id_of(key), budget=day, now=NOW).entry.spent == Decimal("0.6")
    settle("0.2")
    assert entry_of(key)["spent"] == 0.2
    update_key(username="alice", wanted_id=id_of(key), budget=month, now=NOW)
    hold(key, "0.3", request_id="req_2")
    update_key(username="alice", wanted_id=id_of(key), budget=day, now=NOW)
    assert entry_of(key)["spent"] == 0.3
    settle("0.1", "req_2")  # Held for the month: of the day it counts in full.
    assert entry_of(key)["spent"] == 0.3


ENTRY_FIELDS = (
    "hash",
    "isDisabled",
    "isRetired",
    "isAdopted",
    "expiresAt",
    "budget",
    "budgetPeriod",
    "period",
    "spent",
    "models",
    "upstreams",
    "id",
    "name",
    "prefix",
    "createdAt",
    "lastUsedAt",
)


def test_python_and_the_database_agree_on_every_entry_whatever_it_holds(usersnew: Any) -> None:
    key, use = key_of("key"), Use(Balance.OPENHANDS, ("haiku", "abc"))
    path, hashed = key_id(hash_key(key)), hash_key(key)
    healthy = {"id": path, "hash": hashed, "budget": 1.0, "budgetPeriod": "day", "period": "2026-11-30", "spent": 0.5}
    entries = [
        (f"{field}-{name}", {**healthy, field: value}) for field in ENTRY_FIELDS for name, value in VALUES.items()
    ]
    entries += [(f"entry-{name}", value) for name, value in VALUES.items()]
    entries += [
        ("minimum", healthy | {"spent": 0.9}),
        ("over", healthy | {"spent": 0.90000001}),
        ("bare", {"hash": hashed}),
    ]
    usersnew.insert_many([{"_id": name, "keys": {path: entry}} for name, entry in entries])
    usersnew.insert_one({"_id": "none"})
    (allows,) = KeyInUse(key, now=NOW).may_hold(use, Decimal("0.1"))
    differ, allowed = [], set()
    for row in usersnew.aggregate([{"$project": {"keys": 1, "holds": 1, "allows": allows}}]):
        refusal: BillingError | None = (
            unusable_key(row["_id"], row.get("keys"), key, now=NOW)
            or use_refusal(row.get("keys"), key, use)
            or budget_refusal(row, key, minimum=Decimal("0.1"), now=NOW)
        )
        if row["allows"] is not (refusal is None):
            differ.append((row["_id"], row["allows"], refusal))
        if row["allows"]:
            allowed.add(row["_id"])
    assert differ == []
    assert {"minimum", "bare", "none", "isDisabled-false", "isDisabled-null"} <= allowed
    assert (
        not {"over", "entry-null", "entry-text", "isDisabled-no", "spent-text", "models-text", "period-int32"} & allowed
    )


@pytest.mark.usefixtures("odd_documents")
def test_no_odd_entry_lets_a_request_pass_or_fails_without_an_answer(alice: None, usersnew: Any) -> None:
    key = make_key()
    healthy = entry_of(key)
    path = f"keys.{key_id(hash_key(key))}"
    for number, (field, name) in enumerate((field, name) for field in ENTRY_FIELDS for name in VALUES):
        usersnew.update_one({"_id": "alice"}, {"$set": {path: healthy | {field: VALUES[name]}}})
        try:
            hold(key, request_id=f"req_{number}", models=("haiku",))
        except (AccountNeedsRepair, InvalidApiKey, KeyDisabled, KeyExpired, KeyBudgetReached, ModelNotAllowed):
            continue
        except RateLimitExceeded:
            pytest.fail(f"{field} {name}: the database refuses what Python allows")
        settle("0.01", f"req_{number}")
    assert Account.objects.get(pk="alice").holds == {}
    usersnew.update_one({"_id": "alice"}, {"$set": {path: healthy}})
    hold(key, "0.5", request_id="req_last")
    for name, value in VALUES.items():
        usersnew.update_one({"_id": "alice"}, {"$set": {f"{path}.spent": value, "keys.odd": value}})
        credits.settle(username="alice", request_id="req_last", balance=Balance.OPENHANDS, cost=Decimal(0))
        hold(key_of("alice"), request_id="req_last"), name


def test_both_kinds_of_keys_are_found_by_an_index(alice: None, usersnew: Any) -> None:
    key = make_key()
    assert find_account_by_key(key_of("alice")).pk == "alice"
    usersnew.insert_many([{"_id": f"user{number}", "apiKeyHash": f"{number:064x}"} for number in range(200)])
    for one in (key, key_of("alice"), key_of("nobody")):
        query = {**key_filter(one), "isActive": {"$ne": False}, "$and": [{"$or": [{"expiresAt": None}]}]}
        plan = usersnew.find(query).explain()
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
        assert {"key_hashes_lookup", "api_key_hash_lookup"} == {
            index
            for index in usersnew.index_information()
            if f"'indexName': '{index}'" in str(plan["queryPlanner"]["winningPlan"])
        }
        assert plan["executionStats"]["totalDocsExamined"] <= 2  # Once a branch.


def test_nobody_gets_in_by_a_hash_without_its_entry(alice: None, usersnew: Any) -> None:
    key = make_key()
    document = usersnew.find_one({"_id": "alice"})
    usersnew.update_one({"_id": "alice"}, {"$unset": {"keys": ""}})
    with pytest.raises(InvalidApiKey):
        hold(key)
    usersnew.update_one({"_id": "alice"}, {"$set": {"keys": document["keys"], "keyHashes": hash_key(key)}})
    with pytest.raises(AccountNeedsRepair, match="keyHashes"):
        hold(key)
    with pytest.raises(InvalidApiKey):
        hold(hash_key(key))


def test_a_document_without_keys_gets_none(alice: None, usersnew: Any) -> None:
    hold(key_of("alice"))
    settle("0.01")
    document = usersnew.find_one({"_id": "alice"})
    assert not {"keys", "keyHashes"} & document.keys()
    assert first_key_hash(document) == hash_key(key_of("alice"))
