"""The arithmetic of refunds: shares that never add up to anything but the whole."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from payments.models import Payment, Reversal
from payments.rules.reversals import taken_for, total_reversed

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
        taken = taken_for(payment, so_far)
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
    assert taken_for(payment, Decimal(25_000)).credits == 10
