"""An action moves no more than a role may, and does what its preview showed to whom it was shown, or asks again."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.models import Account, Balance, LedgerEntry
from payments import orders
from payments.models import Payment, Promotion, WebhookEvent
from support.actions.action import Action, Line, Result, nothing
from support.actions.dialogs import KINDS
from support.errors import AmountAboveLimit, ChangedSincePreview
from support.models import AuditEntry
from tests.factories import InsertUser, LogIn
from tests.pages import text_of
from tests.support.conftest import send_money

LIMITED = "Your role may move at most $10.00 at once."
CHANGED = "This has changed since the preview, so nothing was done. Look at it again."
WHY = {"reason": "asked"}
TRANSFER = {"source": "ohmygpt", "amount": "4", **WHY}


def inputs(response: Any) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode()))


def address_of(kind: str, key: object, slug: str) -> str:
    return f"/admin/support/do/{kind}/{key}/{slug}/"


def opened(client: Client, address: str) -> str:
    """The token of a dialog without a preview."""
    return inputs(client.get(address))["token"]


def preview(client: Client, address: str, **fields: str) -> Any:
    return client.post(address, {"token": opened(client, address), **WHY, **fields})


def confirm(client: Client, address: str, shown: Any, **fields: str) -> Any:
    return client.post(address, {**inputs(shown), "confirm": "1", **fields}, follow=True)


def refused_everywhere(client: Client, address: str, **fields: str) -> None:
    """By the preview, and by a confirmation that had none."""
    assert LIMITED in text_of(preview(client, address, **fields))
    data = {"token": opened(client, address), "confirm": "1", **WHY, **fields}
    assert LIMITED in text_of(client.post(address, data, follow=True))
    assert AuditEntry.objects.get(outcome="refused").error.startswith(LIMITED)


def bulk(client: Client, slug: str, names: list[str], **fields: str) -> Any:
    address = f"/admin/support/bulk/{slug}/"
    token = inputs(client.get(address, {"account": names}))["token"]
    return client.post(address, {"token": token, "account": names, **WHY, **fields})


def confirm_bulk(client: Client, slug: str, names: list[str], shown: Any, **fields: str) -> Any:
    data = {**inputs(shown), "account": names, "confirm": "1", **fields}
    return client.post(f"/admin/support/bulk/{slug}/", data)


@pytest.fixture
def _ten_dollars(settings: Any) -> None:
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(10), "Billing admin": Decimal(10)}


@pytest.fixture
def lost(insert_user: InsertUser) -> WebhookEvent:
    """50,000 VND whose memo names no order, beside an open order of 20 USD by alice."""
    insert_user("alice", creditsNew=1)
    orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    return send_money("nap tien")


# --- Limits ------------------------------------------------------------------------------------------------------


def test_every_action_says_what_it_moves() -> None:
    fields: dict[str, Any] = {"slug": "x", "title": "X", "icon": "x", "permission": "x", "submit": "X"}
    with pytest.raises(TypeError, match="amount"):
        Action(**fields, preview=lambda target, data: [], change=lambda *args: Result(""))
    actions = [action for kind in KINDS.values() for action in kind.actions.values()]
    assert {action.slug for action in actions if action.amount is not nothing} == {
        "transfer",
        "adjust",
        "expiry",
        "accept-drift",
        "match-event",
        "split-event",
        "credit-event",
        "replay-event",
        "record-refund",
    }


@pytest.mark.usefixtures("_ten_dollars")
@pytest.mark.parametrize("amount", [nothing, lambda target, data: Decimal("3.99"), None])
def test_what_moves_more_than_it_says_or_may_is_undone(log_in: LogIn, insert_user: InsertUser, amount: Any) -> None:
    insert_user("alice", creditsNew=1)
    log_in("Support")

    def change(target: Account, data: dict[str, str], operation: str, actor: str) -> Result:
        for index in range(3):
            name = f"{operation}:{index}"
            credits.adjust(
                username="alice", balance=Balance.OPENHANDS, amount=Decimal(4), operation=name, actor=actor, reason="x"
            )
        return Result("")

    action = Action(
        slug="gift",
        title="Gift",
        icon="x",
        permission="support.transfer_credits",
        submit="Give",
        preview=lambda target, data: [Line("x", "a", "b")],
        change=change,
        amount=amount,
    )
    error, sentence = (ChangedSincePreview, "nothing was done") if amount else (AmountAboveLimit, "at most")
    with pytest.raises(error, match=sentence):
        action.run(target=None, name="alice", data=WHY, operation="o", user=User.objects.get(), read_state=lambda: None)
    assert Account.objects.get().credits_new == 1
    assert LedgerEntry.objects.count() == 0
    assert AuditEntry.objects.get(action="gift").outcome == "refused"


@pytest.mark.usefixtures("_ten_dollars")
def test_a_match_is_bound_by_what_the_rules_would_credit(log_in: LogIn, lost: WebhookEvent, settings: Any) -> None:
    client, address = log_in("Support"), address_of("event", lost.pk, "match-event")
    order = str(Payment.objects.get().order_code)
    refused_everywhere(client, address, order=order)
    assert Account.objects.get().credits_new == 1

    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(20)}
    shown = preview(client, address, order=order)
    assert "$20.00 credited by the rules" in text_of(shown)
    confirm(client, address, shown)
    assert Account.objects.get().credits_new == 21


@pytest.mark.usefixtures("_ten_dollars")
def test_the_bonus_of_a_match_counts(log_in: LogIn, insert_user: InsertUser, settings: Any) -> None:
    insert_user("alice")
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(20)}
    now = timezone.now()
    Promotion.objects.create(name="Tet", percent=20, starts_at=now, ends_at=now + timedelta(days=1))
    order = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    client, address = log_in("Support"), address_of("event", send_money("nap tien").pk, "match-event")
    assert "Your role may move at most $20.00" in text_of(preview(client, address, order=str(order.order_code)))
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(24)}
    confirm(client, address, preview(client, address, order=str(order.order_code)))
    assert Account.objects.get().credits_new == 24


@pytest.mark.usefixtures("_ten_dollars")
def test_a_replay_is_bound_by_what_the_rules_would_credit(log_in: LogIn, lost: WebhookEvent) -> None:
    order = Payment.objects.get()
    code = order.order_code
    Payment.objects.filter(pk=order.pk).update(order_code="NAPOTHER")
    event = send_money(str(code))
    assert event.status == "review"
    Payment.objects.filter(pk=order.pk).update(order_code=code)  # Somebody repaired it.
    address = address_of("event", event.pk, "replay-event")
    refused_everywhere(log_in("Support"), address)
    assert Account.objects.get().credits_new == 1
    root = log_in(None, "root")
    shown = preview(root, address)
    assert "moving at most $20.00" in text_of(shown)
    confirm(root, address, shown)
    assert Account.objects.get().credits_new == 21


@pytest.mark.usefixtures("_ten_dollars")
def test_an_expiry_is_bound_by_the_credits_that_it_is_about(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice", credits=6, creditsNew=5)
    insert_user("bob", credits=6, creditsNew=4)
    insert_user("carol", credits=100, expiresAt=timezone.now() - timedelta(days=1))
    client = log_in("Billing admin")
    refused_everywhere(client, address_of("account", "alice", "expiry"), choice="1")
    assert Account.objects.get(pk="alice").expires_at is None
    for name in ("bob", "carol"):
        address = address_of("account", name, "expiry")
        confirm(client, address, preview(client, address, choice="1"))
        assert Account.objects.get(pk=name).expires_at > timezone.now()


@pytest.mark.usefixtures("_ten_dollars")
def test_several_accounts_at_once_are_one_amount(log_in: LogIn, insert_user: InsertUser, settings: Any) -> None:
    names = [insert_user(name, credits=9) for name in ("alice", "bob", "carol")]
    client = log_in("Support")
    assert f"Together: {LIMITED}" in text_of(bulk(client, "transfer", names, **TRANSFER))
    settings.STAFF_AMOUNT_LIMITS = {}
    shown = bulk(client, "transfer", names, **TRANSFER)
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(11)}
    assert "Together: Your role may move" in text_of(confirm_bulk(client, "transfer", names, shown))
    assert LedgerEntry.objects.count() == 0
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal(12)}
    confirm_bulk(client, "transfer", names, bulk(client, "transfer", names, **TRANSFER))
    assert set(Account.objects.values_list("credits_new", flat=True)) == {4}


# --- What a preview showed ---------------------------------------------------------------------------------------


def test_a_confirmation_with_other_values_shows_them_first(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    again = confirm(admin_client, address, preview(admin_client, address, **TRANSFER), amount="9")
    assert "These are not the values of the preview." in text_of(again)
    assert "$10.00 $1.00" in text_of(again)
    assert LedgerEntry.objects.count() == 0
    confirm(admin_client, address, again)
    assert Account.objects.get().credits_new == 9


def test_a_bulk_confirmation_with_other_values_shows_them_first(admin_client: Client, insert_user: InsertUser) -> None:
    names = [insert_user("alice", credits=10), insert_user("bob", credits=10)]
    shown = bulk(admin_client, "transfer", names, **TRANSFER)
    again = confirm_bulk(admin_client, "transfer", names, shown, amount="9")
    assert "These are not the values of the preview." in text_of(again)
    assert "alice OpenHands credits: $0.00 → $9.00" in text_of(again)
    assert LedgerEntry.objects.count() == 0
    confirm_bulk(admin_client, "transfer", names, again)
    assert set(Account.objects.values_list("credits_new", flat=True)) == {9}


def test_a_preview_in_several_lines_is_confirmed(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    shown = preview(admin_client, address, **TRANSFER | {"reason": "asked\r\ntwice "})
    confirm(admin_client, address, shown, reason="asked\ntwice")  # As some browsers send it back.
    assert Account.objects.get().credits_new == 4


def test_a_match_whose_order_was_paid_meanwhile_asks_again(admin_client: Client, lost: WebhookEvent) -> None:
    order = Payment.objects.get()
    address = address_of("event", lost.pk, "match-event")
    shown = preview(admin_client, address, order=str(order.order_code))
    send_money(str(order.order_code))
    again = confirm(admin_client, address, shown)
    assert CHANGED in text_of(again)
    assert Account.objects.get().credits_new == 21
    confirm(admin_client, address, again)
    assert Account.objects.get().credits_new == 41


def test_an_account_that_changed_after_a_bulk_preview_is_asked_about_again(
    admin_client: Client, insert_user: InsertUser
) -> None:
    names = [insert_user("alice"), insert_user("bob")]
    shown = bulk(admin_client, "disable", names)
    Account.objects.filter(pk="alice").update(is_active=False)
    done = confirm_bulk(admin_client, "disable", names, shown)
    assert f"alice {CHANGED}" in text_of(done)
    assert "bob The account is now disabled." in text_of(done)
    asked = re.findall(r'name="account" value="([^"]*)"', done.content.decode())
    assert asked == ["alice"]
    again = admin_client.post("/admin/support/bulk/disable/", {**inputs(done), "account": asked})
    assert "These are not" not in text_of(again)
    assert "The account is now disabled" in text_of(confirm_bulk(admin_client, "disable", asked, again))


def test_the_expiry_is_the_one_that_the_preview_showed(admin_client: Client, insert_user: InsertUser) -> None:
    names = [insert_user("alice"), insert_user("bob")]
    address = address_of("account", "alice", "expiry")
    for name, shown in (
        ("alice", preview(admin_client, address, choice="7")),
        ("bob", bulk(admin_client, "expiry", names[1:], choice="7")),
    ):
        found = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d):00 UTC", text_of(shown))
        assert found
        past = timezone.now() - timedelta(days=1)
        assert found[1] > f"{past:%Y-%m-%d %H:%M}"
        if name == "alice":
            assert inputs(shown)["choice"] == "date"
            confirm(admin_client, address, shown)
        else:
            confirm_bulk(admin_client, "expiry", names[1:], shown)
        assert f"{Account.objects.get(pk=name).expires_at:%Y-%m-%d %H:%M}" == found[1]


# --- Whose token -------------------------------------------------------------------------------------------------


def test_a_token_is_its_users_and_its_sessions(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    sam, sue = log_in("Support"), log_in("Support", "sue")
    shown = preview(sam, address, **TRANSFER)
    shown_bulk = bulk(sam, "transfer", ["alice"], **TRANSFER)
    other_session = Client()
    other_session.force_login(User.objects.get(username="sam"))
    for client in (sue, other_session):
        assert "This dialog is too old." in text_of(confirm(client, address, shown))
        assert "This page is too old." in text_of(confirm_bulk(client, "transfer", ["alice"], shown_bulk))
    assert LedgerEntry.objects.count() == 0
    confirm(sam, address, shown)
    assert Account.objects.get().credits_new == 4
