"""The action that accepts what other programs did to an account: entries of the ledger alone."""

from decimal import Decimal

from accounts.errors import BillingError
from accounts.models import Account
from books.corrections import Drift, accept_drift, read_drift
from money.amounts import ZERO, format_usd
from support.actions.action import Action, Data, Line, Result


def _found(account: Account) -> list[Drift]:
    found = read_drift(account.pk)
    if not found:
        raise BillingError("This account adds up: there is no drift to accept.")
    return found


def _preview(account: Account, data: Data) -> list[Line]:
    lines = []
    for drift in _found(account):
        result, name = drift.found, drift.balance.label
        lines.append(Line(f"{name} drift", format_usd(drift.amount), format_usd(ZERO)))
        explained = result.ledger - result.spent
        lines.append(
            Line(
                f"{name} by the books",
                format_usd(explained),
                f"{format_usd(explained + drift.amount)}, which is its balance",
                drifts=True,
            )
        )
    return lines


def _accept(account: Account, data: Data, operation: str, actor: str) -> Result:
    _found(account)
    accepted = accept_drift(username=account.pk, actor=actor, reason=data["reason"])
    sums = " and ".join(f"{format_usd(drift.amount)} of {drift.balance.label} credits" for drift in accepted)
    return Result(f"The ledger now explains {sums}. No balance was changed.")


def _largest(account: Account, data: Data) -> Decimal:
    """What other programs added or took: accepting it is as grave as moving it."""
    return max((abs(drift.amount) for drift in read_drift(account.pk)), default=ZERO)


ACCEPT_DRIFT = Action(
    slug="accept-drift",
    title="Accept the drift",
    icon="rule",
    permission="support.adjust_credits",
    submit="Accept",
    preview=_preview,
    change=_accept,
    amount=_largest,
    is_offered=lambda account: False,  # Where the drift is shown: on the timeline (`support/pages/account.py`).
    note=(
        "Writes to the ledger what other programs did to this account, so that the books add up again. The customer's"
        " balance stays as it is."
    ),
)
