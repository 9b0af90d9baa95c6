"""The generator of old databases: what it makes is always the same, and every kind is in it."""

from tests.takeover.database import KINDS, old_database


def test_the_same_seed_makes_the_same_accounts() -> None:
    first, second = old_database(seed=7, size=120), old_database(seed=7, size=120)
    assert first.collections["usersNew"] == second.collections["usersNew"]
    assert first.collections["user_keys"] == second.collections["user_keys"]
    assert old_database(seed=8, size=120).collections["usersNew"] != first.collections["usersNew"]


def test_every_kind_is_there_and_names_and_keys_are_unique() -> None:
    made = old_database(size=200)
    assert set(made.kinds.values()) == set(KINDS)
    names = [account["_id"] for account in made.accounts()]
    keys = [account["apiKey"] for account in made.accounts() if "apiKey" in account]
    assert len(set(names)) == len(names) == 200
    assert len(set(keys)) == len(keys)
