"""Keys of the replaced system's `user_keys`: adopted at their first use or all at once, and refused where revoked."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from accounts import credits
from accounts.api_keys import delete_key, list_keys, rotate_further_key, set_key_disabled
from accounts.authentication import find_account_by_key, find_any_account_by_key
from accounts.errors import AccountNeedsRepair, BillingError, InvalidApiKey, KeyDisabled, KeyExpired, TooManyKeys
from accounts.keys import hash_key, key_id
from accounts.models import Account, Balance
from accounts.rate_limits import take_one
from accounts.registration import rotate_key
from accounts.user_keys import Adoption, adopt_records, record_batches
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads
from tests.odd_values import NOT_AN_ID, VALUES

OWN, EXTRA = key_of("alice"), key_of("extra")


def hold(key: str) -> str:
    amount = Decimal("0.01")
    made = credits.hold(api_key=key, balance=Balance.OPENHANDS, request_id="req_1", minimum=amount, maximum=amount)
    credits.settle(username=made.username, request_id="req_1", balance=Balance.OPENHANDS, cost=amount)
    return made.username


USES: list[Callable[[str], object]] = [hold, take_one, find_account_by_key]


@pytest.fixture
def user_keys(db: None) -> Iterator[Any]:
    collection = connection.database["user_keys"]  # type: ignore[attr-defined]
    yield collection
    collection.drop()


def record(key: Any = EXTRA, **fields: Any) -> dict[str, Any]:
    return {"_id": key, "name": "alice", "isActive": True, "tokensUsed": 5, "expiresAt": None, **fields}


def adopt_user_keys(*, username: str) -> Adoption:
    """Adopt all records there are; what became of those of one account."""
    (batch,) = record_batches(1000)
    return adopt_records(batch).accounts.get(username, Adoption())


def names_with_records() -> list[str]:
    return list(adopt_records([one for batch in record_batches(1) for one in batch], is_applied=False).accounts)


def alice() -> Account:
    return Account.objects.get(pk="alice")


@pytest.mark.parametrize("use", USES)
def test_an_extra_key_works_from_its_first_use_on(
    use: Callable[[str], object], insert_user: InsertUser, usersnew: Any, user_keys: Any
) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_one(record())
    for _ in range(2):
        use(EXTRA)
    document = usersnew.find_one({"_id": "alice"})
    assert document["keyHashes"] == [hash_key(EXTRA)]
    assert EXTRA not in str(document)
    assert [(key.is_first, key.entry.is_adopted) for key in list_keys(alice())] == [(True, False), (False, True)]
    assert user_keys.find_one() == record()
    user_keys.drop()
    use(EXTRA)


def test_many_first_uses_at_once_make_one_entry(insert_user: InsertUser, in_threads: InThreads, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_one(record())
    assert {account.pk for account in in_threads(8, lambda _: find_account_by_key(EXTRA))} == {"alice"}
    assert len(alice().key_hashes) == 1


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("key", [OWN, EXTRA])
def test_a_revoked_key_is_refused_even_if_it_is_the_accounts_own(
    use: Callable[[str], object], key: str, insert_user: InsertUser, usersnew: Any, user_keys: Any
) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_one(record(key, isActive=False))
    before = usersnew.find_one()
    for _ in range(2):
        with pytest.raises(KeyDisabled):
            use(key)
    assert usersnew.find_one() == before
    assert find_any_account_by_key(key).pk == "alice"  # Staff, who look for whose it is.


def test_the_accounts_own_key_needs_no_entry_unless_it_expires(
    insert_user: InsertUser, usersnew: Any, user_keys: Any
) -> None:
    insert_user("alice", creditsNew=5)
    insert_user("bob", creditsNew=5)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    user_keys.insert_many([record(OWN), record(key_of("bob"), name="bob", expiresAt=yesterday)])
    assert hold(OWN) == "alice"
    assert not {"keys", "keyHashes"} & usersnew.find_one({"_id": "alice"}).keys()
    with pytest.raises(KeyExpired):
        hold(key_of("bob"))


def test_a_replaced_key_does_not_come_back_from_there(insert_user: InsertUser, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_many([record(OWN), record(EXTRA), record(key_of("third"))])
    for key in (OWN, EXTRA, key_of("third")):
        assert hold(key) == "alice"
    new = rotate_key(username="alice", current_key=OWN)
    _, extra_new = rotate_further_key(username="alice", wanted_id=key_id(hash_key(EXTRA)))
    delete_key(username="alice", wanted_id=key_id(hash_key(key_of("third"))))
    for key in (OWN, EXTRA, key_of("third")):
        for use in USES:
            with pytest.raises(InvalidApiKey):
                use(key)
    assert adopt_user_keys(username="alice") == Adoption(known=3)
    with pytest.raises(InvalidApiKey):
        hold(OWN)
    assert [hold(new), hold(extra_new)] == ["alice", "alice"]
    assert [key.entry.name for key in list_keys(alice())] == ["First key", "Key of the previous system"]


def test_a_plain_key_that_was_never_used_does_not_come_back_either(insert_user: InsertUser, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_one(record(OWN))
    rotate_key(username="alice")
    with pytest.raises(InvalidApiKey):
        hold(OWN)


def test_all_keys_of_an_account_at_once(insert_user: InsertUser, usersnew: Any, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    insert_user("bob", creditsNew=5)
    assert hold(OWN) == "alice"
    user_keys.insert_many(
        [
            record(OWN, isActive=False),
            record(EXTRA),
            record(key_of("revoked"), isActive="yes"),
            record(key_of("bob")),
            record(7),
            record("x"),
            record(key_of("odd-expiry"), expiresAt="soon"),
            record(key_of("else"), name="carol"),
        ]
    )
    assert sorted(names_with_records()) == ["alice", "bob"]
    found = adopt_user_keys(username="alice")
    assert (found.adopted, found.known, found.refused, len(found.problems)) == (1, 0, 2, 4)
    assert key_of("bob") not in str(found)
    with pytest.raises(KeyDisabled):
        hold(OWN)
    with pytest.raises(KeyDisabled):
        hold(key_of("revoked"))
    assert hold(EXTRA) == "alice"
    before = usersnew.find_one({"_id": "alice"})
    again = adopt_user_keys(username="alice")
    assert (again.adopted, again.known, again.refused) == (0, 1, 2)
    assert usersnew.find_one({"_id": "alice"}) == before

    user_keys.update_one({"_id": EXTRA}, {"$set": {"isActive": False}})
    assert hold(EXTRA) == "alice"
    adopt_user_keys(username="alice")
    with pytest.raises(KeyDisabled):
        hold(EXTRA)
    assert hold(rotate_key(username="alice")) == "alice"
    assert adopt_user_keys(username="bob").problems[0].startswith(key_of("bob")[:16])


def test_a_key_that_staff_enabled_again_stays_so(insert_user: InsertUser, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_one(record())
    hold(EXTRA)
    wanted_id = key_id(hash_key(EXTRA))
    set_key_disabled(username="alice", wanted_id=wanted_id, is_disabled=True)
    assert adopt_user_keys(username="alice") == Adoption(known=1)
    with pytest.raises(KeyDisabled):
        hold(EXTRA)


def test_no_more_keys_are_adopted_than_an_account_may_have(insert_user: InsertUser, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_many([record(key_of(f"extra{number}")) for number in range(3)])
    with override_settings(MAX_KEYS=2):
        assert [hold(key_of("extra0")), hold(key_of("extra1"))] == ["alice", "alice"]
        with pytest.raises(TooManyKeys, match="Delete one"):
            hold(key_of("extra2"))


def test_whose_key_it_is_must_be_sure(insert_user: InsertUser, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    insert_user("bob", creditsNew=5)
    user_keys.insert_many([record(key_of("bob")), record(name="nobody")])
    for key in (key_of("bob"), EXTRA):
        for use in USES:
            with pytest.raises(InvalidApiKey):
                use(key)
    assert alice().key_hashes == []


@pytest.mark.usefixtures("odd_documents")
@pytest.mark.parametrize("field", ["name", "isActive", "tokensUsed", "expiresAt"])
def test_whatever_a_record_holds_nothing_passes_that_should_not(
    field: str, insert_user: InsertUser, user_keys: Any
) -> None:
    insert_user("alice", creditsNew=500)
    allowed = set()
    for name, value in VALUES.items():
        user_keys.insert_one(record(key_of(f"{field}-{name}"), **{field: value}))
        try:
            hold(key_of(f"{field}-{name}"))
        except (BillingError, AccountNeedsRepair):
            continue
        allowed.add(name)
    with override_settings(MAX_KEYS=1000):
        adopt_user_keys(username="alice")
        list(names_with_records())
    expected = {"name": set(), "isActive": {"true"}, "expiresAt": {"null", "year-9999"}}
    assert field not in expected or allowed == expected[field]
    assert field != "tokensUsed" or len(allowed) == 20  # As many as an account may have.


def test_odd_ids_of_records_harm_nobody(insert_user: InsertUser, user_keys: Any) -> None:
    insert_user("alice", creditsNew=5)
    user_keys.insert_many([record(value) for name, value in VALUES.items() if name not in NOT_AN_ID])
    user_keys.insert_one(record())
    assert hold(EXTRA) == "alice"
    assert adopt_user_keys(username="alice").known == 1
    assert list(names_with_records()) == ["alice"]
