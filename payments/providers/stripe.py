"""Stripe: cards and more, by a Checkout page; its events move the money.

https://docs.stripe.com/checkout/fulfillment
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.conf import settings

from payments.currencies import decimals_of
from payments.errors import InvalidSignature, MalformedEvent, ProviderUnavailable, StaleSignature
from payments.models import Payment
from payments.orders.codes import find_candidates
from payments.providers import stripe_api
from payments.providers.base import (
    InstructionField,
    Instructions,
    Provider,
    Rate,
    as_bytes,
    is_one_of,
    is_within_window,
)
from payments.providers.event_json import (
    parse_object,
    read_currency,
    read_identifier,
    read_object,
    read_text,
    read_whole_number,
)
from payments.providers.events import (
    MoneyReceived,
    MoneyReversed,
    NoMoney,
    OrderState,
    OrderUpdate,
    ProviderEvent,
    ReversalState,
)

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_MAX_SIGNATURES = 10
_FAILURES_IN_A_ROW = 5
"""After so many payment pages that cannot be read it is Stripe that does not answer, not a page."""

EVENT_TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
)
"""What the endpoint at Stripe should be subscribed to, and what the pull asks for."""

_REFUND_STATES = {
    "pending": ReversalState.COUNTED,
    "requires_action": ReversalState.COUNTED,
    "succeeded": ReversalState.COUNTED,
    "failed": ReversalState.CANCELLED,
    "canceled": ReversalState.CANCELLED,
}
_DISPUTE_STATES = {
    "warning_needs_response": ReversalState.NOTICE,
    "warning_under_review": ReversalState.NOTICE,
    "warning_closed": ReversalState.CLOSED,
    "needs_response": ReversalState.COUNTED,
    "under_review": ReversalState.COUNTED,
    "lost": ReversalState.COUNTED,
    "won": ReversalState.CANCELLED,
    "prevented": ReversalState.CANCELLED,
}


_FREE = "a payment page that asked for no money: nothing was paid, so nothing is credited"


class Stripe(Provider):
    """Verifies by `Stripe-Signature`, and sells by a Checkout page."""

    name = "stripe"
    label = "Stripe"
    sells = True
    min_order_minutes = 31  # Stripe closes no payment page sooner than 30 minutes after it was made.
    instruction_fields = (InstructionField("checkoutUrl", "Stripe's payment page.", is_url=True),)
    max_body_bytes = 256 * 1024

    def is_enabled(self) -> bool:
        return bool(settings.STRIPE_WEBHOOK_SECRETS)

    def verify(self, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        # Not the library's `construct_event`: it accepts timestamps of the future and fails on odd bytes.
        timestamp, signatures = _parse_signature(headers.get("Stripe-Signature", ""))
        message = timestamp.encode() + b"." + body
        expected = [
            hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() for secret in settings.STRIPE_WEBHOOK_SECRETS
        ]
        if not any(is_one_of(as_bytes(signature), expected) for signature in signatures):
            raise InvalidSignature("Stripe-Signature does not match the body.")
        if not is_within_window(int(timestamp), now):
            raise StaleSignature("The signature is right, but its timestamp is too far from now.")

    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        event = parse_object(body)
        if event.get("object") != "event":
            raise MalformedEvent(
                "Only snapshot events are read ('object' must be 'event'): choose them at the endpoint."
            )
        event_id = read_identifier(event, "id")
        kind = read_identifier(event, "type")
        created = _time(event)
        obj = read_object(read_object(event, "data"), "object")
        problem = _problem(event, obj)
        fact = _read_fact(kind, obj, created, problem)
        return ProviderEvent(event_id, fact or NoMoney("an event type that moves no credits"), kind=kind)

    def resolve(self, event: ProviderEvent) -> ProviderEvent:
        """A refund or dispute that names a charge alone: Stripe says which payment intent the charge is of."""
        fact = event.fact
        if not isinstance(fact, MoneyReversed) or fact.transaction_id != fact.charge_id or not self.can_pull():
            return event
        charge = stripe_api.read_charge(fact.charge_id)
        return replace(event, fact=replace(fact, transaction_id=_names_of(charge)[0]))

    def can_sell(self) -> bool:
        return bool(settings.STRIPE_SECRET_KEY and settings.CHECKOUT_RETURN_URL) and self.is_enabled()

    def rate(self) -> Rate:
        return Rate(Decimal(settings.STRIPE_UNITS_PER_USD), settings.STRIPE_CURRENCY.upper())

    def instructions(self, order: Payment) -> Instructions:
        session_id, url = stripe_api.create_session(order)
        return Instructions({"checkoutUrl": url}, session_id=session_id)

    def can_pull(self) -> bool:
        return bool(settings.STRIPE_SECRET_KEY)

    def pull(self, *, since: datetime, until: datetime, open_sessions: Iterable[str]) -> Iterator[bytes]:
        failures: list[str] = []
        try:
            yield from stripe_api.list_events(types=EVENT_TYPES, since=since, until=until)
        except ProviderUnavailable as error:
            failures.append(str(error))
        in_a_row = 0
        for session_id in open_sessions:
            try:
                session = stripe_api.read_session(session_id)
            except ProviderUnavailable as error:  # One that is gone or odd does not keep the others.
                failures.append(f"{session_id}: {error}")
                in_a_row += not isinstance(error, stripe_api.NoSuchThing)
                if in_a_row == _FAILURES_IN_A_ROW:
                    break
                continue
            in_a_row = 0
            if session.get("payment_status") == "paid":
                yield _event_of(session)
        if failures:
            raise ProviderUnavailable(f"{len(failures)} questions were not answered: {'; '.join(failures[:3])}")


def _event_of(session: dict[str, Any]) -> bytes:
    """The event that should have reported a paid session; the same each time it is made."""
    event = {
        "id": f"session:{session.get('id')}",
        "object": "event",
        "type": "checkout.session.completed",
        "created": session.get("created"),
        "livemode": session.get("livemode"),
        "data": {"object": session},
    }
    return json.dumps(event, sort_keys=True).encode()


def _parse_signature(header: str) -> tuple[str, list[str]]:
    pairs = [item.strip().partition("=") for item in header.split(",")]
    timestamps = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]) or not signatures:
        raise InvalidSignature("Stripe-Signature must have one time and a v1 signature.")
    return timestamps[0], signatures[:_MAX_SIGNATURES]


def _problem(event: dict[str, Any], obj: dict[str, Any]) -> str:
    """Why what it reports did not happen on our own account, in our mode; or ''."""
    is_live = event.get("livemode")
    if not isinstance(is_live, bool):
        raise MalformedEvent("'livemode' must be true or false.")
    if account := event.get("account"):
        return f"an event of the connected account {str(account)[:60]}: the money came to another account"
    if is_live != settings.STRIPE_LIVE_MODE:
        return (
            "a live event, but this site runs in test mode" if is_live else "a test-mode event, but this site is live"
        )
    if obj.get("livemode", is_live) is not is_live:
        return "an event of one mode about a payment of the other"
    return ""


def _time(source: dict[str, Any]) -> datetime:
    seconds = read_whole_number(source, "created")
    if seconds >= 10**11:
        raise MalformedEvent("'created' is not of this time.")
    return datetime.fromtimestamp(int(seconds), UTC)


def _read_fact(
    kind: str, obj: dict[str, Any], created: datetime, problem: str
) -> MoneyReceived | MoneyReversed | OrderUpdate | NoMoney | None:
    """What an event type does; None for all the others."""
    if kind.startswith("checkout.session."):
        return _read_session(kind.removeprefix("checkout.session."), obj, created, problem)
    if kind in ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"):
        state = _REFUND_STATES.get(read_text(obj, "status"), ReversalState.COUNTED)
        return _reversal(read_identifier(obj, "id"), obj, created, problem, state=state)
    if kind == "charge.refunded":
        return _cumulative_refund(obj, created, problem)
    if kind.startswith("charge.dispute."):
        dispute_state = _DISPUTE_STATES.get(read_text(obj, "status"))
        if dispute_state is None:
            raise MalformedEvent("'status' of the dispute is unknown.")
        if kind == "charge.dispute.funds_withdrawn" and dispute_state in (ReversalState.NOTICE, ReversalState.CLOSED):
            dispute_state = ReversalState.COUNTED  # Whatever it is called, the money is gone.
        return _reversal(read_identifier(obj, "id"), obj, created, problem, state=dispute_state, is_dispute=True)
    if kind == "radar.early_fraud_warning.created":
        return MoneyReversed(
            reversal_id=read_identifier(obj, "id"),
            transaction_id=_names_of(obj)[0],
            charge_id=_names_of(obj)[1],
            amount=Decimal(0),
            currency="",
            state=ReversalState.NOTICE,
            occurred_at=created,
            is_dispute=True,
            problem=problem,
        )
    return None


def _read_session(
    kind: str, session: dict[str, Any], created: datetime, problem: str
) -> MoneyReceived | OrderUpdate | NoMoney | None:
    if read_text(session, "mode") != "payment":
        return NoMoney("a Checkout session of another mode")
    codes = find_candidates([read_text(session, "client_reference_id")], settings.ORDER_CODE_PREFIX)
    session_id = read_identifier(session, "id")
    if kind in ("completed", "async_payment_succeeded") and read_text(session, "payment_status") == "paid":
        currency = read_currency(session, "currency")
        amount = _amount(session, "amount_total", currency)
        transaction_id, _ = _names_of(session)
        if amount == 0:
            raise MalformedEvent("'amount_total' must be above 0.")
        return MoneyReceived(
            transaction_id=transaction_id,
            transfer_key=f"stripe:{transaction_id}"[:80],
            amount=amount,
            currency=currency,
            order_codes=codes,
            occurred_at=created,
            problem=problem or _price_problem(session),
            session_id=session_id,
            memo=read_text(session, "client_reference_id"),
        )
    if kind == "completed" and read_text(session, "payment_status") == "no_payment_required":
        return OrderUpdate(codes, OrderState.PROCESSING, session_id, problem=problem or _FREE)
    states = {
        "completed": OrderState.PROCESSING,
        "async_payment_failed": OrderState.FAILED,
        "expired": OrderState.EXPIRED,
    }
    if kind not in states:
        return None
    return NoMoney(problem) if problem else OrderUpdate(codes, states[kind], session_id=session_id)


def _price_problem(session: dict[str, Any]) -> str:
    """Why `amount_total` is not the price of what was ordered, or ''. Our payment pages add and deduct nothing."""
    details = session.get("total_details")
    parts = details if isinstance(details, dict) else {}
    found = [
        f"{name} {parts[f'amount_{name}']}" for name in ("tax", "discount", "shipping") if parts.get(f"amount_{name}")
    ]
    subtotal = session.get("amount_subtotal")
    if not found and subtotal is not None and subtotal != session.get("amount_total"):
        found = [f"a subtotal of {subtotal}"]
    if not found:
        return ""
    return f"the total of {session.get('amount_total')} has {', '.join(found)}: it is not the price of the order"


def _reversal(
    reversal_id: str,
    obj: dict[str, Any],
    created: datetime,
    problem: str,
    *,
    state: ReversalState,
    is_dispute: bool = False,
) -> MoneyReversed:
    currency = read_currency(obj, "currency")
    transaction_id, charge_id = _names_of(obj)
    return MoneyReversed(
        reversal_id=reversal_id,
        transaction_id=transaction_id,
        charge_id=charge_id,
        amount=_amount(obj, "amount", currency),
        currency=currency,
        state=state,
        occurred_at=created,
        is_dispute=is_dispute,
        problem=problem,
    )


def _cumulative_refund(charge: dict[str, Any], created: datetime, problem: str) -> MoneyReversed:
    currency = read_currency(charge, "currency")
    charge_id = read_identifier(charge, "id")
    return MoneyReversed(
        reversal_id=f"total:{charge_id}",
        transaction_id=_names_of(charge)[0],
        charge_id=charge_id,
        amount=_amount(charge, "amount_refunded", currency),
        currency=currency,
        state=ReversalState.COUNTED,
        occurred_at=created,
        is_cumulative=True,
        problem=problem,
    )


def _names_of(obj: dict[str, Any]) -> tuple[str, str]:
    """What the money is called: by its payment intent, which session, charge, refund and dispute have in common, and
    by its charge. Where there is no intent the charge names it, and without a charge the object itself.
    """
    charge = obj.get("charge")
    intent = obj.get("payment_intent")
    if intent is None and isinstance(charge, dict):  # It may stand there in full.
        intent = charge.get("payment_intent")
    intent_id, charge_id = _id_of(intent), _id_of(charge)
    if not charge_id and obj.get("object") == "charge":
        charge_id = read_identifier(obj, "id")
    return intent_id or charge_id or read_identifier(obj, "id"), charge_id


def _id_of(value: Any) -> str:
    """The id of an object that stands there in full, or as its id; '' for none."""
    if value is None:
        return ""
    return read_identifier(value if isinstance(value, dict) else {"id": value}, "id")


def _amount(obj: dict[str, Any], name: str, currency: str) -> Decimal:
    return read_whole_number(obj, name).scaleb(-decimals_of(currency))
