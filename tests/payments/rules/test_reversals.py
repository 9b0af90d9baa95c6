"""The arithmetic of refunds: shares that never add up to anything but the whole, and the bounds that it keeps."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Account, LedgerEntry
from payments.models import Payment, Reversal, WebhookEvent
from payments.rules.reversals import reversed_for, total_reversed
from tests.factories import MakeOrder
from tests.payments.senders import send_standard, standard_event

AMOUNTS = st.integers(1, 10**9)


def payment_of(received: Decimal, credited: Decimal, bonus: Decimal) -> Payment:
    return Payment(received_amount=received, credited=credited, bonus=bonus)


@given(st.lists(AMOUNTS, min_size=1, max_size=30), AMOUNTS, AMOUNTS)
def test_any_partition_takes_exactly_the_whole_and_never_less_than_before(
    parts: list[int], credited: int, bonus: int
) -> None:
    received = Decimal(sum(parts))
    payment = payment_of(received, Decimal(credited) / 10**8, Decimal(bonus) / 10**8)
    so_far, before = Decimal(0), Decimal(0)
    for part in parts:
        so_far += part
        taken = reversed_for(payment, so_far)
        assert taken.credits + taken.bonus >= before
        before = taken.credits + taken.bonus
    assert (taken.credits, taken.bonus) == (payment.credited, payment.bonus)


@given(st.lists(st.tuples(AMOUNTS, st.sampled_from(["notice", "counted", "cancelled"]), st.booleans(), st.booleans())))
def test_the_total_is_never_negative_nor_above_what_was_received(rows: list[tuple[int, str, bool, bool]]) -> None:
    reversals = [
        Reversal(amount=Decimal(amount), state=state, is_dispute=is_dispute, is_cumulative=is_cumulative)
        for amount, state, is_dispute, is_cumulative in rows
    ]
    assert 0 <= total_reversed(reversals, received=Decimal(1000)) <= 1000


def test_an_old_payment_without_a_received_amount_counts_its_price() -> None:
    payment = Payment(amount=Decimal(50_000), credits=Decimal(20))
    assert reversed_for(payment, Decimal(25_000)).credits == 10


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"payment": {"credited": -20.0}}, "-5.00000000 of -20.00000000 credits"),
        ({"payment": {"bonus": -4.0}}, "-1.00000000 of -4.00000000 bonus"),
        ({"reversal": -60_000.0}, "-19.00000000 of 20.00000000 credits"),
    ],
)
def test_less_than_nothing_or_more_than_was_credited_is_never_reversed(
    site: str,
    make_order: MakeOrder,
    damage: dict[str, Any],
    told: str,
) -> None:
    order = make_order()
    paid = {"payment_id": "p1", "order_code": order.order_code, "amount": 50_000}
    assert send_standard(site, standard_event("payment.succeeded", **paid)).status_code == 200
    if "payment" in damage:
        connection.database["payments"].update_one({"_id": order.pk}, {"$set": damage["payment"]})
    else:
        Reversal.objects.create(
            provider="standard",
            reversal_id="r0",
            payment=order,
            amount=damage["reversal"],
            state="counted",
            is_dispute=True,
            occurred_at=datetime.now(UTC),
        )
    refund = standard_event("payment.refunded", refund_id="r1", payment_id="p1", amount=12_500)
    assert send_standard(site, refund).status_code == 200
    event = WebhookEvent.objects.get(kind="payment.refunded")
    assert event.status == "review"
    assert f"broken invariant: {told} of payment {order} would be reversed" in event.error
    assert Account.objects.get().credits_new == 20
    assert not LedgerEntry.objects.exclude(kind="purchase").exists()
    assert Payment.objects.get().reversed_credits is None
    assert not Reversal.objects.filter(reversal_id="r1").exists()
