"""The table of rules in docs/payments.md, run row by row over HTTP with signed requests."""

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings as site_settings

from accounts.models import Account
from payments import orders
from payments.inbox.process import process_due_events
from payments.inbox.pull import pull_payments
from payments.models import Payment, Promotion, WebhookEvent
from payments.providers.sepay import TIME_ZONE
from tests.factories import CallApi, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay
from tests.payments.providers.test_sepay_signature import SECRET, sign
from tests.payments.senders import (
    dispute,
    refund,
    send_standard,
    send_stripe,
    session,
    standard_event,
    stripe_event,
)

USD = "stripe"
UNPAID = {"payment_status": "unpaid"}


class World:
    """A site, an order of 20 USD by alice, and providers that sign what they send."""

    def __init__(self, site: str, make_order: MakeOrder, usersnew: Any, listed: FakeSePay) -> None:
        self.site, self.make_order, self.usersnew, self.listed = site, make_order, usersnew, listed
        self.order: Payment = Payment()

    def sepay(self, amount: int = 50_000, code: str | None = None, status: int = 200, **changes: Any) -> None:
        body = json.dumps(transfer(self.order.order_code if code is None else code, amount, **changes)).encode()
        headers = {"Content-Type": "application/json", **sign(body, int(time.time()))}
        response = requests.post(f"{self.site}/api/payment/webhook", data=body, headers=headers, timeout=30)
        assert (response.status_code, response.json()["success"]) == (status, status == 200)

    def pull(self, payload: dict[str, Any], **changes: Any) -> None:
        """List the transfer that a webhook's payload tells of, with these differences, and pull."""
        self.listed.add(payload)
        self.listed.transfers[-1].update(changes)
        pull_payments()

    def stripe(self, kind: str, obj: dict[str, Any], **changes: Any) -> None:
        response = send_stripe(self.site, stripe_event(kind, obj, **changes))
        assert (response.status_code, response.json()) == (200, {"success": True})

    def standard(self, kind: str, **data: Any) -> None:
        response = send_standard(self.site, standard_event(kind, **data))
        assert (response.status_code, response.json()) == (200, {"success": True})

    def ordered(self, method: str = "sepay", **kwargs: Any) -> "World":
        self.order = self.make_order(method=method, **kwargs)
        return self

    def paid(self) -> "World":
        self.ordered(USD).stripe("checkout.session.completed", self.page())
        return self

    def page(self, **changes: Any) -> dict[str, Any]:
        return session(self.order.order_code, "pi_1", **changes)


def promoted(world: World) -> None:
    now = datetime.now(UTC)
    Promotion.objects.create(name="Tet", percent=Decimal(20), starts_at=now, ends_at=now + timedelta(hours=1))
    world.ordered().sepay()


def numbers_for_text(world: World) -> None:
    at = datetime.now(TIME_ZONE).isoformat(timespec="milliseconds")
    odd = {"transferType": "IN", "transactionDate": at, "referenceCode": 3079, "subAccount": 123, "description": 1.5}
    world.ordered().sepay(**odd)


def delivered_again(world: World, **changes: Any) -> None:
    first = transfer(world.ordered().order.order_code)
    for payload in (first, first | changes):
        world.sepay(**payload)


def second_transfer(world: World) -> None:
    world.ordered().sepay()
    world.sepay()


def expired_and_small(world: World) -> None:
    world.ordered()
    expired = {"creditsNew": 10.0, "expiresAt": datetime.now(UTC) - timedelta(minutes=1)}
    world.usersnew.update_one({"_id": "alice"}, {"$set": expired})
    world.sepay(1)


def pulled_first(world: World) -> None:
    payload = transfer(world.ordered().order.order_code)
    world.pull(payload, amount_in=50_000.0, transaction_content=f"{world.order.order_code} CKN", reference_number="")
    world.sepay(**payload)


def described(world: World) -> None:
    code = world.ordered().order.order_code
    payload = transfer(content="CHUYEN TIEN", description=f"BankAPINotify {code}AB CHUYEN TIEN")
    world.sepay(**payload)
    world.pull(payload)


def without_reference(world: World, hours: int) -> None:
    payload = transfer(world.ordered().order.order_code, referenceCode=None)
    first = datetime.now(TIME_ZONE) - timedelta(hours=hours)
    world.sepay(**payload | {"transactionDate": first.strftime("%Y-%m-%d %H:%M:%S")})
    world.sepay(**payload | {"id": 7, "content": f"MB {payload['content']}"})


