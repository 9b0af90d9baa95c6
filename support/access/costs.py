"""What the audit says of the operator's cost in price rows, left out for those who may not see it."""

import re
from collections.abc import Iterable
from typing import Any

from support.access.roles import sees_price_costs
from support.models import AuditEntry

HIDDEN = "not shown to your role"
OF_PRICES = "model price"
"""The end of the actions of a price row."""
_IS_COST = re.compile(r"own(_|[A-Z]|$)")
"""Names that begin so hold a cost: `own_input_price`, `ownUsd`, `own`."""
_NAMES_COST = re.compile(r"\bown\b|\bown(Usd|_[a-z])", re.IGNORECASE)


def hide_costs(user: object, entries: Iterable[AuditEntry]) -> None:
    """Leave costs of the operator out of entries in memory, where their reader may not see them. Safe to repeat."""
    if sees_price_costs(user):
        return
    for entry in entries:
        if entry.action.endswith(OF_PRICES):
            entry.before, entry.after = without_costs(entry.before), without_costs(entry.after)


def without_costs(value: Any) -> Any:
    """A JSON value without the costs of the operator in it; where a text may say one, a word in its place."""
    if isinstance(value, dict):
        return {name: without_costs(part) for name, part in value.items() if not _IS_COST.match(str(name))}
    if isinstance(value, list):
        return [without_costs(part) for part in value]
    return HIDDEN if isinstance(value, str) and names_cost(value) else value


def names_cost(text: str) -> bool:
    """Whether a text, such as a line of what a form changed, may say what the operator pays."""
    return _NAMES_COST.search(text) is not None
