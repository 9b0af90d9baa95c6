"""Removes what the dual credits brought to accounts: the end of what customers have on OpenHands, by the ledger."""

from decimal import Decimal
from functools import partial

from accounts import credits
from accounts.errors import BillingError
from accounts.keys import HASHED_FROM, PLAIN_KEY
from accounts.models import Account
from accounts.needs_repair import problems_of
from accounts.rate_limits import RATE_FIELDS
from accounts.review import DAY, SINCE, TIMEOUTS, UNCOLLECTED
from books.reconciliation import reconcile_account
from money.amounts import ZERO, from_bson
from mongo.collections import Document, collection_of
from support.actions.account import state_of
from support.audit.trail import new_operation, perform, record
from support.rollback.needs import name_of
from support.rollback.report import Report, Row

ACTOR, ACTION = "manage.py drop_new_fields", "drop-new-fields"
KEY_FIELDS = ("apiKeyHash", "apiKeyPrefix", HASHED_FROM, "keys", "keyHashes")
OTHER_FIELDS = (
    "creditsNewUsed",
    "holds",
    "heldSince",
    SINCE,
    DAY,
    UNCOLLECTED,
    TIMEOUTS,
    "requestsPerMinute",
    "concurrentRequests",
    *RATE_FIELDS,
)
"""What else this platform writes to accounts. An account whose key is only hashed keeps `KEY_FIELDS`."""


LEFT = "they need repair (docs/odd-documents.md), have open holds, or failed as it is said below."


class Removal:
    """One run. Without `is_applied` it only counts what it would destroy."""

    def __init__(self, *, is_applied: bool, drops_others: bool, reason: str) -> None:
        self._is_applied = is_applied
        self._reason = reason
        self._drops_others = drops_others
        rows = {
            "credits": Row("Accounts with OpenHands credits, destroyed", LEFT),
            "debts": Row("Accounts with OpenHands debts, forgiven", LEFT),
            "held": Row("Accounts with open holds, left as they are", "run prepare_rollback first: it closes them."),
            "unreadable": Row("Balances that cannot be read", "repair these documents, and run it again."),
        }
        self.report = Report(rows, is_applied)

    def run(self) -> Report:
        """Destroy each balance with its ledger entry and audit entry, then remove the fields.

        Safe to stop and to repeat: what is gone is not found again. Only while nothing serves requests. Raises
        `DatabaseError` and `PyMongoError`.
        """
        for document in collection_of(Account).find({"holds": {"$nin": [{}, None]}}, {"_id": 1}):
            self.report.rows["held"].count(name_of(document), is_done=False)
        has_balance = {"creditsNew": {"$nin": [0, None]}}
        for document in collection_of(Account).find(has_balance):
            self._destroy(document)
        self._drop("empty", credits.OPENHANDS_FIELDS, {})
        if self._drops_others:
            for field in OTHER_FIELDS:
                self._drop(field, (field,), {})
            for field in KEY_FIELDS:
                self._drop(field, (field,), PLAIN_KEY)
            is_only_hashed = {"apiKeyHash": {"$exists": True}, "apiKey": {"$not": PLAIN_KEY["apiKey"]}}
            kept = collection_of(Account).count_documents(is_only_hashed)
            row = Row("Accounts whose key is only hashed, kept", "without the hash nobody could use them again.")
            self.report.rows["hashed"] = row
            if kept:
                row.count("apiKeyHash", is_done=False, number=kept)
        dropped = {name: row.done for name, row in self.report.rows.items() if row.done}
        if self._is_applied and dropped:
            record(actor=ACTOR, action=ACTION, target="accounts", reason=self._reason, after=dropped)
        return self.report

    def _destroy(self, document: Document) -> None:
        name, amount = name_of(document), from_bson(document.get("creditsNew"))
        row = self.report.rows["credits" if amount > 0 else "debts" if amount < 0 else "unreadable"]
        is_done = self._perform(name) if self._is_applied else not (document.get("holds") or problems_of(document))
        row.count(name, amount, is_done=is_done and amount != ZERO)

    def _perform(self, username: str) -> bool:
        operation = new_operation()
        drop = partial(credits.drop_openhands, username=username, operation=operation, actor=ACTOR, reason=self._reason)

        def change() -> Decimal:
            reconcile_account(username)  # Adopts it, so that the books say what it had.
            return drop()

        try:
            perform(
                operation=operation,
                actor=ACTOR,
                action=ACTION,
                target=username,
                reason=self._reason,
                change=change,
                read_state=lambda: state_of(Account(username=username)),
            )
        except BillingError as error:
            self.report.failures[username] = str(error)
            return False
        return True

    def _drop(self, name: str, fields: tuple[str, ...], query: Document) -> None:
        if self._is_applied:
            number = credits.drop_empty_fields(fields=fields, query=query)
        else:
            is_there = [{field: {"$exists": True}} for field in fields]
            number = collection_of(Account).count_documents({"$and": [query, {"$or": is_there}]})
        row = Row(f"Accounts with {' or '.join(fields)}, removed")
        row.count(name, is_done=True, number=number)
        self.report.rows[name] = row
