"""Going back and coming again: customers of each kind, this platform, the old programs, and this platform once more.

A model of a few lines says what each customer must have: nothing is wiped, nothing is given, every cent is there.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import credits, processes
from accounts.errors import BillingError
from accounts.models import Account, Balance, LedgerEntry
from accounts.registration import create_account, hash_stored_key, rotate_key
from books.reconciliation import reconcile_account
from money.amounts import ZERO, from_bson
from mongo.collections import collection_of
from payments import orders
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.takeover import old_programs
from tests.takeover.old_programs import Proxy, Refused, Timers

SEED = 20261127
EACH = 5
"""Customers of each kind."""


@dataclass
class Customer:
    """What must be true of one customer: the key in use, and all that they can spend, in USD."""

    key: str
    usd: Decimal = ZERO


def naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


@pytest.fixture(autouse=True)
def _nothing_serves(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of other tests beat in their own collection."""
    connection.database["processes_of_this_test"].delete_many({})
    connection.database["user_keys"].delete_many({})
    monkeypatch.setattr(processes, "COLLECTION", "processes_of_this_test")


def cents(rng: random.Random, most: float = 40) -> float:
    return rng.randint(1, int(most * 100)) / 100


def make_customers(insert_user: InsertUser, rng: random.Random) -> dict[str, Customer]:
    """Documents of each kind that is served by both, with the key that their owners use."""
    soon, user_keys = timezone.now() + timedelta(days=3), connection.database["user_keys"]
    customers = {}

    def insert(name: str, **fields: Any) -> None:
        insert_user(name, **{"expiresAt": soon, "migration": True, "isActive": True, **fields})
        user_keys.insert_one({"_id": key_of(name), "name": name, "isActive": True, "tokensUsed": 0})
        usd = from_bson(fields.get("credits")) + from_bson(fields.get("creditsNew"))
        customers[name] = Customer(key_of(name), usd)

    for number in range(EACH):
        insert(f"buyer{number}", credits=cents(rng), creditsNew=cents(rng))
        insert(f"undated{number}", credits=cents(rng), creditsNew=cents(rng), expiresAt=None)
        insert(f"wide{number}", credits=Decimal128(str(cents(rng))), creditsNew=Decimal128(str(cents(rng))))
        insert(f"bare{number}", creditsNew=cents(rng), migration=None, isActive=None)
        insert(f"hashed{number}", creditsNew=cents(rng))
        hash_stored_key(username=f"hashed{number}")
        insert(f"rotated{number}", creditsNew=cents(rng))
        customers[f"rotated{number}"].key = rotate_key(username=f"rotated{number}")
        insert(f"late{number}", credits=cents(rng), creditsNew=cents(rng), expiresAt=soon - timedelta(days=9))
        customers[f"late{number}"].usd = ZERO
        name = f"new{number}"
        _, key = create_account(username=name)
        credits.top_up(username=name, amount=Decimal(20), operation=f"payment:{name}", actor="sepay")
        customers[name] = Customer(key, Decimal(20))
    return customers


def use(customers: dict[str, Customer], rng: random.Random, *, settles: bool = True) -> None:
    """Requests of this platform, on whichever balance has something; every third one stays open when it must."""
    for number, (name, customer) in enumerate(customers.items()):
        account = connection.database["usersNew"].find_one({"_id": name})
        amounts = {balance: from_bson(account.get(balance.field)) for balance in Balance}
        balance = max(amounts, key=lambda one: amounts[one])
        cost = Decimal(rng.randint(1, 999_999)).scaleb(-8)
        if customer.usd == ZERO or amounts[balance] < cost * 2:
            continue
        request_id = f"req_{name}_{rng.random()}".replace(".", "_")
        credits.hold(api_key=customer.key, balance=balance, request_id=request_id, minimum=cost * 2, maximum=cost * 2)
        if not settles and number % 3 == 0:
            continue  # Its process dies here, and the hold goes back.
        log = {"_id": request_id, "userId": name, "creditType": balance.value, "createdAt": timezone.now()}
        collection_of(RequestLog).insert_one(log | {"creditsCost": float(cost), "hold": float(cost * 2)})
        if settles or number % 3 == 1:
            credits.settle(username=name, request_id=request_id, balance=balance, cost=cost)
        customer.usd -= cost


