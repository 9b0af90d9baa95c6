"""A fourth provider, as docs/payments.md shows it: this one file, and the setting PAYMENT_PROVIDERS."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import requests
from django.conf import settings

from payments.errors import InvalidSignature
from payments.models import Payment
from payments.orders.codes import find_candidates
from payments.providers.base import InstructionField, Instructions, Provider, Rate, as_bytes, is_one_of
from payments.providers.event_json import parse_object, read_amount, read_currency, read_identifier, read_text
from payments.providers.events import MoneyReceived, ProviderEvent

PATH = f"{__name__}.Acme"


def sign(body: bytes) -> str:
    """What Acme sends as `Acme-Signature`."""
    return hmac.new(b"secret", body, hashlib.sha256).hexdigest()


class Acme(Provider):
    """Sells in euros, by a voucher whose number is paid at any kiosk."""

    name = "acme"
    label = "Acme Kiosks"
    sells = True
    min_order_minutes = 60
    instruction_fields = (
        InstructionField("voucher", "The number to say at the kiosk."),
        InstructionField("kiosksUrl", "Where the next kiosk is.", is_url=True),
        InstructionField("hours", "When the kiosks are open, where they are not always."),
    )

    def is_enabled(self) -> bool:
        return True

    def verify(self, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        if not is_one_of(as_bytes(headers.get("Acme-Signature", "")), [sign(body)]):
            raise InvalidSignature("Acme-Signature does not match the body.")

    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        payload = parse_object(body)
        transaction = read_identifier(payload, "id")
        received = MoneyReceived(
            transaction_id=transaction,
            transfer_key=f"acme:{transaction}",
            amount=read_amount(payload, "amount"),
            currency=read_currency(payload, "currency"),
            order_codes=find_candidates([read_text(payload, "memo")], settings.ORDER_CODE_PREFIX),
            occurred_at=datetime.now(UTC),
        )
        return ProviderEvent(event_id=transaction, fact=received, kind="payment")

    def can_sell(self) -> bool:
        return True

    def rate(self) -> Rate:
        return Rate(Decimal("0.9"), "EUR")

    def instructions(self, order: Payment) -> Instructions:
        number = f"V-{order.order_code}"
        return Instructions(
            {"kiosksUrl": "https://acme.test/kiosks", "voucher": number}, session_id=f"acme-session-{order.order_code}"
        )


def send_acme(site: str, payload: dict[str, Any], signature: str | None = None) -> requests.Response:
    """Deliver a webhook as Acme does."""
    body = json.dumps(payload).encode()
    headers = {"Acme-Signature": sign(body) if signature is None else signature}
    return requests.post(f"{site}/api/payment/webhook/acme", data=body, headers=headers, timeout=10)
