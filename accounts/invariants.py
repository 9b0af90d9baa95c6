"""What must hold at run time, by its number in docs/invariants.md: called in the transaction or before the write.

Each raises `BrokenInvariant`, after which nothing of what was about to happen is kept.
"""

from decimal import Decimal

from accounts.errors import BrokenInvariant


def check_balance(name: str, after: Decimal, *, moved: Decimal, may_be_debt: bool) -> None:
    """2: what takes credits leaves no balance below zero, unless it is a debt by rule. USD."""
    if moved < 0 and after < 0 and not may_be_debt:
        raise BrokenInvariant(f"the {name} balance fell to {after} by what must not make a debt")


def check_entries(name: str, after: Decimal, *, before: Decimal, entries: Decimal) -> None:
    """3: the entries of a movement sum to what it moved. USD."""
    if after != before + entries:
        raise BrokenInvariant(f"the {name} balance is {after} after entries of {entries} on {before}")


def check_hold(request_id: str, amount: Decimal, *, minimum: Decimal, maximum: Decimal) -> None:
    """4: 0 ≤ minimum ≤ hold ≤ maximum. USD."""
    if not 0 <= minimum <= amount <= maximum:
        raise BrokenInvariant(f"request {request_id} holds {amount}, not {minimum} to {maximum}")


def check_cost(request_id: str, cost: Decimal, *, hold: Decimal) -> None:
    """5: 0 ≤ cost ≤ hold. USD; the hold of a free request is 0."""
    if not 0 <= cost <= hold:
        raise BrokenInvariant(f"request {request_id} costs {cost} of a hold of {hold}")


def check_budget(key_id: str, spent: Decimal, *, budget: Decimal) -> None:
    """What a key has spent and holds in a period is never more than its budget. USD."""
    if spent > budget:
        raise BrokenInvariant(f"the key {key_id} holds and has spent {spent} of a budget of {budget}")


def check_reversed(what: str, reversed_usd: Decimal, *, credited: Decimal) -> None:
    """6: 0 ≤ reversed ≤ credited, USD; `what` is such as the bonus of a payment."""
    if not 0 <= reversed_usd <= credited:
        raise BrokenInvariant(f"{reversed_usd} of {credited} {what} would be reversed")