def total_of(name: str) -> Decimal:
    account = connection.database["usersNew"].find_one({"_id": name})
    return sum((from_bson(account.get(balance.field)) for balance in Balance), ZERO)


def prepare(keys: Path) -> str:
    out = StringIO()
    call_command(
        "prepare_rollback", yes=True, transfer=True, expires_in=7, new_keys=keys, cancel_orders=True, stdout=out
    )
    return out.getvalue()


def test_nobody_gains_or_loses_a_cent_by_going_back_and_coming_again(insert_user: InsertUser, tmp_path: Path) -> None:
    rng, database = random.Random(SEED), connection.database
    customers = make_customers(insert_user, rng)
    call_command("reconcile", stdout=StringIO())
    use(customers, rng)
    use(customers, rng, settles=False)
    order = orders.create_order(account=Account.objects.get(pk="buyer0"), credits=20)

    # Going back.
    prepare(tmp_path / "keys")
    call_command("reconcile", stdout=StringIO())
    for line in (tmp_path / "keys").read_text().splitlines():
        name, key = line.split("\t")
        customers[name].key = key
    assert {name: total_of(name) for name in customers} == {name: one.usd for name, one in customers.items()}

    # The old programs: everybody logs in, spends with their key, and some buy, replace a key, or run out of time.
    now = naive(timezone.now())
    timers, proxy = Timers.start(database), Proxy(database)
    assert not old_programs.receive_webhook(database, str(order.order_code), now)
    for name, customer in customers.items():
        assert round(Decimal(old_programs.log_in(database, name, now)), 8) == customer.usd, name
        assert old_programs.authenticate(database, customer.key)["_id"] == name
        for _ in range(3):
            cost = rng.randint(1, 9_999) / 1_000_000
            if customer.usd >= Decimal(str(cost)):
                proxy.serve(customer.key, cost, now)
                customer.usd -= Decimal(str(cost))
        if customer.usd == ZERO:
            with pytest.raises(Refused, match="insufficient"):
                proxy.serve(customer.key, 0.01, now)
    proxy.flush()
    replaced = {}
    for number in range(EACH):
        bought = f"buyer{number}"
        memo = old_programs.order(database, bought, 25, now)
        assert old_programs.receive_webhook(database, memo, now, version=("single", "dual", "split")[number % 3])
        customers[bought].usd += 25
        name = f"hashed{number}"
        replaced[name] = customers[name].key
        customers[name].key = old_programs.replace_key(database, name)
    late = now + timedelta(days=4)
    wiped = [name for name, at in timers.remembered.items() if at <= late]
    timers.fire(database, late)
    for name in wiped:
        customers[name].usd = from_bson(database["usersNew"].find_one({"_id": name}).get("creditsNew"))

    # Coming again: one command tells, one closes, and no balance changes.
    err = StringIO()
    with pytest.raises(CommandError):
        call_command("reconcile", stdout=StringIO(), stderr=err)
    assert err.getvalue().count("drift") > EACH
    before = list(database["usersNew"].find().sort("_id", 1))
    call_command("reconcile", accept=True, reason="The old programs ran", stdout=StringIO())
    assert list(database["usersNew"].find().sort("_id", 1)) == before
    call_command("reconcile", stdout=StringIO())
    assert LedgerEntry.objects.filter(kind="correction").count() > EACH
    assert {name: total_of(name) for name in customers} == {name: one.usd for name, one in customers.items()}
    for name, old_key in replaced.items():
        with pytest.raises(BillingError) as refusal:
            credits.check_may_hold(api_key=old_key, balance=Balance.OHMYGPT, minimum=Decimal(0))
        assert refusal.value.code in ("invalid_api_key", "key_disabled")
        assert customers[name].key != old_key
    use({name: one for name, one in customers.items() if not name.startswith("late")}, rng)
    assert all(result.drift == 0 for name in customers for result in reconcile_account(name))


