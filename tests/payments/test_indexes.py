"""Every look-up of the payment path uses an index: the collections are live and only grow."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from django.db.models import QuerySet

from payments.models import Payment, Promotion, Reversal, WebhookEvent

NOW = datetime(2026, 11, 22, tzinfo=UTC)
payments, events = Payment.objects, WebhookEvent.objects

LOOKUPS: dict[str, QuerySet[Any]] = {
    "orders by code": payments.filter(order_code__in=["NAP1", "NAP2"]).order_by("pk")[:10],
    "payment by transaction": payments.filter(provider="sepay", provider_transaction_id="1"),
    "payment by transfer": payments.filter(transfer_key="sepay:1"),
    "overdue orders": payments.filter(status="pending", expires_at__lte=NOW),
    "history": payments.filter(user_id="alice").order_by("-created_at")[:20],
    "unpaid pages": payments.filter(created_at__gte=NOW, payment_method="stripe", status__in=["pending"]),
    "event by id": events.filter(provider="sepay", event_id="1"),
    "due events": events.filter(status="received", next_attempt_at__lte=NOW).order_by("next_attempt_at"),
    "events by transfer": events.filter(transfer_key="sepay:1", is_verified=True),
    "latest webhook": events.filter(provider="sepay", source="webhook").order_by("-received_at")[:1],
    "pulled since": events.filter(provider="sepay", source="pull", received_at__gt=NOW),
    "orders of a time": payments.filter(created_at__gte=NOW, created_at__lte=NOW, status__in=["pending"]),
    "events of an amount about a time": events.filter(
        money_key="sepay:VND:50000", occurred_at__gte=NOW, occurred_at__lte=NOW
    ),
    "events of a bank reference": events.filter(
        money_key="sepay:VND:50000", reference="3079", occurred_at__gte=NOW, occurred_at__lte=NOW
    ),
    "old events about a time": events.filter(
        money_key=None, occurred_at=None, received_at__gte=NOW, received_at__lte=NOW
    ),
    "events of payments": events.filter(payment_id__in=[ObjectId()]),
    "review queue": events.filter(status="review"),
    "reversal by id": Reversal.objects.filter(provider="stripe", reversal_id="re_1"),
    "reversals of a payment": Reversal.objects.filter(payment_id=ObjectId()),
    "running promotions": Promotion.objects.filter(is_active=True, starts_at__lte=NOW, ends_at__gt=NOW),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_look_up_uses_an_index(db: None, name: str) -> None:
    plan = LOOKUPS[name].all().explain()
    assert "IXSCAN" in plan
    assert "COLLSCAN" not in plan
