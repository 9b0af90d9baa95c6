"""What reports may be written like, where nothing depends on it; and what still is another meaning."""

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from accounts.models import Account
from payments.inbox.pull import pull_payments
from payments.models import Payment, WebhookEvent
from payments.providers.standard import StandardWebhooks
from tests.factories import Deliver, MakeOrder
from tests.payments.conftest import VIETNAM, transfer
from tests.payments.fakes import FakeSePay
from tests.payments.senders import (
    refund,
    send_standard,
    send_stripe,
    session,
    standard_event,
    standard_headers,
    stripe_event,
)


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def statuses() -> list[str]:
    return [event.status for event in WebhookEvent.objects.order_by("received_at")]


# --- SePay -------------------------------------------------------------------------------------------------------

NOON = datetime.now(VIETNAM).replace(microsecond=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"referenceCode": 3079},
        {"referenceCode": 3079.0},
        {"referenceCode": None},
        {"referenceCode": ["3079"]},
        {"referenceCode": True},
        {"subAccount": 123},
        {"subAccount": {}},
        {"code": 7},
        {"description": 1.5},
        {"description": {"text": "x"}},
        {"description": 1e300},
        {"transferType": "IN"},
        {"transferType": " In "},
        {"transactionDate": NOON.strftime("%Y-%m-%dT%H:%M:%S")},
        {"transactionDate": NOON.isoformat()},
        {"transactionDate": NOON.astimezone(UTC).isoformat().replace("+00:00", "Z")},
        {"transactionDate": NOON.astimezone(timezone(timedelta(hours=-5))).isoformat(timespec="microseconds")},
        {"transactionDate": NOON.strftime("%Y%m%dT%H%M%S")},
        {"transactionDate": NOON.strftime("%Y-%m-%d %H:%M:%S.123")},
        {"transactionDate": f" {NOON:%Y-%m-%d %H:%M:%S} "},
        {"id": "92704"},
        {"accountNumber": "0123499999 "},
        {"anything": {"else": [1]}},
    ],
)
def test_a_transfer_is_credited_however_it_is_written(
    deliver: Deliver, make_order: MakeOrder, changes: dict[str, Any]
) -> None:
    assert deliver(transfer(make_order().order_code) | changes).status_code == 200
    assert (statuses(), balance_of(), Payment.objects.get().flags) == (["done"], 20, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"transferType": "inn"},
        {"transferType": 1},
        {"transactionDate": "2026-11-27"},
        {"transactionDate": "yesterday"},
        {"transactionDate": 1_700_000_000},
        {"transactionDate": "9999-12-31T23:59:59+00:00"},
        {"transactionDate": "1999-01-01T00:00:00"},
        {"transferAmount": "50000"},
    ],
)
def test_what_matters_is_still_asked_about(deliver: Deliver, make_order: MakeOrder, changes: dict[str, Any]) -> None:
    assert deliver(transfer(make_order().order_code, **changes)).status_code == 400
    assert (statuses(), balance_of()) == (["review"], 0)


def test_a_number_and_an_iso_time_name_the_same_transfer_as_the_list(
    deliver: Deliver, make_order: MakeOrder, settings: Any
) -> None:
    fake = FakeSePay()
    settings.SEPAY_API_URL, settings.SEPAY_API_TOKEN = f"{fake.url}/v2", fake.token
    payload = transfer(make_order().order_code, referenceCode="3079")
    fake.add(payload)
    at = datetime.strptime(payload["transactionDate"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=VIETNAM)
    deliver(
        payload
        | {"referenceCode": 3079.0, "transferAmount": 50_000.0, "transactionDate": at.astimezone(UTC).isoformat()}
    )
    assert (pull_payments(), balance_of()) == (0, 20)
    fake.stop()


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulated": 123_456},
        {"gateway": "VCB"},
        {"referenceCode": 3079},
        {"transferAmount": 50_000.0},
        {"transferType": "IN"},
        {"new": 1},
    ],
)
def test_a_retry_that_means_the_same_is_the_same(
    deliver: Deliver, make_order: MakeOrder, changes: dict[str, Any]
) -> None:
    payload = transfer(make_order().order_code, referenceCode="3079")
    for body in (payload, json.dumps(payload | changes, indent=3).encode() + b" "):
        assert deliver(body).status_code == 200
    event = WebhookEvent.objects.get()
    assert (event.status, event.deliveries, balance_of()) == ("done", 2, 20)


@pytest.mark.parametrize(
    "changes",
    [
        {"transferAmount": 50_001},
        {"accountNumber": "999"},
        {"referenceCode": "3080"},
        {"transferType": "out"},
        {"content": "other", "description": "other"},
    ],
)
def test_the_same_id_with_another_meaning_is_a_conflict(
    deliver: Deliver, make_order: MakeOrder, changes: dict[str, Any]
) -> None:
    payload = transfer(make_order().order_code, referenceCode="3079")
    for body in (payload, payload | changes, payload | changes):
        assert deliver(body).status_code == 200
    assert (statuses(), balance_of()) == (["done", "review"], 20)


