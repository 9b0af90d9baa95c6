"""Actions on several selected accounts: each on its own, each told, each once."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.models import Account, Balance, LedgerEntry
from support.models import AuditEntry
from tests.factories import InsertUser, LogIn
from tests.pages import text_of

LIST = "/admin/accounts/account/"


@pytest.fixture
def three(insert_user: InsertUser) -> list[str]:
    return [insert_user("alice", credits=10), insert_user("bob", credits=3), insert_user("carol", isActive=False)]


def select(client: Client, action: str, names: list[str]) -> Any:
    return client.post(LIST, {"action": action, "_selected_action": names}, follow=True)


def inputs(response: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode()):
        found.setdefault(name, []).append(value)
    return found


def preview(client: Client, slug: str, names: list[str], **fields: str) -> Any:
    opened = select(client, f"{slug}_selected", names)
    return client.post(f"/admin/support/bulk/{slug}/", {**inputs(opened), **fields})


def confirm(client: Client, slug: str, shown: Any) -> Any:
    return client.post(f"/admin/support/bulk/{slug}/", {**inputs(shown), "confirm": "1"})


def test_a_transfer_for_a_selection_tells_each_account(admin_client: Client, three: list[str]) -> None:
    shown = preview(admin_client, "transfer", three, source="ohmygpt", amount="5", reason="campaign")
    text = text_of(shown)
    assert "alice OpenHands credits: $0.00 → $5.00 OhMyGPT credits: $10.00 → $5.00" in text
    assert "bob Only $3.00 of the OhMyGPT credits is available." in text
    assert LedgerEntry.objects.count() == 0

    done = text_of(confirm(admin_client, "transfer", shown))
    assert "alice Transferred $5.00 from OhMyGPT to OpenHands." in done
    assert "bob Nothing was done. Only $3.00 of the OhMyGPT credits is available." in done
    assert dict(Account.objects.values_list("pk", "credits_new")) == {"alice": 5, "bob": 0, "carol": 0}
    audit = AuditEntry.objects.filter(action="transfer")
    assert sorted(audit.values_list("target", "outcome")) == [
        ("alice", "done"),
        ("bob", "refused"),
        ("carol", "refused"),
    ]


def test_everything_is_each_accounts_own(admin_client: Client, three: list[str]) -> None:
    shown = preview(admin_client, "transfer", three, source="ohmygpt", is_all="on", reason="campaign")
    assert "carol There is nothing to transfer from this balance." in text_of(shown)
    confirm(admin_client, "transfer", shown)
    assert dict(Account.objects.values_list("pk", "credits_new")) == {"alice": 10, "bob": 3, "carol": 0}


def test_everything_moves_what_the_preview_showed(admin_client: Client, three: list[str]) -> None:
    shown = preview(admin_client, "transfer", three, source="ohmygpt", is_all="on", reason="campaign")
    for name in ("alice", "carol"):
        credits.adjust(
            username=name, balance=Balance.OHMYGPT, amount=Decimal(5), operation=name, actor="x", reason="meanwhile"
        )
    text = text_of(confirm(admin_client, "transfer", shown))
    assert "carol Nothing was done. There is nothing to transfer from this balance." in text
    assert "alice This has changed since the preview, so nothing was done." in text
    assert dict(Account.objects.values_list("pk", "credits_new")) == {"alice": 0, "bob": 3, "carol": 0}
    assert "This was done already" in text_of(confirm(admin_client, "transfer", shown))
    again = preview(admin_client, "transfer", ["alice"], source="ohmygpt", amount="10", reason="campaign")
    confirm(admin_client, "transfer", again)
    assert Account.objects.get(pk="alice").credits_new == 10


def test_an_expiry_that_changed_after_the_preview_is_not_undone(admin_client: Client, three: list[str]) -> None:
    shown = preview(admin_client, "expiry", three, choice="1", reason="campaign")
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay")
    text = text_of(confirm(admin_client, "expiry", shown))
    assert "alice The expiry was changed meanwhile, perhaps by a purchase." in text
    assert "bob The credits now expire" in text
    assert Account.objects.get(pk="alice").expires_at > timezone.now() + timedelta(days=6)


def test_a_confirmation_without_a_preview_gives_the_preview(admin_client: Client, three: list[str]) -> None:
    opened = inputs(select(admin_client, "disable_selected", three))
    data = {**opened, "reason": "x", "confirm": "1"}
    assert "active → disabled" in text_of(admin_client.post("/admin/support/bulk/disable/", data))
    foreign = {**data, "token": inputs(select(admin_client, "enable_selected", three))["token"]}
    assert "This page is too old." in text_of(admin_client.post("/admin/support/bulk/disable/", foreign))
    assert Account.objects.filter(is_active=False).count() == 1


def test_a_database_that_gives_up_is_told_beside_what_was_done(
    admin_client: Client, three: list[str], refusing_database: Callable[..., None]
) -> None:
    shown = preview(admin_client, "expiry", three, choice="7", reason="campaign")
    refusing_database("bob")
    text = text_of(confirm(admin_client, "expiry", shown))
    assert "alice The credits now expire" in text
    assert "bob The database did not finish this" in text
    assert "carol Not tried, because the database did not finish the account before it." in text
    audit = AuditEntry.objects.filter(action="expiry")
    assert sorted(audit.values_list("target", "outcome")) == [("alice", "done"), ("bob", "refused")]


def test_a_second_click_does_nothing_more(admin_client: Client, three: list[str]) -> None:
    shown = preview(admin_client, "transfer", ["alice"], source="ohmygpt", amount="5", reason="x")
    confirm(admin_client, "transfer", shown)
    assert "This was done already" in text_of(confirm(admin_client, "transfer", shown))
    assert Account.objects.get(pk="alice").credits == 5


def test_expiry_and_status_of_a_selection(admin_client: Client, three: list[str]) -> None:
    confirm(admin_client, "expiry", preview(admin_client, "expiry", three, choice="7", reason="x"))
    assert Account.objects.filter(expires_at__gt=timezone.now() + timedelta(days=6)).count() == 3
    confirm(admin_client, "disable", preview(admin_client, "disable", ["alice", "bob"], reason="x"))
    assert Account.objects.filter(is_active=False).count() == 3
    confirm(admin_client, "enable", preview(admin_client, "enable", three, reason="x"))
    assert Account.objects.filter(is_active=False).count() == 0


@pytest.mark.parametrize("fields", [{"amount": "x"}, {"amount": ""}, {"reason": ""}, {"amount": "-1"}])
def test_wrong_values_are_refused_before_the_preview(
    admin_client: Client, three: list[str], fields: dict[str, str]
) -> None:
    shown = preview(admin_client, "transfer", three, **{"source": "ohmygpt", "amount": "1", "reason": "x", **fields})
    assert 'name="confirm"' not in shown.content.decode()
    assert AuditEntry.objects.filter(action="transfer").count() == 0


def test_a_forged_token_is_refused(admin_client: Client, three: list[str]) -> None:
    data = {"account": three, "token": "x", "source": "ohmygpt", "amount": "1", "reason": "x", "confirm": "1"}
    assert "This page is too old." in text_of(admin_client.post("/admin/support/bulk/transfer/", data))
    assert Account.objects.get(pk="alice").credits == Decimal(10)


def test_roles(log_in: LogIn, three: list[str]) -> None:
    viewer, support = log_in("Viewer", "v"), log_in("Support", "s")
    transfer, expiry = 'value="transfer_selected"', 'value="expiry_selected"'
    told = "Transfer credits (of those that are selected), Disable (of those that are selected)"
    assert transfer not in viewer.get(LIST).text
    assert told in text_of(viewer.get(LIST))
    assert transfer in support.get(LIST).text
    assert expiry not in support.get(LIST).text
    assert told not in text_of(support.get(LIST))
    data = {"account": three, "reason": "x", "confirm": "1"}
    assert viewer.post("/admin/support/bulk/disable/", data).status_code == 403
    assert support.post("/admin/support/bulk/expiry/", data).status_code == 403
    assert Account.objects.filter(is_active=False).count() == 1
    assert AuditEntry.objects.filter(outcome="refused").count() == 2


def test_what_is_not_for_selections_or_selects_nothing_is_not_there(admin_client: Client, three: list[str]) -> None:
    assert admin_client.get("/admin/support/bulk/rotate-key/?account=alice").status_code == 404
    assert admin_client.get("/admin/support/bulk/disable/?account=nobody").status_code == 404


def test_some_days_more_are_each_accounts_own(admin_client: Client, insert_user: InsertUser) -> None:
    now = timezone.now().replace(microsecond=0)
    insert_user("alice", creditsNew=1, expiresAt=now + timedelta(days=1))
    insert_user("bob", creditsNew=1, expiresAt=now + timedelta(days=2))
    insert_user("carol", creditsNew=1)
    shown = preview(admin_client, "expiry", ["alice", "bob", "carol"], choice="+3", reason="an outage")
    assert "carol These credits never expire, so there is no date to move." in text_of(shown)
    confirm(admin_client, "expiry", shown)
    expected = {"alice": now + timedelta(days=4), "bob": now + timedelta(days=5), "carol": None}
    assert {account.pk: account.expiry for account in Account.objects.all()} == expected
