"""Writes what was decided of an account of the replaced system, each moved credit with its ledger entry."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from pymongo import UpdateOne

from accounts.credits.posting import Cause, Change, Kind, accounts, post
from accounts.errors import AccountNotFound
from accounts.models import Balance
from accounts.takeover import NEEDS_REPAIR, AccountPlan, Decisions, plan_account
from mongo.collections import Document, current_session
from mongo.transactions import run_in_transaction
from mongo.unreadable import id_of_text


def take_over(
    *, username: str, decisions: Decisions, operation: str, actor: str, now: datetime | None = None
) -> AccountPlan:
    """Do to one account what was decided, in one transaction; returns what was done. USD.

    The account is read in the transaction, and what is moved is taken from where it was in the same update: so a second
    call finds nothing to do and writes nothing, whatever its `operation`. Of a document that needs repair only the
    status is written. Raises `AccountNotFound`.
    """
    now = now or timezone.now()

    def run() -> AccountPlan:
        key, session = id_of_text(username), current_session()
        document = accounts().find_one({"_id": key}, session=session)
        if document is None:
            raise AccountNotFound(username)
        plan = plan_account(document, decisions, now=now)
        if "isActive" in plan.fields:
            accounts().update_one({"_id": key}, {"$set": {"isActive": plan.fields["isActive"]}}, session=session)
        if NEEDS_REPAIR in plan.left:
            return plan
        fields = {name: value for name, value in plan.fields.items() if name != "isActive"}
        if plan.converted:
            is_converted = {"migration": fields.pop("migration")}
            cause = Cause(f"{operation}:conversion", actor, "Converted to the present price of a credit: ÷ 2.5", now)
            post(username, [Change(Balance.OHMYGPT, Kind.ADJUSTMENT, plan.converted)], cause, set_fields=is_converted)
        if plan.referral:
            is_added = {"refCredits": fields.pop("refCredits")}
            cause = Cause(f"{operation}:referral", actor, "Referral credits of the replaced system", now)
            post(username, [Change(Balance.OHMYGPT, Kind.ADJUSTMENT, plan.referral)], cause, set_fields=is_added)
        if fields:
            accounts().update_one({"_id": key}, {"$set": fields}, session=session)
        return plan

    return run_in_transaction(run)


def take_over_without_movement(
    *, keys: Sequence[Any], decisions: Decisions, now: datetime | None = None
) -> list[tuple[Document, AccountPlan]]:
    """The same for many accounts of which no credit moves, in one transaction; returns those that were changed.

    Each as it was before, and what was done to it. Accounts of which credits would move are left alone, and so are
    those that are not there. Safe to repeat.
    """
    now = now or timezone.now()

    def run() -> list[tuple[Document, AccountPlan]]:
        found = accounts().find({"_id": {"$in": list(keys)}}, session=current_session())
        planned = [(document, plan_account(document, decisions, now=now)) for document in found]
        changed = [(document, plan) for document, plan in planned if not plan.is_empty and not plan.moves_credits]
        if changed:
            updates = [UpdateOne({"_id": document["_id"]}, {"$set": plan.fields}) for document, plan in changed]
            accounts().bulk_write(updates, ordered=False, session=current_session())
        return changed

    return run_in_transaction(run)
