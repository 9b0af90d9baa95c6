"""What webhooks missed is found, credited once and flagged; what they brought is not counted again."""

import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account, LedgerEntry
from payments import orders
from payments.errors import ProviderUnavailable
from payments.inbox import review
from payments.inbox.process import process_due_events
from payments.inbox.pull import pull_due_payments, pull_payments
from payments.models import Payment, WebhookEvent
from payments.providers.sepay import TIME_ZONE
from tests.factories import CallApi, Deliver, InsertUser, InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay, FakeStripe
from tests.payments.providers.test_sepay_signature import sign
from tests.payments.senders import refund, send_stripe, session, stripe_event


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def test_a_transfer_whose_webhook_never_came_is_credited_and_flagged(sepay: FakeSePay, make_order: MakeOrder) -> None:
    sepay.add(transfer(make_order().order_code))
    sepay.add(transfer(transferType="out"))
    assert [pull_payments(), pull_payments()] == [1, 0]
    assert balance_of() == 20
    assert Payment.objects.get().flags == ["pulled"]
    event = WebhookEvent.objects.get()
    assert (event.source, event.status) == ("pull", "done")


def test_what_the_webhook_brought_is_not_counted_again(
    sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder
) -> None:
    payloads = [transfer(make_order().order_code), transfer("nothing known", 70_000), transfer(make_order().order_code)]
    for payload in payloads:
        deliver(payload)
        sepay.add(payload)
    assert pull_payments() == 0
    assert (balance_of(), WebhookEvent.objects.count()) == (40, 3)


def test_a_webhook_after_staff_credited_what_the_pull_found_is_not_counted_again(
    sepay: FakeSePay, deliver: Deliver, insert_user: InsertUser
) -> None:
    insert_user("alice")
    payload = transfer("nothing known")
    sepay.add(payload)
    pull_payments()
    key = WebhookEvent.objects.get().pk
    review.credit(event_key=key, username="alice", amount=Decimal(20), actor="staff", reason="phoned")
    assert deliver(payload).status_code == 200
    assert balance_of() == 20
    assert not WebhookEvent.objects.filter(status="review").exists()


def test_a_webhook_after_the_pull_is_not_counted_again(
    sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder
) -> None:
    known, unknown = transfer(make_order().order_code), transfer("nothing known")
    sepay.add(known)
    sepay.add(unknown)
    assert pull_payments() == 2
    for payload in (known, unknown):
        assert deliver(payload).status_code == 200
    assert balance_of() == 20
    webhooks = WebhookEvent.objects.filter(source="webhook")
    assert [event.status for event in webhooks] == ["ignored", "ignored"]
    assert WebhookEvent.objects.filter(status="review").count() == 1


def test_100_deliveries_from_20_threads_mixed_with_pulls_credit_once(
    sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder, in_threads: InThreads
) -> None:
    payload = transfer(make_order().order_code)
    sepay.add(payload)

    def act(index: int) -> list[int]:
        if index >= 20:
            pull_payments()
            return []
        return [deliver(payload).status_code for _ in range(5)]

    statuses = list(itertools.chain.from_iterable(in_threads(22, act)))
    assert len(statuses) == 100
    assert set(statuses) == {200}
    later = datetime.now(UTC)
    while WebhookEvent.objects.filter(status="received").exists():
        later += timedelta(hours=1)
        process_due_events(now=later)
    assert balance_of() == 20
    assert LedgerEntry.objects.filter(kind="purchase").count() == 1
    assert set(WebhookEvent.objects.values_list("status", flat=True)) <= {"done", "ignored"}


def test_the_pull_confirms_a_delivery_with_an_old_signature(
    sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder, settings: Any
) -> None:
    settings.SEPAY_WEBHOOK_SECRETS = ["sepay_test_secret"]
    payload = transfer(make_order().order_code)
    body = json.dumps(payload).encode()
    assert deliver(body, key=None, **sign(body, int(time.time()) - 900)).status_code == 401
    sepay.add(payload)
    assert pull_payments() == 1
    assert balance_of() == 20
    assert not WebhookEvent.objects.filter(status="review").exists()


def test_a_sepay_outage_of_ours_longer_than_its_retries_loses_nothing(
    sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder, settings: Any
) -> None:
    payload = transfer(make_order().order_code)
    waited: list[int] = []
    settings.SEPAY_API_KEYS = []  # The endpoint is off: 503.
    with pytest.raises(TimeoutError):
        sepay.insist(lambda: deliver(payload), waited.append)
    assert sum(waited) == 33
    settings.SEPAY_API_KEYS = ["sepay-test-key"]
    sepay.add(payload)
    assert pull_payments() == 1
    assert balance_of() == 20


