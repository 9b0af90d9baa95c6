"""Mistakes in the payment settings are said before they cost money; a new provider needs one file and one setting."""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from django.conf import settings as site_settings

from accounts.models import Account
from payments import providers
from payments.checks import check_payment_settings
from payments.errors import InvalidSignature
from payments.models import Payment
from payments.orders.codes import find_candidates
from payments.providers.base import Provider, as_bytes, is_one_of
from payments.providers.event_json import parse_object, read_amount, read_currency, read_identifier, read_text
from payments.providers.events import MoneyReceived, ProviderEvent


def ids() -> set[str | None]:
    return {message.id for message in check_payment_settings(None)}


def test_the_defaults_are_right() -> None:
    assert ids() == set()


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("ORDER_CODE_PREFIX", "nap", "payments.E001"),
        ("ORDER_VND_PER_USD", 0, "payments.E002"),
        ("STRIPE_UNITS_PER_USD", "one", "payments.E002"),
        ("STRIPE_UNITS_PER_USD", "-1", "payments.E002"),
        ("STRIPE_UNITS_PER_USD", "NaN", "payments.E002"),
        ("ORDER_MIN_CREDITS", 101, "payments.E003"),
        ("STANDARD_WEBHOOK_SECRETS", ["whsec_short"], "payments.E004"),
        ("STANDARD_WEBHOOK_SECRETS", ["schlüssel"], "payments.E004"),
        ("PAYMENT_PROVIDERS", ["payments.providers.nobody.Nobody"], "payments.E005"),
        ("PAYMENT_PROVIDERS", ["payments.models.Payment"], "payments.E005"),
    ],
)
def test_a_mistake_is_found(settings: Any, name: str, value: object, found: str) -> None:
    setattr(settings, name, value)
    assert ids() == {found}


class Acme(Provider):
    """The provider of docs/payments.md."""

    name = "acme"

    def is_enabled(self) -> bool:
        return True

    def verify(self, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        expected = [hmac.new(b"secret", body, hashlib.sha256).hexdigest()]
        if not is_one_of(as_bytes(headers.get("Acme-Signature", "")), expected):
            raise InvalidSignature("Acme-Signature does not match the body.")

    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        payload = parse_object(body)
        transaction = read_identifier(payload, "id")
        receipt = MoneyReceived(
            transaction_id=transaction,
            transfer_key=f"acme:{transaction}",
            amount=read_amount(payload, "amount"),
            currency=read_currency(payload, "currency"),
            order_codes=find_candidates([read_text(payload, "memo")], site_settings.ORDER_CODE_PREFIX),
            occurred_at=datetime.now(UTC),
        )
        return ProviderEvent(event_id=transaction, fact=receipt, kind="payment")


@pytest.fixture
def acme(settings: Any) -> Iterator[None]:
    settings.PAYMENT_PROVIDERS = [*settings.PAYMENT_PROVIDERS, f"{__name__}.Acme"]
    providers._providers.cache_clear()
    yield
    providers._providers.cache_clear()


@pytest.mark.usefixtures("acme")
def test_a_fourth_provider_is_one_class_and_one_setting(site: str, make_order: Callable[..., Payment]) -> None:
    payload = {"id": "a1", "amount": 50_000, "currency": "vnd", "memo": make_order().order_code}
    body = json.dumps(payload).encode()
    signature = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    url = f"{site}/api/payment/webhook/acme"
    assert requests.post(url, data=body, headers={"Acme-Signature": "guess"}, timeout=10).status_code == 401
    assert requests.post(url, data=body, headers={"Acme-Signature": signature}, timeout=10).status_code == 200
    assert Account.objects.get().credits_new == 20


def test_an_unusable_secret_verifies_nothing(site: str, settings: Any, db: None) -> None:
    settings.STANDARD_WEBHOOK_SECRETS = ["not base64!"]
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
        "webhook-signature": "v1,",
    }
    response = requests.post(f"{site}/api/payment/webhook/standard", data=b"{}", headers=headers, timeout=10)
    assert response.status_code == 401
