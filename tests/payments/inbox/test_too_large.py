"""A delivery that is too large to be processed is money all the same: if it was signed, staff see that it came."""

import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.models import Account
from payments.inbox.bad_signatures import read_bad_signatures
from payments.inbox.pull import pull_payments
from payments.models import WebhookEvent
from tests.factories import Deliver, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay
from tests.payments.providers.test_sepay_signature import SECRET, sign
from tests.payments.senders import send_standard, send_stripe

LIMIT = 64 * 1024


def padded(payload: dict[str, Any], size: int) -> bytes:
    return json.dumps(payload | {"padding": "x" * size}).encode()


@pytest.mark.parametrize("size", [LIMIT, 900_000])
def test_a_signed_body_over_the_limit_waits_with_its_size_and_hash(
    deliver: Deliver, make_order: MakeOrder, settings: Any, size: int
) -> None:
    settings.SEPAY_WEBHOOK_SECRETS = [SECRET]
    body = padded(transfer(make_order().order_code), size)
    for _ in range(2):
        assert deliver(body, key=None, **sign(body, int(time.time()))).status_code == 413
    event = WebhookEvent.objects.get()
    assert (event.status, event.deliveries, event.is_verified) == ("review", 2, True)
    assert str(len(body)) in event.error
    assert event.body_sha256 == hashlib.sha256(body).hexdigest()
    assert body.startswith(bytes(event.body))
    assert 0 < len(event.body) < LIMIT


def test_a_body_of_megabytes_with_a_right_key_is_seen(deliver: Deliver, db: None) -> None:
    assert deliver(padded(transfer(), 3_000_000)).status_code == 413
    assert "more than 1048576 bytes" in WebhookEvent.objects.get().error


def test_a_large_body_that_nobody_signed_is_only_counted(deliver: Deliver, db: None, settings: Any) -> None:
    settings.UNKNOWN_KEYS_PER_MINUTE = 0
    today = datetime.now(UTC).date()
    before = read_bad_signatures(day=today).get("sepay", 0)
    for size in (LIMIT, 2_000_000):
        assert deliver(padded(transfer(), size), key="wrong").status_code == 413
    assert not WebhookEvent.objects.exists()
    assert read_bad_signatures(day=today)["sepay"] == before + 2


def test_one_with_an_old_signature_is_kept_unverified(deliver: Deliver, db: None, settings: Any) -> None:
    settings.SEPAY_WEBHOOK_SECRETS = [SECRET]
    body = padded(transfer(), LIMIT)
    assert deliver(body, key=None, **sign(body, int(time.time()) - 900)).status_code == 413
    assert WebhookEvent.objects.get().is_verified is False


@pytest.mark.parametrize("send", [send_stripe, send_standard])
def test_every_provider_s_is_kept(site: str, db: None, send: Any) -> None:
    assert send(site, b"x" * 300_000).status_code == 413
    assert "300000 bytes" in WebhookEvent.objects.get().error


def test_it_closes_itself_when_the_pull_credits_the_money(
    deliver: Deliver, make_order: MakeOrder, sepay: FakeSePay
) -> None:
    payload = transfer(make_order().order_code)
    assert deliver(padded(payload, LIMIT)).status_code == 413
    sepay.add(payload)
    pull_payments()
    assert WebhookEvent.objects.get(event_id__startswith="too-large").status == "ignored"
    assert Account.objects.get(pk="alice").credits_new == 20
