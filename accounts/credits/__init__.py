"""Every change of a balance, and the only package that makes one. Callers write `credits.top_up(…)`, `credits.hold(…)`.

Two families, as docs/credits.md explains: *movements* (`movements.py`) run in one transaction with their ledger
entries; *holds* (`holds.py`) are single-document updates for the proxy's hot path. `opening.py` writes what an account
had before its ledger began, `corrections.py` what other programs moved, `takeover.py` what was decided of an account of
the replaced system, `going_back.py` what a roll-back needs, and `posting.py` is how a movement is written.
"""

from accounts.credits.corrections import write_corrections
from accounts.credits.going_back import (
    NUMBERS,
    OPENHANDS_FIELDS,
    drop_empty_fields,
    drop_openhands,
    store_as_doubles,
    unlike_doubles,
)
from accounts.credits.holds import Hold, Settlement, check_may_hold, hold, settle
from accounts.credits.movements import (
    adjust,
    check_amount,
    check_not_expired,
    expire,
    format_time,
    reinstate,
    reverse,
    starts_expiry,
    top_up,
    transfer,
)
from accounts.credits.opening import is_ledger_open, open_account, open_ledger, open_ledgers, without_ledger
from accounts.credits.posting import Moved, Movement, watch
from accounts.credits.takeover import take_over, take_over_without_movement

__all__ = [
    "NUMBERS",
    "OPENHANDS_FIELDS",
    "Hold",
    "Moved",
    "Movement",
    "Settlement",
    "adjust",
    "check_amount",
    "check_may_hold",
    "check_not_expired",
    "drop_empty_fields",
    "drop_openhands",
    "expire",
    "format_time",
    "hold",
    "is_ledger_open",
    "open_account",
    "open_ledger",
    "open_ledgers",
    "reinstate",
    "reverse",
    "settle",
    "starts_expiry",
    "store_as_doubles",
    "take_over",
    "take_over_without_movement",
    "top_up",
    "transfer",
    "unlike_doubles",
    "watch",
    "without_ledger",
    "write_corrections",
]
