"""An account of which something that matters cannot be read: it alone is refused, and what it holds stays as it is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson.codec_options import DatetimeConversion
from django.db import connection

from accounts import credits
from accounts.administration import set_active, set_expiry, set_limits
from accounts.authentication import adopt_key, find_account_by_key
from accounts.errors import AccountNeedsRepair
from accounts.expiry import sweep_expired_accounts
from accounts.models import Account, Balance, LedgerEntry
from accounts.needs_repair import HARMFUL, is_readable, problems_of, problems_of_account
from books.reconciliation import reconcile_account
from mongo.each_item import SomeFailed
from proxy.billing.abandoned import sweep_holds
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.odd_values import NOT_AN_ID, VALUES

pytestmark = pytest.mark.usefixtures("odd_documents")

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
COLUMNS = {str(Account._meta.get_field(name).column) for name in HARMFUL}  # type: ignore[union-attr]
ONLY_FOR_PYTHON = [f"holds-{name}" for name in ("object", "object-of-text", "object-of-odd-holds", "db-ref")]
"""Single holds: the database does not look at each of them when it judges a request."""
HARM: list[tuple[str, Any]] = [
    ("credits", "12"),
    ("credits", 1e20),
    ("creditsNew", float("nan")),
    ("creditsNew", [5]),
    ("expiresAt", "2030-01-01"),
    ("expiresAt", 1893456000),
    ("expiresAt", [datetime(2030, 1, 1, tzinfo=UTC), None]),
    ("isActive", "no"),
    ("isActive", 0),
    ("isActive", [True]),
    ("holds", []),
    ("holds", "none"),
    ("holds", 0),
    ("heldSince", "today"),
    ("purchasedAt", "yesterday"),
    ("requestsPerMinute", "many"),
    ("concurrentRequests", {"a": 1}),
    ("reviewSince", "soon"),
]


def stored(username: str = "alice") -> dict[str, Any]:
    collection = connection.database["usersNew"]  # type: ignore[attr-defined]
    options = collection.codec_options.with_options(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    document: dict[str, Any] = collection.with_options(codec_options=options).find_one({"_id": username})
    return document


def hold(username: str, *, minimum: str = "1", balance: Balance = Balance.OPENHANDS) -> credits.Hold:
    amount = Decimal(minimum)
    return credits.hold(
        api_key=key_of(username), balance=balance, request_id="req_1", minimum=amount, maximum=amount, now=NOW
    )


def test_python_and_the_database_agree_on_what_can_be_read(usersnew: Any) -> None:
    documents: list[dict[str, Any]] = [
        {"_id": f"{column}-{name}", column: value} for column in COLUMNS for name, value in VALUES.items()
    ]
    documents += [{"_id": value, "key": name} for name, value in VALUES.items() if name not in NOT_AN_ID]
    documents += [{"_id": "bare"}, {"_id": "keys", "apiKey": ["a"]}, {"_id": "hashes", "apiKeyHash": ["a"]}]
    usersnew.insert_many(documents)
    rows = list(usersnew.aggregate([{"$project": {"document": "$$ROOT", "is_readable": is_readable()}}]))
    assert len(rows) == len(documents)
    differ = [
        row["document"]
        for row in rows
        if row["is_readable"] is bool(problems_of(row["document"])) and row["_id"] not in ONLY_FOR_PYTHON
    ]
    assert differ == []
    models = {account.pk: account for account in Account.objects.all()}
    for row in rows:
        if type(row["_id"]) is str and row["_id"]:
            expected = {column for column in problems_of(row["document"]) if column not in ("apiKey", "apiKeyHash")}
            assert set(problems_of_account(models[row["_id"]])) == expected


@pytest.mark.parametrize(("column", "value"), HARM)
def test_no_credits_of_a_damaged_account_move_and_those_of_others_do(
    insert_user: InsertUser, column: str, value: Any
) -> None:
    healthy = {"creditsNew": 5.0, "credits": 5.0, "expiresAt": NOW + timedelta(days=1)}
    insert_user("alice", **(healthy | {column: value}))
    insert_user("bob", **healthy)
    adopt_key(key_of("alice"))  # As the first use of a plain key does, and that moves no credits.
    before = stored()
    common: dict[str, Any] = {"operation": "op", "actor": "sam", "reason": "asked", "now": NOW}

    def moves(username: str) -> list[Callable[[], Any]]:
        return [
            lambda: hold(username),
            lambda: hold(username, minimum="0"),
            lambda: hold(username, minimum="100"),
            lambda: credits.top_up(username=username, amount=Decimal(1), operation="a", actor="sepay", now=NOW),
            lambda: credits.adjust(username=username, balance=Balance.OHMYGPT, amount=Decimal(1), **common),
            lambda: credits.transfer(username=username, source=Balance.OHMYGPT, amount=Decimal(1), **common),
            lambda: credits.reverse(username=username, amount=Decimal(1), kind=LedgerEntry.Kind.REFUND, **common),
            lambda: credits.expire(username=username, seen_expires_at=NOW, now=NOW),
            lambda: reconcile_account(username),
            lambda: find_account_by_key(key_of(username)),
        ]

    said = rf"account 'alice' needs repair: {column} \(unreadable: "
    for move in moves("alice"):
        with pytest.raises(AccountNeedsRepair, match=said) as found:
            move()
        assert "unreadable" not in found.value.customer_message
    assert repr(stored()) == repr(before)
    assert hold("bob").balance_after == 4
    credits.top_up(username="bob", amount=Decimal(1), operation="b", actor="sepay", now=NOW)
    assert [result.drift for result in reconcile_account("bob")] == [0, 0]


def test_what_harms_nobody_refuses_nothing(insert_user: InsertUser) -> None:
    for index, value in enumerate(VALUES.values()):
        names = ("role", "discordId", "totalInputTokens", "creditsNewUsed", "refCredits", "createdAt", "rateFullAt")
        insert_user(f"user{index}", creditsNew=5, **dict.fromkeys(names, value))
        assert hold(f"user{index}").balance_after == 4
        settled = credits.settle(
            username=f"user{index}", request_id="req_1", balance=Balance.OPENHANDS, cost=Decimal("0.5"), input_tokens=3
        )
        assert settled.balance_after == Decimal("4.5")


@pytest.mark.parametrize("key", [5, "", {"a": 1}, b"x", True, 1.5])
def test_an_account_whose_name_is_none_is_refused(usersnew: Any, key: Any) -> None:
    usersnew.insert_one({"_id": key, "apiKey": key_of("odd"), "creditsNew": 5})
    with pytest.raises(AccountNeedsRepair, match="_id"):
        hold("odd")
    with pytest.raises(AccountNeedsRepair, match="_id"):
        find_account_by_key(key_of("odd"))
    with pytest.raises(AccountNeedsRepair, match="_id"):
        credits.top_up(username=Account.objects.get().pk, amount=Decimal(1), operation="a", actor="sepay", now=NOW)


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "ä", "a\0b", "~00", "x" * 2000])
def test_an_unusual_name_is_a_name(insert_user: InsertUser, name: str) -> None:
    insert_user(name, apiKey=key_of("odd"), creditsNew=5)
    assert hold("odd").username == name
    assert Account.objects.get(pk=name).pk == name


def test_a_list_of_keys_lets_nobody_in(insert_user: InsertUser) -> None:
    insert_user("alice", apiKey=[key_of("alice"), "other"], creditsNew=5)
    with pytest.raises(AccountNeedsRepair, match="apiKey") as found:
        hold("alice")
    assert key_of("alice") not in str(found.value)


def test_a_balance_that_becomes_unreadable_under_a_hold_is_not_written_over(
    insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", creditsNew=5)
    hold("alice")
    for odd in ({"creditsNew": "four"}, {"holds.req_1.amount": "one"}):
        usersnew.update_one({}, {"$set": odd})
        before = stored()
        with pytest.raises(AccountNeedsRepair):
            credits.settle(username="alice", request_id="req_1", balance=Balance.OPENHANDS, cost=Decimal("0.5"))
        assert stored() == before


def test_the_sweeps_report_damaged_accounts_and_go_on(
    insert_user: InsertUser, usersnew: Any, caplog: pytest.LogCaptureFixture
) -> None:
    past = NOW - timedelta(days=1)
    insert_user("list", creditsNew=5, expiresAt=[past])
    insert_user("text", creditsNew=5, credits="five", expiresAt=past)
    insert_user("bob", creditsNew=5, expiresAt=past)
    with pytest.raises(SomeFailed, match="2 of 3 failed"):
        sweep_expired_accounts(now=NOW)
    assert (stored("bob")["creditsNew"], stored("list")["creditsNew"], stored("text")["creditsNew"]) == (0, 5, 5)

    good = {"balance": "openhands", "amount": 1.0, "at": past}
    for name, holds in {
        "h1": {"req_1": {"amount": "one"}},
        "h2": "text",
        "h3": {"req_2": good | {"at": "noon"}},
        "h4": {"req_3": None},
        "h5": {"req_4": good | {"balance": 5}},
    }.items():
        insert_user(name, creditsNew=5.0, holds=holds, heldSince=past)
    insert_user("carol", creditsNew=5.0, holds={"req_good": good}, heldSince=past)
    caplog.clear()
    with pytest.raises(SomeFailed, match="5 of 6 failed"):
        sweep_holds(now=NOW)
    assert (stored("carol")["creditsNew"], stored("carol")["holds"]) == (6, {})
    assert stored("h1")["holds"] == {"req_1": {"amount": "one"}}
    assert [record.exc_info for record in caplog.records if record.exc_info] == []
    assert "h3" in caplog.text


def test_staff_repair_what_they_may_set_and_no_more(insert_user: InsertUser) -> None:
    insert_user("alice", isActive="no", requestsPerMinute="many", expiresAt="soon")
    set_active(username="alice", is_active=True)
    set_limits(username="alice", requests_per_minute=None, concurrent_requests=None)
    with pytest.raises(AccountNeedsRepair, match="expiresAt"):
        set_expiry(username="alice", expires_at=None, seen_expires_at=None)
    assert stored()["expiresAt"] == "soon"
    assert stored()["isActive"] is True
    assert "requestsPerMinute" not in stored()