# --- Stripe ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"pending_webhooks": 3}, {"api_version": "2025-01-01"}, {"request": {"id": "req_1"}}, {"context": None}],
)
def test_a_stripe_event_again_in_another_wrapping_is_the_same(
    site: str, make_order: MakeOrder, changes: dict[str, Any]
) -> None:
    event = stripe_event("checkout.session.completed", session(make_order(method="stripe").order_code, "pi_1"))
    reversal = stripe_event("refund.created", refund("re_1", "pi_1", 500))
    unknown = stripe_event("customer.created", {"id": "cus_1"})
    for sent in (event, reversal, unknown):
        assert send_stripe(site, sent).status_code == 200
        assert send_stripe(site, sent | changes).status_code == 200
    assert (statuses(), balance_of()) == (["done", "done", "ignored"], 15)


@pytest.mark.parametrize("changes", [{"account": "acct_x"}, {"livemode": False}, {"type": "charge.refunded"}])
def test_a_stripe_event_again_from_elsewhere_is_a_conflict(
    site: str, make_order: MakeOrder, changes: dict[str, Any]
) -> None:
    event = stripe_event("checkout.session.completed", session(make_order(method="stripe").order_code, "pi_1"))
    event["data"]["object"] |= {"amount_refunded": 2000}
    for sent in (event, event | changes):
        assert send_stripe(site, sent).status_code == 200
    assert (statuses(), balance_of()) == (["done", "review"], 20)


def test_a_free_page_waits_for_review_and_leaves_the_order(site: str, make_order: MakeOrder) -> None:
    order = make_order(method="stripe")
    free = session(order.order_code, "pi_1", 0, payment_status="no_payment_required", payment_intent=None)
    assert send_stripe(site, stripe_event("checkout.session.completed", free)).status_code == 200
    order.refresh_from_db()
    assert (statuses(), balance_of(), order.status, order.flags) == (["review"], 0, "pending", [])
    assert "no money" in WebhookEvent.objects.get().error


# --- Standard Webhooks -------------------------------------------------------------------------------------------


def paid(code: str | None, **data: Any) -> dict[str, Any]:
    return standard_event("payment.succeeded", payment_id="p1", order_code=code, amount=50_000, **data)


@pytest.mark.parametrize("mark", [True, "true", "True", 1, 1.0, "1", "yes", "y", " TRUE ", "on", [], {}, "test", -1])
@pytest.mark.parametrize("at", ["data", "top"])
def test_any_mark_of_a_test_is_one(site: str, make_order: MakeOrder, mark: object, at: str) -> None:
    code = make_order().order_code
    event = paid(code, test=mark) if at == "data" else paid(code) | {"test": mark}
    assert send_standard(site, event).status_code == 200
    assert (statuses(), balance_of()) == (["review"], 0)


@pytest.mark.parametrize("mark", [False, None, "", "false", " FALSE ", 0, 0.0, "0", "no"])
def test_a_mark_that_says_no_is_none(site: str, make_order: MakeOrder, mark: object) -> None:
    assert send_standard(site, paid(make_order().order_code, test=mark)).status_code == 200
    assert (statuses(), balance_of()) == (["done"], 20)


@pytest.mark.parametrize("moment", ["2026-11-22T10:00:00.123456Z", "20261122T100000Z", "2026-11-22 10:00:00+07:00"])
def test_any_iso_time_with_an_offset_is_read(site: str, make_order: MakeOrder, moment: str) -> None:
    assert send_standard(site, paid(make_order().order_code) | {"timestamp": moment}).status_code == 200
    assert statuses() == ["done"]


def svix(body: bytes, **kwargs: Any) -> dict[str, str]:
    return {name.replace("webhook", "svix"): value for name, value in standard_headers(body, **kwargs).items()}


def post(site: str, body: bytes, headers: dict[str, str]) -> int:
    sent = {"Content-Type": "application/json", **headers}
    return requests.post(f"{site}/api/payment/webhook/standard", data=body, headers=sent, timeout=60).status_code


def test_svix_names_of_the_headers_are_read(site: str, make_order: MakeOrder) -> None:
    body = json.dumps(paid(make_order().order_code)).encode()
    assert post(site, body, svix(body, identifier="msg_1")) == 200
    # Sent again under the other names, or under both: the same message.
    assert post(site, body, standard_headers(body, "msg_1")) == 200
    assert post(site, body, svix(body, identifier="msg_1") | standard_headers(body, "msg_1")) == 200
    event = WebhookEvent.objects.get()
    assert (event.event_id, event.deliveries, event.status, balance_of()) == ("msg_1", 3, "done", 20)
    stored = StandardWebhooks().read(body=bytes(event.body), headers=event.headers)
    assert stored.event_id == "msg_1"


def test_an_id_that_was_not_signed_is_never_the_events(site: str, make_order: MakeOrder) -> None:
    body = json.dumps(paid(make_order().order_code)).encode()
    forged = {"webhook-id": "msg_other", "webhook-timestamp": str(int(time.time()))}
    assert post(site, body, svix(body, identifier="msg_1") | forged) == 401
    assert post(site, body, svix(body, secret="whsec_" + "A" * 44)) == 401
    assert post(site, body, svix(body, at=int(time.time()) - 400)) == 401
    assert not WebhookEvent.objects.exists()
