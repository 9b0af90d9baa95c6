"""The rules of the dual-credit notes for one customer, as a person would write them down: credits, dates, and keys.

Nothing of the project is used here but the names of decisions: what the project does is compared with this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bson.decimal128 import Decimal128

from accounts.takeover import Decisions, Expiry, Inactive, Referral, Unmigrated, WithoutMigration

ZERO = Decimal(0)
VALIDITY = timedelta(days=7)
UNREADABLE = ("text number", "isActive text")
GENEROUS = Decisions(
    expiry=Expiry.LATER,
    referral=Referral.ADD,
    unmigrated=Unmigrated.CONVERT,
    without_migration=WithoutMigration.KEEP,
    inactive=Inactive.ENABLE,
)
STRICT = Decisions(
    expiry=Expiry.LATER,
    referral=Referral.LEAVE,
    unmigrated=Unmigrated.BLOCK,
    without_migration=WithoutMigration.BLOCK,
    inactive=Inactive.DISABLE,
)
CONVERTING = Decisions(
    expiry=Expiry.LATER,
    referral=Referral.ADD,
    unmigrated=Unmigrated.CONVERT,
    without_migration=WithoutMigration.CONVERT,
    inactive=Inactive.ENABLE,
)
OPTIONS = {
    "expiry": "--expiry",
    "referral": "--referral",
    "unmigrated": "--unmigrated",
    "without_migration": "--without-migration",
    "inactive": "--inactive",
}


def options_of(decisions: Decisions) -> list[str]:
    """The same as options of `take_over`."""
    return [part for name, option in OPTIONS.items() for part in (option, str(getattr(decisions, name)))]


def usd(value: Any) -> Decimal:
    """A stored amount, to 8 places."""
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return Decimal("0") if value is None else round(Decimal(value), 8)


def expected(account: Mapping[str, Any], decisions: Decisions, now: datetime) -> dict[str, Any]:
    """What a take-over makes of one account."""
    ohmygpt, openhands, referral = (usd(account.get(name)) for name in ("credits", "creditsNew", "refCredits"))
    dates = [date for date in (account.get("expiresAt"), account.get("expiresAtNew")) if date is not None]
    expires_at = max(dates, default=None)
    migration = account.get("migration")
    if (migration is False and decisions.unmigrated == "convert") or (
        migration is None and decisions.without_migration == "convert"
    ):
        ohmygpt, migration = round(ohmygpt / Decimal("2.5"), 8), True
    elif migration is None and decisions.without_migration == "block":
        migration = False
    is_usable = migration is not False and (expires_at is None or expires_at > now)
    if decisions.referral == "add" and is_usable:
        ohmygpt, referral = ohmygpt + referral, Decimal(0)
    status = account.get("isActive")
    status = decisions.inactive == "enable" if status in (None, 0) and status is not False else status
    return {
        "credits": ohmygpt,
        "creditsNew": openhands,
        "refCredits": referral,
        "expiresAt": expires_at,
        "migration": migration,
        "isActive": status,
    }


def found(account: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a stored account."""
    expires_at = account.get("expiresAt")
    return {name: usd(account.get(name)) for name in ("credits", "creditsNew", "refCredits")} | {
        "expiresAt": expires_at and expires_at.replace(tzinfo=UTC),
        "migration": account.get("migration"),
        "isActive": account.get("isActive"),
    }


@dataclass
class Key:
    """One key of a customer. `there` is whether `user_keys` has it as active; None if it does not have it."""

    place: str = "first"
    """`first` in the account's document, `further`, `unknown` here until it is adopted, or `gone` for good."""
    is_plain: bool = True
    """Whether the account's document has its text, as the old programs need it. Of the first key only."""
    there: bool | None = None
    is_disabled: bool = False
    is_ours: bool = False
    """Whether it is not active there because it was refused here."""
    is_made_here: bool = False

    @property
    def works(self) -> bool:
        return self.place in ("first", "further") and not self.is_disabled


