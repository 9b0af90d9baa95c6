"""What an operator may decide of an account of the replaced system, and what that would change in it. Pure.

`accounts/credits/takeover.py` writes it, `manage.py take_over` asks for it, docs/takeover.md explains it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from accounts.models import Balance
from accounts.needs_repair import problems_of
from accounts.undecided import IS_SPLIT, NOT_CONVERTED, expiry_of
from money.amounts import ZERO, from_bson, number_from_bson, round_usd
from mongo.collections import IS_NO_LIST, Document
from mongo.fields import FIRST_TIME
from mongo.times import aware

OLD_CREDITS_PER_CREDIT = Decimal("2.5")
"""By this the credits of an account that was never converted are divided."""


class Expiry(StrEnum):
    """Where a later version split the expiry: the later of the two dates, for both balances."""

    LATER = "later"


class Referral(StrEnum):
    """Referral credits: added to the OhMyGPT credits, for which they paid, or left where they are, unused."""

    ADD = "add"
    LEAVE = "leave"


class Unmigrated(StrEnum):
    """`migration: false`: refused as until now, or the OhMyGPT credits divided by 2.5."""

    BLOCK = "block"
    CONVERT = "convert"


class WithoutMigration(StrEnum):
    """No `migration` at all: used as it is, or as `Unmigrated`."""

    KEEP = "keep"
    BLOCK = "block"
    CONVERT = "convert"


class Inactive(StrEnum):
    """`isActive` missing, null or 0: inactive, as the replaced programs took it, or active."""

    DISABLE = "disable"
    ENABLE = "enable"


@dataclass(frozen=True)
class Decisions:
    """What was decided; None = nothing, so that nothing of that kind is changed."""

    expiry: Expiry | None = None
    referral: Referral | None = None
    unmigrated: Unmigrated | None = None
    without_migration: WithoutMigration | None = None
    inactive: Inactive | None = None


# Not made here: accounts of this platform have a hashed key alone, and say `migration: true`.
_HAS_NO_MIGRATION: Document = {
    "migration": {"$eq": None, **IS_NO_LIST},
    "$or": [{"apiKeyHash": None}, {"apiKey": {"$ne": None}}, {"passwordHash": {"$ne": None}}],
}
CONCERNED: dict[str, Document] = {
    "expiry": {"expiresAtNew": {"$gt": FIRST_TIME, **IS_NO_LIST}, "$expr": IS_SPLIT},
    "referral": {"refCredits": {"$gt": 0, **IS_NO_LIST}},
    "unmigrated": {"migration": {"$eq": NOT_CONVERTED["migration"], **IS_NO_LIST}},
    "without_migration": _HAS_NO_MIGRATION,
    "inactive": {"isActive": {"$in": [None, 0], **IS_NO_LIST}},
}
"""Filters: which accounts each decision is about, by its name in `Decisions`."""


def to_be_changed(decisions: Decisions) -> Document | None:
    """Filter: the accounts that these decisions change (or a few more); None if they change none."""
    changes = {
        "expiry": decisions.expiry is not None,
        "referral": decisions.referral is Referral.ADD,
        "unmigrated": decisions.unmigrated is Unmigrated.CONVERT,
        "without_migration": decisions.without_migration not in (None, WithoutMigration.KEEP),
        "inactive": decisions.inactive is not None,
    }
    conditions = [CONCERNED[name] for name, is_changing in changes.items() if is_changing]
    return {"$or": conditions} if conditions else None


@dataclass
class AccountPlan:
    """What becomes of one account. `converted` and `referral` are what is added to its OhMyGPT credits, in USD.

    `fields` are other fields and their new values; `left` says of what is left as it is, why.
    """

    fields: Document = field(default_factory=dict)
    converted: Decimal = ZERO
    referral: Decimal = ZERO
    left: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.fields

    @property
    def moves_credits(self) -> bool:
        return bool(self.converted or self.referral)


NEEDS_REPAIR = "the document needs repair"
IN_FLIGHT = "credits that were never converted are held for a request"
WAITS_FOR_CONVERSION = "referral credits wait until the account is converted"
WAITS_FOR_PURCHASE = "referral credits wait until something is bought: the credits have expired"


def plan_account(document: Mapping[str, Any], decisions: Decisions, *, now: datetime) -> AccountPlan:
    """What the decisions change in a raw account. An account that they changed is changed no more by them."""
    plan = AccountPlan()
    problems = problems_of(document)
    if decisions.inactive is not None and _has_odd_status(document):
        plan.fields["isActive"] = decisions.inactive is Inactive.ENABLE
        problems.pop("isActive", None)
    if problems:
        plan.left.append(NEEDS_REPAIR)
        return plan
    if decisions.expiry is Expiry.LATER and expiry_of(document) != aware(document.get("expiresAt")):
        plan.fields["expiresAt"] = expiry_of(document)
    _plan_conversion(document, decisions, plan)
    if decisions.referral is Referral.ADD:
        _plan_referral(document, plan, now)
    return plan


def _has_odd_status(document: Mapping[str, Any]) -> bool:
    status = document.get("isActive")
    return status is None or (not isinstance(status, bool) and number_from_bson(status) == 0)


def is_made_here(document: Mapping[str, Any]) -> bool:
    """Whether a raw account that says nothing of `migration` was made by this platform."""
    return all(
        (document.get("apiKeyHash") is not None, document.get("apiKey") is None, document.get("passwordHash") is None)
    )


def _plan_conversion(document: Mapping[str, Any], decisions: Decisions, plan: AccountPlan) -> None:
    migration = document.get("migration")
    is_unsaid = migration is None and not is_made_here(document)
    if is_unsaid and decisions.without_migration is WithoutMigration.BLOCK:
        plan.fields["migration"] = False
        return
    is_to_convert = (migration is False and decisions.unmigrated is Unmigrated.CONVERT) or (
        is_unsaid and decisions.without_migration is WithoutMigration.CONVERT
    )
    if not is_to_convert:
        return
    if any(hold["balance"] == Balance.OHMYGPT for hold in (document.get("holds") or {}).values()):
        plan.left.append(IN_FLIGHT)
        return
    there = from_bson(document.get(Balance.OHMYGPT.field))
    plan.converted = round_usd(there / OLD_CREDITS_PER_CREDIT) - there
    plan.fields["migration"] = True


def _plan_referral(document: Mapping[str, Any], plan: AccountPlan, now: datetime) -> None:
    amount = number_from_bson(document.get("refCredits"))
    if amount is None or amount <= 0:
        return
    expires_at = expiry_of(document)
    if plan.fields.get("migration", document.get("migration")) is False or IN_FLIGHT in plan.left:
        plan.left.append(WAITS_FOR_CONVERSION)
    elif expires_at is not None and expires_at <= now:
        plan.left.append(WAITS_FOR_PURCHASE)
    else:
        plan.referral = amount
        plan.fields["refCredits"] = 0.0
