"""`manage.py verify` against gunicorn: all ticks where all is right, and the right cross where it is not."""

import json
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts import credits
from accounts.models import Account, LedgerEntry
from books.daily_figures import count_day
from books.reconciliation import reconcile_account
from development.mongod import free_port
from payments.models import Payment, Promotion
from payments.orders import purchasing
from proxy.models import ModelPrice, RequestLog
from support.models import AuditEntry
from tests.factories import InsertUser
from tests.serving import Server

SCRATCH = "verify-scratch"


def verify(server: Server, *, fails: bool = False, **options: Any) -> dict[str, dict[str, Any]]:
    """The checks of one run, by name."""
    out = StringIO()
    where = {"site": server.site, "openhands": server.openhands, "ohmygpt": server.ohmygpt, **options}
    if fails:
        with pytest.raises(CommandError):
            call_command("verify", json=True, timeout=20, stdout=out, **where)
    else:
        call_command("verify", json=True, timeout=20, stdout=out, **where)
    return {check["name"]: check for check in json.loads(out.getvalue())["checks"]}


def failed(checks: dict[str, dict[str, Any]]) -> list[str]:
    assert all(check["advice"] for check in checks.values() if not check["ok"])
    return [name for name, check in checks.items() if not check["ok"]]


def assert_put_away() -> None:
    account = Account.objects.get(pk=SCRATCH)
    assert (account.is_active, account.credits_new, account.credits, account.holds) == (False, 0, 0, {})
    assert [result.drift for result in reconcile_account(SCRATCH)] == [0, 0]


def test_where_all_is_right_every_check_has_a_tick(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", credits=1, creditsNew=2)
    out = StringIO()
    call_command("verify", site=server.site, openhands=server.openhands, ohmygpt=server.ohmygpt, stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 13
    assert all(line.startswith("✓ ") for line in lines)
    assert "✓ a payment goes to creditsNew alone: $20.00 on creditsNew, $0.00 on credits, for 7 days" in lines
    (refusal,) = (line for line in lines if line.startswith("✓ OhMyGPT refuses"))
    assert "insufficient credits for request. Cost: $0.01, Balance: $0.00" in refusal
    assert_put_away()
    assert RequestLog.objects.filter(user_id=SCRATCH, cost__gt=0).count() == 2
    assert (Account.objects.get(pk="alice").credits, Account.objects.get(pk="alice").credits_new) == (1, 2)
    assert {(entry.actor, entry.action) for entry in AuditEntry.objects.all()} == {("manage.py verify", "verify")}


def test_it_is_no_revenue_and_nothing_is_left_outstanding(server: Server, db: None) -> None:
    verify(server)
    figures = count_day(day=timezone.now().date())
    assert figures["revenue"] == []
    assert figures["now"]["liability"] == {"openhands": "0.00000000", "ohmygpt": "0.00000000"}
    ledger = figures["ledger"]
    assert Decimal(ledger["purchase"]["openhands"]) == 20
    assert -20 <= Decimal(ledger["refund"]["openhands"]) < Decimal("-19.9")


def test_by_a_signed_webhook_the_payment_is_flagged_and_no_revenue(server: Server, db: None) -> None:
    now = timezone.now()
    Promotion.objects.create(name="Tet", percent=Decimal(20), starts_at=now, ends_at=now + timedelta(hours=1))
    checks = verify(server, webhook=True)
    assert checks["a payment goes to creditsNew alone"]["detail"].startswith("$24.00 on creditsNew")
    payment = Payment.objects.get()
    assert (payment.user_id, payment.status, payment.flags) == (SCRATCH, "failed", ["check"])
    assert count_day(day=now.date())["revenue"] == []
    assert_put_away()


def test_it_can_be_run_again_with_the_same_account(server: Server, db: None) -> None:
    verify(server)
    key = connection.database["usersNew"].find_one({"_id": SCRATCH})["apiKeyHash"]
    verify(server)
    assert connection.database["usersNew"].find_one({"_id": SCRATCH})["apiKeyHash"] != key
    assert LedgerEntry.objects.filter(account_id=SCRATCH, kind="purchase").count() == 2
    assert_put_away()


def test_what_a_check_left_that_died_is_put_away_by_the_next(server: Server, usersnew: Any) -> None:
    verify(server)
    usersnew.update_one({"_id": SCRATCH}, {"$set": {"isActive": True}})
    assert failed(verify(server, fails=True)) == ["an account for the checks"]
    credits.top_up(username=SCRATCH, amount=Decimal(5), operation="left", actor="manage.py verify")
    usersnew.update_one({"_id": SCRATCH}, {"$set": {"isActive": False}})
    verify(server)
    assert_put_away()


@pytest.mark.parametrize("name", ["alice", "verify-alice"])
def test_an_account_of_a_customer_is_never_used(server: Server, insert_user: InsertUser, name: str) -> None:
    insert_user(name, credits=5, isActive=False)
    before = connection.database["usersNew"].find_one({"_id": name})
    assert failed(verify(server, fails=True, account=name)) == ["an account for the checks"]
    assert connection.database["usersNew"].find_one({"_id": name}) == before


def test_what_does_not_run_is_told(server: Server, db: None) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert failed(verify(server, fails=True, site=nowhere)) == ["site answers", "the webhook can be reached"]
    assert failed(verify(server, fails=True, ohmygpt=nowhere)) == [
        "ohmygpt answers",
        "OhMyGPT refuses with the exact message, though OpenHands has credits",
        "OhMyGPT bills credits alone",
    ]
    assert_put_away()


def test_ports_that_are_mixed_up_are_noticed(server: Server, db: None) -> None:
    checks = verify(server, fails=True, openhands=server.ohmygpt, ohmygpt=server.openhands)
    assert len(failed(checks)) == 4
    assert "answered 402" in checks["OpenHands bills creditsNew alone"]["detail"]
    assert_put_away()


def test_an_upstream_that_has_no_prices_is_told(server: Server, db: None) -> None:
    ModelPrice.objects.all().delete()
    checks = verify(server, fails=True)
    assert "no model is sold on OpenHands" in checks["OpenHands bills creditsNew alone"]["detail"]
    assert_put_away()


def test_while_purchasing_is_off_only_the_webhook_cannot_be_tried(server: Server, db: None) -> None:
    purchasing.switch_purchasing(is_on=False, actor="staff", reason="deployment")
    assert failed(verify(server)) == []
    assert failed(verify(server, fails=True, webhook=True)) == ["a payment goes to creditsNew alone"]
    assert_put_away()


def test_a_program_that_bills_beside_us_is_noticed(server: Server, db: None, usersnew: Any) -> None:
    verify(server)
    usersnew.update_one({"_id": SCRATCH}, {"$inc": {"creditsUsed": 1.0, "credits": 0.5}})
    assert failed(verify(server, fails=True)) == ["the books of the account close"]