def test_a_retry_of_sepay_after_a_short_outage_credits(
    sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder, settings: Any
) -> None:
    payload = transfer(make_order().order_code)
    settings.SEPAY_API_KEYS = []

    def back_after_the_second(gap: int) -> None:
        if len(sepay.requests) == 0 and gap == 1:
            settings.SEPAY_API_KEYS = ["sepay-test-key"]

    assert sepay.insist(lambda: deliver(payload), back_after_the_second) == 2
    assert balance_of() == 20


def test_the_pull_reads_all_pages_of_its_window_and_waits_when_asked(
    sepay: FakeSePay, make_order: MakeOrder, settings: Any
) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    sepay.page_size = 2
    sepay.slow_downs = 2
    for _ in range(5):
        sepay.add(transfer(make_order().order_code))
    two_days_ago = (datetime.now(TIME_ZONE) - timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
    sepay.add(transfer(make_order().order_code, transactionDate=two_days_ago))
    assert pull_payments() == 5
    assert balance_of() == 100


@pytest.mark.parametrize("failure", ["token", "slow", "form"])
def test_a_provider_that_cannot_be_asked_is_reported(
    sepay: FakeSePay, stripe: FakeStripe, db: None, settings: Any, failure: str
) -> None:
    if failure == "token":
        settings.SEPAY_API_TOKEN = "wrong"
    elif failure == "slow":
        sepay.slow_downs = 100
    else:
        settings.SEPAY_API_URL = f"{stripe.url}/v1/events?"
    with pytest.raises(ProviderUnavailable, match="sepay"):
        pull_payments()
    assert any("events" in request for request in stripe.requests)  # The other one was asked all the same.


def test_a_listed_row_that_cannot_be_read_is_kept_for_review_once(sepay: FakeSePay, db: None) -> None:
    sepay.add(transfer())
    sepay.transfers[0]["amount_in"] = "many"
    assert [pull_payments(), pull_payments()] == [1, 0]
    assert WebhookEvent.objects.get().status == "review"


def test_an_order_that_the_replaced_system_paid_is_not_credited_by_the_pull(
    sepay: FakeSePay, make_order: MakeOrder
) -> None:
    order = make_order()
    Payment.objects.filter(pk=order.pk).update(status="success")
    sepay.add(transfer(order.order_code))
    pull_payments()
    assert (balance_of(), WebhookEvent.objects.get().status) == (0, "review")


def test_events_that_stripe_could_not_deliver_are_found(
    stripe: FakeStripe, site: str, make_order: MakeOrder, settings: Any
) -> None:
    intents = [f"pi_{number}" for number in range(5)]
    for intent in intents:
        order = make_order(method="stripe")
        stripe.emit("checkout.session.completed", session(order.order_code, intent))
    delivered = stripe.events[2]
    assert stripe.deliver(site, delivered).status_code == 200
    stripe.emit("refund.created", refund("re_1", intents[2], 500))
    assert [pull_payments(), pull_payments()] == [5, 0]
    assert balance_of() == 95
    # The webhook comes after all, in another layout: the same event.
    for event in stripe.events:
        assert stripe.deliver(site, event).status_code == 200
    assert balance_of() == 95
    assert not WebhookEvent.objects.exclude(status="done").exists()


def test_a_paid_page_without_any_event_is_found(
    stripe: FakeStripe, api: CallApi, insert_user: InsertUser, site: str
) -> None:
    insert_user("alice")
    api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"})
    assert pull_payments() == 0
    order = Payment.objects.get()
    stripe.pay(str(order.session_id))
    lost = stripe.events.pop()
    assert [pull_payments(), pull_payments()] == [1, 0]
    assert balance_of() == 20
    assert stripe.deliver(site, lost).status_code == 200
    assert balance_of() == 20


def paid_pages_without_events(api: CallApi, stripe: FakeStripe, count: int) -> list[str]:
    """The payment pages of so many orders, all of them paid, whose events were lost."""
    for _ in range(count):
        api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"})
    pages = [str(order.session_id) for order in Payment.objects.order_by("created_at")]
    for page in pages:
        stripe.pay(page)
    stripe.events.clear()
    return pages


def test_a_page_that_cannot_be_read_does_not_keep_the_others(
    stripe: FakeStripe, api: CallApi, insert_user: InsertUser, settings: Any
) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    insert_user("alice")
    pages = paid_pages_without_events(api, stripe, 10)
    for page in pages[:6]:
        del stripe.sessions[page]
    stripe.sessions[pages[7]] = ["no object"]  # type: ignore[assignment]
    with pytest.raises(ProviderUnavailable, match="7 questions"):
        pull_payments()
    assert balance_of() == 60
    assert pull_due_payments() == 0  # The sweeper goes on, too.


def test_a_list_of_events_that_cannot_be_read_does_not_keep_the_pages(
    stripe: FakeStripe, api: CallApi, insert_user: InsertUser
) -> None:
    insert_user("alice")
    paid_pages_without_events(api, stripe, 2)
    stripe.events = [{"created": int(time.time()), "type": "refund.created"} for _ in range(5)]
    with pytest.raises(ProviderUnavailable, match="where it goes on"):
        pull_payments()
    assert balance_of() == 40


def test_stripe_that_does_not_answer_is_not_asked_for_every_page(
    stripe: FakeStripe, api: CallApi, insert_user: InsertUser, settings: Any
) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    insert_user("alice")
    paid_pages_without_events(api, stripe, 12)
    stripe.is_down = True
    before = len(stripe.requests)
    with pytest.raises(ProviderUnavailable):
        pull_payments()
    assert len(stripe.requests) - before < 12


def test_every_open_page_is_asked_for_however_many_there_are(
    stripe: FakeStripe, insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice")
    now = datetime.now(UTC)
    order = {"userId": "alice", "credits": 20.0, "amount": 20.0, "currency": "USD", "rate": 1.0, "status": "expired"}
    documents = [
        order
        | {
            "orderCode": f"NAP{number:08d}",
            "paymentMethod": "stripe",
            "sessionId": f"cs_{number}",
            "createdAt": now - timedelta(seconds=500 - number),
            "expiresAt": now,
        }
        for number in range(260)
    ]
    usersnew.database["payments"].insert_many(documents)
    for number in range(260):
        stripe.sessions[f"cs_{number}"] = session(None, f"pi_{number}", payment_status="unpaid")
    assert pull_payments() == 0
    assert {f"GET /v1/checkout/sessions/cs_{number}" for number in range(260)} <= set(stripe.requests)


def test_several_sweepers_ask_once_per_interval(sepay: FakeSePay, make_order: MakeOrder, in_threads: InThreads) -> None:
    sepay.add(transfer(make_order().order_code))
    now = datetime.now(UTC)
    assert sum(in_threads(5, lambda _: pull_due_payments(now=now))) == 1
    assert len(sepay.requests) == 1
    pull_due_payments(now=now + timedelta(minutes=9))
    assert len(sepay.requests) == 1
    pull_due_payments(now=now + timedelta(minutes=10))
    assert len(sepay.requests) == 2


def test_a_pulled_payment_is_credited_at_its_own_time_not_when_the_pull_began(
    sepay: FakeSePay, make_order: MakeOrder, usersnew: Any
) -> None:
    began = datetime.now(UTC) - timedelta(minutes=10)  # As if the provider had taken so long to answer.
    paid_at = (began - timedelta(minutes=1)).astimezone(TIME_ZONE).strftime("%Y-%m-%d %H:%M:%S")
    sepay.add(transfer(make_order(minutes_ago=12).order_code, transactionDate=paid_at))
    expired_at = datetime.now(UTC) - timedelta(minutes=5)
    usersnew.update_one({"_id": "alice"}, {"$set": {"creditsNew": 5.0, "expiresAt": expired_at}})
    assert pull_due_payments(now=began) == 1
    assert balance_of() == 20
    account = Account.objects.get(pk="alice")
    assert account.purchased_at is not None
    assert account.purchased_at > expired_at


def test_the_sweeper_goes_on_when_a_provider_does_not_answer(sepay: FakeSePay, db: None, settings: Any) -> None:
    settings.SEPAY_API_TOKEN = "wrong"
    assert pull_due_payments() == 0
    assert len(sepay.requests) == 1


def test_the_command_says_what_it_found(sepay: FakeSePay, make_order: MakeOrder, capsys: Any) -> None:
    sepay.add(transfer(make_order().order_code))
    call_command("pull_payments", "--hours", "2")
    assert capsys.readouterr().out == "1 new events from sepay\n"


def test_the_command_needs_a_provider(db: None, settings: Any) -> None:
    settings.SEPAY_API_TOKEN = ""
    with pytest.raises(CommandError, match="SEPAY_API_TOKEN"):
        call_command("pull_payments")


def test_nothing_expires_an_order_that_the_pull_paid(sepay: FakeSePay, make_order: MakeOrder) -> None:
    order = make_order(minutes_ago=20)
    sepay.add(transfer(order.order_code))
    pull_payments()
    assert orders.expire_pending() == 0
    assert Payment.objects.get().status == "success"


def test_a_stripe_event_twice_with_another_meaning_is_a_conflict(site: str, make_order: MakeOrder) -> None:
    event = stripe_event("checkout.session.completed", session(make_order(method="stripe").order_code, "pi_1"))
    send_stripe(site, event)
    send_stripe(site, json.dumps(event).replace("2000", "9000").encode())
    assert WebhookEvent.objects.filter(status="review").count() == 1
