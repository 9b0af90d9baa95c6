"""What an account's document says of one of its keys, whatever it holds there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from accounts.keys import key_id
from money.amounts import LARGEST_BALANCE, ZERO, number_from_bson
from mongo.times import aware
from mongo.unreadable import Unreadable


class BudgetPeriod(StrEnum):
    """For how long a budget is: a day or a month of UTC."""

    DAY = "day"
    MONTH = "month"

    def name_at(self, now: datetime) -> str:
        """The day or the month that it is, such as `2026-11-27` or `2026-11`."""
        return now.astimezone(UTC).strftime("%Y-%m-%d" if self is BudgetPeriod.DAY else "%Y-%m")

    def next_start(self, now: datetime) -> datetime:
        """When the next one begins."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self is BudgetPeriod.DAY:
            return midnight + timedelta(days=1)
        return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True)
class KeyEntry:
    """What an account's document says of one key. USD. `problems` are the stored fields that cannot be read."""

    key_id: str
    hash: str
    name: str
    prefix: str
    created_at: datetime | None
    last_used_at: datetime | None
    is_disabled: bool
    is_retired: bool
    is_adopted: bool
    expires_at: datetime | None
    budget: Decimal | None
    budget_period: BudgetPeriod
    period: str | None
    spent: Decimal
    models: tuple[str, ...] | None
    upstreams: tuple[str, ...] | None
    problems: Mapping[str, Unreadable]

    def period_at(self, now: datetime) -> str:
        """The period that is counted now. It never goes back: clocks of two machines differ at midnight."""
        return max(self.period or "", self.budget_period.name_at(now))

    def spent_at(self, now: datetime) -> Decimal:
        """What counts against the budget now: what was spent in this period, and what running requests hold."""
        return self.spent if self.period == self.period_at(now) else ZERO

    def left_at(self, now: datetime) -> Decimal | None:
        """What the budget leaves now; None without a budget."""
        return None if self.budget is None else self.budget - self.spent_at(now)

    def is_usable_at(self, now: datetime) -> bool:
        """Whether the key can be used at all, whatever for: `accounts/key_limits.py` says why not."""
        is_over = self.expires_at is not None and self.expires_at <= now
        return not (self.problems or self.is_retired or self.is_disabled or is_over)

    @property
    def has_limits(self) -> bool:
        return any(limit is not None for limit in (self.budget, self.models, self.upstreams, self.expires_at))


def read_entry(path_id: str, entry: Any) -> KeyEntry:
    """An entry of `keys`, whatever it holds: what cannot be read and matters stands in its `problems`."""
    found = entry if isinstance(entry, Mapping) else {}
    problems: dict[str, Unreadable] = {} if isinstance(entry, Mapping) else {"": Unreadable.of(entry, is_secret=True)}

    def note(name: str) -> None:
        problems[name] = Unreadable.of(found[name])

    def flag(name: str) -> bool:
        value = found.get(name)
        if value is not None and not isinstance(value, bool):
            note(name)
        return value is True

    def amount(name: str) -> Decimal | None:
        if found.get(name) is None:
            return None
        value = number_from_bson(found[name])
        if value is None or not 0 <= value <= LARGEST_BALANCE:
            note(name)
            return None
        return value

    def names(name: str) -> tuple[str, ...] | None:
        value = found.get(name)
        if value is not None and not isinstance(value, list):
            note(name)
        return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else None

    def text(name: str) -> str:
        return found[name] if type(found.get(name)) is str else ""

    expires_at = found.get("expiresAt")
    if expires_at is not None and not isinstance(expires_at, datetime):
        note("expiresAt")
    kind, period = found.get("budgetPeriod"), found.get("period")
    if kind is not None and kind not in list(BudgetPeriod):
        note("budgetPeriod")
    if period is not None and type(period) is not str:
        note("period")
    return KeyEntry(
        key_id=text("id") or path_id,
        hash=text("hash"),
        name=text("name"),
        prefix=text("prefix"),
        created_at=aware(found.get("createdAt")),
        last_used_at=aware(found.get("lastUsedAt")),
        is_disabled=flag("isDisabled"),
        is_retired=flag("isRetired"),
        is_adopted=flag("isAdopted"),
        expires_at=aware(expires_at),
        budget=amount("budget"),
        budget_period=BudgetPeriod.MONTH if kind is None or "budgetPeriod" in problems else BudgetPeriod(kind),
        period=text("period") or None,
        spent=amount("spent") or ZERO,
        models=names("models"),
        upstreams=names("upstreams"),
        problems=problems,
    )


def entry_of(keys: Mapping[str, Any], key_hash: str) -> KeyEntry | None:
    """The entry of a key in its account's `keys`; None for a key without one, which has no limits."""
    path_id = key_id(key_hash)
    if path_id not in keys:
        return None
    entry = read_entry(path_id, keys[path_id])
    if entry.problems or entry.hash == key_hash:
        return entry
    return replace(entry, problems={"hash": Unreadable("text", "of another key")})
