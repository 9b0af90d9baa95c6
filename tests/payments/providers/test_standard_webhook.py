"""Another shop's events by Standard Webhooks: signatures, both event types, what is forged or odd."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from accounts.models import Account
from payments.errors import InvalidSignature
from payments.models import Payment, WebhookEvent
from payments.providers.standard import StandardWebhooks
from tests.factories import MakeOrder
from tests.payments.senders import STANDARD_SECRET, send_standard, standard_event, standard_headers

VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
VECTOR_BODY = b'{"test": 2432232314}'


def verify(body: bytes = VECTOR_BODY, now: int = 1_614_265_330, **changes: str) -> None:
    headers = VECTOR | {name.replace("_", "-"): value for name, value in changes.items()}
    StandardWebhooks().verify(body=body, headers=headers, now=datetime.fromtimestamp(now, UTC))


def succeeded(order: Payment, **data: Any) -> dict[str, Any]:
    return standard_event(
        "payment.succeeded", **{"payment_id": "p1", "order_code": order.order_code, "amount": 50_000} | data
    )


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def test_the_published_vector_passes() -> None:
    verify()
    verify(webhook_signature="v1a,xx v1,AAAA " + VECTOR["webhook-signature"])


@pytest.mark.parametrize(
    "changes",
    [
        {"body": VECTOR_BODY + b" "},
        {"now": 1_614_265_330 + 301},
        {"now": 1_614_265_330 - 301},
        {"webhook_id": "msg_other"},
        {"webhook_id": ""},
        {"webhook_timestamp": "1614265331"},
        {"webhook_timestamp": "now"},
        {"webhook_timestamp": ""},
        {"webhook_signature": ""},
        {"webhook_signature": "v1"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1,not base64!"},
        {"webhook_signature": "v1,é\U0001f916"},
        {"webhook_signature": VECTOR["webhook-signature"].replace("v1,", "v2,")},
        {"webhook_signature": " ".join(["v1,AAAA"] * 1000) + " " + VECTOR["webhook-signature"]},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature):
        verify(**changes)


def test_a_payment_credits_and_its_retries_do_not(site: str, make_order: MakeOrder) -> None:
    event = succeeded(make_order())
    assert [send_standard(site, event, "msg_1").status_code for _ in range(3)] == [200] * 3
    assert balance_of() == 20
    payment = Payment.objects.get()
    assert (payment.provider, payment.provider_transaction_id) == ("standard", "p1")
    assert payment.flags == ["other_provider"]


def test_two_messages_about_one_payment_credit_once(site: str, make_order: MakeOrder) -> None:
    event = succeeded(make_order())
    assert send_standard(site, event).status_code == 200
    assert send_standard(site, event | {"timestamp": "2026-11-22T11:00:00+07:00"}).status_code == 200
    assert balance_of() == 20


def test_refunds_take_their_share_back(site: str, make_order: MakeOrder) -> None:
    send_standard(site, succeeded(make_order()))
    for number in (1, 1, 2):
        event = standard_event("payment.refunded", refund_id=f"r{number}", payment_id="p1", amount=10_000)
        assert send_standard(site, event).status_code == 200
    assert balance_of() == 12


@pytest.mark.parametrize(
    ("data", "reason"),
    [({"currency": "USD"}, "wrong currency"), ({"test": True}, "test payment"), ({"order_code": "x"}, "no order")],
)
def test_money_that_does_not_fit_waits_for_review(
    site: str, make_order: MakeOrder, data: dict[str, Any], reason: str
) -> None:
    assert send_standard(site, succeeded(make_order(), **data)).status_code == 200
    assert reason in WebhookEvent.objects.get(status="review").error
    assert balance_of() == 0


def test_other_types_are_ignored(site: str, db: None) -> None:
    assert send_standard(site, standard_event("payment.created")).status_code == 200
    assert WebhookEvent.objects.get().status == "ignored"


GOOD = standard_event("payment.succeeded", payment_id="p1", order_code="NAP", amount=5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        GOOD | {"data": None},
        GOOD | {"type": 5},
        GOOD | {"timestamp": "today"},
        GOOD | {"timestamp": "2026-11-22T10:00:00"},
        GOOD | {"timestamp": "0001-01-01T00:00:00+14:00"},
        GOOD | {"timestamp": "2026-99-22T10:00:00Z"},
        GOOD | {"data": GOOD["data"] | {"amount": "5"}},
        GOOD | {"data": GOOD["data"] | {"amount": 0}},
        GOOD | {"data": GOOD["data"] | {"amount": -5}},
        GOOD | {"data": GOOD["data"] | {"amount": 1e-9}},
        GOOD | {"data": GOOD["data"] | {"payment_id": None}},
        GOOD | {"data": GOOD["data"] | {"currency": "đồng"}},
        json.dumps(GOOD).replace(": 5}", ": NaN}").encode(),
        json.dumps(GOOD).replace(": 5}", ": 1e400}").encode(),
        json.dumps(GOOD).encode()[:-3],
    ],
)
def test_a_malformed_body_gets_400_and_is_kept(site: str, db: None, body: Any) -> None:
    assert send_standard(site, body).status_code == 400
    assert WebhookEvent.objects.get().status == "review"


@pytest.mark.parametrize("at", [-400, 400])
def test_a_stale_delivery_gets_401(site: str, make_order: MakeOrder, at: int) -> None:
    body = json.dumps(succeeded(make_order())).encode()
    headers = standard_headers(body, at=int(time.time()) + at)
    assert send_standard(site, body, **headers).status_code == 401
    assert not WebhookEvent.objects.exists()


def test_without_a_secret_the_endpoint_is_off(site: str, settings: Any) -> None:
    settings.STANDARD_WEBHOOK_SECRETS = []
    assert send_standard(site, GOOD).status_code == 503


def test_both_active_secrets_are_accepted(site: str, make_order: MakeOrder, settings: Any) -> None:
    settings.STANDARD_WEBHOOK_SECRETS = ["whsec_" + "A" * 32, STANDARD_SECRET]
    event = json.dumps(succeeded(make_order())).encode()
    for secret in settings.STANDARD_WEBHOOK_SECRETS:
        response = requests.post(
            f"{site}/api/payment/webhook/standard",
            data=event,
            headers=standard_headers(event, secret=secret),
            timeout=10,
        )
        assert response.status_code == 200