@dataclass
class Customer:
    """What must be true of one customer. `account` has the six fields of `found`, in USD and with the one date."""

    name: str
    kind: str
    account: dict[str, Any]
    keys: dict[str, Key] = field(default_factory=dict)
    open_costs: list[tuple[str, Decimal, Decimal]] = field(default_factory=list)
    """Requests whose process died: the balance, what was held, and what was logged as the cost."""
    is_readable: bool = True
    has_odd_referral: bool = False
    has_second_date: bool = False
    """Whether a later version wrote another date beside the first: the later of them counts."""

    @property
    def first(self) -> str | None:
        return next((text for text, key in self.keys.items() if key.place == "first"), None)

    def is_expired(self, now: datetime) -> bool:
        return self.account["expiresAt"] is not None and self.account["expiresAt"] <= now

    def refusal(self, now: datetime) -> str | None:
        """Why no request is served, whatever the key."""
        if not self.is_readable:
            return "account_needs_repair"
        if self.account["isActive"] is False:
            return "account_disabled"
        if self.account["migration"] is False:
            return "account_not_converted"
        return "credits_expired" if self.is_expired(now) else None

    def answers(self, text: str, now: datetime) -> tuple[str, ...]:
        """What a request with this key may be answered: `""` if it is served."""
        key = self.keys[text]
        if key.place == "unknown" and not self.is_readable:  # It may be adopted: no other field of the account matters.
            return ("invalid_api_key", "key_disabled", "account_needs_repair")
        if key.place in ("gone", "unknown"):
            return ("invalid_api_key", "key_disabled")
        if not self.is_readable:
            return ("account_needs_repair", "key_disabled")
        return ("key_disabled",) if key.is_disabled else (self.refusal(now) or "",)

    # --- This platform -------------------------------------------------------------------------------------------

    def take_over(self, decisions: Decisions, now: datetime) -> None:
        """As it was decided; keys of `user_keys` are adopted, and refused where they are revoked."""
        if self.is_readable:
            referral = self.account["refCredits"]
            self.account = expected(self.account, decisions, now)
            if self.has_odd_referral:
                self.account["refCredits"] = referral
            for key in self.keys.values():
                if key.place == "unknown" and key.there:
                    key.place = "further"
                elif key.works and key.there is False and not key.is_ours:
                    key.is_disabled = True

    def spend(self, balance: str, cost: Decimal) -> None:
        self.account[balance] -= cost

    def buy(self, amount: Decimal, now: datetime) -> None:
        self.expire(now)
        self.account["creditsNew"] += amount
        self.account["expiresAt"] = now + VALIDITY

    def transfer(self, source: str, target: str, amount: Decimal) -> None:
        self.account[source] -= amount
        self.account[target] += amount

    def expire(self, now: datetime) -> None:
        """Credits that have expired are taken off; debts stay."""
        if self.is_readable and self.is_expired(now):
            for balance in ("credits", "creditsNew"):
                self.account[balance] = min(self.account[balance], ZERO)

    def replace_first(self, new: str, **fields: Any) -> None:
        if self.first is not None:
            self.keys[self.first].place = "gone"
        self.keys[new] = Key("first", **fields)

    def prepare_rollback(self, now: datetime, new_key: str | None) -> None:
        """Holds closed, credits where the old programs see them and with a date, flags and keys as they read them."""
        for balance, _, cost in self.open_costs:
            self.account[balance] -= cost
        self.open_costs = []
        for flag in ("migration", "isActive"):
            self.account[flag] = True if self.account[flag] is None else self.account[flag]
        self._prepare_keys(new_key)
        if self.is_expired(now) or not self.is_readable or self.account["migration"] is False:
            self.expire(now)
            return
        if self.account["expiresAt"] is None and max(self.account["credits"], self.account["creditsNew"]) > 0:
            self.account["expiresAt"] = now + VALIDITY
        self.transfer("creditsNew", "credits", max(self.account["creditsNew"], ZERO))

    def _prepare_keys(self, new_key: str | None) -> None:
        for key in self.keys.values():
            is_refused = key.place == "gone" or (key.place != "unknown" and key.is_disabled)
            if is_refused and (key.there or (key.is_plain and key.place == "first" and key.there is None)):
                key.there, key.is_ours = False, True
        if (first := self.first) is None or self.keys[first].is_plain or not self.is_readable:
            return
        if self.keys[first].there:
            self.keys[first].is_plain = True
        else:
            assert new_key is not None, f"{self.name} has no key that the old programs know, and was given none"
            self.replace_first(new_key, there=True)

    # --- The old programs ----------------------------------------------------------------------------------------

    def works_there(self, text: str) -> bool:
        """Whether the old proxy takes this key: `user_keys` first, then the plain key of the account."""
        key = self.keys[text]
        is_known = key.there if key.there is not None else (key.place == "first" and key.is_plain)
        is_decoded = self.is_readable and not self.has_odd_referral
        return bool(is_known and is_decoded and self.account["isActive"] and self.account["migration"] is True)

    def log_in_there(self, now: datetime) -> None:
        if self.account["expiresAt"] is None or self.account["expiresAt"] <= now:
            self.account["credits"] = ZERO

    def bill_there(self, cost: Decimal) -> None:
        """The old proxy's batch: credits first, then referral credits."""
        own = min(cost, max(self.account["credits"], ZERO))
        self.account["credits"] -= own
        self.account["refCredits"] -= cost - own

    def buy_there(self, amount: int, now: datetime, version: str) -> None:
        self.account["credits" if version == "single" else "creditsNew"] += amount
        self.has_second_date = self.has_second_date or version == "split"
        before = self.account["expiresAt"] if self.has_second_date else None  # It stays in the other field.
        self.account["expiresAt"] = max(before or now + VALIDITY, now + VALIDITY)

    def forget_there(self) -> None:
        """A timer of the old back end: it remembers the date that it saw, whatever was bought since."""
        self.account["credits"] = ZERO
        self.is_readable = self.is_readable or self.kind == "text number"

    def replace_key_there(self, new: str) -> None:
        first = self.keys[self.first or ""]
        first.there = None if first.there is None else False
        first.is_ours = False
        self.replace_first(new, there=True)
