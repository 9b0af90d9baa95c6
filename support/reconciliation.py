"""Whether an account adds up, for pages: like `proxy.reconciliation`, but looking changes nothing."""

from accounts.models import LedgerEntry
from proxy.reconciliation import Reconciliation, reconcile_account


def read_reconciliation(username: str) -> list[Reconciliation]:
    """Both balances checked against the records; empty for an account that no reconciliation has adopted yet."""
    is_open = LedgerEntry.objects.filter(operation=f"opening:{username}").exists()
    return reconcile_account(username) if is_open else []
