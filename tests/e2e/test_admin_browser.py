"""Support staff at work, in a real browser (Debian's chromium, without a screen) against gunicorn as in production.

Pictures of every page are kept in `var/screenshots/`.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from django.conf import global_settings, settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

from accounts import credits
from accounts.api_keys import create_key
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from accounts.models import Account
from payments import orders
from payments.inbox import review
from payments.models import Payment, Promotion, WebhookEvent
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.serving import Server
from tests.support.conftest import send_money

PICTURES: Path = settings.BASE_DIR / "var" / "screenshots"
PASSWORD = "a-long-staff-password"
WINDOWS: dict[str, ViewportSize] = {
    "phone": {"width": 390, "height": 900},
    "desk": {"width": 1280, "height": 900},
}


def open_window(browser: Browser, server: Server, **options: Any) -> Page:
    """A window as wide as a desk's, with options of a browser's context."""
    context = browser.new_context(viewport=WINDOWS["desk"], base_url=server.site, **options)
    context.set_default_timeout(15_000)
    return context.new_page()


def log_in_as(user: User, page: Page, server: Server) -> None:
    """Give a window a session of this user, without the log-in page."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": server.site}])


@pytest.fixture
def window(browser: Browser, server: Server) -> Iterator[Page]:
    """An empty window; in the end, nothing foreign was asked and nothing went wrong."""
    page = open_window(browser, server)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if _is_ours(request.url, server) else problems.append(request.url))
    yield page
    page.context.close()
    assert problems == []


@pytest.fixture
def staff(window: Page, server: Server) -> Page:
    """The window of a superuser who is logged in."""
    log_in_as(User.objects.create_superuser("sam"), window, server)
    return window


def _is_ours(url: str, server: Server) -> bool:
    return url.startswith((server.site, "data:", "blob:"))


@pytest.fixture
def alice(insert_user: InsertUser) -> str:
    insert_user("alice", credits=10, creditsNew=2.5, expiresAt=timezone.now() + timedelta(days=3))
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay", reason="Order NAP20X")
    return "alice"


def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(PICTURES / f"{name}.png"), full_page=True)


def open_account(page: Page, name: str) -> None:
    page.goto("/admin/accounts/account/")
    page.locator("#searchbar").fill(name)
    page.keyboard.press("Enter")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("#timeline table")).to_be_visible()


def start_transfer(page: Page, amount: str) -> None:
    page.get_by_role("link", name="Transfer credits").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("From OhMyGPT to OpenHands").check()
    dialog.get_by_label("Amount (USD)").fill(amount)
    dialog.get_by_label("Reason").fill("Customer asked on Discord")
    dialog.get_by_role("button", name="Preview").click()


def balances() -> tuple[Decimal, Decimal]:
    account = Account.objects.get(pk="alice")
    return account.credits_new, account.credits


def test_log_in_and_out(window: Page) -> None:
    with override_settings(PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):
        User.objects.create_superuser("sam", password=PASSWORD)
    window.goto("/admin/")
    for password in ("wrong", PASSWORD):
        window.get_by_label("Username").fill("sam")
        window.get_by_label("Password").fill(password)
        window.get_by_role("button", name="Log in").click()
    expect(window.get_by_role("heading", name="Dashboard")).to_be_visible()
    assert list(AuditEntry.objects.order_by("at").values_list("outcome", flat=True)) == ["refused", "done"]


def test_find_an_account_and_transfer_credits(staff: Page, alice: str) -> None:
    open_account(staff, "alice")
    expect(staff.get_by_text("$22.50").first).to_be_visible()

    start_transfer(staff, "4")
    changed = staff.get_by_role("dialog").get_by_role("row", name=re.compile("OpenHands credits"))
    expect(changed).to_contain_text("$22.50")
    expect(changed).to_contain_text("$26.50")
    picture(staff, "transfer-preview")
    staff.get_by_role("button", name="Transfer now").click()

    expect(staff.get_by_text("Transferred $4.00 from OhMyGPT to OpenHands.")).to_be_visible()
    summary = staff.get_by_label("Credits of this account")
    expect(summary).to_contain_text("$26.50")
    expect(summary).to_contain_text("$6.00")
    timeline = staff.locator("#timeline")
    expect(
        timeline.get_by_role("row", name=re.compile(r"OpenHands Transfer \+\$4\.00 \$26\.50 staff:sam"))
    ).to_be_visible()
    expect(timeline.get_by_role("row", name=re.compile(r"OhMyGPT Transfer -\$4\.00 \$6\.00"))).to_be_visible()
    picture(staff, "account")
    assert balances() == (Decimal("26.5"), 6)


