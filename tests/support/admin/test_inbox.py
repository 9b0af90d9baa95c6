"""The inbox: money is found by whatever a customer says of it, and matched from the list, by who may."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from accounts.errors import BillingError
from accounts.models import Account
from payments import orders
from payments.inbox import assignment, search
from payments.inbox.search import amounts_of, find_events
from payments.models import Payment, WebhookEvent
from payments.orders.search import Sought, suggest_for_each
from support.models import AuditEntry
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import text_of
from tests.payments.conftest import transfer
from tests.support.actions.test_desk import do, url
from tests.support.conftest import send_money

EVENTS = "/admin/payments/webhookevent/"
Order = Callable[..., Payment]


@pytest.fixture
def order(insert_user: InsertUser) -> Order:
    """An order of an account, made some minutes ago."""

    def run(name: str, credits: int = 20, *, minutes: int = 0) -> Payment:
        if not Account.objects.filter(pk=name).exists():
            insert_user(name)
        now = timezone.now() - timedelta(minutes=minutes)
        return orders.create_order(account=Account.objects.get(pk=name), credits=credits, now=now)

    return run


def found(client: Client, text: str, **filters: str) -> list[str]:
    """The event ids that a search of the inbox shows."""
    response = client.get(EVENTS, {"q": text, **filters})
    assert response.status_code == 200
    return sorted(event.event_id for event in response.context["cl"].result_list)


def test_an_event_is_found_by_all_that_people_know_of_it(admin_client: Client, order: Order) -> None:
    order("alice")
    code = "NAPWEBQVRJQ"  # One of twenty has no digit.
    Payment.objects.update(order_code=code)
    event, other = send_money(f"Nguyễn Văn Đức ck {code[:6]}YY{code[8:]}", 51_000), send_money("TRAN THI B", 1_250_000)
    WebhookEvent.objects.filter(pk=event.pk).update(assigned_to="staff:samantha")
    at = WebhookEvent.objects.get(pk=event.pk).occurred_at or datetime.now(UTC)
    reference = f"MBVCB.{event.event_id}"
    vietnam = at.astimezone(ZoneInfo("Asia/Ho_Chi_Minh"))
    this = [
        *("51000", "51.000", "51,000", "51 000", "51k", "51K", "51.000đ", "51.000 VND", "51000 vnd", "$20.40", "20.4"),
        *("nguyen van duc", "NGUYỄN VĂN ĐỨC", "văn đức", "Duc ck", "nguyenvanduc"),
        *(f"{at:%H:%M:%S} samantha", f"{vietnam:%H:%M} 51k", f"{at:%d/%m/%Y} samantha", f"{at:%Y-%m-%d} 51k"),
        *(reference, reference.lower(), f"51k {reference[-5:]}", event.event_id),
        *("samantha", "staff:samantha"),
        *(code, code.lower(), f"{code[:3]}-{code[3:7]}-{code[7:]}", f"{code[:6]}yy{code[8:]}"),
        *("51.000 nguyen", f"duc {reference[-4:]} 51k", "no code samantha"),
    ]
    assert {text: find_events(text).keys for text in this} == {text: [event.pk] for text in this}
    neither = ["61000", "nguyen 61000", "tran duc", ".*", "zoe", "5100", "2", "NAP9999999Z", "(", "…", "١"]
    assert {text: find_events(text).keys for text in neither} == {text: [] for text in neither}
    both = [event.event_id, other.event_id]
    assert found(admin_client, "holds no code of an order", queue="waiting") == both
    assert found(admin_client, "1.250.000") == [other.event_id]

    # What does not wait any more is found by its amount, and whatever else is known of it.
    do(admin_client, url(event, "dismiss-event"), reason="private")
    assert found(admin_client, "51.000 duc") == [event.event_id]
    assert found(admin_client, "51.000 tran") == []
    assert found(admin_client, "51.000", queue="waiting") == []


def test_what_was_not_searched_is_said(
    admin_client: Client, order: Order, monkeypatch: pytest.MonkeyPatch, insert_user: InsertUser
) -> None:
    monkeypatch.setattr(search, "MOST_SEARCHED", 1)
    send_money("first")
    assert "More events wait" not in text_of(admin_client.get(EVENTS, {"q": "first"}))
    send_money("second")
    shown = text_of(admin_client.get(EVENTS, {"q": "first"}))
    assert "More events wait than are searched by their texts" in shown


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("1.250", {"1.25", "1250"}),
        ("1,250.50", {"1250.5"}),
        ("1.250,50", {"1250.5"}),
        ("2tr", {"2000000"}),
        ("1,5 tr", {"1500000"}),
        ("50 000 đ", {"50000"}),
        ("€12", {"12"}),
        ("0", set()),
        ("-5", set()),
        ("1e5", set()),
        ("14:05", set()),
        ("5" * 40, set()),
        ("k", set()),
    ],
)
def test_amounts_are_read_in_every_way_in_which_they_may_be_meant(text: str, amounts: set[str]) -> None:
    assert {f"{one.normalize():f}" for one in amounts_of(text)} == amounts


def test_orders_are_suggested_in_the_list_to_who_may_match(log_in: LogIn, order: Order) -> None:
    alices = order("alice", minutes=40)
    order("bob", 30)
    send_money("nap tien")
    send_money("khong", 77_000)
    shown = log_in("Support").get(f"{EVENTS}?queue=waiting").content.decode()
    address = re.search(r'href="(/admin/support/do/event/\w+/match-event/\?order=\w+)"', shown)
    assert address
    assert shown.count("/match-event/") == 2  # Once as the address, once for the script: one order fits one event.
    assert str(alices) in shown
    assert "None fits" in shown
    viewer = log_in("Viewer", "vic")
    seen = viewer.get(f"{EVENTS}?queue=waiting").content.decode()
    assert str(alices) in seen
    assert "/match-event/" not in seen
    assert "/take-event/" not in seen
    assert viewer.get(address[1]).status_code == 403


def test_a_suggested_order_opens_with_the_preview_and_asks_for_the_reason(log_in: LogIn, order: Order) -> None:
    dear = order("alice", 100)
    Payment.objects.update(bonus_percent=10)
    event = send_money("nap tien")
    support = log_in("Support")
    address = f"{url(event, 'match-event')}?order={dear.pk}"
    response = support.get(address)
    shown = text_of(response)
    assert f"Order {dear} $100.00 for alice, Waiting for the money $20.00 credited by the rules" in shown
    assert "250,000 VND 50,000 VND: 200,000 VND less than ordered, so no bonus" in shown
    assert "Received 50,000 VND, worth $20.00 $20.00 credited" in shown
    assert "OpenHands credits of alice $0.00 $20.00" in shown
    assert Account.objects.get().credits_new == 0

    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode()))
    assert "reason" not in hidden
    sent = {**hidden, "confirm": "1"}
    unreasoned = text_of(support.post(url(event, "match-event"), {**sent, "reason": " "}))
    assert "This field is required." in unreasoned
    assert "$20.00 credited by the rules" in unreasoned
    other = order("alice", 20)
    swapped = support.post(url(event, "match-event"), {**sent, "order": str(other.pk), "reason": "phoned"})
    assert "These are not the values of the preview." in text_of(swapped)
    assert Account.objects.get().credits_new == 0
    for _ in range(2):
        support.post(url(event, "match-event"), {**sent, "reason": "phoned"})
    assert Account.objects.get().credits_new == 20
    assert AuditEntry.objects.get(action="match-event", outcome="done").reason == "phoned"
    assert f"{dear} of alice" in text_of(support.get(EVENTS))
    assert "does not wait for a decision (any more). staff:sam has decided" in text_of(support.get(address))
    told = text_of(do(log_in("Billing admin", "boss"), url(event, "match-event"), order=str(other.pk), reason="me too"))
    assert "does not wait for a decision (any more). staff:sam has decided about it: Done." in told


def test_what_was_not_looked_for_is_not_said_to_fit_nothing(order: Order) -> None:
    now = timezone.now()
    for minutes in (1, 2, 3):
        order("alice", minutes=minutes)
    old = order("bob", minutes=60 * 24 * 9)
    text: Any = {"text": "", "amount": old.amount, "currency": "VND"}
    sought = [Sought(at=now - timedelta(days=9) + timedelta(minutes=5), **text), Sought(at=now, **text)]
    both = suggest_for_each(sought)
    assert [len(one or []) for one in both] == [1, 3]
    assert suggest_for_each(sought, most_orders=2)[0] is None
    assert len(suggest_for_each(sought, most_orders=2)[1] or []) == 2
    assert suggest_for_each([]) == []


def test_the_list_shows_what_odd_events_tell_too(admin_client: Client, order: Order) -> None:
    now = timezone.now()
    kept: Any = {"is_verified": True, "status": "review", "received_at": now, "error": "odd", "headers": {}}
    cut = json.dumps(transfer("NAPCUT", 76_000))[:-20].encode()
    refund = {"refund_id": "re_7", "payment_id": "p1", "amount": 20, "currency": "USD"}
    back = {"type": "payment.refunded", "timestamp": "2026-11-20T10:00:00Z", "data": refund}
    for name, provider, body, headers in (
        ("cut", "sepay", cut, {}),
        ("noise", "sepay", b"\xff\xfe <b>", {}),
        ("gone", "acme", b'{"amount": 5, "note": "Dang Thi H"}', {}),
        ("back", "standard", json.dumps(back).encode(), {"webhook-id": "back"}),
    ):
        WebhookEvent.objects.create(**kept | {"event_id": name, "provider": provider, "body": body, "headers": headers})
    WebhookEvent.objects.filter(event_id="noise").update(is_verified=False)
    response = admin_client.get(f"{EVENTS}?queue=waiting")
    rows = re.findall(r"<tr.*?</tr>", response.content.decode(), re.S)
    words = {"cut": "76,000 VND", "noise": "noise", "gone": "gone", "back": "re_7"}
    shown = {name: next(row for row in rows if text in row) for name, text in words.items()}
    assert "perhaps: the body cannot be read" in shown["cut"]
    assert "MBVCB." in shown["cut"]
    assert "Not verified" in shown["noise"]
    assert "odd" in shown["gone"]
    assert "went back" in shown["back"]
    assert "2026-11-20 10:00:00" in shown["back"]
    assert "<b>" not in response.content.decode()
    assert found(admin_client, "76k") == ["cut"]
    assert found(admin_client, "đặng thị h") == ["gone"]
    assert found(admin_client, "re_7") == ["back"]


def test_of_several_who_take_it_the_others_are_told_who_has_it(order: Order, in_threads: InThreads) -> None:
    event = send_money("nap tien")

    def act(index: int) -> str:
        try:
            assignment.take(event_key=event.pk, actor=f"staff:{index}")
        except BillingError as error:
            return str(error)
        return "taken"

    told = in_threads(4, act)
    event.refresh_from_db()
    assert sorted(told) == sorted(["taken", *[f"{event.assigned_to} works on this event already."] * 3])
