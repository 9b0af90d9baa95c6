"""Signed deliveries as Stripe and a Standard Webhooks shop send them."""

import hashlib
import hmac
import itertools
import json
import time
from typing import Any

import requests

from payments.providers.standard import sign

STRIPE_SECRET = "whsec_test_secret"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

_numbers = itertools.count(1)


def stripe_signature(body: bytes, at: int | None = None, secret: str = STRIPE_SECRET) -> str:
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def stripe_event(kind: str, obj: dict[str, Any], **changes: Any) -> dict[str, Any]:
    number = next(_numbers)
    return {
        "id": f"evt_{number}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "livemode": True,
        "type": kind,
        "data": {"object": obj},
        **changes,
    }


def session_id_of(code: str | None) -> str:
    """The payment page of an order, as the tests number them."""
    return f"cs_{code}"


def session(code: str | None, intent: str, amount: int = 2000, **changes: Any) -> dict[str, Any]:
    return {
        "id": session_id_of(code),
        "object": "checkout.session",
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "amount_total": amount,
        "currency": "usd",
        "client_reference_id": code,
        "payment_intent": intent,
        "metadata": {"order": code},
        **changes,
    }


def refund(identifier: str, intent: str, amount: int, status: str = "succeeded", **changes: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "object": "refund",
        "amount": amount,
        "currency": "usd",
        "payment_intent": intent,
        "charge": f"ch_{intent}",
        "status": status,
        **changes,
    }


def dispute(identifier: str, intent: str, amount: int, status: str) -> dict[str, Any]:
    return refund(identifier, intent, amount, status) | {"object": "dispute"}


def send_stripe(site: str, event: Any, **headers: str) -> requests.Response:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    sent = {"Content-Type": "application/json", "Stripe-Signature": stripe_signature(body), **headers}
    return requests.post(f"{site}/api/payment/webhook/stripe", data=body, headers=sent, timeout=60)


def standard_event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": "2026-11-22T10:00:00Z", "data": {"currency": "VND", **data}}


def standard_headers(
    body: bytes, identifier: str | None = None, at: int | None = None, secret: str = STANDARD_SECRET
) -> dict[str, str]:
    identifier = identifier or f"msg_{next(_numbers)}"
    at = int(time.time()) if at is None else at
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(f"{identifier}.{at}.".encode() + body, secret),
    }


def send_standard(site: str, event: Any, identifier: str | None = None, **headers: str) -> requests.Response:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    sent = {"Content-Type": "application/json", **standard_headers(body, identifier), **headers}
    return requests.post(f"{site}/api/payment/webhook/standard", data=body, headers=sent, timeout=60)
