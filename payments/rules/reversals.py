"""Money that goes back: refunds and disputes reverse the credits that it bought, and reinstate them if they fail.

Events come late, twice and out of order. So each refund or dispute is a row that the newest report decides, by the
provider's own time, and the payment's credits follow the sum of the rows: what should be reversed minus what was
reversed before. The share is that of the
total so far, so partial refunds add up to exactly what was credited, however the money is divided.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounts import credits
from accounts.invariants import check_reversed
from accounts.models import LedgerEntry
from money.amounts import ZERO, round_usd
from payments.models import Payment, Reversal
from payments.orders.needs_repair import check_payment
from payments.orders.prices import credited_of, received_of, refundable_of
from payments.providers.events import MoneyReversed, ReversalState

Flag = Payment.Flag
State = Reversal.State

_RANK = {state: rank for rank, state in enumerate(ReversalState)}
"""Of two reports of one second, the one that is further on counts."""
_OWN_FLAGS = (Flag.INQUIRY, Flag.DISPUTED, Flag.REFUNDED)


@dataclass(frozen=True)
class Reversed:
    """What is, or should be, reversed of a payment. USD."""

    credits: Decimal
    bonus: Decimal


def apply_reversal(
    *,
    payment: Payment,
    provider: str,
    fact: MoneyReversed,
    operation: str,
    actor: str,
    now: datetime,
    staff_reason: str = "",
) -> None:
    """Record what an event says about a refund or dispute, and move the credits (USD) that follow from it.

    The amounts of `fact` are units of the payment's currency; the caller has compared the currencies. `staff_reason`
    is why a person decided it; empty = the rules did. The balance may fall below zero.

    Call it in the transaction that moves the event on. Safe to repeat: the second time there is no difference left.
    What a person decides counts, though it be older than what is known.
    Raises `PaymentNeedsRepair`, `AccountNeedsRepair`, `AccountNotFound`, and `BrokenInvariant` if less than
    nothing, or more than was credited, would be reversed.
    """
    check_payment(payment)
    _advance(payment, provider, fact, is_decided=bool(staff_reason))
    rows = list(Reversal.objects.filter(payment_id=payment.pk))
    total = total_reversed(rows, received=received_of(payment))
    target = reversed_for(payment, total)
    check_reversed(f"credits of payment {payment}", target.credits, credited=credited_of(payment))
    check_reversed(f"bonus of payment {payment}", target.bonus, credited=payment.bonus or ZERO)
    before = Reversed(payment.reversed_credits or ZERO, payment.reversed_bonus or ZERO)
    kind = LedgerEntry.Kind.CHARGEBACK if fact.is_dispute else LedgerEntry.Kind.REFUND
    reason = f"{'Dispute' if fact.is_dispute else 'Refund'} {fact.reversal_id} of payment {payment}"
    for difference, suffix in (
        (target.credits - before.credits, ""),
        (target.bonus - before.bonus, ":bonus"),
    ):
        move = credits.reverse if difference > 0 else credits.reinstate
        if difference:
            move(
                username=payment.user_id,
                amount=abs(difference),
                kind=kind,
                operation=operation + suffix,
                actor=actor,
                reason=with_reason(reason + (" (its bonus)" if suffix else ""), staff_reason),
                now=now,
            )
    others = [flag for flag in payment.flags or () if flag not in _OWN_FLAGS]
    # The operation is written so that two reversals of one payment at once always conflict, even if no sum changes.
    Payment.objects.filter(pk=payment.pk).update(
        refunded_amount=total,
        reversed_credits=target.credits,
        reversed_bonus=target.bonus,
        last_reversal=operation,
        flags=[*others, *_flags(rows)],
    )


def contradiction(*, payment: Payment, provider: str, fact: MoneyReversed) -> str:
    """Why nobody but a person can tell what a report about a dispute means for the credits, or ''.

    Stripe's times are whole seconds: of a dispute that was won, and one that goes on, in one second, either may be
    newer. A refund that failed does not go on.
    """
    row = _row_of(payment, provider, fact.reversal_id)
    if row is None or not fact.is_dispute or fact.occurred_at < row.occurred_at:
        return ""
    if fact.occurred_at == row.occurred_at:
        if (row.state, fact.state) == (State.CANCELLED, ReversalState.COUNTED):
            return (
                "the dispute was won in the second in which it went on: see at the provider which of the two is newer"
            )
        return ""
    if row.state == State.COUNTED and fact.state in (ReversalState.NOTICE, ReversalState.CLOSED):
        return "an inquiry after a dispute: see at the provider whether the money has come back"
    return ""


def _advance(payment: Payment, provider: str, fact: MoneyReversed, *, is_decided: bool) -> None:
    """Bring the row of this refund or dispute up to what the event says, unless it is older than what is known."""
    row = _advanced(payment, provider, fact, is_decided=is_decided)
    if row.pk is None:
        row.save(force_insert=True)
        return
    Reversal.objects.filter(pk=row.pk).update(amount=row.amount, state=row.state, occurred_at=row.occurred_at)


def _advanced(payment: Payment, provider: str, fact: MoneyReversed, *, is_decided: bool) -> Reversal:
    """The row of this refund or dispute as the event leaves it. Writes nothing."""
    row = _row_of(payment, provider, fact.reversal_id)
    if row is None:
        return Reversal(
            provider=provider,
            reversal_id=_free_id(payment, provider, fact.reversal_id),
            payment=payment,
            amount=fact.amount,
            state=fact.state.value,
            is_dispute=fact.is_dispute,
            is_cumulative=fact.is_cumulative,
            occurred_at=fact.occurred_at,
        )
    is_further = _RANK[fact.state] > _RANK[ReversalState(row.state)]
    is_newer, is_of_then = fact.occurred_at > row.occurred_at, fact.occurred_at == row.occurred_at
    if fact.is_cumulative:
        row.amount = max(row.amount, fact.amount)
    elif is_decided or is_newer or is_of_then:
        row.amount = fact.amount
    if is_decided or is_newer or (is_of_then and is_further):
        row.state = fact.state.value
    row.occurred_at = max(row.occurred_at, fact.occurred_at)
    return row


def amount_of_reversal(*, payment: Payment, provider: str, fact: MoneyReversed, is_decided: bool = False) -> Decimal:
    """How much `apply_reversal` would move now, either way, bonus and all. USD. Reads only."""
    advanced = _advanced(payment, provider, fact, is_decided=is_decided)
    rows = list(Reversal.objects.filter(payment_id=payment.pk).exclude(pk=advanced.pk))
    if advanced.payment_id == payment.pk:  # type: ignore[attr-defined]
        rows.append(advanced)
    target = reversed_for(payment, total_reversed(rows, received=received_of(payment)))
    credits_moved = target.credits - (payment.reversed_credits or ZERO)
    bonus_moved = target.bonus - (payment.reversed_bonus or ZERO)
    return max(abs(credits_moved + bonus_moved), abs(credits_moved), abs(bonus_moved))


def _row_of(payment: Payment, provider: str, reversal_id: str) -> Reversal | None:
    """What is known of this refund or dispute of this payment."""
    ids = [reversal_id, _id_within(payment, reversal_id)]
    return Reversal.objects.filter(provider=provider, reversal_id__in=ids, payment_id=payment.pk).first()


def _free_id(payment: Payment, provider: str, reversal_id: str) -> str:
    """The id to keep a new one under. A shop may number the refunds of each payment from 1."""
    is_taken = Reversal.objects.filter(provider=provider, reversal_id=reversal_id).exists()
    return _id_within(payment, reversal_id) if is_taken else reversal_id


def _id_within(payment: Payment, reversal_id: str) -> str:
    return f"{payment.pk}:{reversal_id}"


def total_reversed(rows: Iterable[Reversal], *, received: Decimal) -> Decimal:
    """What went back in all, at most what was received. Units of the payment's currency."""
    rows = list(rows)
    disputes = sum((row.amount for row in rows if row.is_dispute and row.state == State.COUNTED), ZERO)
    return min(_refunded(rows) + disputes, received)


