"""What staff need to finish an event: split it, find its order, credit any name, refund it, write and take it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as site_settings
from django.db import connection
from django.test import Client

from accounts.models import Account, LedgerEntry
from payments import orders
from payments.errors import ChangedMeanwhile, InvalidDecision
from payments.inbox import assignment
from payments.models import Payment, WebhookEvent
from payments.orders import codes
from payments.providers import reload_providers
from support.admin.display import account_url
from support.models import AuditEntry
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import page, text_of
from tests.support.actions.test_desk import audit, do, preview, url
from tests.support.conftest import provider, send_money

EVENTS = "/admin/payments/webhookevent/"


@pytest.fixture
def order(insert_user: InsertUser) -> Payment:
    insert_user("alice")
    return order_of("alice")


def order_of(username: str, credits: int = 20, minutes_ago: float = 0) -> Payment:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    return orders.create_order(account=Account.objects.get(pk=username), credits=credits, now=at)


def credits_of(username: str) -> Decimal:
    return Account.objects.get(pk=username).credits_new


def event_page(event: WebhookEvent) -> str:
    return f"{EVENTS}{event.pk}/change/"


# --- Split -------------------------------------------------------------------------------------------------------


@pytest.fixture
def family(order: Payment, insert_user: InsertUser) -> tuple[WebhookEvent, Payment, Payment]:
    """125,000 VND whose memo names two orders: alice's of 20 USD and bob's of 30 USD."""
    insert_user("bob")
    other = order_of("bob", 30)
    event = send_money(f"{order.order_code} {other.order_code}", 125_000)
    assert event.status == "review"
    return event, order, other


def test_one_transfer_is_split_over_two_orders(admin_client: Client, family: Any) -> None:
    event, first, second = family
    form = {"parts": f"{first.order_code} 50000\n\n{str(second.order_code).lower()}: 75000.00", "reason": "one family"}
    shown = preview(admin_client, url(event, "split-event"), **form)
    assert f"Order {first} $20.00 for alice, Waiting for the money 50,000 VND: $20.00 credited" in shown
    assert "75,000 VND: $30.00 credited" in shown
    assert "Expiry never 7 days from now" in shown
    assert "OpenHands credits of alice $0.00 $20.00 OpenHands credits of bob $0.00 $30.00" in shown
    assert (credits_of("alice"), credits_of("bob")) == (0, 0)
    assert f"Split over 2 orders: {first} of alice, {second} of bob." in text_of(
        do(admin_client, url(event, "split-event"), **form)
    )
    assert (credits_of("alice"), credits_of("bob")) == (20, 30)
    paid = Payment.objects.order_by("credits")
    assert [(one.status, one.flags) for one in paid] == [("success", ["manual", "split"])] * 2
    assert len({one.provider_transaction_id for one in paid}) == len({one.transfer_key for one in paid}) == 2
    assert len(set(LedgerEntry.objects.filter(kind="purchase").values_list("operation", flat=True))) == 2
    event.refresh_from_db()
    assert event.status == "done"
    assert event.resolution == f"one family (split: {first} 50,000; {second} 75,000)"
    assert audit() == [("split-event", "done", "staff:admin", "one family")]
    for one in paid:
        assert str(event.event_id) in page(admin_client, f"{EVENTS}?q={one.pk}")
    do(admin_client, url(event, "split-event"), **form)
    assert (credits_of("alice"), credits_of("bob")) == (20, 30)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ("{0} 50000\n{1} 74999", "The parts add up to 124,999 VND; they must be above 0 and add up to 125,000."),
        ("{0} 125000\n{1} 0", "they must be above 0"),
        ("{0} 50000\n{0} 75000", "Name at least two orders, each once."),
        ("{0} 125000", "Name at least two orders, each once."),
        ("{0} 50000\nNOPE 75000", "No payment has the order code or id &#x27;NOPE&#x27;."),
        ("{0} 50000\n{1} 75,000", "is no order code with an amount"),
        ("{0} 50000\n{1} -75000", "is no order code with an amount"),
        ("{0}", "is no order code with an amount"),
        ("{0} 50000\n{2} 75000", "wrong currency: VND for an order in USD"),
    ],
)
def test_parts_that_do_not_fit_credit_nothing(admin_client: Client, family: Any, parts: str, sentence: str) -> None:
    event, first, second = family
    foreign = orders.create_order(account=Account.objects.get(pk="bob"), credits=30, method="stripe")
    typed = parts.format(first.order_code, second.order_code, foreign.order_code)
    shown = text_of(do(admin_client, url(event, "split-event"), parts=typed, reason="one family"))
    assert sentence.replace("&#x27;", "'") in shown.replace("&#x27;", "'")
    assert (credits_of("alice"), credits_of("bob")) == (0, 0)
    event.refresh_from_db()
    assert event.status == "review"


def test_a_part_that_cannot_be_credited_undoes_the_other(admin_client: Client, family: Any) -> None:
    event, first, second = family
    connection.database["usersNew"].delete_one({"_id": "bob"})
    form = {"parts": f"{first.order_code} 50000\n{second.order_code} 75000", "reason": "one family"}
    assert "no account 'bob'" in text_of(do(admin_client, url(event, "split-event"), **form)).replace("&#x27;", "'")
    assert credits_of("alice") == 0
    assert Payment.objects.filter(status="pending").count() == 2


def test_a_split_is_bound_by_the_limit_of_the_role(log_in: LogIn, family: Any, settings: Any) -> None:
    settings.STAFF_AMOUNT_LIMITS = {"Support": Decimal("49.99")}
    event, first, second = family
    form = {"parts": f"{first.order_code} 50000\n{second.order_code} 75000", "reason": "one family"}
    assert "Your role may move at most" in text_of(do(log_in("Support"), url(event, "split-event"), **form))
    assert credits_of("alice") == 0


def test_a_split_transfer_that_is_reported_again_is_known(admin_client: Client, family: Any) -> None:
    event, first, second = family
    form = {"parts": f"{first.order_code} 50000\n{second.order_code} 75000", "reason": "one family"}
    do(admin_client, url(event, "split-event"), **form)
    headers = {"Authorization": "Apikey sepay-test-key"}
    body = bytes(event.body)
    provider.post("/api/payment/webhook", body, content_type="application/json", headers=headers)
    assert WebhookEvent.objects.count() == 1
    assert (credits_of("alice"), credits_of("bob")) == (20, 30)


# --- The order that is meant -------------------------------------------------------------------------------------


def typed(code: str) -> list[str]:
    return [
        f" {code.lower()} ",
        "-".join((code[:3], code[3:7], code[7:])),
        " ".join(code),
        code.replace("0", "O").replace("1", "l"),
    ]


@pytest.mark.parametrize("way", range(4))
def test_a_code_is_matched_however_it_was_typed(admin_client: Client, order: Payment, way: int) -> None:
    Payment.objects.update(order_code="NAP01A0B1C5")  # Its check character does not matter to an exact code.
    fixed = codes.generate_code("NAP") if way == 3 else "NAP01A0B1C5"
    Payment.objects.update(order_code=fixed)
    event = send_money("nap tien")
    do(admin_client, url(event, "match-event"), order=typed(fixed)[way], reason="phoned")
    assert credits_of("alice") == 20
    found = admin_client.get("/admin/payments/payment/", {"q": typed(fixed)[way]}).context["cl"].result_list
    assert [one.order_code for one in found] == [fixed]


def test_an_old_code_with_hyphens_is_matched(admin_client: Client, order: Payment) -> None:
    Payment.objects.update(order_code="TROLL20D1736570000000AB3X")
    event = send_money("nap tien")
    do(admin_client, url(event, "match-event"), order="troll20-d1736570000000-ab3x", reason="phoned")
    assert credits_of("alice") == 20


def wrong(code: str, *places: int) -> str:
    """The code with other characters at these places."""
    return "".join(
        "Y" if index in places and one != "Y" else "Z" if index in places else one for index, one in enumerate(code)
    )


@pytest.mark.parametrize(
    "garble",
    [
        lambda code: wrong(code, 5),
        lambda code: wrong(code, 4, 9),
        lambda code: code[:6] + code[7:],
        lambda code: code[:5] + "X" + code[5:],
        lambda code: wrong(code, 0, 1),
    ],
)
def test_an_order_with_nearly_the_code_is_suggested(
    admin_client: Client, order: Payment, insert_user: InsertUser, garble: Any
) -> None:
    insert_user("bob")
    order_of("bob", 30)
    event = send_money(garble(str(order.order_code)), 70_000)
    for shown in (page(admin_client, event_page(event)), page(admin_client, url(event, "match-event"))):
        assert f"{order} 50,000 VND of alice (Waiting for the money): its code stands there with" in shown
        assert "of bob" not in shown
    assert page(admin_client, url(event, "split-event")).count("of alice") == 1


def test_orders_of_the_same_amount_and_time_are_suggested_the_nearest_first(
    admin_client: Client, order: Payment, insert_user: InsertUser
) -> None:
    insert_user("bob")
    earlier = order_of("bob", minutes_ago=60)
    old, dearer, paid = order_of("bob", minutes_ago=60 * 24 * 4), order_of("bob", 30), order_of("bob")
    Payment.objects.filter(pk=paid.pk).update(status="success")
    orders.expire_pending()
    shown = page(admin_client, event_page(send_money("nap tien")))
    assert shown.index(f"{order} 50,000 VND of alice (Waiting for the money): the same amount") < shown.index(
        f"{earlier} 50,000 VND of bob (Expired): the same amount, 60 minutes apart"
    )
    assert not [one for one in (old, dearer, paid) if str(one) in shown]


def test_nothing_is_suggested_where_nothing_fits_or_nothing_waits(admin_client: Client, order: Payment) -> None:
    event = send_money("nap tien", 70_000)
    assert "No unpaid order fits by amount, time or code." in page(admin_client, url(event, "match-event"))
    do(admin_client, url(event, "dismiss-event"), reason="private")
    assert "of alice" not in page(admin_client, event_page(event))


def test_a_body_that_nobody_can_read_still_suggests_by_its_code(admin_client: Client, order: Payment) -> None:
    event = send_money("x")
    WebhookEvent.objects.update(body=f"memo: {wrong(str(order.order_code), 6)} \xff".encode("latin-1"))
    assert "of alice (Waiting for the money): its code stands there" in page(admin_client, event_page(event))


# --- Names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [" old name", "old name ", "two  spaces", "x" * 150, ".", "..", "a/b", "_2E", "ü?#%"])
def test_any_account_is_credited_and_has_a_page(admin_client: Client, insert_user: InsertUser, name: str) -> None:
    insert_user(name, creditsNew=1.0)
    assert not re.search(r"/\.{1,2}/", account_url(name))
    do(admin_client, url(send_money("x"), "credit-event"), username=name, amount="20", reason="phoned")
    assert credits_of(name) == 21
    assert "$21.00" in page(admin_client, account_url(name))
    assert account_url(name) in admin_client.get("/admin/accounts/account/").content.decode()
    address = account_url(name).replace("/admin/accounts/account/", "/admin/support/do/account/")
    do(
        admin_client,
        address.replace("/change/", "/adjust/"),
        balance="openhands",
        direction="add",
        amount="1",
        reason="x",
    )
    assert credits_of(name) == 22
    timeline = account_url(name).replace("/admin/accounts/account/", "/admin/support/accounts/")
    assert "phoned" in page(admin_client, timeline.replace("/change/", "/timeline/"))


def test_a_name_that_was_copied_with_blanks_is_found(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    do(admin_client, url(send_money("x"), "credit-event"), username=" alice ", amount="20", reason="phoned")
    assert credits_of("alice") == 20


# --- What nobody can read ----------------------------------------------------------------------------------------


def unreadable() -> WebhookEvent:
    headers = {"Authorization": "Apikey sepay-test-key"}
    provider.post("/api/payment/webhook", b'{"half": ', content_type="application/json", headers=headers)
    return WebhookEvent.objects.get(event_id__startswith="unreadable")


@pytest.mark.parametrize("is_of_an_earlier_release", [False, True])
def test_what_was_credited_from_an_unreadable_event_is_refunded_in_usd(
    admin_client: Client, insert_user: InsertUser, is_of_an_earlier_release: bool
) -> None:
    insert_user("alice")
    do(admin_client, url(unreadable(), "credit-event"), username="alice", amount="20", reason="phoned")
    payment = Payment.objects.get()
    assert (payment.amount, payment.currency, payment.received_amount) == (20, "USD", None)
    if is_of_an_earlier_release:
        Payment.objects.update(amount=Decimal(0), currency="VND", rate=Decimal(2500))
    address = url(payment, "record-refund", "payment")
    assert "Received: 20.00 USD." in page(admin_client, address)
    form = {"amount": "5", "reference": "FT1", "reason": "too much"}
    assert "Refunded 0.00 USD 5.00 USD" in preview(admin_client, address, **form)
    assert "$5.00 of this payment has been reversed" in text_of(do(admin_client, address, **form))
    assert credits_of("alice") == 15
    refused = do(admin_client, address, amount="20.01", reference="FT2", reason="too much")
    assert "at most what was received" in text_of(refused)
    do(admin_client, address, amount="15", reference="FT3", reason="the rest")
    assert credits_of("alice") == 0


@pytest.fixture
def removed(order: Payment, settings: Any) -> Any:
    """An event in review whose provider is not listed any more."""
    event = send_money("nap tien")
    settings.PAYMENT_PROVIDERS = ["payments.providers.standard.StandardWebhooks"]
    reload_providers()
    yield event
    settings.PAYMENT_PROVIDERS = site_settings.PAYMENT_PROVIDERS
    del settings.PAYMENT_PROVIDERS
    reload_providers()


def test_what_belongs_to_a_removed_provider_is_opened_and_dismissed(
    admin_client: Client, removed: WebhookEvent
) -> None:
    page(admin_client, EVENTS)
    page(admin_client, event_page(removed))
    for slug in (
        "match-event",
        "split-event",
        "credit-event",
        "dismiss-event",
        "replay-event",
        "note-event",
        "take-event",
    ):
        page(admin_client, url(removed, slug))
    order = Payment.objects.get()
    forms = {
        "match-event": {"order": str(order.order_code)},
        "split-event": {"parts": f"{order.order_code} 50000"},
        "replay-event": {},
    }
    for slug, form in forms.items():
        assert "is not in PAYMENT_PROVIDERS any more" in text_of(
            do(admin_client, url(removed, slug), reason="x", **form)
        )
    do(admin_client, url(removed, "dismiss-event"), reason="a shop that we closed")
    removed.refresh_from_db()
    assert (removed.status, removed.resolution, credits_of("alice")) == ("ignored", "a shop that we closed", 0)


def test_what_belongs_to_a_removed_provider_is_credited_by_who_may_add_credits(
    log_in: LogIn, removed: WebhookEvent
) -> None:
    form = {"username": "alice", "amount": "20", "reason": "seen in the bank"}
    refused = text_of(do(log_in("Support", "sam"), url(removed, "credit-event"), **form))
    assert "This is more than what was certainly received" in refused
    do(log_in("Billing admin", "boss"), url(removed, "credit-event"), **form)
    assert credits_of("alice") == 20


# --- Notes, and who works on it ----------------------------------------------------------------------------------


def test_notes_say_who_and_when_and_stay(log_in: LogIn, order: Payment) -> None:
    event = send_money("nap tien")
    log, boss = log_in("Support", "sam"), log_in("Billing admin", "boss")
    do(log, url(event, "note-event"), reason="called the <b>bank</b>")
    do(boss, url(event, "note-event"), reason="it is alice's")
    do(boss, url(event, "dismiss-event"), reason="sent back")
    do(log, url(event, "note-event"), reason="also when it is closed")
    shown = page(log_in("Viewer", "vic"), event_page(event))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    places = [
        shown.index(words)
        for words in (
            "also when it is closed",
            "dismiss-event: sent back",
            "staff:boss note-event: it is alice",
            "called the",
        )
    ]
    assert places == sorted(places)
    assert shown.count(today) >= 4
    assert "<b>bank" not in log.get(event_page(event)).content.decode()
    event.refresh_from_db()
    assert (event.status, credits_of("alice")) == ("ignored", 0)
    assert AuditEntry.objects.filter(action="note-event", target=str(event.pk)).count() == 3


def test_a_note_needs_words(admin_client: Client, order: Payment) -> None:
    assert "This field is required." in text_of(do(admin_client, url(send_money("x"), "note-event"), reason="  "))


def test_the_list_says_who_works_on_an_event(log_in: LogIn, order: Payment) -> None:
    event = send_money("nap tien")
    connection.database["webhook_events"].update_one({"_id": event.pk}, {"$unset": {"assignedTo": 1}})
    sam, boss = log_in("Support", "sam"), log_in("Billing admin", "boss")
    do(sam, url(event, "take-event"), reason="")
    event.refresh_from_db()
    assert event.assigned_to == "staff:sam"
    assert re.search(r"\bsam\b", page(boss, EVENTS))
    assert "Take it" not in page(boss, event_page(event))
    assert "staff:sam works on this event already." in text_of(do(boss, url(event, "take-event"), reason=""))
    assert "staff:sam works on this event already." in page(boss, url(event, "take-event"))
    assert "Taken by staff:sam staff:sam" in preview(boss, url(event, "dismiss-event"), reason="x")
    do(boss, url(event, "release-event"), reason="sam is ill")
    event.refresh_from_db()
    assert not event.assigned_to
    done = AuditEntry.objects.filter(outcome="done").exclude(action="log-in").order_by("at")
    assert [(one.action, one.before["taken by"], one.after["taken by"]) for one in done] == [
        ("take-event", "", "staff:sam"),
        ("release-event", "staff:sam", ""),
    ]


def test_of_several_who_take_an_event_at_once_one_gets_it(order: Payment, in_threads: InThreads) -> None:
    event = send_money("nap tien")

    def act(index: int) -> bool:
        try:
            assignment.take(event_key=event.pk, actor=f"staff:{index}")
        except InvalidDecision:
            return False
        return True

    assert sum(in_threads(6, act)) == 1


def test_who_works_on_it_meanwhile_is_not_sent_away(order: Payment) -> None:
    event = send_money("nap tien")
    assignment.take(event_key=event.pk, actor="staff:sam")
    with pytest.raises(ChangedMeanwhile):
        assignment.release(event_key=event.pk, seen="staff:boss")
    WebhookEvent.objects.update(status="done", assigned_to=None)
    with pytest.raises(InvalidDecision, match="does not wait"):
        assignment.take(event_key=event.pk, actor="staff:sam")
