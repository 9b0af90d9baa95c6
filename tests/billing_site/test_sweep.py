"""`manage.py sweep`: what time brings, once or in a loop, alone or among many."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.expiry import sweep_expired_accounts
from accounts.models import Account, LedgerEntry
from books.reconciliation import reconcile_account
from tests.factories import InsertUser, InThreads
from tests.faults.test_crash import wait_for
from tests.proxy.requests import assert_reconciles
from tests.serving import ROOT


def test_expired_accounts_lose_their_credits_once(insert_user: InsertUser) -> None:
    now = timezone.now()
    insert_user("alice", credits=1, creditsNew=2.5, expiresAt=now - timedelta(seconds=1))
    insert_user("bob", credits=1, expiresAt=now + timedelta(hours=1))
    insert_user("carol", credits=1)
    insert_user("dave", expiresAt=now - timedelta(days=9))
    reconcile_account("alice")
    out = StringIO()
    call_command("sweep", stdout=out)
    assert "accounts expired: 1" in out.getvalue()
    assert [float(account.credits) for account in Account.objects.order_by("pk")] == [0, 1, 1, 0]
    assert LedgerEntry.objects.filter(kind=LedgerEntry.Kind.EXPIRY).count() == 2
    assert sweep_expired_accounts() == 0
    assert_reconciles()


def test_a_broken_account_keeps_no_other_from_its_turn(insert_user: InsertUser, usersnew: Any) -> None:
    now = timezone.now()
    long_ago = now - timedelta(days=2)
    stale = {"balance": "openhands", "amount": 0.5, "at": long_ago}
    # The sweep meets them first, by their dates.
    insert_user("broken", creditsNew=1, expiresAt=long_ago, holds={"req_1": "garbage"}, heldSince=long_ago)
    insert_user("no_holds", heldSince=long_ago)
    insert_user("alice", creditsNew=1, expiresAt=now - timedelta(days=1))
    insert_user("bob", creditsNew=1, holds={"req_2": {"balance": "openhands"}, "req_3": stale}, heldSince=now)
    usersnew.update_one({"_id": "bob"}, {"$set": {"heldSince": now - timedelta(days=1)}})
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("sweep", stdout=out)
    assert Account.objects.get(pk="alice").credits_new == 0
    assert Account.objects.get(pk="bob").credits_new == Decimal("1.5")
    assert usersnew.find_one({"_id": "bob"})["holds"].keys() == {"req_2"}
    assert usersnew.find_one({"_id": "broken"})["creditsNew"] == 1


def test_many_sweepers_at_once_expire_once(insert_user: InsertUser, in_threads: InThreads) -> None:
    for index in range(10):
        insert_user(f"user{index}", creditsNew=1, expiresAt=timezone.now() - timedelta(days=1))
    assert sum(in_threads(8, lambda _: sweep_expired_accounts())) == 10
    assert LedgerEntry.objects.count() == 10


def test_the_loop_sweeps_until_sigterm(insert_user: InsertUser) -> None:
    environment = {**os.environ, "DATABASE_NAME": str(connection.settings_dict["NAME"])}
    command = [sys.executable, "manage.py", "sweep", "--loop", "0.1"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for username in ("alice", "bob"):  # The second one is for the second turn.
            insert_user(username, creditsNew=1, expiresAt=timezone.now())
            wait_for(lambda username=username: Account.objects.get(pk=username).credits_new == 0, seconds=30)
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, b"")
