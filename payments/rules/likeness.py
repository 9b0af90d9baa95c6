"""Whether two reports are about the same money: by the facts, never by text that only one of them has. Pure.

A webhook and the pull give one transfer different ids, memos and descriptions. What they share is the amount, the
account, the bank's reference if both have it, the order that it is for, and about the time.
"""

from datetime import timedelta
from enum import IntEnum

from payments.providers.events import BankTransfer, MoneyReceived

SAME_WITHIN = timedelta(minutes=5)
"""The times that two sources give for one transfer differ by no more: a minute without its seconds, a late clock."""
NEAR = timedelta(hours=1)
"""Two reports further apart are two transfers, unless the bank's reference is one."""
REFERENCE_LIFETIME = timedelta(hours=24)
"""So long a bank does not use a reference of few digits again; afterwards it means nothing."""
LONG_REFERENCE = 8
"""So many characters name one transfer; fewer come again within a day."""
_SHARED_END = 6
"""Two references are one if the shorter, of so many characters at least, ends the longer: banks write before it."""


class Likeness(IntEnum):
    """How much two reports look like one transfer."""

    OTHER = 0
    """Certainly two transfers, or nothing speaks for one."""
    PERHAPS = 1
    """A person decides."""
    SAME = 2


def compare(first: MoneyReceived, second: MoneyReceived, *, is_one_source: bool) -> Likeness:
    """Whether two reports to one provider are about the same money; the order of the two does not matter.

    `is_one_source`: both came by webhook, or both by the pull. One source gives one transfer one id, so that two ids
    are never certainly the same.
    """
    if first.currency != second.currency or _is_for_other_orders(first, second):
        is_one_id = first.transaction_id == second.transaction_id
        return Likeness.PERHAPS if is_one_id else Likeness.OTHER
    if first.transaction_id == second.transaction_id:
        return Likeness.SAME if first.amount == second.amount else Likeness.PERHAPS
    if first.transfer is None or second.transfer is None:
        return Likeness.OTHER
    return _compare_transfers(first, second, first.transfer, second.transfer, is_one_source=is_one_source)


def _compare_transfers(
    first: MoneyReceived, second: MoneyReceived, one: BankTransfer, other: BankTransfer, *, is_one_source: bool
) -> Likeness:
    is_one_reference = _is_one_reference(one.reference, other.reference)
    if is_one_reference is False or (one.accounts and other.accounts and not one.accounts & other.accounts):
        return Likeness.OTHER
    apart = abs(first.occurred_at - second.occurred_at)
    if apart > (REFERENCE_LIFETIME if is_one_reference else NEAR):
        return Likeness.OTHER
    is_for_one_order = bool(set(first.order_codes) & set(second.order_codes))
    is_alike = is_for_one_order or bool(is_one_reference) or _is_one_memo(one.memo, other.memo)
    if first.amount != second.amount:
        return Likeness.PERHAPS if is_for_one_order or is_one_reference else Likeness.OTHER
    if is_one_source:
        return Likeness.PERHAPS if is_alike else Likeness.OTHER
    is_named = bool(is_one_reference) and min(len(one.reference), len(other.reference)) >= LONG_REFERENCE
    if is_named or (is_alike and apart <= SAME_WITHIN):
        return Likeness.SAME
    return Likeness.PERHAPS if is_alike or apart <= SAME_WITHIN else Likeness.OTHER


def _is_for_other_orders(first: MoneyReceived, second: MoneyReceived) -> bool:
    return bool(first.order_codes and second.order_codes) and not set(first.order_codes) & set(second.order_codes)


def _is_one_reference(one: str, other: str) -> bool | None:
    """None if one of them is not known: then it says nothing."""
    if not one or not other:
        return None
    shorter, longer = sorted((one, other), key=len)
    return one == other or (len(shorter) >= _SHARED_END and longer.endswith(shorter))


def _is_one_memo(one: str, other: str) -> bool:
    """Whether one of two memos, which are normalised, may be the other with something before, behind or cut off."""
    return bool(one and other) and (one in other or other in one)