def test_a_pasted_whole_key_never_stands_in_an_address(staff: Page, alice: str) -> None:
    addresses: list[str] = []
    staff.on("request", lambda request: addresses.append(request.url))
    staff.goto("/admin/accounts/account/")
    staff.locator("#searchbar").fill(key_of("alice"))
    staff.keyboard.press("Enter")
    expect(staff.get_by_label("Credits of this account")).to_be_visible()
    assert not any(key_of("alice") in address for address in addresses)


def test_a_double_click_transfers_once(staff: Page, alice: str) -> None:
    open_account(staff, "alice")
    start_transfer(staff, "4")
    staff.get_by_role("button", name="Transfer now").dblclick()
    expect(staff.get_by_text(re.compile("Transferred|done already"))).to_be_visible()
    assert balances() == (Decimal("26.5"), 6)
    assert AuditEntry.objects.filter(action="transfer").count() == 1


def test_a_refusal_is_a_sentence_in_the_dialog(staff: Page, alice: str) -> None:
    open_account(staff, "alice")
    start_transfer(staff, "11")
    expect(staff.get_by_role("alert")).to_have_text("Only $10.00 of the OhMyGPT credits is available.")
    picture(staff, "transfer-refused")
    staff.get_by_role("dialog").get_by_label("Amount (USD)").fill("10")
    staff.get_by_role("button", name="Preview").click()
    expect(staff.get_by_role("button", name="Transfer now")).to_be_visible()
    staff.get_by_role("button", name="Back", exact=True).click()
    expect(staff.get_by_role("dialog").get_by_label("Amount (USD)")).to_have_value("10")
    staff.get_by_role("link", name="Cancel").click()
    expect(staff.get_by_role("dialog")).to_be_hidden()
    assert balances() == (Decimal("22.5"), 10)


def test_what_the_server_did_not_answer_is_said_in_the_dialog(
    staff: Page, alice: str, browser: Browser, server: Server
) -> None:
    context = browser.new_context(storage_state=staff.context.storage_state(), base_url=server.site)
    page = context.new_page()  # A window of its own: a browser reports every refused answer as an error.
    open_account(page, "alice")
    page.get_by_role("link", name="Transfer credits").click()
    expect(page.get_by_role("button", name="Preview")).to_be_visible()
    connection.database["usersNew"].delete_one({"_id": "alice"})
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("This is not there any more.")
    expect(page.get_by_role("button", name="Show the page again")).to_be_visible()
    context.close()


def test_what_of_the_timeline_did_not_load_is_said_in_its_place(
    staff: Page, alice: str, browser: Browser, server: Server
) -> None:
    context = browser.new_context(storage_state=staff.context.storage_state(), base_url=server.site)
    page = context.new_page()
    open_account(page, "alice")
    timeline = page.locator("#timeline")
    context.set_offline(True)
    for _ in range(2):  # Told once, however often it fails.
        timeline.get_by_role("button", name="Show").click()
        expect(timeline.get_by_role("alert")).to_contain_text("The server did not answer this. Try again")
    expect(timeline.get_by_role("row", name=re.compile("Purchase"))).to_be_visible()
    picture(page, "timeline-not-loaded")
    context.set_offline(False)
    timeline.get_by_role("button", name="Show").click()
    expect(timeline.get_by_role("alert")).to_have_count(0)
    connection.database["usersNew"].delete_one({"_id": "alice"})
    timeline.get_by_role("button", name="Show").click()
    expect(timeline.get_by_role("alert")).to_have_text("This is not there any more.")
    context.close()


def test_a_new_key_is_shown_once(staff: Page, alice: str) -> None:
    open_account(staff, "alice")
    staff.get_by_role("link", name="Replace the API key").click()
    staff.get_by_role("dialog").get_by_label("Reason").fill("Leaked")
    staff.get_by_role("button", name="Preview").click()
    staff.get_by_role("button", name="Replace now").click()
    expect(staff.locator(".whole-key")).to_have_text(re.compile("^sk-trollllm-[0-9a-f]{64}$"))
    key = staff.locator(".whole-key").inner_text()
    staff.get_by_role("link", name="I have copied it").click()
    expect(staff.locator("#timeline table")).to_be_visible()
    assert key not in staff.content()


