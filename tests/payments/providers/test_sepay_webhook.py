"""The SePay webhook over HTTP: credited exactly once, stored first, and never a 500."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId
from django.db import connection

from accounts import credits
from accounts.errors import InsufficientCredits
from accounts.models import Account, Balance, LedgerEntry
from mongo.each_item import SomeFailed
from payments import orders
from payments.inbox.events import MAX_ATTEMPTS
from payments.inbox.process import MAX_DELAY, process_due_events
from payments.inbox.receive import store
from payments.models import Payment, WebhookEvent
from payments.providers import get_provider
from tests.conftest import key_of
from tests.factories import CallApi, Deliver, InsertUser, InThreads, MakeOrder
from tests.payments.conftest import VIETNAM, transfer


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def the_event() -> WebhookEvent:
    return WebhookEvent.objects.get()


def test_a_paid_order_of_a_document_without_credits_new_gives_exactly_the_purchase(
    deliver: Deliver, make_order: MakeOrder, insert_user: InsertUser, usersnew: Any
) -> None:
    insert_user("alice", credits=50, strange={"kept": True})
    order = make_order("alice")

    payload = transfer(order.order_code)
    response = deliver(payload)

    assert (response.status_code, response.json()) == (200, {"success": True})
    document = usersnew.find_one({"_id": "alice"})
    assert (document["creditsNew"], document["credits"], document["strange"]) == (20.0, 50, {"kept": True})
    payment = Payment.objects.get()
    assert (payment.status, payment.provider, payment.provider_transaction_id) == (
        "success",
        "sepay",
        str(payload["id"]),
    )
    assert (payment.credits_before, payment.credits_after, payment.credited, payment.bonus) == (0, 20, 20, 0)
    assert payment.received_amount == 50_000
    assert payment.flags == []
    assert payment.completed_at is not None
    assert abs(document["expiresAt"] - document["purchasedAt"]) == timedelta(days=7)
    (entry,) = LedgerEntry.objects.all()
    assert (entry.kind, entry.amount, entry.operation, entry.actor) == (
        "purchase",
        20,
        f"payment:{payment.pk}",
        "sepay",
    )
    event = the_event()
    assert (event.status, event.payment_id, event.attempts, event.is_verified) == ("done", payment.pk, 1, True)
    assert json.loads(bytes(event.body)) == payload
    assert "Authorization" not in event.headers


def test_credits_before_counts_what_was_there(deliver: Deliver, make_order: MakeOrder, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1.5)
    deliver(transfer(make_order("alice", 30).order_code, 75_000))
    payment = Payment.objects.get()
    assert (payment.credits_before, payment.credits_after) == (pytest.approx(1.5), pytest.approx(31.5))


def test_a_purchase_on_an_expired_account_expires_the_old_credits_first(
    deliver: Deliver, make_order: MakeOrder, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=5.0, credits=3.0, expiresAt=datetime.now(UTC) - timedelta(hours=1))
    deliver(transfer(make_order("alice").order_code))
    account = Account.objects.get(pk="alice")
    assert (account.credits_new, account.credits) == (20, 0)
    assert (Payment.objects.get().credits_before, Payment.objects.get().credits_after) == (0, 20)
    hold = {"api_key": key_of("alice"), "balance": Balance.OPENHANDS, "request_id": "r1"}
    with pytest.raises(InsufficientCredits):
        credits.hold(**hold, minimum=Decimal("20.00000001"), maximum=Decimal("20.00000001"))
    assert credits.hold(**hold, minimum=Decimal(20), maximum=Decimal(20)).balance_after == 0


def test_50_concurrent_deliveries_credit_once(deliver: Deliver, make_order: MakeOrder, in_threads: InThreads) -> None:
    payload = transfer(make_order().order_code)
    responses = in_threads(50, lambda _: deliver(payload))
    assert {(response.status_code, response.json()["success"]) for response in responses} == {(200, True)}
    assert balance_of() == 20
    assert LedgerEntry.objects.filter(kind="purchase").count() == 1
    event = the_event()
    assert (event.status, event.deliveries) == ("done", 50)


def test_a_redelivery_days_later_changes_nothing(deliver: Deliver, make_order: MakeOrder) -> None:
    payload = transfer(make_order().order_code)
    assert [deliver(payload).status_code for _ in range(3)] == [200, 200, 200]
    assert balance_of() == 20
    assert the_event().deliveries == 3


def test_ids_as_text_and_as_number_are_one_event(deliver: Deliver, make_order: MakeOrder) -> None:
    payload = transfer(make_order().order_code, id=77)
    deliver(payload)
    deliver(payload | {"id": "77"})
    assert balance_of() == 20
    assert WebhookEvent.objects.filter(status="done").count() == 1


def test_the_same_id_with_another_body_is_kept_for_review(deliver: Deliver, make_order: MakeOrder) -> None:
    payload = transfer(make_order().order_code)
    deliver(payload)
    for _ in range(2):
        assert deliver(payload | {"transferAmount": 250_000}).status_code == 200
    assert balance_of() == 20
    conflict = WebhookEvent.objects.get(status="review")
    assert "another body" in conflict.error


def test_the_same_transfer_under_another_id_waits_for_review(deliver: Deliver, make_order: MakeOrder) -> None:
    payload = transfer(make_order().order_code)
    deliver(payload)
    deliver(payload | {"id": payload["id"] + 500_000})
    assert balance_of() == 20
    assert "credited before" in WebhookEvent.objects.get(status="review").error


@pytest.mark.parametrize("minutes_ago", [16, 15 + 23 * 60])
def test_late_money_within_a_day_is_credited_and_flagged(
    deliver: Deliver, make_order: MakeOrder, minutes_ago: int
) -> None:
    order = make_order(minutes_ago=minutes_ago)
    assert orders.expire_pending() == 1
    deliver(transfer(order.order_code))
    assert balance_of() == 20
    payment = Payment.objects.get()
    assert (payment.status, payment.flags) == ("success", ["late"])


def test_expiring_orders_while_their_money_arrives_loses_none(
    deliver: Deliver, make_order: MakeOrder, in_threads: InThreads
) -> None:
    overdue = [make_order(f"user{number}", minutes_ago=15.01) for number in range(8)]

    def act(index: int) -> int:
        if index >= 8:
            return orders.expire_pending()
        return deliver(transfer(overdue[index].order_code)).status_code

    in_threads(12, act)
    assert set(Payment.objects.values_list("status", flat=True)) == {"success"}
    assert [balance_of(order.user_id) for order in overdue] == [20] * 8


def test_money_more_than_a_day_late_waits_for_review(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order(minutes_ago=15 + 24 * 60 + 1)
    assert deliver(transfer(order.order_code)).status_code == 200
    assert balance_of() == 0
    event = the_event()
    assert (event.status, event.payment_id) == ("review", order.pk)
    assert "too late" in event.error


def test_a_delivery_that_comes_late_about_money_in_time_is_not_late(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order(minutes_ago=48 * 60)
    paid_at = (datetime.now(VIETNAM) - timedelta(minutes=48 * 60 - 5)).strftime("%Y-%m-%d %H:%M:%S")
    deliver(transfer(order.order_code, transactionDate=paid_at))
    assert balance_of() == 20
    assert Payment.objects.get().flags == []


@pytest.mark.parametrize(
    ("amount", "credits", "flags"), [(50_001, 20.0004, ["over"]), (49_999, 19.9996, ["under", "small"])]
)
def test_another_amount_is_credited_at_the_orders_rate_and_flagged(
    deliver: Deliver, make_order: MakeOrder, amount: int, credits: float, flags: list[str]
) -> None:
    order = make_order()
    deliver(transfer(order.order_code, amount))
    assert balance_of() == credits
    payment = Payment.objects.get()
    assert (payment.flags, payment.received_amount, payment.credits) == (flags, amount, 20)


def test_a_second_transfer_for_a_paid_order_is_a_payment_of_its_own(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    deliver(transfer(order.order_code))
    deliver(transfer(order.order_code, 25_000))
    assert balance_of() == 30
    second = Payment.objects.exclude(pk=order.pk).get()
    assert (second.status, second.flags, second.credited) == ("success", ["second_transfer", "small"], 10)
    assert second.order_code != order.order_code


def test_several_transfers_for_one_order_at_once_are_all_credited(
    deliver: Deliver, make_order: MakeOrder, in_threads: InThreads
) -> None:
    order = make_order()
    payloads = [transfer(order.order_code) for _ in range(6)]
    in_threads(6, lambda index: deliver(payloads[index]))
    later = datetime.now(UTC)
    while WebhookEvent.objects.filter(status="received").exists():
        later += timedelta(hours=1)
        process_due_events(now=later)
    assert balance_of() == 120
    assert sorted(payment.flags or [] for payment in Payment.objects.all()) == [[]] + [["second_transfer"]] * 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"content": "IB NGUYEN VAN A chuyen khoan", "description": ""}, "no order"),
        ({"accountNumber": "999"}, "wrong account"),
    ],
)
def test_money_that_cannot_be_placed_waits_for_review(
    deliver: Deliver, make_order: MakeOrder, changes: dict[str, Any], reason: str
) -> None:
    order = make_order()
    assert deliver(transfer(order.order_code, **changes)).status_code == 200
    event = the_event()
    assert event.status == "review"
    assert reason in event.error
    assert balance_of() == 0
    assert Payment.objects.get().status == "pending"


def test_two_codes_in_one_memo_wait_for_review(deliver: Deliver, make_order: MakeOrder) -> None:
    first, second = make_order(), make_order("bobby")
    deliver(transfer(f"{first.order_code} {second.order_code}"))
    assert "several orders" in the_event().error
    assert balance_of() == 0


def test_an_account_that_is_gone_waits_for_review(deliver: Deliver, make_order: MakeOrder, usersnew: Any) -> None:
    order = make_order()
    usersnew.delete_one({"_id": "alice"})
    assert deliver(transfer(order.order_code)).status_code == 200
    assert (the_event().status, Payment.objects.get().status) == ("review", "pending")


def test_a_disabled_account_still_gets_what_it_paid(deliver: Deliver, make_order: MakeOrder, usersnew: Any) -> None:
    order = make_order()
    usersnew.update_one({"_id": "alice"}, {"$set": {"isActive": False}})
    deliver(transfer(order.order_code))
    assert balance_of() == 20


def test_an_outgoing_transfer_is_ignored(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    assert deliver(transfer(order.order_code, transferType="out")).status_code == 200
    assert (the_event().status, balance_of()) == ("ignored", 0)


def test_money_to_a_virtual_account_of_ours_is_credited(deliver: Deliver, make_order: MakeOrder) -> None:
    deliver(transfer(make_order().order_code, accountNumber="55500", subAccount="0123499999"))
    assert balance_of() == 20


# --- What is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [None, "", "wrong", "sepay-test-ke", "sepay-test-keyy", "ключ".encode().decode("latin-1")]
)
def test_a_wrong_key_is_refused_and_nothing_is_stored(deliver: Deliver, make_order: MakeOrder, key: str | None) -> None:
    response = deliver(transfer(make_order().order_code), key=key)
    assert (response.status_code, response.json()["success"]) == (401, False)
    assert not WebhookEvent.objects.exists()


def test_the_previous_key_is_accepted_too(deliver: Deliver, make_order: MakeOrder) -> None:
    assert deliver(transfer(make_order().order_code), key="sepay-previous-key").status_code == 200
    assert balance_of() == 20


@pytest.mark.parametrize("authorization", ["Bearer sepay-test-key", "sepay-test-key", "Apikey", "Basic eDp5"])
def test_another_scheme_is_refused(deliver: Deliver, authorization: str) -> None:
    assert deliver(transfer(), key=None, Authorization=authorization).status_code == 401


def test_without_a_configured_secret_the_endpoint_is_off(deliver: Deliver, settings: Any) -> None:
    settings.SEPAY_API_KEYS = []
    response = deliver(transfer(), key="")
    assert (response.status_code, response.json()["success"]) == (503, False)
    assert not WebhookEvent.objects.exists()


GOOD = transfer("NAP00000000")
MALFORMED: dict[str, Any] = {
    "empty": b"",
    "not json": b"id=1&amount=2",
    "truncated": json.dumps(GOOD).encode()[:-20],
    "not utf-8": b'{"id": "\xff\xfe"}',
    "array": [GOOD],
    "text": "hello",
    "null": None,
    "number": 7,
    "deep": b"[" * 100_0 + b"]" * 100_0,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "NaN": json.dumps(GOOD | {"transferAmount": float("nan")}).encode(),
    "Infinity": json.dumps(GOOD | {"transferAmount": float("inf")}).encode(),
    "1e400": json.dumps(GOOD).replace(": 50000", ": 1e400").encode(),
    "1e999999999999": json.dumps(GOOD).replace(": 50000", ": 1e99999999999999999999").encode(),
    "huge": json.dumps(GOOD).replace(": 50000", ": " + "9" * 4000).encode(),
    "too huge": json.dumps(GOOD).replace(": 50000", ": " + "9" * 5000).encode(),
    "negative": GOOD | {"transferAmount": -50_000},
    "zero": GOOD | {"transferAmount": 0},
    "fraction": GOOD | {"transferAmount": 50_000.5},
    "amount as text": GOOD | {"transferAmount": "50000"},
    "amount as bool": GOOD | {"transferAmount": True},
    "amount as list": GOOD | {"transferAmount": [50_000]},
    "no amount": {k: v for k, v in GOOD.items() if k != "transferAmount"},
    "no id": {k: v for k, v in GOOD.items() if k != "id"},
    "id null": GOOD | {"id": None},
    "id object": GOOD | {"id": {"$ne": 1}},
    "id float": GOOD | {"id": 1.5},
    "id bool": GOOD | {"id": True},
    "id empty": GOOD | {"id": " "},
    "id long": GOOD | {"id": "7" * 101},
    "id negative": GOOD | {"id": -7},
    "id odd": GOOD | {"id": "\ud800\x00"},
    "direction": GOOD | {"transferType": "sideways"},
    "direction missing": {k: v for k, v in GOOD.items() if k != "transferType"},
    "content number": GOOD | {"content": 5},
    "account list": GOOD | {"accountNumber": []},
    "date": GOOD | {"transactionDate": "yesterday"},
    "date year 1": GOOD | {"transactionDate": "0001-01-01 00:00:00"},
    "date year 9999": GOOD | {"transactionDate": "9999-12-31 23:59:59"},
    "no date": {k: v for k, v in GOOD.items() if k != "transactionDate"},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_gets_400_and_is_kept_for_staff(deliver: Deliver, db: None, name: str) -> None:
    response = deliver(MALFORMED[name])
    assert response.status_code == 400
    assert response.json()["success"] is False
    assert response.json()["error"]
    event = the_event()
    assert event.status == "review"
    assert "could not be read" in event.error


@pytest.mark.parametrize("name", ["empty", "not utf-8", "deep", "NaN"])
def test_a_malformed_body_without_a_key_gets_401(deliver: Deliver, db: None, name: str) -> None:
    assert deliver(MALFORMED[name], key="wrong").status_code == 401
    assert not WebhookEvent.objects.exists()


def test_odd_characters_in_a_memo_are_stored_and_reviewed(deliver: Deliver, db: None) -> None:
    assert deliver(transfer(content="\ud800 \x00 🤖", description="\udfff")).status_code == 200
    assert the_event().status == "review"


def test_a_large_body_gets_413(deliver: Deliver, db: None) -> None:
    response = deliver(b"x" * (64 * 1024 + 1))
    assert (response.status_code, response.json()["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_gets_405(api: CallApi, method: str) -> None:
    response = api(method, "webhook")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.json()["success"] is False


# --- Old documents, failures, the sweeper ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [{"status": "pending"}, {"status": "expired"}, {"status": None}, {}])
def test_an_order_of_the_replaced_system_is_paid_by_its_exact_code(
    deliver: Deliver, insert_user: InsertUser, status: dict[str, Any]
) -> None:
    insert_user("alice")
    code = "TROLL20D1736570000000AB3X"
    connection.database["payments"].insert_one(
        {
            "_id": ObjectId(),
            "userId": "alice",
            "credits": 20,
            "amount": 50_000,
            "orderCode": code,
            "expiresAt": datetime.now(UTC) + timedelta(minutes=5),
            "odd": 1,
            **status,
        }
    )
    deliver(transfer(f"{code}CKN458949"))
    assert balance_of() == 20
    document = connection.database["payments"].find_one()
    assert (document["status"], document["odd"], document["creditsAfter"]) == ("success", 1, 20.0)


@pytest.mark.parametrize(
    ("stored_id", "status", "balance"),
    [("77", "ignored", 20), (77, "ignored", 20), (None, "review", 20), ("76", "done", 40)],
)
def test_a_transfer_that_the_replaced_system_credited_is_not_credited_again(
    deliver: Deliver, insert_user: InsertUser, stored_id: object, status: str, balance: int
) -> None:
    insert_user("alice", creditsNew=20)
    code = "TROLL20D1736570000000AB3X"
    document = {"userId": "alice", "credits": 20, "amount": 50_000, "orderCode": code, "status": "success"}
    connection.database["payments"].insert_one(document | {"sepayTransactionId": stored_id})
    assert deliver(transfer(code, id=77)).status_code == 200
    assert (the_event().status, balance_of()) == (status, balance)


def test_an_old_order_without_an_expiry_is_judged_by_when_it_was_made(
    deliver: Deliver, insert_user: InsertUser
) -> None:
    insert_user("alice")
    code = "TROLL20D1736570000000AB3X"
    document = {"userId": "alice", "credits": 20, "amount": 50_000, "orderCode": code, "status": "pending"}
    made_at = datetime.now(UTC) - timedelta(days=300)
    connection.database["payments"].insert_one(document | {"createdAt": made_at})
    deliver(transfer(code))
    assert (the_event().status, balance_of()) == ("review", 0)


def test_an_event_that_failed_is_processed_by_the_sweeper(deliver: Deliver, make_order: MakeOrder) -> None:
    order = make_order()
    # A provider that this release no longer knows fails, and stays with its error until it is known again.
    WebhookEvent.objects.create(
        provider="gone",
        event_id="1",
        body=b"{}",
        body_sha256="",
        status="received",
        received_at=datetime.now(UTC),
        next_attempt_at=datetime.now(UTC),
    )
    now = datetime.now(UTC)
    assert process_due_events(now=now) == 0
    event = the_event()
    assert (event.status, event.attempts) == ("received", 1)
    assert "gone" in event.error
    assert event.next_attempt_at == now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(minutes=1)
    assert process_due_events(now=now) == 0
    assert the_event().attempts == 1
    for attempt in range(2, MAX_ATTEMPTS + 1):
        now += MAX_DELAY
        process_due_events(now=now)
        assert the_event().attempts == attempt
    assert (the_event().status, the_event().next_attempt_at) == ("dead", None)
    assert deliver(transfer(order.order_code)).status_code == 200


def test_a_stored_event_whose_processing_was_cut_off_is_credited_by_the_sweeper(
    deliver: Deliver, make_order: MakeOrder
) -> None:
    payload = transfer(make_order().order_code)
    now = datetime.now(UTC)
    provider = get_provider("sepay")
    body = json.dumps(payload).encode()
    store(provider=provider, provider_event=provider.read(body=body, headers={}), body=body, headers={}, now=now)
    assert balance_of() == 0
    assert process_due_events(now=now) == 1
    assert balance_of() == 20
    assert process_due_events(now=now) == 0


def test_every_due_event_has_its_own_time_and_a_broken_one_keeps_none_from_it(make_order: MakeOrder) -> None:
    provider = get_provider("sepay")
    now = datetime.now(UTC)
    for minutes in (3, 2, 1):  # the broken one first
        body = json.dumps(transfer(make_order().order_code)).encode()
        provider_event, at = provider.read(body=body, headers={}), now - timedelta(minutes=minutes)
        store(provider=provider, provider_event=provider_event, body=body, headers={}, now=at)
    events = connection.database["webhook_events"]
    broken = WebhookEvent.objects.order_by("received_at")[0].pk
    events.update_one({"_id": broken}, {"$set": {"attempts": None}})

    with pytest.raises(SomeFailed, match="1 of 3"):
        process_due_events()

    times = WebhookEvent.objects.filter(status="done").order_by("processed_at").values_list("processed_at", flat=True)
    assert len(set(times)) == 2
    assert balance_of() == 40


def test_many_sweepers_at_once_credit_once(make_order: MakeOrder, in_threads: InThreads) -> None:
    provider = get_provider("sepay")
    now = datetime.now(UTC)
    for username in ("alice", "bobby", "carol"):
        body = json.dumps(transfer(make_order(username).order_code)).encode()
        store(provider=provider, provider_event=provider.read(body=body, headers={}), body=body, headers={}, now=now)
    assert sum(in_threads(8, lambda _: process_due_events(now=now))) == 3
    assert [balance_of(name) for name in ("alice", "bobby", "carol")] == [20, 20, 20]
    assert LedgerEntry.objects.filter(kind="purchase").count() == 3
