"""The account that a check uses: made for it, named visibly, emptied by the ledger and disabled in the end."""

from collections.abc import Callable

from accounts import credits
from accounts.administration import set_active
from accounts.errors import BillingError
from accounts.models import Account, Balance, LedgerEntry
from accounts.registration import create_account, rotate_key
from mongo.transactions import run_in_transaction
from support.audit.trail import new_operation, perform
from support.models import AuditEntry

ACTOR, ACTION = "manage.py verify", "verify"
PREFIX = "verify-"
"""How the names of such accounts begin."""
REASON = "A check of the platform; no money came"


def open_scratch(username: str) -> str:
    """Make the account, or enable one of an earlier check again, empty it, and return its new key.

    Raises `BillingError` for an account that no check has made, or that another check uses.
    """
    if not username.startswith(PREFIX):
        raise BillingError(f"The account of a check has a name that begins with {PREFIX!r}: it is not a customer's.")
    account = Account.objects.filter(pk=username).first()
    if account is None:
        return _audited(username, lambda: create_account(username=username)[1])
    if not AuditEntry.objects.filter(action=ACTION, target=username).exists():
        raise BillingError(f"No check has made the account {username!r}. Use another name.")
    if account.is_active:
        raise BillingError(
            f"The account {username!r} is in use by another check, or by one that died. Disable it in the admin, or use"
            f" another name: --account {PREFIX}2."
        )
    empty(username)

    def enable() -> str:
        set_active(username=username, is_active=True)
        return rotate_key(username=username)

    return _audited(username, enable)


def close_scratch(username: str) -> None:
    """Take what is left off the account by the ledger, and disable it. Safe to repeat. Raises `BillingError`."""
    empty(username)
    perform(
        operation=new_operation(),
        actor=ACTOR,
        action=ACTION,
        target=username,
        reason=REASON,
        change=lambda: set_active(username=username, is_active=False),
    )


def empty(username: str) -> None:
    """Return what is left of a check's purchase, as a refund does: nothing was bought. Raises `BillingError`."""

    def run() -> None:
        account = Account.objects.get(pk=username)
        moved = account.balance(Balance.OHMYGPT)
        if moved > 0:
            move_all(username, Balance.OHMYGPT)
        left = Account.objects.get(pk=username).balance(Balance.OPENHANDS)
        if left > 0:
            credits.reverse(
                username=username,
                amount=left,
                kind=LedgerEntry.Kind.REFUND,
                operation=new_operation(),
                actor=ACTOR,
                reason=REASON,
            )

    run_in_transaction(run)


def move_all(username: str, source: Balance) -> None:
    """Transfer everything from one balance to the other. Raises `BillingError`, also where there is nothing."""
    credits.transfer(
        username=username,
        source=source,
        amount=Account.objects.get(pk=username).balance(source),
        operation=new_operation(),
        actor=ACTOR,
        reason=REASON,
    )


def _audited(username: str, change: Callable[[], str]) -> str:
    return perform(operation=new_operation(), actor=ACTOR, action=ACTION, target=username, reason=REASON, change=change)
