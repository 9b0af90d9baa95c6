"""Every change of a balance, and the only package that makes one. Callers write `credits.top_up(…)`, `credits.hold(…)`.

Two families, as docs/credits.md explains:

* *Movements* (`movements.py`: top-up, adjustment, transfer, expiry, reversal) run in one transaction with their ledger
  entries. `operation` makes each happen exactly once: a repeat returns the first entries and changes nothing.
* *Holds* (`holds.py`) are single-document updates for the proxy's hot path: `hold` sets the worst case aside, `settle`
  takes the cost and gives the rest back. What was spent stands in the request log.

`opening.py` writes what an account had before its ledger began.
"""

from accounts.credits.movements import (
    Hold,
    Movement,
    Settlement,
    adjust,
    check_amount,
    expire,
    format_time,
    give_back,
    hold,
    open_ledger,
    settle,
    take_back,
    top_up,
    transfer,
)

__all__ = [
    "Hold",
    "Movement",
    "Settlement",
    "adjust",
    "check_amount",
    "expire",
    "format_time",
    "give_back",
    "hold",
    "open_ledger",
    "settle",
    "take_back",
    "top_up",
    "transfer",
]
