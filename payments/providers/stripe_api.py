"""Stripe's API, as far as we call it: payment pages for orders, and the lists that the pull reads.

The library's errors become ours here and nowhere else.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import stripe
from django.conf import settings

from payments.currencies import decimals_of
from payments.errors import ProviderUnavailable
from payments.models import Payment

TIMEOUT_SECONDS = 20
_PAGE = 100
_MAX_PAGES = 5000
"""More events than Stripe keeps of any shop like ours; only an answer without an end has more."""


class NoSuchThing(ProviderUnavailable):
    """Stripe answers, but not about this: it is gone, or another account's."""


@lru_cache(maxsize=4)
def _client(api_key: str, base_url: str) -> stripe.StripeClient:
    return stripe.StripeClient(
        api_key,
        base_addresses={"api": base_url},
        max_network_retries=2,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
    )


def _configured_client() -> stripe.StripeClient:
    return _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_URL)


def create_session(order: Payment) -> tuple[str, str]:
    """Make the payment page of an order; return its id and address. Raises `ProviderUnavailable`.

    Safe to repeat: the order is the idempotency key.
    """
    metadata = {"order": str(order.order_code), "payment": str(order.pk)}
    currency = str(order.currency).lower()
    price = {
        "currency": currency,
        "unit_amount": int(order.amount.scaleb(decimals_of(currency))),
        "product_data": {"name": f"{order.credits.normalize():f} USD of credits"},
    }
    parameters: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "client_reference_id": order.order_code,
        "metadata": metadata,
        # Copied to the charge, so that staff find the order from a refund or a dispute.
        "payment_intent_data": {"metadata": metadata},
        "success_url": settings.CHECKOUT_RETURN_URL,
        "cancel_url": settings.CHECKOUT_RETURN_URL,
        "adaptive_pricing": {"enabled": False},
    }
    if order.expires_at is not None:
        parameters["expires_at"] = int(order.expires_at.timestamp())
    try:
        session = _configured_client().v1.checkout.sessions.create(
            parameters, {"idempotency_key": f"order-{order.pk}-v1"}
        )
    except stripe.StripeError as error:
        raise ProviderUnavailable(f"Stripe refused the payment page of {order}: {error}") from error
    return session.id, str(session.url)


def list_events(*, types: Sequence[str], since: datetime, until: datetime) -> Iterator[bytes]:
    """The bodies of all events of these types and this window, newest first, as the webhook would have carried them."""
    query = {"created[gte]": int(since.timestamp()), "created[lte]": int(until.timestamp()), "limit": _PAGE}
    wanted = [("types[]", kind) for kind in types]
    cursor: dict[str, str] = {}
    for _ in range(_MAX_PAGES):
        page = _get(f"/v1/events?{urlencode([*query.items(), *wanted, *cursor.items()])}")
        events = page.get("data") or []
        if not isinstance(events, list):
            raise ProviderUnavailable("Stripe's list of events has an unknown form")
        yield from (json.dumps(event).encode() for event in events)
        if not page.get("has_more") or not events:
            return
        last = events[-1].get("id") if isinstance(events[-1], dict) else None
        if last is None or cursor == {"starting_after": str(last)}:
            raise ProviderUnavailable("Stripe's list of events does not say where it goes on")
        cursor = {"starting_after": str(last)}
    raise ProviderUnavailable(f"Stripe's list of events does not end after {_MAX_PAGES} pages")


def read_session(session_id: str) -> dict[str, Any]:
    """One Checkout session as it is now. Raises `NoSuchThing`, `ProviderUnavailable`."""
    return _get(f"/v1/checkout/sessions/{quote(session_id, safe='')}")


def read_charge(charge_id: str) -> dict[str, Any]:
    """One charge as it is now. Raises `NoSuchThing`, `ProviderUnavailable`."""
    return _get(f"/v1/charges/{quote(charge_id, safe='')}")


def _get(path: str) -> dict[str, Any]:
    try:
        response = _configured_client().raw_request("get", path)
        page = json.loads(response.body)
    except stripe.InvalidRequestError as error:
        raise NoSuchThing(f"Stripe has no such thing: {error}") from error
    except (stripe.StripeError, ValueError) as error:
        raise ProviderUnavailable(f"Stripe did not answer: {error}") from error
    if not isinstance(page, dict):
        raise ProviderUnavailable("Stripe answered something that is not an object")
    return page
