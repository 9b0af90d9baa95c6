"""Our transactions inside the blocks that Django itself opens, which do nothing on this database."""

import pytest
from django.db import connection
from django.db.transaction import atomic  # noqa: TID251  (what Django's own admin views do)

from accounts.models import Account
from accounts.registration import create_account
from mongo.transactions import run_in_transaction


def test_a_transaction_inside_djangos_atomic_commits_and_runs_its_hooks(db: None) -> None:
    seen: list[str] = []

    def write() -> None:
        create_account(username="alice")
        connection.on_commit(lambda: seen.append("committed"))

    with atomic():
        run_in_transaction(write)
        assert seen == ["committed"]
        assert connection.in_atomic_block

    assert Account.objects.filter(pk="alice").count() == 1


def test_a_refused_transaction_inside_djangos_atomic_leaves_nothing(db: None) -> None:
    def write() -> None:
        create_account(username="alice")
        raise LookupError("refused")

    with atomic(), pytest.raises(LookupError):
        run_in_transaction(write)

    assert not Account.objects.filter(pk="alice").exists()
