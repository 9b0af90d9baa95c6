"""One transfer is one credit, whoever reports it, in which order, and however it is written."""

import json
import time
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account, LedgerEntry
from payments.errors import AlreadyCredited
from payments.inbox import review
from payments.inbox.process import process_due_events
from payments.inbox.pull import pull_payments
from payments.inbox.split import Part, split
from payments.models import Payment, WebhookEvent
from payments.providers import get_provider
from payments.providers.sepay import TIME_ZONE
from payments.rules.twins import money_fields, read_receipt
from tests.factories import Deliver, InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeSePay
from tests.payments.providers.test_sepay_signature import SECRET, sign
from tests.payments.senders import send_standard, standard_event

BY: dict[str, Any] = {"actor": "staff:mai", "reason": "phoned the customer"}
NO_REFERENCE = {"referenceCode": None}


class Reports:
    """What is said of transfers to one order of 20 USD by alice, by signed webhooks and by SePay's list."""

    def __init__(self, sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder) -> None:
        self.sepay, self.send, self.order = sepay, deliver, make_order()

    def webhook(self, payload: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(payload).encode()
        assert self.send(body, key=None, **sign(body, int(time.time()))).status_code == status

    def list(self, payload: dict[str, Any], **changes: Any) -> None:
        self.sepay.add(payload)
        self.sepay.transfers[-1].update(changes)

    def transfer(self, **changes: Any) -> dict[str, Any]:
        return transfer(self.order.order_code, **changes)

    def tell(self, order: str, payload: dict[str, Any], **listed: Any) -> None:
        """By webhook (w) and by the pull (p), in this order."""
        self.list(payload, **listed)
        for source in order:
            if source == "w":
                self.webhook(payload)
            else:
                pull_payments()


@pytest.fixture
def reports(sepay: FakeSePay, deliver: Deliver, make_order: MakeOrder, settings: Any) -> Reports:
    settings.SEPAY_WEBHOOK_SECRETS = [SECRET]
    return Reports(sepay, deliver, make_order)


def balance_of(username: str = "alice") -> float:
    return float(Account.objects.get(pk=username).credits_new)


def waiting() -> list[WebhookEvent]:
    return list(WebhookEvent.objects.filter(status__in=["review", "dead"]))


def at(moment: datetime) -> str:
    return moment.astimezone(TIME_ZONE).strftime("%Y-%m-%d %H:%M:%S")


def ago(**kwargs: float) -> str:
    return at(datetime.now(TIME_ZONE) - timedelta(**kwargs))


# What the list says otherwise than the webhook. {code} is the order's.
LISTED: dict[str, dict[str, Any]] = {
    "as the webhook": {},
    "amount with a point": {"amount_in": 50_000.0},
    "amount as a float in full": {"amount_in": 50_000.00},
    "no reference": {"reference_number": None},
    "a reference with another end before it": {"reference_number": "FT26.{reference}"},
    "account with zeros less": {"account_number": "123499999"},
    "account with hyphens": {"account_number": "0123-499-999"},
    "another memo with the code": {"transaction_content": "{code} CHUYEN TIEN"},
    "code in its own field alone": {"transaction_content": "CHUYEN TIEN", "code": "{code}"},
    "no code at all": {"transaction_content": "CT tu 0123456789 NGUYEN VAN A toi 0123499999"},
    "virtual account beside": {"va": "VQRQ0001"},
    "time of a minute": {"transaction_date": "{minute}"},
}


@pytest.mark.parametrize("said", LISTED)
@pytest.mark.parametrize("order", ["wp", "pw", "wpp", "pwp"])
def test_two_sources_of_one_transfer_credit_once(reports: Reports, said: str, order: str) -> None:
    payload = reports.transfer(transactionDate=ago(minutes=2))
    known = {
        "code": reports.order.order_code,
        "reference": payload["referenceCode"],
        "minute": payload["transactionDate"][:-2] + "00",
    }
    changes = {name: value.format(**known) if isinstance(value, str) else value for name, value in LISTED[said].items()}
    reports.tell(order, payload, **changes)
    assert (balance_of(), waiting()) == (20, [])
    assert Payment.objects.count() == 1


@pytest.mark.parametrize("order", ["wp", "pw"])
@pytest.mark.parametrize("memo", ["CHUYEN TIEN", ""])
def test_a_code_that_only_the_description_has(reports: Reports, order: str, memo: str) -> None:
    description = f"BankAPINotify {reports.order.order_code} CHUYEN TIEN"
    reports.tell(order, reports.transfer(content=memo, description=description))
    assert (balance_of(), waiting()) == (20, [])


@pytest.mark.parametrize("order", ["wp", "pw"])
def test_a_webhook_with_a_description_and_no_reference(reports: Reports, order: str) -> None:
    code = reports.order.order_code
    payload = reports.transfer(content=f"{code} CT", description=f"BankAPINotify {code}AB CHUYEN TIEN", **NO_REFERENCE)
    reports.tell(order, payload)
    assert (balance_of(), waiting()) == (20, [])


@pytest.mark.parametrize("order", ["wp", "pw"])
def test_the_two_sides_of_midnight_in_vietnam(reports: Reports, order: str) -> None:
    midnight = datetime.now(TIME_ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
    Payment.objects.update(created_at=midnight - timedelta(minutes=5), expires_at=midnight + timedelta(minutes=10))
    payload = reports.transfer(transactionDate=at(midnight - timedelta(seconds=3)), **NO_REFERENCE)
    reports.tell(order, payload, transaction_date=at(midnight + timedelta(seconds=2)))
    assert (balance_of(), waiting()) == (20, [])


def test_both_at_once_credit_once(reports: Reports, in_threads: InThreads) -> None:
    first, second = reports.transfer(transactionDate=ago(minutes=50)), reports.transfer()
    for payload in (first, second):
        reports.list(payload, amount_in=50_000.0, reference_number=None, transaction_content=f"{payload['id']}")
        reports.sepay.transfers[-1]["code"] = reports.order.order_code

    def act(index: int) -> None:
        if index % 2:
            pull_payments()
        else:
            reports.webhook(second if index % 4 else first)

    in_threads(8, act)
    later = datetime.now(TIME_ZONE)
    while WebhookEvent.objects.filter(status="received").exists():
        later += timedelta(hours=1)
        process_due_events(now=later)
    assert LedgerEntry.objects.filter(kind="purchase").count() + len(waiting()) >= 2
    assert balance_of() in (20, 40)
    assert balance_of() + 20 * len(waiting()) >= 40


def test_a_webhook_without_a_code_and_a_row_with_one_at_once_leave_nothing_waiting(
    reports: Reports, make_order: MakeOrder, in_threads: InThreads, settings: Any
) -> None:
    settings.OPEN_ORDERS_LIMIT = 0
    for number in range(1, 6):
        payload = transfer(content=f"nap tien {number}", description="")
        reports.list(payload, code=make_order().order_code)

        def act(index: int, payload: dict[str, Any] = payload) -> None:
            if index:
                pull_payments()
            else:
                reports.webhook(payload)

        in_threads(2, act)
        while WebhookEvent.objects.filter(status="received").exists():
            process_due_events(now=datetime.now(TIME_ZONE) + timedelta(hours=1))
        assert (balance_of(), waiting()) == (20 * number, [])


# --- What may be another transfer --------------------------------------------------------------------------------


def test_two_webhooks_with_different_ids_and_a_prefix_in_one_second_wait(reports: Reports) -> None:
    payload = reports.transfer(**NO_REFERENCE)
    reports.webhook(payload)
    reports.webhook(payload | {"id": payload["id"] + 500_000, "content": f"MB {payload['content']}"})
    (event,) = waiting()
    assert balance_of() == 20
    assert event.payment == reports.order
    assert str(payload["id"]) in event.error


@pytest.mark.parametrize("amount", [25_000, 60_000])
def test_another_amount_alone_is_no_second_transfer(reports: Reports, amount: int) -> None:
    payload = reports.transfer(**NO_REFERENCE)
    reports.webhook(payload)
    reports.webhook(payload | {"id": payload["id"] + 500_000, "transferAmount": amount})
    assert (balance_of(), len(waiting())) == (20, 1)


def test_two_rows_with_one_short_reference_on_one_day(reports: Reports) -> None:
    for hours in (5, 1):
        reports.list(reports.transfer(referenceCode="3079", transactionDate=ago(hours=hours)))
    Payment.objects.update(created_at=datetime.now(TIME_ZONE) - timedelta(hours=6))
    assert pull_payments() == 2
    (event,) = waiting()
    assert (balance_of(), event.payment) == (20, reports.order)
    assert pull_payments() == 0


def test_a_webhook_answers_one_of_two_rows_that_look_the_same(reports: Reports) -> None:
    payload = reports.transfer(referenceCode="3079")
    reports.webhook(payload)
    reports.list(payload)
    reports.list(payload)
    assert [pull_payments(), pull_payments()] == [1, 0]
    assert (balance_of(), len(waiting())) == (20, 1)


def test_one_row_answers_one_of_two_webhooks_that_look_the_same(reports: Reports) -> None:
    payload = reports.transfer(**NO_REFERENCE)
    reports.list(payload)
    pull_payments()
    reports.webhook(payload)
    reports.webhook(payload | {"id": payload["id"] + 500_000})
    assert (balance_of(), len(waiting())) == (20, 1)


@pytest.mark.parametrize(
    "changes",
    [{"referenceCode": "FT99"}, {"referenceCode": None, "transactionDate": ago(hours=3)}],
    ids=["another reference", "another time"],
)
@pytest.mark.parametrize("source", ["webhook", "list"])
def test_a_second_transfer_that_certainly_is_one_is_credited(
    reports: Reports, changes: dict[str, Any], source: str
) -> None:
    reports.tell("wp", reports.transfer())
    second = reports.transfer(**changes)
    if source == "webhook":
        reports.webhook(second)
    else:
        reports.list(second)
    pull_payments()
    assert (balance_of(), waiting()) == (40, [])


def test_a_row_of_another_transfer_whose_memo_names_nobody_is_not_dropped(reports: Reports) -> None:
    payload = reports.transfer(**NO_REFERENCE)
    reports.tell("wp", payload)
    reports.list(payload, transaction_content="TRAN THI B ck")
    assert pull_payments() == 1
    assert (balance_of(), len(waiting())) == (20, 1)


@pytest.mark.parametrize("listed", [{"transaction_content": "{code} CKN"}, {}])
def test_a_webhook_that_came_in_two_bodies_answers_one_row(reports: Reports, listed: dict[str, str]) -> None:
    """One body is unreadable and closed with the other; a row of another transfer with the same words is seen."""
    payload = transfer(content="CHUYEN TIEN", description="", referenceCode="3079")
    changes = {name: text.format(code=reports.order.order_code) for name, text in listed.items()}
    reports.list(payload, **changes)
    pull_payments()
    reports.webhook(payload)
    if not listed:
        review.match(event_key=waiting()[0].pk, payment_key=reports.order.pk, **BY)
    reports.webhook(payload | {"transferAmount": "50000"}, status=400)
    assert (balance_of(), waiting()) == (20, [])
    reports.list(payload, reference_number=None)
    pull_payments()
    assert (balance_of(), len(waiting())) == (20, 1)


def test_a_row_for_somebody_else_is_not_what_staff_gave_to_another(reports: Reports, make_order: MakeOrder) -> None:
    """Bobby's transfer has no code, alice's has one around the same words, and its webhook was lost."""
    other = make_order("bobby")
    reports.webhook(transfer(content="CHUYEN TIEN", description="", **NO_REFERENCE))
    review.match(event_key=waiting()[0].pk, payment_key=other.pk, **BY)
    reports.list(reports.transfer(content=f"{reports.order.order_code} CHUYEN TIEN", **NO_REFERENCE))
    pull_payments()
    (event,) = waiting()
    assert event.payment == other
    review.match(event_key=event.pk, payment_key=reports.order.pk, **BY)
    assert (balance_of(), balance_of("bobby")) == (20, 20)


# --- The version before ------------------------------------------------------------------------------------------


def forget_what_is_new() -> None:
    """As the version before stored its events."""
    for name in ("money_key", "occurred_at", "reference", "counterpart"):
        WebhookEvent.objects.update(**{name: None})


OLD_SAID = {name: LISTED[name] for name in ("as the webhook", "amount with a point", "no reference")}


@pytest.mark.parametrize("said", OLD_SAID)
@pytest.mark.parametrize("memo", ["{code} CT", "CT"])
def test_the_pull_knows_what_the_version_before_credited(reports: Reports, said: str, memo: str) -> None:
    code = str(reports.order.order_code)
    payload = reports.transfer(content=memo.format(code=code), description=f"{code} {memo.format(code=code)}")
    reports.webhook(payload)
    forget_what_is_new()
    reports.list(payload, **LISTED[said])
    assert pull_payments() == 0
    assert (balance_of(), waiting()) == (20, [])


def test_a_webhook_after_an_upgrade_knows_what_the_version_before_pulled(reports: Reports) -> None:
    payload = reports.transfer()
    reports.list(payload, amount_in=50_000.0)
    pull_payments()
    forget_what_is_new()
    Payment.objects.update(transfer_key="sepay:another")
    reports.webhook(payload)
    assert (balance_of(), waiting()) == (20, [])


def test_a_payment_whose_reports_are_gone_is_known_by_its_key(reports: Reports) -> None:
    payload = reports.transfer()
    reports.webhook(payload)
    WebhookEvent.objects.all().delete()
    reports.list(payload)
    pull_payments()
    assert balance_of() == 20


# --- Review keeps up ---------------------------------------------------------------------------------------------


UNREADABLE: dict[str, Any] = {
    "amount as text": lambda payload: json.dumps(payload | {"transferAmount": "50000"}),
    "amount with separators": lambda payload: json.dumps(payload | {"transferAmount": "50,000"}),
    "id as a fraction": lambda payload: json.dumps(payload | {"id": 1.5}),
    "no account": lambda payload: json.dumps({k: v for k, v in payload.items() if k != "accountNumber"}),
    "cut off": lambda payload: json.dumps(payload)[:-20],
    "not a number": lambda payload: json.dumps(payload | {"accumulated": float("nan")}),
}


@pytest.mark.parametrize("damage", UNREADABLE)
@pytest.mark.parametrize("order", ["wp", "pw"])
def test_an_unreadable_webhook_closes_itself_when_the_pull_credits(reports: Reports, damage: str, order: str) -> None:
    payload = reports.transfer()
    body = UNREADABLE[damage](payload).encode()
    reports.list(payload)
    for source in order:
        if source == "p":
            pull_payments()
        else:
            assert reports.send(body, key=None, **sign(body, int(time.time()))).status_code == 400
    assert (balance_of(), waiting()) == (20, [])
    closed = WebhookEvent.objects.get(event_id__startswith="unreadable")
    assert (closed.status, closed.payment) == ("ignored", reports.order)
    assert str(reports.order) in closed.error


@pytest.mark.parametrize("kind", ["payment.succeeded", "payment.refunded"])
def test_an_unreadable_event_of_a_shop_closes_itself_if_it_was_the_payment(
    site: str, make_order: MakeOrder, kind: str
) -> None:
    paid = {"payment_id": "p1", "order_code": make_order().order_code, "amount": 50_000}
    damaged = standard_event(kind, **paid | {"amount": "50000", "refund_id": "r1"})
    assert send_standard(site, damaged).status_code == 400
    assert send_standard(site, standard_event("payment.succeeded", **paid)).status_code == 200
    assert (balance_of(), len(waiting())) == (20, 0 if kind == "payment.succeeded" else 1)


def test_ids_of_two_providers_are_not_compared(site: str, reports: Reports) -> None:
    payload = reports.transfer()
    names = {"payment_id": str(payload["id"]), "order_code": reports.order.order_code}
    assert send_standard(site, standard_event("payment.succeeded", amount=50_000, **names)).status_code == 200
    reports.webhook(payload)
    assert (balance_of(), waiting()) == (40, [])


def test_an_unreadable_transfer_out_is_nobodys_twin(reports: Reports) -> None:
    payload = reports.transfer()
    body = json.dumps(payload | {"transferType": "out", "transferAmount": "50000"}).encode()
    assert reports.send(body, key=None, **sign(body, int(time.time()))).status_code == 400
    reports.webhook(payload | {"id": 5})
    assert (balance_of(), len(waiting())) == (20, 1)


def test_what_staff_credited_from_an_unreadable_event_is_known(reports: Reports) -> None:
    payload = reports.transfer()
    reports.webhook(payload | {"transferAmount": "50000"}, status=400)
    review.credit(event_key=waiting()[0].pk, username="alice", amount=Decimal(20), **BY)
    reports.list(payload)
    pull_payments()
    reports.webhook(payload)
    assert (balance_of(), waiting()) == (20, [])


def test_a_row_without_a_code_closes_when_its_webhook_brings_one(reports: Reports) -> None:
    reports.list(reports.transfer(content="nap tien"))
    reports.webhook(transfer("nobody", content="khac", transactionDate=ago(hours=2)))
    pull_payments()
    assert len(waiting()) == 2
    payload = reports.transfer(content="nap tien", referenceCode=reports.sepay.transfers[0]["reference_number"])
    reports.webhook(payload)
    assert balance_of() == 20
    (other,) = waiting()
    assert "khac" in bytes(other.body).decode()


def test_two_waiting_rows_of_which_one_is_credited(reports: Reports) -> None:
    """Staff match one with the order; the webhook that brings the code is the same money, the other row waits on."""
    payload = reports.transfer(content="nap tien", description="", **NO_REFERENCE)
    reports.list(payload)
    reports.list(payload)
    pull_payments()
    assert len(waiting()) == 2
    reports.webhook(payload | {"description": f"BankAPINotify {reports.order.order_code}"})
    assert (balance_of(), len(waiting())) == (20, 1)


def test_staff_cannot_credit_what_was_credited(reports: Reports) -> None:
    payload = reports.transfer()
    reports.webhook(payload)
    event = WebhookEvent.objects.get()
    for said in (payload, payload | {"transferAmount": "50000"}):
        body = json.dumps(said | {"id": f"07ad3dc9-{len(said)}"}).encode()
        late = WebhookEvent.objects.create(
            provider="sepay",
            event_id=f"late:{said['transferAmount']!r}",
            source="pull",
            body=body,
            body_sha256="",
            is_verified=True,
            status="review",
            received_at=event.received_at,
        )
        receipt, _ = read_receipt(late)
        WebhookEvent.objects.filter(pk=late.pk).update(**money_fields("sepay", receipt))
        with pytest.raises(AlreadyCredited, match=str(reports.order)):
            review.credit(event_key=late.pk, username="alice", amount=Decimal(20), **BY)
    assert balance_of() == 20


def test_replay_of_what_waits_is_not_taken_for_its_own_repetition(reports: Reports, settings: Any) -> None:
    settings.SEPAY_ACCOUNT_NUMBER = "another"
    reports.tell("wp", reports.transfer())
    settings.SEPAY_ACCOUNT_NUMBER = ""
    (event,) = waiting()
    assert review.replay(event_key=event.pk, **BY).status == "done"
    assert balance_of() == 20


@pytest.mark.parametrize(
    ("body", "amount"),
    [
        (
            b'{"transferType": "in", "transferAmount": "50.000", "transactionDate": "2026-11-22 10:00:00", "id": 7',
            50_000,
        ),
        (b'{"transferType": "in", "transferAmount": "5E4", "transactionDate": "2026-11-22T03:00:00Z"', 50_000),
        (b'{"transferType": "in", "transferAmount": "NaN", "transactionDate": "2026-11-22 10:00:00"', None),
        (b'{"transferType": "in", "transferAmount": 1e999999, "transactionDate": "2026-11-22 10:00:00"', None),
        (b'{"transferType": "in", "transferAmount": 50000, "transactionDate": "soon"', None),
        (b'{"transferType": "out", "transferAmount": "50000", "transactionDate": "2026-11-22 10:00:00"', None),
        (b"\xff\xfe", None),
    ],
)
def test_a_guess_at_a_body_that_cannot_be_read(body: bytes, amount: int | None) -> None:
    guess = get_provider("sepay").guess(body=body, headers={})
    assert (guess.amount if guess else None) == amount
    if guess:
        assert guess.occurred_at.isoformat() == "2026-11-22T10:00:00+07:00"


@pytest.mark.parametrize("said", ["as the webhook", "no reference", "no code at all"])
@pytest.mark.parametrize("sources", ["wp", "pw"])
def test_a_split_transfer_is_known_from_the_other_source(
    reports: Reports, make_order: MakeOrder, sources: str, said: str
) -> None:
    first, second = reports.order, make_order()
    payload = reports.transfer(content=f"{first} {second}", transferAmount=100_000)
    changes = {key: value for key, value in LISTED[said].items() if value is None or "{" not in value}
    reports.tell(sources[0], payload, **changes)
    split(event_key=waiting()[0].pk, parts=[Part(first, Decimal(50_000)), Part(second, Decimal(50_000))], **BY)
    for source in sources[1:] + sources:
        if source == "w":
            reports.webhook(payload)
        else:
            pull_payments()
    assert (balance_of(), waiting()) == (40, [])
    assert Payment.objects.filter(status="success").count() == 2


def test_what_may_repeat_credited_money_hides_no_other_transfer(reports: Reports, make_order: MakeOrder) -> None:
    """The bank sends one transfer under two ids; another one, without a code, is only in the list."""
    payload = reports.transfer(content=f"{reports.order} CHUYEN TIEN")
    reports.webhook(payload)
    reports.webhook(payload | {"id": 6_000_001})
    assert [event.payment for event in waiting()] == [reports.order]
    reports.list(payload)
    reports.list(reports.transfer(content="CHUYEN TIEN"), reference_number=None)
    pull_payments()
    repeated, unknown = sorted(waiting(), key=lambda event: event.source == "pull")
    review.dismiss(event_key=repeated.pk, **BY)
    pull_payments()
    assert [event.pk for event in waiting()] == [unknown.pk]
    review.match(event_key=unknown.pk, payment_key=make_order().pk, **BY)
    assert (balance_of(), waiting()) == (40, [])
