"""What customers ask support about requests and days, answered in a browser in so many clicks, as the role that may.

A click is a press of the mouse, or the Enter that sends a search. Each question begins on the dashboard, or where it
says. Pictures are kept in `var/screenshots/`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, expect

from accounts import credits
from accounts.models import Account, Balance
from books.daily_figures import refresh_figures
from payments import orders
from payments.inbox import review
from payments.models import Payment
from support.admin.display import account_url
from support.models import AuditEntry
from tests.e2e.test_admin_browser import WINDOWS, log_in_as, open_window, picture
from tests.factories import InsertUser
from tests.pages import save
from tests.proxy.requests import chat, post
from tests.serving import Server
from tests.support.conftest import send_money


@dataclass
class Desk:
    """A member of staff at work, who counts the clicks."""

    page: Page
    clicks: int = 0

    def click(self, thing: Locator) -> None:
        thing.click()
        self.clicks += 1

    def search(self, text: str) -> None:
        self.page.locator("#searchbar").fill(text)
        self.page.keyboard.press("Enter")
        self.clicks += 1

    def sidebar(self, name: str) -> None:
        self.click(self.page.locator("#nav-sidebar-apps").get_by_role("link", name=re.compile(rf"\b{name}$")))

    def pictures(self, name: str) -> None:
        """The page as it looks on a desk and on a phone, where nothing is wider than the window."""
        for window in ("phone", "desk"):
            self.page.set_viewport_size(WINDOWS[window])
            overflow = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 1, f"{name} is {overflow} pixels too wide on a {window}"
            picture(self.page, f"{name}-{WINDOWS[window]['width']}")


@pytest.fixture
def desk_of(browser: Browser, server: Server) -> Iterator[Callable[[str], Desk]]:
    """The dashboard of a new member of staff with a role; in the end, nothing went wrong in the browser."""
    contexts, problems = [], []

    def run(role: str) -> Desk:
        user = User.objects.create_user(role.replace(" ", ""), password="x", is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        page = open_window(browser, server)
        contexts.append(page.context)
        log_in_as(user, page, server)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto("/admin/")
        return Desk(page)

    yield run
    for context in contexts:
        context.close()
    assert problems == []


def log(request_id: str, *, seconds: float = 0, **fields: Any) -> str:
    """A request of yesterday noon by alice."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    document = {
        "_id": request_id,
        "userId": "alice",
        "creditType": "openhands",
        "endpoint": "/v1/chat/completions",
        "model": "claude-haiku-4-5",
        "inputTokens": 1200,
        "outputTokens": 50,
        "creditsCost": 0.02,
        "statusCode": 200,
        "isSuccess": True,
        "outcome": "ok",
        "latencyMs": 2000,
        "createdAt": noon + timedelta(seconds=seconds),
    }
    connection.database["request_logs"].insert_one(document | fields)
    return request_id


def test_402_though_i_have_25_dollars(desk_of: Callable[[str], Desk], server: Server, insert_user: InsertUser) -> None:
    hold = {"balance": "openhands", "amount": 0.5, "at": timezone.now()}
    insert_user("alice", creditsNew=0.001, credits=25, holds={"req_runs": hold})
    refused = post(server, chat(max_tokens=5000))
    assert refused.status == 402
    request_id = refused.headers["X-Request-Id"]

    desk = desk_of("Support")
    desk.sidebar("Requests")
    desk.search(request_id)
    why = desk.page.get_by_label("Why this request was refused")
    expect(why).to_contain_text("The OpenHands balance was short by $0.02")
    expect(why).to_contain_text("Another $0.50 of it was held by 1 request that ran then")
    expect(why).to_contain_text("The OhMyGPT balance had $25.00 then, which pays for OhMyGPT requests only.")
    expect(why).to_contain_text("5,000 output tokens")
    expect(why.get_by_role("row", name=re.compile("req_runs"))).to_contain_text("still holds it")
    assert desk.clicks <= 3
    desk.pictures("refusal")

    # The other way: from the account, by its timeline.
    desk.page.goto("/admin/accounts/account/alice/change/")
    timeline = desk.page.locator("#timeline")
    timeline.get_by_label("Kind").select_option("Refused")
    row = timeline.get_by_role("row", name=re.compile("insufficient credits"))
    expect(row).to_be_visible()
    desk.pictures("account-refused")
    row.get_by_role("link", name=re.compile("Refused: ")).click()
    expect(why).to_contain_text("The OpenHands balance was short")
    desk.sidebar("Refusals")
    expect(desk.page.get_by_role("row", name=re.compile("alice"))).to_contain_text("402 Too little on the balance")
    desk.pictures("refusals")


