"""SePay's HMAC-SHA256: the published vector, the window, several secrets, and what is forged."""

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.models import Account
from payments.errors import InvalidSignature, StaleSignature
from payments.models import WebhookEvent
from payments.providers.sepay import SePay
from tests.factories import Deliver, MakeOrder
from tests.payments.conftest import transfer

SECRET = "sepay_test_secret"
BODY = (
    b'{"id":92704,"gateway":"Vietcombank","transactionDate":"2023-03-25 14:02:37","accountNumber":"0123499999",'
    b'"code":null,"content":"chuyen tien mua iphone","transferType":"in","transferAmount":2277000,'
    b'"accumulated":19077000,"subAccount":null,"referenceCode":"MBVCB.3278907687","description":""}'
)
SIGNATURE = "sha256=24e32ccd48906c9962b4b494b1389ea196b79ede129472edc59581e5a000dc2e"
SIGNED_AT = 1_700_000_000


def sign(body: bytes, at: int, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-SePay-Timestamp": str(at), "X-SePay-Signature": f"sha256={digest}"}


def verify(
    body: bytes = BODY, signature: str = SIGNATURE, timestamp: str = str(SIGNED_AT), now: int = SIGNED_AT
) -> None:
    headers = {"X-SePay-Timestamp": timestamp, "X-SePay-Signature": signature}
    SePay().verify(body=body, headers=headers, now=datetime.fromtimestamp(now, UTC))


@pytest.fixture(autouse=True)
def _secrets(settings: Any) -> None:
    settings.SEPAY_WEBHOOK_SECRETS = ["new-secret", SECRET]


def test_the_published_vector_passes() -> None:
    assert len(BODY) == 290
    verify()
    verify(now=SIGNED_AT + 300)
    verify(now=SIGNED_AT - 300)


@pytest.mark.parametrize("now", [SIGNED_AT + 301, SIGNED_AT - 301, SIGNED_AT + 86_400])
def test_outside_the_window_is_stale(now: int) -> None:
    with pytest.raises(StaleSignature):
        verify(now=now)


@pytest.mark.parametrize(
    "changes",
    [
        {"body": BODY + b" "},
        {"signature": SIGNATURE.removeprefix("sha256=")},
        {"signature": SIGNATURE[:-1]},
        {"signature": ""},
        {"signature": "sha256=é"},
        {"signature": "sha256=" + "0" * 64},
        {"timestamp": ""},
        {"timestamp": "soon"},
        {"timestamp": "-1"},
        {"timestamp": "1e9"},
        {"timestamp": "9" * 400},
        {"timestamp": str(SIGNED_AT + 1)},
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature):
        verify(**changes)


def test_a_signed_delivery_credits(deliver: Deliver, make_order: MakeOrder) -> None:
    body = json.dumps(transfer(make_order().order_code)).encode()
    assert deliver(body, key=None, **sign(body, int(time.time()))).status_code == 200
    assert Account.objects.get().credits_new == 20


def test_a_forged_delivery_gets_401_even_with_a_valid_key_beside_it(deliver: Deliver, make_order: MakeOrder) -> None:
    body = json.dumps(transfer(make_order().order_code)).encode()
    forged = sign(body, int(time.time()), "guess")
    assert deliver(body, **forged).status_code == 401
    assert deliver(body, key=None, **{"X-SePay-Signature": "sha256=\xff", "X-SePay-Timestamp": "1"}).status_code == 401
    assert not WebhookEvent.objects.exists()


def test_a_stale_delivery_is_refused_kept_and_credited_once_it_is_signed_anew(
    deliver: Deliver, make_order: MakeOrder
) -> None:
    body = json.dumps(transfer(make_order().order_code)).encode()
    now = int(time.time())
    for at in (now - 400, now + 400):
        response = deliver(body, key=None, **sign(body, at))
        assert (response.status_code, response.json()["code"]) == (401, "stale_signature")
    event = WebhookEvent.objects.get()
    assert (event.status, event.is_verified, event.deliveries) == ("review", False, 2)
    assert Account.objects.get().credits_new == 0

    assert deliver(body, key=None, **sign(body, now)).status_code == 200
    event.refresh_from_db()
    assert (event.status, event.is_verified) == ("done", True)
    assert Account.objects.get().credits_new == 20

    assert deliver(body, key=None, **sign(body, now - 400)).status_code == 401
    event.refresh_from_db()
    assert event.status == "done"


def test_a_stale_body_that_cannot_be_read_is_refused(deliver: Deliver, db: None) -> None:
    assert deliver(b"[]", key=None, **sign(b"[]", 1)).status_code == 401
    assert not WebhookEvent.objects.exists()
