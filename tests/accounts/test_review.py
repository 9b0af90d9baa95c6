"""The brake: an account whose requests cost more than they hold, day after day, is refused until staff clear it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from accounts import credits
from accounts.errors import AccountNotFound, AccountUnderReview
from accounts.models import Account, Balance
from accounts.review import clear_review, note_unbilled_timeout, note_uncollected
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)


def hold(number: int = 1) -> credits.Hold:
    return credits.hold(
        api_key=key_of("alice"),
        balance=Balance.OPENHANDS,
        request_id=f"req_{number}",
        minimum=Decimal("0.1"),
        maximum=Decimal("0.1"),
        now=NOW,
    )


def test_the_limit_itself_passes_and_a_unit_more_does_not(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    note_uncollected(username="alice", amount=Decimal("0.4"), now=NOW)
    note_uncollected(username="alice", amount=Decimal("0.6"), now=NOW)
    hold()
    note_uncollected(username="alice", amount=Decimal("0.00000001"), now=NOW)
    with pytest.raises(AccountUnderReview):
        hold(2)
    assert Account.objects.get().credits_new == Decimal("0.9"), "nothing was held"
    assert Account.objects.get().review_since == NOW


def test_each_day_counts_for_itself_but_a_review_stays(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    insert_user("bob", creditsNew=1)
    for username, first in (("alice", "0.9"), ("bob", "1.1")):
        note_uncollected(username=username, amount=Decimal(first), now=NOW)
        note_uncollected(username=username, amount=Decimal("0.9"), now=TOMORROW)
    assert Account.objects.get(pk="alice").review_since is None
    assert Account.objects.get(pk="bob").review_since == NOW


@override_settings(UNBILLED_TIMEOUTS_LIMIT=2)
def test_so_many_answers_that_timed_out_unbilled(insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    for _ in range(2):
        note_unbilled_timeout(username="alice", now=NOW)
    hold()
    note_unbilled_timeout(username="alice", now=NOW)
    with pytest.raises(AccountUnderReview):
        hold(2)


def test_many_at_once_are_all_counted(insert_user: InsertUser, in_threads: InThreads, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1, uncollectedUsd="garbage", unbilledTimeouts=None, uncollectedDay=5)
    in_threads(20, lambda _: note_uncollected(username="alice", amount=Decimal("0.05"), now=NOW))
    assert usersnew.find_one()["uncollectedUsd"] == 1.0
    assert "reviewSince" not in usersnew.find_one()


def test_staff_clear_it_and_it_counts_from_zero(insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1)
    before = usersnew.find_one()
    note_uncollected(username="alice", amount=Decimal(5), now=NOW)
    clear_review(username="alice")
    clear_review(username="alice")
    assert usersnew.find_one() == before
    note_uncollected(username="alice", amount=Decimal("0.5"), now=NOW)
    hold()
    with pytest.raises(AccountNotFound):
        clear_review(username="nobody")


def test_counting_for_an_account_that_is_gone_is_no_error(db: None) -> None:
    note_uncollected(username="nobody", amount=Decimal(1), now=NOW)
    assert not Account.objects.exists()


@pytest.mark.parametrize("odd", ["text", None, float("nan"), float("inf"), 1e300, True, ["x"], {"a": 1}])
def test_odd_counters_do_not_stop_the_count(insert_user: InsertUser, odd: Any) -> None:
    insert_user("alice", uncollectedDay="2026-11-20", unbilledTimeouts=odd, uncollectedUsd=odd)
    note_unbilled_timeout(username="alice", now=NOW)
    note_uncollected(username="alice", amount=Decimal("1.01"), now=NOW)
    assert Account.objects.get().review_since is not None