def test_charged_twice(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    first = log("req_" + "1a2b3c4d" * 4, outcome="client_disconnected")
    second = log("req_" + "5e6f7a8b" * 4, seconds=12.5)
    log("req_" + "99999999" * 4, seconds=20, inputTokens=3)

    desk = desk_of("Support")
    desk.sidebar("Requests")
    desk.search(first[:12])
    desk.click(desk.page.locator("#result_list tbody tr").get_by_role("link").first)
    twice = desk.page.get_by_label("Was it charged twice?")
    expect(twice).to_contain_text("One request, sent twice by the client: each sending was answered and charged, $0.04")
    row = twice.get_by_role("row", name=re.compile(second[:12]))
    expect(row).to_contain_text("12.5 s later")
    expect(row).to_contain_text("the same request, sent again by the client")
    assert desk.clicks <= 3
    desk.pictures("charged-twice")


def test_i_paid_30_minutes_ago(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    now = timezone.now()
    for name, ordered, minutes in (("alice", 20, 33), ("bob", 30, 31), ("carol", 20, 240)):
        insert_user(name)
        orders.create_order(account=Account.objects.get(pk=name), credits=ordered, now=now - timedelta(minutes=minutes))
    Payment.objects.filter(user_id="alice").update(bonus_percent=10)
    code = str(Payment.objects.get(user_id="alice").order_code)
    for number in range(12):
        send_money(f"NAP TIEN SO {number}", 40_000 + number)
    send_money("LE THI B chuyen khoan", 50_000)
    paid = send_money(f"Nguyễn Văn Đức ck {code[:6]}YY{code[8:]}", 50_000)

    desk = desk_of("Support")
    desk.click(desk.page.locator("#nav-sidebar-apps").get_by_role("link", name=re.compile("Webhook events")))
    expect(desk.page.get_by_role("row", name=re.compile("NAP TIEN SO"))).to_have_count(12)
    desk.search("50.000đ nguyen van duc")
    row = desk.page.locator("#result_list tbody tr")
    expect(row).to_have_count(1)
    for shown in ("50,000 VND", "worth $20.00", "Nguyễn Văn Đức ck", "MBVCB.", "no order", "just now", code):
        expect(row).to_contain_text(shown)
    desk.pictures("inbox-search")
    desk.click(row.get_by_role("link", name="Match").first)
    dialog = desk.page.get_by_role("dialog")
    for label, shown in (
        (f"Order {code}", "$20.00 for alice, Waiting for the money"),
        ("Price, and what came", "50,000 VND: as ordered"),
        ("Received", "$20.00 credited, and a bonus of $2.00"),
        ("OpenHands credits of alice", "$22.00"),
    ):
        expect(dialog.get_by_role("row", name=re.compile(label))).to_contain_text(shown)
    dialog.get_by_label("Reason").fill("Her bank's picture")
    desk.pictures("inbox-match")
    desk.click(dialog.get_by_role("button", name="Match now"))
    expect(desk.page.get_by_text(f"Matched with {code} of alice.")).to_be_visible()
    assert desk.clicks <= 4
    assert Account.objects.get(pk="alice").credits_new == 22
    assert AuditEntry.objects.get(action="match-event", target=str(paid.pk)).reason == "Her bank's picture"

    desk.page.goto("/admin/payments/webhookevent/?queue=waiting")
    desk.pictures("inbox")
    desk.page.locator("#result_list tbody tr").first.get_by_role("link", name="Take").click()
    dialog.get_by_role("button", name="Take now").click()
    expect(desk.page.get_by_text("You work on this event now.")).to_be_visible()
    desk.pictures("event")


def test_i_was_refunded_why_am_i_negative(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    insert_user("alice")
    order = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    send_money(str(order.order_code))
    spent = {"operation": "x", "actor": "staff:boss", "reason": "spent"}
    credits.adjust(username="alice", balance=Balance.OPENHANDS, amount=Decimal(-18), **spent)
    refund = {"amount": Decimal(50_000), "reference": "FT1", "actor": "staff:boss", "reason": "paid twice"}
    review.record_refund(payment_key=order.pk, **refund)

    desk = desk_of("Support")
    desk.sidebar("Payments")
    desk.search("alice")
    row = desk.page.locator("#result_list tbody tr")
    expect(row).to_contain_text("Refunded in full")
    desk.click(row.get_by_role("link").first)
    became = desk.page.get_by_label("What became of this payment")
    expect(became).to_contain_text("That is why the balance fell below zero")
    expect(became).to_contain_text("fell to -$18.00")
    expect(became.get_by_role("row", name=re.compile("Credits and bonus"))).to_contain_text("$0.00")
    assert desk.clicks <= 3
    desk.pictures("payment-refunded")
    desk.sidebar("Payments")
    desk.pictures("payments")


def test_who_burns_most_and_which_model_loses_money(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    for number in range(4):
        log(f"req_{number:032d}", seconds=number, creditsCost=2, ownCost=1.5)
    loss = log("req_" + "1055" * 8, creditsCost=0.5, ownCost=4, model="claude-opus-4-5", userId="bob")
    refresh_figures()

    desk = desk_of("Owner")
    desk.sidebar("Business")
    page = desk.page
    models = page.get_by_role("region", name="By model")
    row = models.get_by_role("row", name=re.compile("claude-opus-4-5"))
    expect(row).to_contain_text("-$3.50 (loses money)")
    customers = page.get_by_role("region", name="Top customers").get_by_role("row")
    expect(customers.nth(1)).to_contain_text("alice")
    expect(customers.nth(1)).to_contain_text("$8.00")
    expect(page.get_by_label("In short")).to_contain_text("Margin of use")
    expect(page.get_by_label("In short")).to_contain_text("-$1.50")
    desk.pictures("business")

    charged = page.get_by_role("figure", name="Charged, and the operator's cost")
    yesterday = charged.locator(".chart-day").nth(-2)
    expect(yesterday.locator(".chart-tip")).to_be_hidden()
    yesterday.locator(".chart-hit").hover()
    expect(yesterday.locator(".chart-tip")).to_be_visible()
    expect(yesterday.locator(".chart-tip")).to_contain_text("Charged: $8.50")
    charged.get_by_text("The values as a table").click()
    expect(charged.get_by_role("table").get_by_role("row").nth(-2)).to_contain_text("$8.50$10.00")

    desk.click(row.get_by_role("link", name="-$3.50 (loses money)"))
    expect(page.get_by_label("What these rows come to")).to_contain_text("-$3.50")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(page.locator("#result_list tbody tr")).to_contain_text(loss[:16])
    assert desk.clicks <= 2

    others = desk_of("Billing admin").page
    expect(others.get_by_text("Credits sold and spent").first).to_be_visible()
    expect(others.get_by_role("link", name="Business")).to_have_count(0)


def test_what_cost_me_5_dollars_yesterday(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    for number in range(60):
        log(f"req_{number:032d}", seconds=number, creditsCost=0.01)
    dear = log("req_" + "dead" * 8, creditsCost=4.4, model="claude-opus-4-5", seconds=-30)
    log("req_today", createdAt=timezone.now(), creditsCost=9)

    desk = desk_of("Support")
    desk.sidebar("Requests")
    desk.search("alice")
    desk.click(desk.page.get_by_role("link", name="Yesterday", exact=True))
    desk.click(desk.page.get_by_role("link", name="Dearest first"))
    totals = desk.page.get_by_label("Totals of these requests")
    expect(totals).to_contain_text("$5.00")
    expect(totals).to_contain_text("claude-opus-4-5 $4.40 (1) · claude-haiku-4-5 $0.60 (60)")
    expect(desk.page.locator("#result_list tbody tr").first).to_contain_text(dear[:16])
    assert desk.clicks <= 4
    desk.pictures("requests-yesterday")


def test_3_more_days_please(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    until = timezone.now().replace(microsecond=0) + timedelta(days=2)
    insert_user("alice", creditsNew=5, expiresAt=until)
    desk = desk_of("Billing admin")
    desk.page.goto("/admin/accounts/account/alice/change/")
    desk.click(desk.page.get_by_role("link", name="+3 days"))
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("The customer asked for it")
    desk.click(dialog.get_by_role("button", name="Preview"))
    expect(dialog.get_by_role("row", name=re.compile("Expiry"))).to_contain_text(
        f"{until + timedelta(days=3):%Y-%m-%d}"
    )
    picture(desk.page, "3-more-days")
    desk.click(dialog.get_by_role("button", name="Set now"))
    expect(desk.page.get_by_text("The credits now expire at")).to_be_visible()
    assert desk.clicks <= 4
    assert Account.objects.get(pk="alice").expiry == until + timedelta(days=3)
    assert AuditEntry.objects.get(action="expiry").reason == "The customer asked for it"


def test_support_sees_who_may_give_more_days(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5, expiresAt=timezone.now() + timedelta(days=2))
    desk = desk_of("Support")
    desk.page.goto("/admin/accounts/account/alice/change/")
    summary = desk.page.get_by_label("Credits of this account")
    expect(summary.get_by_role("button", name="+3 days")).to_be_disabled()
    expect(summary).to_contain_text("Billing admin or Owner only")
    expect(desk.page.get_by_role("button", name="Set the expiry")).to_be_disabled()
    expect(desk.page.locator("#timeline table")).to_be_visible()
    desk.pictures("account-of-support")


def test_who_changed_what(desk_of: Callable[[str], Desk], insert_user: InsertUser, prices: None) -> None:
    """As Support and as the viewer: from the dashboard to the audit of an account after a rotation, and of a price."""
    insert_user("alice", creditsNew=5)
    client = Client()
    client.force_login(User.objects.create_superuser("sue"))
    rotate = "/admin/support/do/account/alice/rotate-key/"
    shown = client.post(rotate, {"token": client.get(rotate).context["token"], "reason": "It leaked"})
    client.post(rotate, {"token": shown.context["token"], "reason": "It leaked", "confirm": "1"})
    price = "/admin/proxy/modelprice/openhands_2Fclaude-haiku-4-5-20251001/change/"
    form = {"aliases": "[]", "input_price": "2", "output_price": "9", "multiplier": "1", "is_active": "on"}
    save(client, price, {**form, "display_name": "Haiku", "reason": "The vendor asks more"})
    for role in ("Support", "Viewer"):
        desk = desk_of(role)
        desk.sidebar("Accounts")
        desk.click(desk.page.get_by_role("link", name="alice", exact=True))
        desk.click(desk.page.get_by_role("link", name="History"))
        row = desk.page.locator("#result_list tr", has_text="rotate-key")
        expect(row).to_contain_text("staff:sue")
        expect(row).to_contain_text("It leaked")
        assert desk.clicks <= 3
        desk.pictures(f"history-{role}")
        # With the search box, it is found in one click, and its audit in another.
        desk.clicks = 0
        desk.page.locator("#search-everything").fill("alice")
        desk.page.keyboard.press("Enter")
        desk.clicks += 1
        desk.click(desk.page.get_by_role("link", name="Audit", exact=True).last)
        expect(desk.page.get_by_role("row", name=re.compile("rotate-key"))).to_contain_text("It leaked")
        assert desk.clicks <= 3

        desk.clicks = 0
        desk.sidebar("Prices")
        desk.click(desk.page.locator("#result_list a[href*='openhands_2Fclaude-haiku']").first)
        desk.click(desk.page.get_by_role("link", name="History"))
        expect(desk.page.locator("#result_list tr", has_text="The vendor asks more")).to_contain_text("Haiku")
        assert desk.clicks <= 3


def test_the_page_of_an_account(desk_of: Callable[[str], Desk], insert_user: InsertUser) -> None:
    """Its name, its tabs, a note, and what can be copied; as Support, by whom the note is kept."""
    name = "An Nguyen with a Very Long Name and-no-place-to-break-it-" + "x" * 60
    insert_user(name, creditsNew=5, credits=1, discordId="123456789012345678")
    log("req_" + "1a2b3c4d" * 4, userId=name)
    desk = desk_of("Support")
    desk.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    desk.page.goto(account_url(name))
    expect(desk.page.get_by_role("heading", level=1)).to_have_text(name)
    assert desk.page.get_by_role("heading", level=1).count() == 1
    heading, balances, timeline = (
        desk.page.locator(one).bounding_box() for one in (".account-heading", ".account-summary", "#timeline")
    )
    assert heading["y"] < balances["y"] < timeline["y"] < 700  # type: ignore[index]
    expect(desk.page.locator("#timeline table")).to_be_visible()
    desk.pictures("account-long-name")

    for label, text in ((f"Copy the account name {name[:20]}", name), ("Copy the Discord id", "123456789012345678")):
        desk.page.get_by_role("button", name=label).focus()
        desk.page.keyboard.press("Enter")
        expect(desk.page.locator("#page-status")).to_have_text(re.compile("^Copied the .*"))
        assert desk.page.evaluate("navigator.clipboard.readText()") == text

    desk.page.get_by_role("link", name="Write a note").click()
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_label("Note").fill("Pays by hand.\nAsk Binh first.")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("button", name="Keep now").click()
    expect(desk.page.locator(".newest-note")).to_contain_text("Ask Binh first.")
    tabs = desk.page.get_by_role("navigation", name="About this account")
    for tab, shown in {
        "Payments": "This account has ordered nothing.",
        "Requests": "req_1a2b3c4d1a2b…",
        "Refusals": "No refused request of this account is kept.",
        "Events": "No event of a provider belongs to a payment",
        "Audit": "note-account",
        "Notes": "Pays by hand.",
        "Details": "You can read this, but not change it. Change role and Discord id: ",
    }.items():
        tabs.get_by_role("link", name=tab).click()
        expect(tabs.get_by_role("link", name=tab)).to_have_attribute("aria-current", "page")
        expect(desk.page.locator(".account-page")).to_contain_text(shown)
        desk.pictures(f"account-tab-{tab}")
