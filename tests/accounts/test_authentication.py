"""Keys are found by their hash; what an old document holds as plain text gets its hash at its first use."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from accounts import credits
from accounts.authentication import adopt_key, count_plain_keys, find_account_by_key, find_any_account_by_key
from accounts.errors import AccountDisabled, InvalidApiKey
from accounts.keys import HASHED_FROM, hash_key
from accounts.models import Balance
from accounts.rate_limits import take_one
from accounts.registration import create_account, rotate_key
from support.admin.accounts import masked_key
from tests.conftest import key_of
from tests.factories import InsertUser

KEY, OTHER_KEY = key_of("alice"), key_of("other")


def hold(key: str) -> str:
    made = credits.hold(
        api_key=key, balance=Balance.OPENHANDS, request_id="req_1", minimum=Decimal(1), maximum=Decimal(1)
    )
    credits.settle(username=made.username, request_id="req_1", balance=Balance.OPENHANDS, cost=Decimal(0))
    return made.username


USES = [hold, lambda key: take_one(key)[0], lambda key: str(find_account_by_key(key).pk)]


def restart_profile(level: int = 2) -> None:
    database = connection.database
    database.command("profile", 0)
    database["system.profile"].drop()
    database.command("profile", level)


@pytest.fixture
def profiled(db: None) -> Iterator[Callable[[], str]]:
    """Call it to read what the server's profiler has kept of the commands on accounts."""
    restart_profile()
    yield lambda: str(list(connection.database["system.profile"].find({"ns": {"$regex": "usersNew$"}})))
    restart_profile(level=0)


@pytest.mark.parametrize("use", USES)
def test_no_command_names_a_key_that_is_hashed(use: Callable[[str], str], profiled: Callable[[], str]) -> None:
    _, key = create_account(username="alice")
    credits.top_up(username="alice", amount=Decimal(5), operation="p", actor="x")
    assert use(key) == "alice"
    for wrong in (OTHER_KEY, hash_key(key)):
        with pytest.raises(InvalidApiKey):
            use(wrong)
    new = rotate_key(username="alice", current_key=key)
    assert use(new) == "alice"
    kept = profiled()
    assert hash_key(key) in kept
    assert [one for one in (key, new, OTHER_KEY) if one in kept] == []


@pytest.mark.parametrize("use", USES)
def test_a_plain_key_is_looked_up_once(
    use: Callable[[str], str], insert_user: InsertUser, usersnew: Any, profiled: Callable[[], str]
) -> None:
    insert_user("alice", creditsNew=5, strange=1)
    assert use(KEY) == "alice"
    document = usersnew.find_one({"_id": "alice"})
    assert (document["apiKey"], document["apiKeyHash"], document["strange"]) == (KEY, hash_key(KEY), 1)
    restart_profile()
    assert use(KEY) == "alice"
    assert hash_key(KEY) in profiled()
    assert KEY not in profiled()


@pytest.mark.parametrize("use", USES)
def test_a_key_that_the_old_programs_replaced_stops(
    use: Callable[[str], str], insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", creditsNew=5)
    assert use(KEY) == "alice"
    usersnew.update_one({"_id": "alice"}, {"$set": {"apiKey": OTHER_KEY}})
    with pytest.raises(InvalidApiKey):
        use(KEY)
    assert use(OTHER_KEY) == "alice"
    with pytest.raises(InvalidApiKey):
        use(KEY)


def test_a_key_that_the_old_programs_took_away_stops(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=5)
    hold(KEY)
    new = rotate_key(username="alice")
    usersnew.update_one({"_id": "alice"}, {"$set": {"apiKey": OTHER_KEY}})  # After a roll-back.
    with pytest.raises(InvalidApiKey):
        hold(new)
    assert hold(OTHER_KEY) == "alice"
    assert masked_key(find_account_by_key(OTHER_KEY)) == OTHER_KEY[:16] + "…"


def test_keys_that_change_places_follow_their_documents(insert_user: InsertUser, usersnew: Any) -> None:
    bobs = key_of("bob")
    insert_user("alice", creditsNew=5)
    insert_user("bob", creditsNew=5)
    assert [hold(KEY), hold(bobs)] == ["alice", "bob"]
    usersnew.update_one({"_id": "alice"}, {"$set": {"apiKey": bobs}})
    usersnew.update_one({"_id": "bob"}, {"$set": {"apiKey": KEY}})
    assert [hold(KEY), hold(bobs)] == ["bob", "alice"]


def test_a_disabled_account_is_known_by_its_plain_key(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, isActive=False)
    for use in USES:
        with pytest.raises(AccountDisabled):
            use(KEY)


def test_who_only_looks_finds_a_plain_key_and_changes_nothing(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", isActive=False)
    before = usersnew.find_one()
    assert find_any_account_by_key(KEY).pk == "alice"
    with pytest.raises(InvalidApiKey):
        find_any_account_by_key(OTHER_KEY)
    assert usersnew.find_one() == before


def test_a_plain_key_can_be_rotated_by_who_has_it(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=5)
    new = rotate_key(username="alice", current_key=KEY)
    assert hold(new) == "alice"
    assert not {"apiKey", HASHED_FROM} & usersnew.find_one().keys()
    for current in (KEY, OTHER_KEY):
        with pytest.raises(InvalidApiKey):
            rotate_key(username="alice", current_key=current)


def test_hashing_the_keys_names_none_of_them(insert_user: InsertUser, profiled: Callable[[], str]) -> None:
    insert_user("alice", creditsNew=5)
    insert_user("bob")
    hold(KEY)  # Of two old documents one has its hash already.
    restart_profile()
    call_command("hash_api_keys", verbosity=0)
    kept = profiled()
    assert hash_key(KEY) in kept
    assert KEY not in kept
    assert key_of("bob") not in kept
    assert count_plain_keys() == 0
    assert hold(KEY) == "alice"


@pytest.mark.parametrize(
    "stored", [None, "", 0, 17, b"x", {}]
)  # A list is refused: tests/accounts/test_needs_repair.py.
def test_what_is_no_plain_key_counts_as_none(insert_user: InsertUser, stored: object) -> None:
    insert_user("alice", apiKey=stored, apiKeyHash=hash_key(KEY), creditsNew=5)
    assert hold(KEY) == "alice"
    assert count_plain_keys() == 0
    assert not adopt_key(OTHER_KEY)