def _refunded(rows: Iterable[Reversal]) -> Decimal:
    """The sum of the refunds. A charge reports it too; whichever of the two ways to count knows more is right."""
    counted = cancelled = reported = ZERO
    for row in rows:
        if row.is_cumulative:
            reported = max(reported, row.amount)
        elif row.state == State.COUNTED and not row.is_dispute:
            counted += row.amount
        elif row.state == State.CANCELLED and not row.is_dispute:
            cancelled += row.amount
    return max(counted, reported - cancelled)


def reversed_for(payment: Payment, total: Decimal) -> Reversed:
    """What must be reversed (USD) once `total` of the money, in its currency, went back: the same share of each."""
    received, _ = refundable_of(payment)
    share = total / received if received else Decimal(0)
    return Reversed(credits=round_usd(credited_of(payment) * share), bonus=round_usd((payment.bonus or ZERO) * share))


def credits_of_refund(payment: Payment, amount: Decimal) -> Decimal:
    """What a further refund of `amount` (in the payment's currency) would reverse at most, bonus and all. USD."""
    total = min((payment.refunded_amount or ZERO) + amount, refundable_of(payment)[0])
    target = reversed_for(payment, total)
    before = (payment.reversed_credits or ZERO) + (payment.reversed_bonus or ZERO)
    return max(target.credits + target.bonus - before, ZERO)


def with_reason(text: str, staff_reason: str) -> str:
    """What a ledger entry says of itself, and the reason of the person who decided it."""
    return f"{text}: {staff_reason}"[:500] if staff_reason else text


def _flags(rows: list[Reversal]) -> list[str]:
    flags = {
        Flag.INQUIRY: any(row.state == State.NOTICE for row in rows),
        Flag.DISPUTED: any(row.is_dispute and row.state == State.COUNTED for row in rows),
        Flag.REFUNDED: _refunded(rows) > 0,
    }
    return [flag.value for flag, holds in flags.items() if holds]
