"""The payments desk: events in review, refunds, the purchasing switch; each with reason, permission and audit."""

import html
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from accounts.models import Account, LedgerEntry
from payments import orders
from payments.inbox.receive import receive
from payments.models import Payment, Promotion, WebhookEvent
from payments.orders import purchasing
from payments.providers import get_provider
from support.models import AuditEntry
from tests.factories import InsertUser, LogIn
from tests.pages import page, save, text_of
from tests.payments.conftest import transfer
from tests.support.conftest import send_money

EVENT_FORMS = {
    "match-event": {"order": "", "reason": "phoned"},
    "credit-event": {"username": "alice", "amount": "7", "reason": "phoned"},
    "dismiss-event": {"reason": "phoned"},
    "replay-event": {"reason": "phoned"},
}


def do(client: Client, address: str, **fields: str) -> Any:
    """Open a dialog, send its form, confirm the preview."""

    def inputs(response: Any) -> dict[str, str]:
        found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode())
        return {name: html.unescape(value) for name, value in found}

    shown = client.post(address, {**inputs(client.get(address)), **fields})
    hidden = inputs(shown)
    if "reason" not in hidden:
        return shown
    return client.post(address, {**hidden, "confirm": "1"}, follow=True)


def preview(client: Client, address: str, **fields: str) -> str:
    """Open a dialog, send its form, and read what its preview says."""
    token = re.search(r'name="token" value="([^"]+)"', client.get(address).content.decode())
    assert token
    return text_of(client.post(address, {**fields, "token": token[1]}))


def url(event: Any, slug: str, kind: str = "event") -> str:
    return f"/admin/support/do/{kind}/{getattr(event, 'pk', event)}/{slug}/"


def audit() -> list[tuple[Any, ...]]:
    """The audit trail without the tests' own log-ins."""
    done = AuditEntry.objects.exclude(action="log-in").order_by("at")
    return list(done.values_list("action", "outcome", "actor", "reason"))


@pytest.fixture
def lost(insert_user: InsertUser) -> WebhookEvent:
    """50,000 VND whose memo names no order, beside an open order of 20 USD by alice."""
    insert_user("alice")
    orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    event = send_money("nap tien")
    assert event.status == "review"
    return event


def test_the_queue_shows_in_the_sidebar_and_offers_what_can_be_done(admin_client: Client, lost: WebhookEvent) -> None:
    assert "Webhook events 1" in page(admin_client, "/admin/accounts/account/")
    text = page(admin_client, f"/admin/payments/webhookevent/{lost.pk}/change/")
    for title in ("Match with an order", "Credit an account", "Dismiss", "Run the rules again"):
        assert title in text
    assert "nap tien" in text


def test_match_credits_the_order(admin_client: Client, lost: WebhookEvent) -> None:
    order = Payment.objects.get()
    response = do(admin_client, url(lost, "match-event"), order=str(order.order_code).lower(), reason="phoned")
    assert "Matched with" in text_of(response)
    assert LedgerEntry.objects.get(kind="purchase").reason.endswith(": phoned")
    assert Account.objects.get().credits_new == 20
    lost.refresh_from_db()
    assert (lost.status, lost.resolved_by, lost.resolution) == ("done", "staff:admin", "phoned")
    assert audit() == [("match-event", "done", "staff:admin", "phoned")]
    assert "Webhook events 1" not in page(admin_client, "/admin/")
    assert "Match with an order" not in page(admin_client, f"/admin/payments/webhookevent/{lost.pk}/change/")


def test_credit_shows_before_and_after(admin_client: Client, lost: WebhookEvent) -> None:
    address = url(lost, "credit-event")
    token = re.search(r'name="token" value="([^"]+)"', admin_client.get(address).content.decode())
    assert token
    shown = admin_client.post(address, {**EVENT_FORMS["credit-event"], "token": token[1]})
    assert "OpenHands credits of alice $0.00 $7.00" in text_of(shown)
    do(admin_client, address, **EVENT_FORMS["credit-event"])
    assert Account.objects.get().credits_new == 7
    assert LedgerEntry.objects.get(kind="purchase").reason.endswith(": phoned")


def shown(client: Client, address: str, **form: str) -> str:
    """What a dialog shows before it is confirmed."""
    token = re.search(r'name="token" value="([^"]+)"', client.get(address).content.decode())
    assert token
    return text_of(client.post(address, {**form, "token": token[1]}))