def test_a_line_of_use_opens_to_its_requests(staff: Page, alice: str) -> None:
    connection.database["request_logs"].insert_many(
        {"_id": f"r{index}", "userId": "alice", "model": "sonnet", "creditsCost": 0.25, "createdAt": timezone.now()}
        for index in range(3)
    )
    open_account(staff, "alice")
    staff.get_by_role("button", name="Use: sonnet").click()
    expect(staff.locator(".timeline-requests li")).to_have_count(3)


@pytest.fixture
def order(alice: str) -> Payment:
    """An open order of 20 USD by alice, whose money came with a memo that names no order."""
    order = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    assert send_money("nap tien").status == "review"
    return order


def queue_link(page: Page) -> Locator:
    """The sidebar's link to the webhook events, which carries the badge."""
    return page.locator("#nav-sidebar-apps").get_by_role("link", name="Webhook events")


def open_match_dialog(page: Page, order: str) -> None:
    """From the badge in the sidebar to the event that waits, and to the dialog that matches it."""
    page.goto("/admin/")
    expect(queue_link(page)).to_contain_text("1")
    queue_link(page).click()
    page.get_by_role("row", name=re.compile("Needs review")).get_by_role("link").first.click()
    expect(page.get_by_text("nap tien").first).to_be_visible()
    page.get_by_role("link", name="Match with an order").click()
    fill_match_dialog(page, order)


def fill_match_dialog(page: Page, order: str) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Order code or payment id").fill(order)
    dialog.get_by_label("Reason").fill("Customer sent the receipt")
    dialog.get_by_role("button", name="Preview").click()


def test_money_in_review_is_matched_with_its_order(staff: Page, order: Payment) -> None:
    open_match_dialog(staff, "NOPE")
    expect(staff.get_by_role("alert")).to_have_text("No payment has the order code or id 'NOPE'.")
    fill_match_dialog(staff, str(order.order_code))
    expect(staff.get_by_role("dialog")).to_contain_text("$20.00 for alice")
    picture(staff, "review-match")
    assert balances() == (Decimal("22.5"), 10)
    staff.get_by_role("button", name="Match now").click()

    expect(staff.get_by_text(re.compile("Matched with .* of alice"))).to_be_visible()
    expect(queue_link(staff)).not_to_contain_text("1")
    expect(staff.get_by_role("link", name="Match with an order")).to_have_count(0)
    open_account(staff, "alice")
    expect(staff.get_by_label("Credits of this account")).to_contain_text("$42.50")
    assert balances() == (Decimal("42.5"), 10)
    entry = AuditEntry.objects.get(action="match-event", outcome="done")
    assert (entry.actor, entry.reason) == ("staff:sam", "Customer sent the receipt")


def test_money_that_somebody_else_dismissed_meanwhile_is_not_credited(staff: Page, order: Payment) -> None:
    open_match_dialog(staff, str(order.order_code))
    expect(staff.get_by_role("button", name="Match now")).to_be_visible()
    review.dismiss(event_key=WebhookEvent.objects.get().pk, actor="staff:sue", reason="A private transfer")
    staff.get_by_role("button", name="Match now").click()
    told = "This event does not wait for a decision (any more). staff:sue has decided about it: Ignored."
    expect(staff.get_by_role("alert")).to_have_text(told)
    picture(staff, "review-refused")
    assert balances() == (Decimal("22.5"), 10)


def test_a_price_is_changed_in_its_tabs(staff: Page, prices: None) -> None:
    staff.goto("/admin/proxy/modelprice/openhands_2Fclaude-haiku-4-5-20251001/change/")
    expect(staff.get_by_text("$0.01155, for 10,000 input tokens")).to_be_visible()
    staff.locator("nav a", has_text="Tiers and options").click()
    staff.get_by_label("Tiers by input size").fill('[{"input": "2"}]')
    staff.locator("nav a", has_text="Operator's cost").click()
    staff.get_by_label("Own input", exact=True).fill("1")
    staff.get_by_label("Own output", exact=True).fill("5")
    picture(staff, "price-own-cost")
    staff.get_by_label("Reason").fill("The vendor's new tier")
    staff.get_by_role("button", name="Preview", exact=True).click()
    staff.locator("nav a", has_text="Tiers and options").click()
    expect(staff.get_by_text("Tier 1: 'above' must be a whole number")).to_be_visible()
    picture(staff, "price-refused")
    staff.get_by_label("Tiers by input size").fill('[{"above": 200000, "input": "2", "own": {"input": "2"}}]')
    staff.get_by_label("Input", exact=True).fill("10")
    staff.get_by_role("button", name="Preview", exact=True).click()
    expect(staff.get_by_role("row", name="Input 1 10", exact=True)).to_be_visible()
    picture(staff, "price-preview")
    staff.get_by_role("button", name="Back").click()
    expect(staff.get_by_label("Input", exact=True)).to_have_value("10")
    staff.get_by_role("button", name="Preview", exact=True).click()
    staff.get_by_role("button", name="Save now").click()
    words = "A sample request costs $0.0399 (the operator pays $0.015) now, it was $0.01155."
    expect(staff.get_by_text(words)).to_be_visible()
    picture(staff, "price-saved")


