"""What may be chosen for a key: its name, and its limits."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from accounts.errors import InvalidKeyLimits
from accounts.key_entry import BudgetPeriod
from accounts.models import Balance
from money.amounts import MAX_AMOUNT, QUANTUM, to_bson
from mongo.collections import Document

LONGEST_NAME = 60
MOST_MODELS, LONGEST_MODEL = 100, 150
LONGEST_LIFE = timedelta(days=3650)


@dataclass(frozen=True)
class Budget:
    """How much a key may spend a day or a month (UTC), in USD."""

    amount: Decimal
    period: BudgetPeriod


@dataclass(frozen=True)
class Limits:
    """What limits a key; None where nothing does."""

    budget: Budget | None = None
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    expires_at: datetime | None = None


NO_LIMITS = Limits()


def check_name(name: str) -> str:
    """The name without spaces around it. Raises `InvalidKeyLimits` for what is no name."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidKeyLimits(f"A key's name has 1 to {LONGEST_NAME} printable characters.", param="name")
    return name


def check_limits(limits: Limits, *, now: datetime) -> None:
    """Raise `InvalidKeyLimits` for limits that no key can have."""
    budget, models, upstreams, expires_at = limits.budget, limits.models, limits.upstreams, limits.expires_at
    if budget is not None and not (
        budget.amount.is_finite() and 0 < budget.amount <= MAX_AMOUNT and budget.amount % QUANTUM == 0
    ):
        raise InvalidKeyLimits(
            f"A budget is more than $0 and at most ${MAX_AMOUNT:,}, with at most 8 decimal places. To stop a key, "
            "disable it.",
            param="budget",
        )
    if models is not None and not (
        1 <= len(models) <= MOST_MODELS and all(1 <= len(one) <= LONGEST_MODEL and one.isprintable() for one in models)
    ):
        raise InvalidKeyLimits(
            f"Name 1 to {MOST_MODELS} models of up to {LONGEST_MODEL} characters, or leave them out to allow all.",
            param="models",
        )
    if upstreams is not None and not (upstreams and set(upstreams) <= set(Balance.values)):
        raise InvalidKeyLimits(
            f"Name at least one of the upstreams {', '.join(Balance.values)}, or leave them out to allow all.",
            param="upstreams",
        )
    if expires_at is not None and not now < expires_at <= now + LONGEST_LIFE:
        raise InvalidKeyLimits("The expiry must be in the future, and at most ten years away.", param="expires_at")


def limits_to_bson(limits: Limits) -> Document:
    """Limits as an entry stores them; what does not limit is left out."""
    fields = {
        "budget": None if limits.budget is None else to_bson(limits.budget.amount),
        "budgetPeriod": None if limits.budget is None else limits.budget.period.value,
        "models": None if limits.models is None else list(dict.fromkeys(limits.models)),
        "upstreams": None if limits.upstreams is None else list(dict.fromkeys(limits.upstreams)),
        "expiresAt": limits.expires_at,
    }
    return {name: value for name, value in fields.items() if value is not None}