def two_rows(world: World) -> None:
    payload = transfer(world.ordered().order.order_code, referenceCode="3079")
    world.pull(payload)
    world.pull(payload)


def unreadable(world: World, order: str) -> None:
    payload = transfer(world.ordered().order.order_code)
    for source in order:
        if source == "p":
            world.pull(payload)
        else:
            world.sepay(status=400, **payload | {"transferAmount": "50000"})


def account_gone(world: World) -> None:
    world.ordered()
    world.usersnew.delete_one({"_id": "alice"})
    world.sepay()


def account_disabled(world: World) -> None:
    world.ordered()
    world.usersnew.update_one({"_id": "alice"}, {"$set": {"isActive": False}})
    world.sepay()


def two_codes(world: World) -> None:
    other = world.make_order("bobby")
    world.ordered()
    world.sepay(code=f"{world.order.order_code} {other.order_code}")


def days_late(world: World) -> None:
    yesterday = (datetime.now(TIME_ZONE) - timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M:%S")
    world.ordered(minutes_ago=15 + 24 * 60 + 5).sepay(transactionDate=yesterday)


def several_refunds(world: World) -> None:
    world.paid()
    for number, amount in enumerate((333, 667, 999, 1)):
        world.stripe("refund.created", refund(f"re_{number}", "pi_1", amount))


def refund_ids_of_each_payment(world: World) -> None:
    for name in ("p1", "p2"):
        paid = {"payment_id": name, "order_code": world.ordered().order.order_code, "amount": 50_000}
        world.standard("payment.succeeded", **paid)
    for name in ("p1", "p2"):
        world.standard("payment.refunded", refund_id="r", payment_id=name, amount=50_000)


def refund_of_a_charge(world: World) -> None:
    world.paid().stripe("refund.created", refund("re_1", "pi_1", 500))
    world.stripe("refund.created", refund("re_2", "pi_1", 1500, payment_intent=None))


def refund_first(world: World) -> None:
    world.ordered(USD).stripe("refund.created", refund("re_1", "pi_1", 2000))
    world.stripe("checkout.session.completed", world.page())


def refund_unknown(world: World) -> None:
    world.ordered(USD).stripe("refund.created", refund("re_1", "pi_1", 2000))
    for hours in range(1, 7):
        process_due_events(now=datetime.now(UTC) + timedelta(hours=hours))


def refund_failed(world: World) -> None:
    world.paid().stripe("refund.created", refund("re_1", "pi_1", 2000, "pending"))
    world.stripe("refund.failed", refund("re_1", "pi_1", 2000, "failed"))


def disputed(world: World, *statuses: str, seconds: Sequence[int] = range(9)) -> None:
    """The reports of a dispute as they arrive, each made so many seconds after the first."""
    world.paid()
    first = int(time.time()) - 60
    for status, second in zip(statuses, seconds, strict=False):
        world.stripe("charge.dispute.updated", dispute("dp_1", "pi_1", 2000, status), created=first + second)


SCRIPTS: dict[str, Callable[[World], None]] = {
    "exact": lambda world: world.ordered().sepay(),
    "exact, with a promotion of 20 %": promoted,
    "numbers for text, `IN`, an ISO time": numbers_for_text,
    "the same event, written in another way": lambda world: delivered_again(world, accumulated=70_000),
    "the same event id with another amount": lambda world: delivered_again(world, transferAmount=60_000),
    "over": lambda world: world.ordered().sepay(60_000),
    "under": lambda world: world.ordered().sepay(40_000),
    "one dong for the order": lambda world: world.ordered().sepay(1),
    "one dong, and the account's credits have expired": expired_and_small,
    "late, within 24 hours": lambda world: world.ordered(minutes_ago=60).sepay(),
    "later": days_late,
    "second transfer for a paid order": second_transfer,
    "webhook after the pull, with another text and number format": pulled_first,
    "pull after the webhook, whose description alone has the code": described,
    "second webhook that looks the same, without a reference": lambda world: without_reference(world, hours=0),
    "second row with one short reference on one day": two_rows,
    "second webhook without a reference, hours later": lambda world: without_reference(world, hours=3),
    "unreadable webhook, then the pull": lambda world: unreadable(world, "wp"),
    "the pull, then an unreadable webhook": lambda world: unreadable(world, "pw"),
    "body over the limit": lambda world: world.ordered().sepay(content="x" * 65_536, status=413),
    "tax, discount or shipping in the total (Stripe)": lambda world: world.ordered(USD).stripe(
        "checkout.session.completed", world.page(total_details={"amount_tax": 200, "amount_discount": 0})
    ),
    "unknown code": lambda world: world.ordered().sepay(code="NAP00000000"),
    "two codes": two_codes,
    "wrong account": lambda world: world.ordered().sepay(accountNumber="999"),
    "wrong currency": lambda world: world.ordered(USD).sepay(),
    "account gone": account_gone,
    "disabled account": account_disabled,
    "outgoing transfer": lambda world: world.ordered().sepay(transferType="out"),
    "test-mode event in live mode": lambda world: world.ordered(USD).stripe(
        "checkout.session.completed", world.page(), livemode=False
    ),
    "test payment of another shop, marked by any word": lambda world: world.ordered().standard(
        "payment.succeeded", payment_id="p1", order_code=world.order.order_code, amount=50_000, test="yes"
    ),
    "event of a connected account (Stripe `account`)": lambda world: world.ordered(USD).stripe(
        "checkout.session.completed", world.page(), account="acct_other"
    ),
    "payment page that was not made for the order": lambda world: world.ordered(USD).stripe(
        "checkout.session.completed", world.page(id="cs_foreign")
    ),
    "slow bank (Stripe `unpaid`)": lambda world: world.ordered(USD).stripe(
        "checkout.session.completed", world.page(**UNPAID)
    ),
    "free payment page (Stripe `no_payment_required`)": lambda world: world.ordered(USD).stripe(
        "checkout.session.completed", world.page(payment_status="no_payment_required", amount_total=0)
    ),
    "payment failed": lambda world: world.ordered(USD).stripe(
        "checkout.session.async_payment_failed", world.page(**UNPAID)
    ),
    "payment page closed": lambda world: world.ordered(USD).stripe("checkout.session.expired", world.page(**UNPAID)),
    "full refund": lambda world: world.paid().stripe("refund.created", refund("re_1", "pi_1", 2000)),
    "partial refund": lambda world: world.paid().stripe("refund.created", refund("re_1", "pi_1", 500)),
    "several refunds": several_refunds,
    "refund with an id that another payment's refund has": refund_ids_of_each_payment,
    "refund that names a charge alone": refund_of_a_charge,
    "refund before its payment": refund_first,
    "refund of an unknown payment": refund_unknown,
    "refund that failed": refund_failed,
    "dispute opened": lambda world: disputed(world, "needs_response"),
    "dispute lost": lambda world: disputed(world, "needs_response", "lost"),
    "dispute won": lambda world: disputed(world, "needs_response", "won"),
    "dispute after a closed inquiry": lambda world: disputed(
        world, "warning_needs_response", "warning_closed", "needs_response", "lost"
    ),
    "dispute won, then lost after all": lambda world: disputed(world, "needs_response", "won", "lost"),
    "late report of a dispute that was won": lambda world: disputed(
        world, "won", "needs_response", "under_review", seconds=(9, 1, 5)
    ),
    "dispute won and going on in one second": lambda world: disputed(world, "won", "under_review", seconds=(1, 1)),
    "inquiry": lambda world: disputed(world, "warning_needs_response"),
}


def table() -> dict[str, list[str]]:
    """The rows of the documentation: case → what is expected."""
    text = (Path(site_settings.BASE_DIR) / "docs" / "payments.md").read_text()
    section = text.partition("## The rules")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:5] for row in rows[2:]}


ROWS = table()


def test_every_row_is_run() -> None:
    assert list(SCRIPTS) == list(ROWS)


@pytest.mark.parametrize("case", SCRIPTS)
def test_rule(
    case: str, site: str, api: CallApi, make_order: MakeOrder, usersnew: Any, settings: Any, sepay: FakeSePay
) -> None:
    settings.SEPAY_WEBHOOK_SECRETS = [SECRET]
    world = World(site, make_order, usersnew, sepay)
    SCRIPTS[case](world)
    orders.expire_pending()

    event = WebhookEvent.objects.order_by("-received_at").first()
    assert event is not None
    payment = event.payment or Payment.objects.get(pk=world.order.pk)
    payment.refresh_from_db()
    account = Account.objects.filter(pk="alice").first()
    status = api("GET", f"{world.order.pk}/status", user="alice")
    flags = "".join(f" `{flag}`" for flag in payment.flags or ())
    seen = [
        status.json()["status"] if status.status_code == 200 else "–",
        f"{account.credits_new.normalize():f}" if account else "–",
        f"{payment.status}{flags}",
        event.status,
    ]
    assert seen == ROWS[case]