def test_without_preparation_the_old_programs_would_harm(insert_user: InsertUser) -> None:
    """That the stand-in does what the command protects from: otherwise the test above would show nothing."""
    database, now = connection.database, naive(datetime.now(UTC))
    insert_user("undated", credits=5, isActive=True, migration=True)
    assert old_programs.log_in(database, "undated", now) == 0
    insert_user("wide", credits=Decimal128("5"), isActive=True, migration=True)
    insert_user("bare", credits=5)
    insert_user("flagged", credits=5, isActive=True)
    insert_user("rotated", credits=5, isActive=True, migration=True)
    database["user_keys"].insert_one({"_id": key_of("rotated"), "name": "rotated", "isActive": True})
    new = rotate_key(username="rotated")
    for key, why in (
        (key_of("wide"), "float64"),
        (key_of("bare"), "inactive"),
        (key_of("flagged"), "not been migrated"),
        (new, "no such key"),
    ):
        with pytest.raises(Refused, match=why):
            old_programs.authenticate(database, key)
    assert old_programs.authenticate(database, key_of("rotated"))["_id"] == "rotated"
    timers = Timers({"undated": now - timedelta(seconds=1)})
    database["usersNew"].update_one({"_id": "undated"}, {"$set": {"credits": 20, "expiresAt": now}})
    assert timers.fire(database, now) == 1
    assert database["usersNew"].find_one({"_id": "undated"})["credits"] == 0


def test_each_may_bill_while_the_other_sells(insert_user: InsertUser) -> None:
    """Beside each other on one database: the old proxy bills while this platform sells, and the other way round."""
    database, now = connection.database, naive(timezone.now())
    insert_user("alice", credits=5.0, creditsNew=1.0, isActive=True, migration=True, expiresAt=now + timedelta(days=1))
    reconcile_account("alice")
    proxy = Proxy(database)
    proxy.serve(key_of("alice"), 0.5, now)
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay")
    proxy.flush()
    hold = {"api_key": key_of("alice"), "balance": Balance.OPENHANDS, "request_id": "req_1"}
    credits.hold(**hold, minimum=Decimal(2), maximum=Decimal(2))
    memo = old_programs.order(database, "alice", 25, now)
    assert old_programs.receive_webhook(database, memo, now, version="dual")
    credits.settle(username="alice", request_id="req_1", balance=Balance.OPENHANDS, cost=Decimal(0))
    account = database["usersNew"].find_one({"_id": "alice"})
    assert (account["credits"], account["creditsNew"]) == (4.5, 46)
    # What the old programs moved, and nothing else, has no entry here.
    assert {result.balance: result.drift for result in reconcile_account("alice")} == {
        Balance.OHMYGPT: Decimal("-0.5"),
        Balance.OPENHANDS: Decimal(25),
    }


def test_the_old_proxy_takes_referral_credits_after_credits(insert_user: InsertUser) -> None:
    database, now = connection.database, naive(datetime.now(UTC))
    insert_user("alice", credits=1.0, refCredits=2.0, isActive=True, migration=True)
    reconcile_account("alice")
    proxy = Proxy(database)
    proxy.serve(key_of("alice"), 1.5, now)
    with pytest.raises(Refused, match="insufficient"):
        proxy.serve(key_of("alice"), 1.6, now)
    proxy.flush()
    account = database["usersNew"].find_one({"_id": "alice"})
    assert (account["credits"], account["refCredits"], account["creditsUsed"]) == (0, 1.5, 1)
    assert [result.drift for result in reconcile_account("alice")] == [0, -1]
