"""Random histories of transfers, reports, refunds, staff and time: each real transfer is credited once or is seen.

Whatever is delivered, repeated, rewritten, damaged, pulled and decided in whatever order: no money is credited twice,
none disappears, and no more goes back than came. A longer run: PAYMENT_HISTORIES=2000 (examples), each of another seed.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from accounts.models import Account, LedgerEntry
from mongo.collections import collection_of
from payments import orders
from payments.errors import AlreadyCredited, InvalidDecision
from payments.inbox import review
from payments.inbox.process import process_due_events
from payments.inbox.pull import pull_payments
from payments.models import Payment, Reversal, WebhookEvent
from payments.orders.prices import credited_of
from payments.providers.sepay import TIME_ZONE
from tests.factories import Deliver, InsertUser
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay, FakeStripe
from tests.payments.senders import refund, send_standard, session, session_id_of, standard_event

EXAMPLES = int(os.environ.get("PAYMENT_HISTORIES", "0"))
BOUNDS = hypothesis.settings(
    max_examples=EXAMPLES or 6,
    stateful_step_count=25,
    deadline=None,
    database=None,
    derandomize=not EXAMPLES,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
BY: dict[str, Any] = {"actor": "staff:mai", "reason": "saw it at the bank"}
USERS = ("alice", "bobby")
AMOUNTS = (50_000, 25_000)

# What one of the sources does to the text. {code} is the order's, or nothing.
MEMOS = ("{code} CHUYEN TIEN", "MBVCB.{number}.{code}.CT tu 0123456789 NGUYEN VAN A", "CHUYEN TIEN")
WEBHOOK_SAYS: tuple[dict[str, Any], ...] = (
    {},
    {"description": ""},
    {"accumulated": 19_077_000},
    {"description": "BankAPINotify {code}AB chuyen"},
    {"content": "CT {content}"},
    {"transferAmount": "50000"},
    {"transferType": "IN"},
)
LIST_SAYS: tuple[dict[str, Any], ...] = (
    {},
    {"amount_in": "float"},
    {"reference_number": None},
    {"account_number": "123499999"},
    {"transaction_content": "{code} CKN"},
    {"transaction_content": "CHUYEN TIEN", "code": "{code}"},
)


@dataclass
class Transfer:
    """What really happened at the bank, once."""

    payload: dict[str, Any]
    order: Payment
    group: tuple[int, str]
    """Transfers that a person could not tell apart: of one amount, for one order."""


@dataclass
class Paid:
    """A payment at Stripe or at the other shop."""

    order: Payment
    name: str
    amount: int
    events: list[Any] = field(default_factory=list)


class History(RuleBasedStateMachine):
    """One history. The fakes and the site are shared, the database is emptied before each."""

    site: ClassVar[str]
    deliver: ClassVar[Deliver]
    sepay: ClassVar[FakeSePay]
    stripe: ClassVar[FakeStripe]
    insert_user: ClassVar[InsertUser]

    def __init__(self) -> None:
        super().__init__()
        for model in (WebhookEvent, Payment, Reversal, LedgerEntry, Account):
            collection_of(model).delete_many({})
        self.sepay.transfers.clear()
        self.stripe.events.clear()
        self.stripe.sessions.clear()
        for name in USERS:
            self.insert_user(name)
        self.now = datetime.now(UTC) - timedelta(days=6)
        self.later = datetime.now(UTC)
        self.orders: list[Payment] = []
        self.transfers: list[Transfer] = []
        self.paid: list[Paid] = []

    # --- What customers and the bank do -------------------------------------------------------------------------

    def order(self, user: str, method: str) -> Payment:
        made = orders.create_order(account=Account.objects.get(pk=user), credits=20, method=method, now=self.now)
        if method == "stripe":
            orders.record_session(made, session_id_of(made.order_code))
        self.orders.append(made)
        return made

    @rule(
        user=st.sampled_from(USERS),
        is_again=st.booleans(),
        amount=st.sampled_from(AMOUNTS),
        memo=st.sampled_from(MEMOS),
        reference=st.sampled_from(["long", "short", "none"]),
        said=st.sampled_from(LIST_SAYS),
    )
    def pay_by_bank(
        self, user: str, is_again: bool, amount: int, memo: str, reference: str, said: dict[str, Any]
    ) -> None:
        before = [item.order for item in self.transfers if item.order.user_id == user]
        order = before[-1] if is_again and before else self.order(user, "sepay")
        number = len(self.transfers)
        content = memo.format(code=order.order_code, number=1000 + number)
        payload = transfer(
            content=content,
            amount=amount,
            description=f"BankAPINotify {content}",
            referenceCode={"long": f"FT26{number:08d}", "short": "3079", "none": None}[reference],
            transactionDate=self.now.astimezone(TIME_ZONE).strftime("%Y-%m-%d %H:%M:%S"),
            gateway=f"T{number}",
        )
        self.transfers.append(Transfer(payload, order, (amount, str(order.order_code))))
        self.sepay.add(payload)
        row = self.sepay.transfers[-1]
        row["bank_brand_name"] = f"T{number}"
        for name, value in said.items():
            text = value.format(code=order.order_code) if value else value
            row[name] = float(amount) if text == "float" else text
        note(f"T{number}: {content!r} of {amount} for {order} at {payload['transactionDate']}, list says {said}")

    @rule(seconds=st.sampled_from([1, 40, 200, 1500, 4000, 30_000, 90_000]))
    def wait(self, seconds: int) -> None:
        self.now = min(self.now + timedelta(seconds=seconds), datetime.now(UTC) - timedelta(minutes=1))

    # --- Reports ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.transfers)
    @rule(data=st.data(), said=st.sampled_from(WEBHOOK_SAYS), is_other_id=st.booleans())
    def webhook(self, data: st.DataObject, said: dict[str, Any], is_other_id: bool) -> None:
        index = data.draw(st.integers(0, len(self.transfers) - 1))
        real = self.transfers[index]
        payload = dict(real.payload)
        for name, value in said.items():
            is_text = isinstance(value, str)
            payload[name] = value.format(code=real.order.order_code, content=payload["content"]) if is_text else value
        if payload["transferAmount"] == "50000":
            payload["transferAmount"] = str(real.group[0])
        if is_other_id:
            payload["id"] += 5_000_000
        status = self.deliver(payload).status_code
        note(f"webhook of T{index}, {said}, another id: {is_other_id}: {status}")
        assert status in (200, 400)

    @rule(hours=st.sampled_from([1, 24, 200]))
    def pull(self, hours: int) -> None:
        note(f"pull of {hours} h: {pull_payments(now=self.now, window=timedelta(hours=hours))}")

    @rule()
    def sweep(self) -> None:
        self.later += timedelta(hours=3)
        process_due_events(now=self.later)

    # --- Providers whose ids identify the money -----------------------------------------------------------------

    @rule(user=st.sampled_from(USERS))
    def pay_by_stripe(self, user: str) -> None:
        order = self.order(user, "stripe")
        paid = Paid(order, f"pi_{len(self.paid)}", 2000)
        page = session(order.order_code, paid.name, created=int(self.now.timestamp()))
        paid.events.append(self.stripe.emit("checkout.session.completed", page))
        self.stripe.sessions[str(page["id"])] = page
        self.paid.append(paid)

    @rule(user=st.sampled_from(USERS))
    def pay_at_the_other_shop(self, user: str) -> None:
        order = self.order(user, "sepay")
        name = f"p{len(self.paid)}"
        data = {"payment_id": name, "order_code": order.order_code, "amount": 50_000}
        event = standard_event("payment.succeeded", **data)
        self.paid.append(Paid(order, name, 50_000, [event | {"timestamp": self.now.isoformat()}]))

    @precondition(lambda self: self.paid)
    @rule(data=st.data(), share=st.sampled_from([1, 2, 3]))
    def send_back(self, data: st.DataObject, share: int) -> None:
        paid = data.draw(st.sampled_from(self.paid))
        amount = paid.amount // share
        number = len(paid.events)
        if paid.name.startswith("pi_"):
            paid.events.append(
                self.stripe.emit("refund.created", refund(f"re_{paid.name}_{number}", paid.name, amount))
            )
        else:
            names = {"refund_id": f"r{number}", "payment_id": paid.name}
            paid.events.append(standard_event("payment.refunded", amount=amount, **names))

    @precondition(lambda self: self.paid)
    @rule(data=st.data())
    def tell(self, data: st.DataObject) -> None:
        paid = data.draw(st.sampled_from(self.paid))
        event = data.draw(st.sampled_from(paid.events))
        note(f"event of {paid.name}: {event.get('type')}")
        if paid.name.startswith("pi_"):
            assert self.stripe.deliver(self.site, event).status_code == 200
        else:
            identifier = f"msg_{paid.name}_{paid.events.index(event)}"
            assert send_standard(self.site, event, identifier).status_code == 200

    # --- Staff --------------------------------------------------------------------------------------------------

    def real_of(self, event: WebhookEvent) -> Transfer | None:
        """The transfer that a SePay event is really about: what staff see at the bank."""
        found = re.search(rb'"(?:gateway|bank_brand_name)": "T([0-9]+)"', bytes(event.body))
        return self.transfers[int(found[1])] if found else None

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), is_replay=st.booleans())
    def decide(self, data: st.DataObject, is_replay: bool) -> None:
        event = data.draw(st.sampled_from(self.waiting()))
        real = self.real_of(event)
        if is_replay:
            review.replay(event_key=event.pk, **BY)
            return
        if real is None:
            review.dismiss(event_key=event.pk, **BY)
            return
        # Only where another report is shown beside it do they look at the bank's statement.
        shown = [twin for twin in review.find_look_alikes(event, real.order) if twin.is_credited]
        is_all = self.credited()[real.group] >= sum(other.group == real.group for other in self.transfers)
        note(
            f"staff decide {event}: {event.error[:60]!r}, shown {[str(twin) for twin in shown]}, all credited {is_all}"
        )
        if shown and is_all:
            review.dismiss(event_key=event.pk, **BY)
            return
        try:
            if event.event_id.startswith("unreadable"):
                worth = Decimal(real.group[0]) / 2500
                review.credit(event_key=event.pk, username=real.order.user_id, amount=worth, **BY)
            else:
                review.match(event_key=event.pk, payment_key=real.order.pk, **BY)
        except (AlreadyCredited, InvalidDecision):
            review.dismiss(event_key=event.pk, **BY)

    def waiting(self) -> list[WebhookEvent]:
        return list(WebhookEvent.objects.filter(status__in=["review", "dead"]).order_by("received_at", "event_id"))

    # --- What must hold -----------------------------------------------------------------------------------------

    def credited(self) -> Counter[tuple[int, str]]:
        """How many transfers of each group were credited."""
        done = WebhookEvent.objects.filter(status="done", provider="sepay").exclude(payment_id=None)
        reals = [self.real_of(event) for event in done]
        return Counter(real.group for real in reals if real)

    @invariant()
    def nothing_is_credited_twice(self) -> None:
        happened = Counter(real.group for real in self.transfers)
        for group, count in self.credited().items():
            assert count <= happened[group], f"{count} credits of {happened[group]} transfers {group}"
        names = [payment.provider_transaction_id for payment in self.payments() if payment.provider != "sepay"]
        assert len(names) == len(set(names))
        assert len(names) <= len(self.paid)

    @invariant()
    def no_more_goes_back_than_came(self) -> None:
        for payment in self.payments():
            assert 0 <= (payment.reversed_credits or 0) <= credited_of(payment)
            assert 0 <= (payment.reversed_bonus or 0) <= (payment.bonus or 0)

    @invariant()
    def balances_are_what_was_credited(self) -> None:
        for name in USERS:
            ledger = LedgerEntry.objects.filter(account_id=name, kind__in=["purchase", "bonus"])
            payments = [payment for payment in self.payments() if payment.user_id == name]
            assert sum(entry.amount for entry in ledger) == sum(credited_of(payment) for payment in payments)

    def payments(self) -> list[Payment]:
        return list(Payment.objects.filter(status="success"))

    def teardown(self) -> None:
        """Sooner or later everything is reported: then each transfer is credited, waits, or was decided."""
        for paid in self.paid:
            for event in paid.events:
                if paid.name.startswith("p") and not paid.name.startswith("pi_"):
                    send_standard(self.site, event, f"msg_{paid.name}_{paid.events.index(event)}")
        pull_payments(now=datetime.now(UTC), window=timedelta(days=20))
        for _ in range(8):
            self.sweep()
        self.nothing_is_credited_twice()
        seen = self.credited()
        visible = Counter(real.group for event in self.waiting() if (real := self.real_of(event)))
        for group, count in Counter(real.group for real in self.transfers).items():
            assert seen[group] + visible[group] >= count, f"{count} transfers {group}: {seen[group]} credited, "
        paid_of = {payment.provider_transaction_id for payment in self.payments()}
        waiting = b"".join(bytes(event.body) for event in self.waiting()).decode()
        for paid in self.paid:
            assert paid.name in paid_of or f'"{paid.name}"' in waiting, paid


@pytest.mark.usefixtures("transactional_db")
def test_every_transfer_is_credited_once_or_seen(
    site: str,
    deliver: Deliver,
    sepay: FakeSePay,
    stripe: FakeStripe,
    insert_user: InsertUser,
    settings: Any,
) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    settings.SEPAY_ACCOUNT_NUMBER = "0123499999"
    shared = {"site": site, "sepay": sepay, "stripe": stripe}
    shared |= {"deliver": staticmethod(deliver), "insert_user": staticmethod(insert_user)}
    run_state_machine_as_test(type("SharedHistory", (History,), shared), settings=BOUNDS)