PAGES = {
    "dashboard": "/admin/",
    "help": "/admin/support/help/",
    "accounts": "/admin/accounts/account/",
    "account-page": "/admin/accounts/account/alice/change/",
    "ledger": "/admin/accounts/ledgerentry/",
    "payments": "/admin/payments/payment/",
    "webhook-events": "/admin/payments/webhookevent/",
    "requests": "/admin/proxy/requestlog/",
    "prices": "/admin/proxy/modelprice/",
    "audit": "/admin/support/auditentry/",
    "staff-users": "/admin/auth/user/",
    "home": "/",
}
SWITCH_AND_MEASURE = """isDark => {
    document.documentElement.classList.toggle("dark", isDark);
    return document.documentElement.scrollWidth - window.innerWidth;
}"""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def test_every_page_fits_and_asks_nobody_else(staff: Page, alice: str) -> None:
    details = _insert_history()
    for name, address in (PAGES | details).items():
        staff.set_viewport_size(WINDOWS["phone"])
        staff.emulate_media(color_scheme="light")
        response = staff.goto(address)
        assert response is not None
        assert response.status == 200, address
        if name == "account-page":
            expect(staff.locator("#timeline table")).to_be_visible()
        _check_layout(staff, name, has_pictures=name in PAGES)
    staff.goto("/admin/")
    expect(staff.locator("html")).to_have_class(re.compile(r"\bdark\b"))
    staff.context.clear_cookies()
    staff.goto("/admin/login/")
    _check_layout(staff, "log-in", has_pictures=True)


def _check_layout(page: Page, name: str, *, has_pictures: bool) -> None:
    """Nothing is wider than the window, on a phone or a desk, light or dark; a page takes the window that it gets.

    The class is what Unfold sets when it loads; loading again takes longer.
    """
    for kind, window in WINDOWS.items():
        page.set_viewport_size(window)
        width = window["width"]
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            overflow = page.evaluate(SWITCH_AND_MEASURE, scheme == "dark")
            assert overflow <= 1, f"{name} is {overflow} pixels too wide at {width}, {scheme}"
            if has_pictures and (kind, scheme) != ("phone", "dark"):
                picture(page, f"{name}-{width}-{scheme}")


def test_a_dialog_fits_on_a_phone(staff: Page, alice: str) -> None:
    staff.set_viewport_size({"width": 390, "height": 800})
    staff.goto("/admin/accounts/account/alice/change/")
    start_transfer(staff, "4")
    expect(staff.get_by_role("button", name="Transfer now")).to_be_visible()
    box = staff.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    picture(staff, "transfer-preview-390-light")


def test_another_kind_keeps_the_date_of_the_timeline(staff: Page, alice: str) -> None:
    open_account(staff, "alice")
    timeline, today = staff.locator("#timeline"), f"{timezone.now():%Y-%m-%d}"
    timeline.get_by_label("Up to").fill(today)
    expect(timeline.get_by_label("Up to")).to_have_value(today)
    timeline.get_by_role("button", name="Show").click()
    expect(timeline.get_by_role("button", name="Latest")).to_be_visible()
    timeline.get_by_label("Kind").select_option("Purchase")
    expect(timeline.get_by_role("row", name=re.compile("Opening"))).to_have_count(0)
    expect(timeline.get_by_role("row", name=re.compile("Purchase"))).to_be_visible()
    expect(timeline.get_by_label("Up to")).to_have_value(today)


