"""The names of what a take-over does, in the ledger and in the audit trail."""

import secrets


def new_operation() -> str:
    """The id of one change. It is done at most once."""
    return f"take_over:{secrets.token_hex(12)}"
