"""What staff change on an account beside its balances."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts import credits
from accounts.administration import set_active, set_expiry, set_limits
from accounts.authentication import find_account_by_key
from accounts.errors import AccountDisabled, AccountNotFound, ExpiryChanged, InvalidExpiry
from accounts.models import Account, LedgerEntry
from tests.conftest import key_of
from tests.factories import InsertUser

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=3)


def test_set_expiry_changes_nothing_else(insert_user: InsertUser, usersnew: Any) -> None:
    soon = NOW + timedelta(hours=1)
    insert_user("alice", credits=5, expiresAt=soon, strange=1)
    before = usersnew.find_one()
    set_expiry(username="alice", expires_at=LATER, seen_expires_at=soon, now=NOW)
    assert usersnew.find_one() == {**before, "expiresAt": LATER.replace(tzinfo=None)}


@pytest.mark.parametrize("fields", [{}, {"expiresAt": None}])
def test_set_expiry_of_credits_that_never_expired_and_back(insert_user: InsertUser, fields: dict[str, Any]) -> None:
    insert_user("alice", **fields)
    set_expiry(username="alice", expires_at=LATER, seen_expires_at=None, now=NOW)
    assert Account.objects.get().expires_at == LATER
    set_expiry(username="alice", expires_at=None, seen_expires_at=LATER, now=NOW)
    assert Account.objects.get().expires_at is None


def test_set_expiry_does_not_undo_a_purchase_made_meanwhile(insert_user: InsertUser) -> None:
    insert_user("alice", expiresAt=NOW + timedelta(days=1))
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay", now=NOW)
    with pytest.raises(ExpiryChanged):
        set_expiry(username="alice", expires_at=LATER, seen_expires_at=NOW + timedelta(days=1), now=NOW)
    assert Account.objects.get().expires_at == NOW + timedelta(days=7)


def test_a_new_expiry_does_not_revive_expired_credits(insert_user: InsertUser) -> None:
    insert_user("alice", credits=5, creditsNew=2.5, expiresAt=NOW)
    set_expiry(username="alice", expires_at=LATER, seen_expires_at=NOW, now=NOW)
    account = Account.objects.get()
    assert (account.credits, account.credits_new, account.expires_at) == (0, 0, LATER)
    assert sorted(LedgerEntry.objects.values_list("kind", "amount")) == [("expiry", -5), ("expiry", Decimal("-2.5"))]


def test_a_refused_expiry_takes_nothing(insert_user: InsertUser) -> None:
    insert_user("alice", credits=5, expiresAt=LATER)
    with pytest.raises(ExpiryChanged):
        set_expiry(username="alice", expires_at=None, seen_expires_at=NOW, now=NOW)
    assert Account.objects.get().credits == 5


@pytest.mark.parametrize("expires_at", [NOW, NOW - timedelta(days=1), NOW + timedelta(days=4000)])
def test_set_expiry_to_an_impossible_time_is_refused(insert_user: InsertUser, expires_at: datetime) -> None:
    insert_user("alice", expiresAt=LATER)
    with pytest.raises(InvalidExpiry):
        set_expiry(username="alice", expires_at=expires_at, seen_expires_at=LATER, now=NOW)
    assert Account.objects.get().expires_at == LATER


def test_a_disabled_account_is_refused_until_it_is_enabled(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=5)
    set_active(username="alice", is_active=False)
    with pytest.raises(AccountDisabled):
        find_account_by_key(key_of("alice"))
    set_active(username="alice", is_active=True)
    set_active(username="alice", is_active=True)
    assert find_account_by_key(key_of("alice")).pk == "alice"
    assert usersnew.find_one()["credits"] == 5


def test_own_limits_and_back(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", credits=5)
    before = usersnew.find_one()
    set_limits(username="alice", requests_per_minute=0, concurrent_requests=3)
    assert usersnew.find_one() == {**before, "requestsPerMinute": 0, "concurrentRequests": 3}
    set_limits(username="alice", requests_per_minute=7, concurrent_requests=None)
    assert usersnew.find_one() == {**before, "requestsPerMinute": 7}
    set_limits(username="alice", requests_per_minute=None, concurrent_requests=None)
    assert usersnew.find_one() == before


def test_an_account_that_is_not_there_is_said_so(db: None) -> None:
    with pytest.raises(AccountNotFound):
        set_limits(username="nobody", requests_per_minute=1, concurrent_requests=None)
    with pytest.raises(AccountNotFound):
        set_active(username="nobody", is_active=False)
    with pytest.raises(AccountNotFound):
        set_expiry(username="nobody", expires_at=LATER, seen_expires_at=None, now=NOW)