def _insert_history() -> dict[str, str]:
    """Something on every list; returns the pages of single things."""
    now = timezone.now()
    database: Any = connection.database
    payment = database["payments"].insert_one(
        {"userId": "alice", "credits": 20, "amount": 50000, "status": "success", "orderCode": "TROLL20D1AB3X"}
    )
    event = database["webhook_events"].insert_one(
        {"provider": "sepay", "eventId": "1", "body": b"{}", "status": "review", "error": "No order", "receivedAt": now}
    )
    database["request_logs"].insert_one(
        {"_id": "r1", "userId": "alice", "model": "claude-sonnet-4-5-20250929", "creditsCost": 0.1, "createdAt": now}
    )
    entry = database["ledger_entries"].find_one({})["_id"]
    return {
        "ledger-entry": f"/admin/accounts/ledgerentry/{entry}/change/",
        "payment": f"/admin/payments/payment/{payment.inserted_id}/change/",
        "event": f"/admin/payments/webhookevent/{event.inserted_id}/change/",
        "request": "/admin/proxy/requestlog/r1/change/",
        "dialog": "/admin/support/do/account/alice/transfer/",
        "bulk": "/admin/support/bulk/transfer/?account=alice",
        "second-factor": "/admin/support/second-factor/",
        "promotions": "/admin/payments/promotion/",
        "new-promotion": "/admin/payments/promotion/add/",
        "new-price": "/admin/proxy/modelprice/add/",
        "price": "/admin/proxy/modelprice/openhands_2Fclaude-haiku-4-5-20251001/change/",
        "new-account": "/admin/accounts/account/add/",
        "new-staff-user": "/admin/auth/user/add/",
        "roles": "/admin/auth/group/",
    }


def test_split_a_transfer_and_leave_a_note(staff: Page, alice: str, insert_user: InsertUser) -> None:
    insert_user("..", creditsNew=1.0)
    first, second = (orders.create_order(account=Account.objects.get(pk=name), credits=20) for name in ("alice", ".."))
    event = send_money(f"{first.order_code} {str(second.order_code)[:-1]}", 100_000)
    WebhookEvent.objects.filter(pk=event.pk).update(received_at=timezone.now() - timedelta(minutes=9))
    other = send_money(f"{first.order_code} {second.order_code}", 100_000)
    event = other if event.status == "done" else event
    staff.goto(f"/admin/payments/webhookevent/{event.pk}/change/")
    expect(staff.get_by_text("its code stands there").first).to_be_visible()
    staff.get_by_role("link", name="Write a note").click()
    dialog = staff.get_by_role("dialog")
    dialog.get_by_label("Note").fill("Called the customer: it is for both orders.")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("button", name="Keep now").click()
    expect(staff.get_by_text("Called the customer").first).to_be_visible()
    staff.get_by_role("link", name="Take it").click()
    dialog.get_by_role("button", name="Take now").click()
    expect(staff.get_by_role("link", name="Give it back")).to_be_visible()
    picture(staff, "event-in-review")
    staff.goto("/admin/payments/webhookevent/")
    picture(staff, "events-taken")
    staff.goto(f"/admin/payments/webhookevent/{event.pk}/change/")
    staff.get_by_role("link", name="Match with an order").click()
    expect(dialog.get_by_text("Perhaps one of these")).to_be_visible()
    picture(staff, "match-suggestions")
    dialog.get_by_role("link", name="Cancel").click()
    staff.get_by_role("link", name="Split over several orders").click()
    dialog.get_by_label("Orders and amounts").fill(f"{first.order_code} 50000\n{second.order_code} 50000")
    dialog.get_by_label("Reason").fill("Both orders are theirs")
    picture(staff, "split-form")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.get_by_role("row", name=re.compile(str(second)))).to_contain_text("$20.00 credited")
    picture(staff, "split-preview")
    dialog.get_by_role("button", name="Split now").click()
    expect(staff.get_by_text("Split over 2 orders")).to_be_visible()
    staff.goto("/admin/accounts/account/")
    staff.get_by_role("link", name="..", exact=True).click()
    expect(staff.get_by_label("Credits of this account")).to_contain_text("$21.00")
    expect(staff.locator("#timeline table")).to_be_visible()
    picture(staff, "account-of-dots")


