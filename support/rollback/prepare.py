"""Prepares a roll-back: goes through everything that the replaced programs will read, and does what it may.

Each account is one transaction with its audit entry, so that it can be stopped at any point and run again.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from django.utils import timezone

from accounts.errors import BillingError
from accounts.models import Account
from accounts.replaced_system import count_missing_flags, fill_missing_flags, give_plain_key
from money.amounts import ZERO, from_bson
from mongo.collections import Document, collection_of, current_session
from mongo.each_item import SomeFailed
from payments import orders
from payments.models import Payment, WebhookEvent
from proxy.billing.abandoned import close_all_holds, find_open_holds
from support.actions.account import state_of
from support.audit.trail import new_operation, perform, record
from support.rollback.keys import NewKeyFile, key_rows, keys_of_others, need_of, stored_keys
from support.rollback.needs import Deed, Need, Options, account_rows, name_of, needs_of
from support.rollback.report import Report, Row

ACTOR, ACTION = "manage.py prepare_rollback", "prepare-rollback"
OLD_CODE = "^TROLL"
"""How the order codes of the replaced system begin: its webhook finds no others."""
BATCH = 500
UNFINISHED = (WebhookEvent.Status.RECEIVED, WebhookEvent.Status.REVIEW, WebhookEvent.Status.DEAD)
PAYMENT_NUMBERS = ("credits", "amount", "creditsBefore", "creditsAfter")


class Preparation:
    """One run. Without `is_applied` it only counts what it would do."""

    def __init__(self, options: Options, *, is_applied: bool, key_file: NewKeyFile | None = None) -> None:
        self._options = options
        self._is_applied = is_applied
        self._key_file = key_file
        self._restored: set[str] = set()
        rows = {
            "holds": Row("Open holds, closed", "a hold could not be closed: its account needs repair."),
            "flags": Row("Flags that are missing, set to true"),
            **key_rows(),
            **account_rows(),
            "payments": Row("Payments with Decimal128 numbers, stored as doubles"),
            "orders": Row(
                "Open orders with a new code",
                "paid at the old webhook they are answered 200 and dropped. Let them expire, or --cancel-orders.",
            ),
            "events": Row(
                "Webhook events that are not finished",
                "the old programs do not know of this money. Finish them in the admin's review queue first.",
            ),
        }
        self.report = Report(rows, is_applied)

    def run(self) -> Report:
        """Look at all of it, and do it where that was asked for. Raises `DatabaseError` and `PyMongoError`.

        Safe to repeat: what is done is not found again. Only while nothing serves requests (`accounts.processes`).
        """
        self._close_holds()
        self._fill_flags()
        for entry, account in stored_keys():
            if need := need_of(entry, account, now=timezone.now()):
                self._see_to_key(account["_id"], need)
        for batch in _batches(collection_of(Account).find({}).batch_size(BATCH)):
            for username, name in keys_of_others(batch).items():
                self._count("foreign_keys", f"{username} (given to {name})", is_done=False)
            for document in batch:
                self._see_to_account(document)
        self._see_to_payments()
        return self.report

    def _count(self, row: str, name: str, usd: Any = ZERO, *, is_done: bool, number: int = 1) -> None:
        self.report.rows[row].count(name, usd, is_done=is_done, number=number)

    def _count_need(self, name: str, need: Need, *, is_done: bool) -> None:
        self._count(need.row, need.label or name, need.usd, is_done=is_done)
        if need.listed:
            self.report.extra.setdefault(need.row, []).extend({"account": name, **one} for one in need.listed)

    def _close_holds(self) -> None:
        held = list(find_open_holds())
        if held and self._is_applied:
            try:
                close_all_holds()
            except SomeFailed as error:
                self.report.failures["holds"] = str(error)
            record(actor=ACTOR, action=ACTION, target="holds", reason=self._options.reason, after={"open": len(held)})
        left = {(name, request) for name, request, _ in find_open_holds()} if self._is_applied else set()
        for username, request_id, hold in held:
            amount = from_bson(hold.get("amount")) if isinstance(hold, dict) else ZERO
            self._count("holds", str(username), amount, is_done=(username, request_id) not in left)

    def _fill_flags(self) -> None:
        flags = fill_missing_flags() if self._is_applied else count_missing_flags()
        for flag, number in flags.items():
            if number:
                self._count("flags", flag, is_done=True, number=number)
        if self._is_applied and any(flags.values()):
            record(actor=ACTOR, action=ACTION, target="flags", reason=self._options.reason, after=flags)

    def _see_to_key(self, username: str, need: Need) -> None:
        is_done = need.do is not None
        if need.row in ("restored_keys", "replaced_keys") and need.do and self._is_applied:
            is_done = self._perform(username, need.do)
        if need.row == "restored_keys":
            self._restored.add(username)
        self._count_need(username, need, is_done=is_done)

    def _see_to_account(self, document: Document) -> None:
        name = name_of(document)
        needs = self._needs(document, new_key=self._new_key(document, partial(str)))
        if not self._is_applied or not any(need.do for need in needs):
            for need in needs:
                self._count_need(name, need, is_done=need.do is not None)
            return
        gives_key = any(need.row == "hashed_keys" and need.do for need in needs)
        key = self._key_file.make_key(name) if gives_key and self._key_file else ""
        done: list[Need] = []

        def change() -> None:
            found = collection_of(Account).find_one({"_id": document["_id"]}, session=current_session())
            give = partial(give_plain_key, username=name, key=key)
            done[:] = self._needs(found, new_key=self._new_key(found, give)) if found else []
            for need in done:
                if need.do:
                    need.do()

        is_done = self._perform(name, change)
        for need in done if is_done else needs:
            self._count_need(name, need, is_done=is_done and need.do is not None)

    def _needs(self, document: Document, *, new_key: Callable[[], object] | None) -> list[Need]:
        deed = Deed(actor=ACTOR, operation=new_operation(), now=timezone.now())
        return needs_of(document, deed, self._options, new_key=new_key)

    def _new_key(self, document: Document, give: Callable[[], object]) -> Callable[[], object] | None:
        return None if document.get("_id") in self._restored else give

    def _perform(self, username: str, change: Callable[[], object]) -> bool:
        try:
            perform(
                operation=new_operation(),
                actor=ACTOR,
                action=ACTION,
                target=username,
                reason=self._options.reason,
                change=change,
                read_state=lambda: state_of(Account(username=username)),
            )
        except BillingError as error:
            self.report.failures[username] = str(error)
            return False
        return True

    def _see_to_payments(self) -> None:
        wide = {"$or": [{field: {"$type": "decimal"}} for field in PAYMENT_NUMBERS]}
        payments = collection_of(Payment)
        if number := payments.count_documents(wide):
            self._count("payments", "payments", is_done=True, number=number)
            if self._is_applied:
                payments.update_many(wide, [{"$set": {field: _as_double(field) for field in PAYMENT_NUMBERS}}])
        if self._is_applied:
            orders.expire_pending()
        opened = payments.find({"status": "pending", "orderCode": {"$type": "string", "$not": {"$regex": OLD_CODE}}})
        listed = self.report.extra.setdefault("open_orders", [])
        for order in opened:
            code = str(order["orderCode"])
            listed.append({"code": code, "account": str(order.get("userId")), "amount": str(order.get("amount"))})
            is_done = self._options.cancels_orders
            if is_done and self._is_applied:
                found = Payment.objects.filter(pk=order["_id"]).first()
                is_done = found is not None and self._perform_on_order(found)
            self._count("orders", code, from_bson(order.get("credits")), is_done=is_done)
        for event in WebhookEvent.objects.filter(status__in=UNFINISHED).only("pk"):
            self._count("events", str(event.pk), is_done=False)

    def _perform_on_order(self, order: Payment) -> bool:
        perform(
            operation=new_operation(),
            actor=ACTOR,
            action=ACTION,
            target=str(order.order_code),
            reason=self._options.reason,
            change=lambda: orders.fail_order(order),
        )
        return True


def _as_double(field: str) -> Document:
    is_wide = {"$eq": [{"$type": f"${field}"}, "decimal"]}
    return {"$cond": [is_wide, {"$toDouble": f"${field}"}, {"$ifNull": [f"${field}", "$$REMOVE"]}]}


def _batches(found: Iterable[Document]) -> Iterator[list[Document]]:
    rest = iter(found)
    while batch := list(islice(rest, BATCH)):
        yield batch
