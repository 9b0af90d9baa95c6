"""Any shop that signs by the Standard Webhooks specification, and says what was paid in a plain format of ours.

https://www.standardwebhooks.com; docs/payments.md has the two events.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings

from payments.errors import InvalidSignature, MalformedEvent, StaleSignature
from payments.orders.codes import find_candidates
from payments.providers.base import (
    Provider,
    as_bytes,
    is_one_of,
    is_within_window,
    read_iso_time,
)
from payments.providers.event_json import (
    guess_amount,
    parse_object,
    read_amount,
    read_currency,
    read_identifier,
    read_object,
    read_optional_text,
    read_text,
    scan_members,
)
from payments.providers.events import MoneyReceived, MoneyReversed, NoMoney, ProviderEvent, ReversalState

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_PREFIX = "whsec_"
_MIN_SECRET_BYTES = 24


class StandardWebhooks(Provider):
    """Verifies by the `webhook-signature` of the specification. It sells nothing: the other shop does."""

    name = "standard"
    label = "Other shop"
    stored_headers = ("webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp")

    def is_enabled(self) -> bool:
        return bool(settings.STANDARD_WEBHOOK_SECRETS)

    def verify(self, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        prefix = _prefix_of(headers)
        message_id = headers.get(f"{prefix}-id", "")
        timestamp = headers.get(f"{prefix}-timestamp", "")
        if not message_id or not _TIMESTAMP.fullmatch(timestamp):
            raise InvalidSignature("webhook-id and webhook-timestamp (a Unix time in seconds) are required.")
        message = b".".join((as_bytes(message_id), timestamp.encode(), body))
        expected = [sign(message, secret) for secret in settings.STANDARD_WEBHOOK_SECRETS if is_usable_secret(secret)]
        presented = headers.get(f"{prefix}-signature", "").split(" ")
        if not any(is_one_of(as_bytes(signature), expected) for signature in presented[:10]):
            raise InvalidSignature("webhook-signature does not match the body.")
        if not is_within_window(int(timestamp), now):
            raise StaleSignature("The signature is right, but its timestamp is too far from now.")

    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        event_id = read_identifier(dict(headers), f"{_prefix_of(headers)}-id")
        payload = parse_object(body)
        kind = read_text(payload, "type")
        match kind:
            case "payment.succeeded":
                return ProviderEvent(event_id, _receipt(payload), kind=kind)
            case "payment.refunded":
                return ProviderEvent(event_id, _refund(payload), kind=kind)
            case "":
                raise MalformedEvent("'type' is required.")
        return ProviderEvent(event_id, NoMoney("an event type that moves no credits"), kind=kind[:100])

    def guess(self, *, body: bytes, headers: Mapping[str, str]) -> MoneyReceived | None:
        return _guess(scan_members(body))


def _guess(members: Mapping[str, str]) -> MoneyReceived | None:
    amount = guess_amount(members.get("amount", ""), has_decimals=True)
    occurred_at = read_iso_time(members.get("timestamp", ""))
    payment_id, currency = members.get("payment_id", "")[:60], members.get("currency", "").upper()
    if members.get("type") != "payment.succeeded" or amount is None or occurred_at is None or not payment_id:
        return None
    return MoneyReceived(
        transaction_id=payment_id,
        transfer_key=f"standard:{payment_id}",
        amount=amount,
        currency=currency[:3],
        order_codes=find_candidates([members.get("order_code", "")], settings.ORDER_CODE_PREFIX),
        occurred_at=occurred_at,
        memo=members.get("order_code", ""),
    )


def _prefix_of(headers: Mapping[str, str]) -> str:
    """How the names of the headers begin: Svix, whose servers many shops use, writes its own name there.

    The id that is read is thus always the one that was signed.
    """
    return "svix" if "webhook-id" not in headers and "svix-id" in headers else "webhook"


def is_usable_secret(secret: str) -> bool:
    """Whether a configured secret is base64 of at least 24 bytes, as the specification asks."""
    try:
        return len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True)) >= _MIN_SECRET_BYTES
    except (binascii.Error, ValueError):
        return False


def sign(message: bytes, secret: str) -> str:
    """The `v1` signature of `id.timestamp.body` by a usable secret (`whsec_` and base64)."""
    key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _receipt(payload: dict[str, Any]) -> MoneyReceived:
    data = read_object(payload, "data")
    transaction_id = read_identifier(data, "payment_id", max_length=60)
    amount = read_amount(data, "amount")
    if amount == 0:
        raise MalformedEvent("'amount' must be above 0.")
    return MoneyReceived(
        transaction_id=transaction_id,
        transfer_key=f"standard:{transaction_id}",
        amount=amount,
        currency=read_currency(data, "currency"),
        order_codes=find_candidates([read_optional_text(data, "order_code")], settings.ORDER_CODE_PREFIX),
        occurred_at=_time(payload),
        problem=_problem(payload, data),
        memo=read_optional_text(data, "order_code"),
    )


def _refund(payload: dict[str, Any]) -> MoneyReversed:
    data = read_object(payload, "data")
    return MoneyReversed(
        reversal_id=read_identifier(data, "refund_id"),
        transaction_id=read_identifier(data, "payment_id", max_length=60),
        amount=read_amount(data, "amount"),
        currency=read_currency(data, "currency"),
        state=ReversalState.COUNTED,
        occurred_at=_time(payload),
        problem=_problem(payload, data),
    )


_SAYS_NO = ("", "0", "0.0", "false", "no", "off", "n", "f", "null", "none")


def _problem(payload: dict[str, Any], data: dict[str, Any]) -> str:
    is_test = _is_said(payload.get("test")) or _is_said(data.get("test"))
    return "a test payment" if is_test and not settings.STANDARD_ACCEPTS_TESTS else ""


def _is_said(value: Any) -> bool:
    """Whether a mark is set, in whatever type and words: what cannot be told is."""
    return value is not None and str(value).strip().lower() not in _SAYS_NO


def _time(payload: dict[str, Any]) -> datetime:
    moment = read_iso_time(read_text(payload, "timestamp"))
    if moment is None:
        raise MalformedEvent("'timestamp' must be an ISO 8601 time with its offset, like '2026-11-22T10:00:00Z'.")
    return moment