def test_keys_of_an_account(staff: Page, alice: str) -> None:
    limits = Limits(budget=Budget(Decimal(5), BudgetPeriod.DAY), upstreams=("openhands",))
    create_key(username="alice", name="ci", limits=limits)
    open_account(staff, "alice")
    row = staff.locator(".key-list tr", has_text="ci")
    expect(row).to_contain_text("Budget: $5.00 a day")
    picture(staff, "keys")
    row.get_by_role("link", name="Change the key: ci").click()
    dialog = staff.locator("#staff-dialog")
    expect(dialog.get_by_label("Budget (USD)")).to_have_value("5")
    picture(staff, "keys-change")
    dialog.get_by_label("Name").fill("deploy")
    dialog.get_by_label("Reason").fill("asked")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("button", name="Change the key now").click()
    expect(staff.locator(".key-list tr", has_text="deploy")).to_contain_text("Active")
    staff.get_by_role("link", name="Add an API key").click()
    dialog.get_by_label("Name").fill("laptop")
    dialog.get_by_label("Reason").fill("asked")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("button", name="Add an API key now").click()
    expect(dialog.locator("code.whole-key")).to_contain_text("sk-trollllm-")
    dialog.get_by_role("link", name="I have copied it").click()
    expect(staff.locator(".key-list tr", has_text="laptop")).to_be_visible()


# --- What staff type -------------------------------------------------------------------------------------------------


def check_fit(page: Page, name: str) -> None:
    """Nothing is wider than the window, on a phone or a desk."""
    for kind, size in WINDOWS.items():
        page.set_viewport_size(size)
        for is_dark in (True, False):
            assert page.evaluate(SWITCH_AND_MEASURE, is_dark) <= 1, f"{name} is too wide on a {kind}"
        picture(page, f"{name}-{size['width']}")


def test_a_comma_in_a_dialog_is_not_dropped(staff: Page, alice: str) -> None:
    staff.goto("/admin/accounts/account/alice/change/")
    start_transfer(staff, "1,5")
    problem = staff.locator("#dialog_amount_error")
    expect(problem).to_contain_text("“1,5” has a comma, which can mean two things.")
    expect(staff.get_by_role("dialog").get_by_label("Amount (USD)")).to_have_value("1,5")
    picture(staff, "typed-comma")
    assert Account.objects.get().credits == 10


def test_a_promotion_begins_when_it_was_said_to(staff: Page) -> None:
    staff.goto("/admin/payments/promotion/add/")
    staff.get_by_label("Name").fill("Christmas")
    staff.get_by_label("Percent").fill("20")
    for name, day in (("starts_at", "01/12/2099"), ("ends_at", "12/31/2099")):
        staff.locator(f"[name={name}_0]").fill(day)
        staff.locator(f"[name={name}_1]").fill("00:00")
    staff.get_by_label("Reason").fill("It is December")
    staff.get_by_role("button", name="Preview").click()
    expect(staff.get_by_text("“12/31/2099” is no date: there is no month 31.")).to_be_visible()
    check_fit(staff, "promotion-refused")
    staff.locator("[name=ends_at_0]").fill("31/12/2099")
    staff.get_by_role("button", name="Preview").click()
    expect(staff.get_by_text("from Tuesday, 1 December 2099, 00:00 UTC")).to_be_visible()
    check_fit(staff, "promotion-preview")
    staff.get_by_role("button", name="Save now").click()
    expect(staff.get_by_text("was added successfully")).to_be_visible()
    assert (Promotion.objects.get().starts_at.month, Promotion.objects.get().percent) == (12, Decimal(20))


def test_lists_and_timelines_that_show_nothing_say_why(staff: Page, alice: str) -> None:
    staff.goto("/admin/accounts/ledgerentry/?created_at_from=11/27/2026&kind__exact=refund")
    expect(staff.get_by_role("status").get_by_text("there is no month 27")).to_be_visible()
    check_fit(staff, "list-unread")
    staff.get_by_role("link", name="Clear the search and the filters").click()
    expect(staff.locator("#result_list")).to_be_visible()
    staff.goto("/admin/accounts/ledgerentry/?created_at_from=2099-11-27&q=zoe")
    expect(staff.get_by_text("Searched for “zoe” in: Account name, operation id or order code.")).to_be_visible()
    check_fit(staff, "list-empty")
    staff.goto("/admin/accounts/account/alice/change/")
    timeline = staff.locator("#timeline")
    timeline.get_by_label("Up to").fill("11/27/2026")
    timeline.get_by_role("button", name="Show", exact=True).click()
    expect(timeline.get_by_text("there is no month 27")).to_be_visible()
    expect(timeline.get_by_label("Up to")).to_have_value("11/27/2026")
    check_fit(staff, "timeline-unread")
    timeline.get_by_role("button", name="Show everything").click()
    expect(timeline.locator("table")).to_be_visible()