def test_match_shows_what_it_will_do_and_keeps_nothing_of_it(
    admin_client: Client, lost: WebhookEvent, usersnew: Any
) -> None:
    Payment.objects.update(bonus_percent=Decimal(10))
    expired = {"expiresAt": datetime(2020, 1, 1, tzinfo=UTC), "creditsNew": 3.0}
    usersnew.update_one({"_id": "alice"}, {"$set": expired})
    order = Payment.objects.get()
    text = shown(admin_client, url(lost, "match-event"), order=str(order.order_code), reason="phoned")
    assert "Received 50,000 VND, worth $20.00 $20.00 credited, and a bonus of $2.00" in text
    assert "OpenHands credits of alice $3.00 $22.00" in text
    assert "Expiry 2020-01-01 00:00:00 UTC 7 days from now" in text
    assert Account.objects.get().credits_new == 3
    assert not LedgerEntry.objects.exists()
    assert Payment.objects.get().status == "pending"
    lost.refresh_from_db()
    assert lost.status == "review"


def test_a_look_alike_is_shown_beside_what_it_looks_like(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    order = orders.create_order(account=Account.objects.get(), credits=20)
    payload = transfer(str(order.order_code), referenceCode=None)
    for identifier in (payload["id"], payload["id"] + 500_000):
        receive(
            provider=get_provider("sepay"),
            body=json.dumps(payload | {"id": identifier}).encode(),
            headers={"Authorization": "Apikey sepay-test-key"},
        )
    event = WebhookEvent.objects.get(status="review")
    for slug, form in (
        ("match-event", {"order": str(order.order_code), "reason": "phoned"}),
        ("credit-event", {"username": "alice", "amount": "20", "reason": "phoned"}),
    ):
        text = shown(admin_client, url(event, slug), **form)
        assert f"Perhaps the same money event {payload['id']}, 50,000 VND at " in text
        assert f"credited before, with payment {order.order_code}" in text
    assert Account.objects.get().credits_new == 20


def test_what_was_credited_is_refused_in_the_preview(admin_client: Client, lost: WebhookEvent) -> None:
    do(admin_client, url(lost, "credit-event"), **EVENT_FORMS["credit-event"])
    payment = Payment.objects.get(status="success")
    WebhookEvent.objects.filter(pk=lost.pk).update(status="review", event_id="another")
    text = shown(admin_client, url(lost, "credit-event"), **EVENT_FORMS["credit-event"])
    assert f"was credited with payment {payment.order_code}" in text


def test_only_who_may_add_credits_credits_more_than_was_received(log_in: LogIn, lost: WebhookEvent) -> None:
    support, address = log_in("Support", "sam"), url(lost, "credit-event")
    assert "Received: 50,000 VND, worth $20.00." in page(support, address)
    form = {"username": "alice", "amount": "20.01", "reason": "phoned"}
    refusal = "This is more than what was certainly received (50,000 VND, worth $20.00)."
    assert refusal in text_of(do(support, address, **form))
    token = re.search(r'name="token" value="([^"]+)"', support.get(address).content.decode())
    assert token
    assert refusal in text_of(support.post(address, {**form, "token": token[1], "confirm": "1"}))
    assert [entry[:2] for entry in audit()] == [("credit-event", "refused")]
    assert Account.objects.get().credits_new == 0
    do(log_in("Billing admin", "boss"), address, **form)
    assert Account.objects.get().credits_new == Decimal("20.01")


@pytest.mark.parametrize("fields", [{"body": b'{"half": '}, {"is_verified": False}])
def test_what_nobody_can_tell_the_worth_of_is_for_who_may_add_credits(
    log_in: LogIn, lost: WebhookEvent, fields: dict[str, Any]
) -> None:
    WebhookEvent.objects.filter(pk=lost.pk).update(**fields)
    form = {"username": "alice", "amount": "1", "reason": "phoned"}
    refused = text_of(do(log_in("Support", "sam"), url(lost, "credit-event"), **form))
    assert "This is more than what was certainly received" in refused
    do(log_in("Billing admin", "boss"), url(lost, "credit-event"), **form)
    assert Account.objects.get().credits_new == 1


def test_dismiss_moves_nothing(admin_client: Client, lost: WebhookEvent) -> None:
    do(admin_client, url(lost, "dismiss-event"), reason="a private transfer")
    lost.refresh_from_db()
    assert (lost.status, lost.resolution) == ("ignored", "a private transfer")
    assert Account.objects.get().credits_new == 0


def test_replay_runs_the_rules_again(admin_client: Client, lost: WebhookEvent) -> None:
    response = do(admin_client, url(lost, "replay-event"), reason="after the fix")
    assert "The rules ran again: Needs review." in text_of(response)
    assert audit() == [("replay-event", "done", "staff:admin", "after the fix")]


def test_replay_shows_what_the_rules_would_do_now(admin_client: Client, lost: WebhookEvent) -> None:
    Payment.objects.update(bonus_percent=Decimal(10))
    order = Payment.objects.get()
    shown = preview(admin_client, url(lost, "replay-event"), reason="after the fix")
    assert "Needs review: no order: the memo holds no code of an order" in shown
    body = bytes(lost.body).replace(b"nap tien", str(order.order_code).encode())
    WebhookEvent.objects.filter(pk=lost.pk).update(body=body)
    shown = preview(admin_client, url(lost, "replay-event"), reason="after the fix")
    assert f"Payment {order} of alice" in shown
    assert "$20.00 credited, and a bonus of $2.00" in shown
    assert "OpenHands credits of alice $0.00 $22.00" in shown
    assert Account.objects.get().credits_new == 0
    assert not LedgerEntry.objects.exists()
    do(admin_client, url(lost, "replay-event"), reason="after the fix")
    assert Account.objects.get().credits_new == 22


@pytest.mark.parametrize(
    ("slug", "fields", "sentence"),
    [
        ("match-event", {"order": "NOPE", "reason": "x"}, "No payment has the order code or id &#x27;NOPE&#x27;."),
        ("credit-event", {"username": "nobody", "amount": "5", "reason": "x"}, "no account &#x27;nobody&#x27;"),
        ("credit-event", {"username": "alice", "amount": "-5", "reason": "x"}, "greater than or equal to"),
        ("dismiss-event", {"reason": " "}, "This field is required."),
    ],
)
def test_what_cannot_be_done_is_said(
    admin_client: Client, lost: WebhookEvent, slug: str, fields: dict[str, str], sentence: str
) -> None:
    assert sentence in text_of(do(admin_client, url(lost, slug), **fields))
    lost.refresh_from_db()
    assert lost.status == "review"
    assert Account.objects.get().credits_new == 0


def test_what_somebody_else_decided_meanwhile_is_said(admin_client: Client, lost: WebhookEvent) -> None:
    do(admin_client, url(lost, "dismiss-event"), reason="mine")
    text = text_of(do(admin_client, url(lost, "credit-event"), **EVENT_FORMS["credit-event"]))
    assert "This event does not wait for a decision (any more)." in text
    assert Account.objects.get().credits_new == 0


@pytest.mark.parametrize("slug", list(EVENT_FORMS))
@pytest.mark.parametrize("role", ["Viewer", "Support", "Billing admin"])
def test_the_review_needs_its_permission(log_in: LogIn, lost: WebhookEvent, role: str, slug: str) -> None:
    client = log_in(role)
    page(client, f"/admin/payments/webhookevent/{lost.pk}/change/")
    form = EVENT_FORMS[slug] | ({"order": str(Payment.objects.get().order_code)} if slug == "match-event" else {})
    if role == "Viewer":
        assert client.post(url(lost, slug), {**form, "confirm": "1"}).status_code == 403
        assert audit() == [(slug, "refused", "staff:sam", "")]
    else:
        assert do(client, url(lost, slug), **form).status_code == 200
        assert [entry[1] for entry in audit()] == ["done"]


def test_a_refund_by_hand_takes_the_credits_back_once(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    order = orders.create_order(account=Account.objects.get(), credits=20)
    send_money(str(order.order_code))
    assert Account.objects.get().credits_new == 20
    address = url(order, "record-refund", "payment")
    assert log_in("Support", "support").post(address, {"confirm": "1"}).status_code == 403
    admin = log_in("Billing admin", "boss")
    assert "Record a refund" in page(admin, f"/admin/payments/payment/{order.pk}/change/")
    for _ in range(2):
        response = do(admin, address, amount="25000", reference="FT1", reason="double payment")
        assert "Recorded. In all, $10.00 of this payment has been reversed." in text_of(response)
    assert LedgerEntry.objects.get(kind="refund").reason.endswith(": double payment")
    assert Account.objects.get().credits_new == 10


def test_a_refund_is_bound_by_the_credits_that_it_takes(log_in: LogIn, insert_user: InsertUser, settings: Any) -> None:
    settings.STAFF_AMOUNT_LIMITS = {"Billing admin": Decimal(10)}
    insert_user("alice")
    order = orders.create_order(account=Account.objects.get(), credits=20)
    send_money(str(order.order_code))
    admin, address = log_in("Billing admin"), url(order, "record-refund", "payment")
    form = {"reference": "FT1", "reason": "double payment"}
    refused = do(admin, address, amount="25001", **form)
    assert "Your role may move at most $10.00 at once." in text_of(refused)
    assert Account.objects.get().credits_new == 20
    do(admin, address, amount="25000", **form)
    assert Account.objects.get().credits_new == 10


def test_the_purchasing_switch(log_in: LogIn) -> None:
    off, on = (url("purchasing", slug, "site") for slug in ("stop-purchasing", "start-purchasing"))
    assert log_in("Support", "support").post(off, {"confirm": "1"}).status_code == 403
    admin = log_in("Billing admin", "boss")
    assert "Turn purchasing off" in page(admin, "/admin/")
    do(admin, off, notice="Back at noon.", reason="bank maintenance")
    assert purchasing.read_purchasing() == purchasing.Purchasing(is_on=False, notice="Back at noon.")
    assert "Back at noon." in page(admin, "/")
    assert "Purchasing is off" in page(admin, "/admin/")
    do(admin, on, notice="", reason="bank is back")
    assert purchasing.read_purchasing().is_on
    entry = AuditEntry.objects.get(action="stop-purchasing", outcome="done")
    assert (entry.before["purchasing"], entry.after["purchasing"]) == ("on", "off")


def test_promotions_are_made_by_billing_admins(log_in: LogIn) -> None:
    address = "/admin/payments/promotion/"
    form = {
        "name": "Tet",
        "percent": "20",
        "starts_at_0": "2026-11-01",
        "starts_at_1": "00:00:00",
        "ends_at_0": "2026-12-01",
        "ends_at_1": "00:00:00",
        "is_active": "on",
        "reason": "new year",
    }
    assert log_in("Support", "support").post(f"{address}add/", form).status_code == 403
    admin = log_in("Billing admin", "boss")
    assert save(admin, f"{address}add/", form).status_code == 302
    promotion = Promotion.objects.get()
    assert (promotion.percent, promotion.starts_at) == (Decimal(20), datetime(2026, 11, 1, tzinfo=UTC))
    refused = admin.post(f"{address}add/", {**form, "ends_at_0": "2026-10-01"})
    assert "The end must be after the start." in text_of(refused)
    assert "Tet" in page(admin, address)
    entry = AuditEntry.objects.get(action="add promotion", outcome="done")
    assert (entry.reason, entry.before, entry.after["percent"]) == ("new year", None, "20")


SOON = datetime(2099, 1, 1, 12, tzinfo=UTC)


def test_the_preview_says_what_becomes_of_the_expiry(admin_client: Client, lost: WebhookEvent) -> None:
    Account.objects.update(expires_at=SOON)
    order, small = Payment.objects.get(), send_money("nothing", 2_500)
    match = {"order": str(order.order_code), "reason": "phoned"}
    assert "Expiry 2099-01-01 12:00:00 UTC 7 days from now" in preview(admin_client, url(lost, "match-event"), **match)
    kept = "Expiry 2099-01-01 12:00:00 UTC 2099-01-01 12:00:00 UTC: too little to restart it"
    assert kept in preview(admin_client, url(small, "match-event"), **match)
    credit = {"username": "alice", "reason": "phoned"}
    assert kept in preview(admin_client, url(small, "credit-event"), amount="1", **credit)
    assert "UTC 7 days from now" in preview(admin_client, url(lost, "credit-event"), amount="1", **credit)
    Account.objects.update(expires_at=None)
    assert "Expiry never 7 days from now" in preview(admin_client, url(small, "credit-event"), amount="1", **credit)


def test_what_would_be_lost_at_once_is_refused_in_the_preview(admin_client: Client, lost: WebhookEvent) -> None:
    Account.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    small = send_money("nothing", 2_500)
    forms = {
        "match-event": {"order": str(Payment.objects.get().order_code), "reason": "phoned"},
        "credit-event": {"username": "alice", "amount": "1", "reason": "phoned"},
    }
    for slug, form in forms.items():
        assert "the credits of alice have expired: set their expiry" in preview(admin_client, url(small, slug), **form)
    assert small.status == "review"
