"""Dialogs in a browser: by the keyboard alone, for screen readers, without JavaScript, and when a session has ended."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import global_settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import override_settings
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from accounts import credits
from accounts.models import Account, Balance
from support.models import AuditEntry
from tests.e2e.test_admin_browser import PASSWORD, log_in_as, open_window, picture
from tests.factories import InsertUser
from tests.serving import Server

ACCOUNT = "/admin/accounts/account/alice/change/"
WHERE = "document.activeElement.getAttribute('name') || document.activeElement.textContent.trim()"


@pytest.fixture
def alice(insert_user: InsertUser) -> str:
    insert_user("alice", credits=10, creditsNew=2.5, expiresAt=timezone.now() + timedelta(days=3))
    return "alice"


def staff_page(browser: Browser, server: Server, **options: Any) -> Page:
    """A window of a superuser who is logged in."""
    with override_settings(PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):  # The server knows no other.
        user = User.objects.create_superuser("sam", password=PASSWORD)
    page = open_window(browser, server, **options)
    log_in_as(user, page, server)
    return page


def test_a_dialog_by_the_keyboard_alone(browser: Browser, server: Server, alice: str) -> None:
    page = staff_page(browser, server)
    page.goto(ACCOUNT)
    opener = page.get_by_role("link", name="Transfer credits")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=re.compile("Transfer credits alice"))
    expect(dialog).to_be_visible()
    inside = "document.getElementById('staff-dialog').contains(document.activeElement)"
    places = []
    for key in ["Tab"] * 9 + ["Shift+Tab"] * 9:
        assert page.evaluate(inside), places
        places.append(page.evaluate(WHERE))
        page.keyboard.press(key)
    assert {"source", "amount", "is_all", "reason", "Cancel", "Preview"} == set(places)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()

    # What is new is said, and no button that confirms is under the Enter key.
    page.keyboard.press("Enter")
    dialog.get_by_label("From OhMyGPT to OpenHands").check()
    dialog.get_by_label("Amount (USD)").fill("1,5")
    dialog.get_by_label("Reason").fill("Asked on Discord")
    dialog.get_by_role("button", name="Preview").click()
    status = dialog.get_by_role("status")
    expect(status).to_contain_text("Not accepted. Amount (USD): “1,5” has a comma")
    amount = dialog.get_by_label("Amount (USD)")
    expect(amount).to_be_focused()
    expect(amount).to_have_accessible_description(re.compile("has a comma"))
    amount.fill("4")
    dialog.get_by_role("button", name="Preview").click()
    expect(status).to_have_text(re.compile(r"Preview, .*OpenHands credits: before \$2\.50, after \$6\.50\."))
    expect(dialog.locator("#dialog-title")).to_be_focused()
    page.keyboard.press("Enter")
    picture(page, "dialog-preview")

    # Back keeps what was typed.
    dialog.get_by_role("button", name="Back").click()
    expect(amount).to_have_value("4")
    expect(dialog.get_by_label("From OhMyGPT to OpenHands")).to_be_checked()
    expect(dialog.get_by_label("Reason")).to_have_value("Asked on Discord")
    dialog.get_by_role("button", name="Preview").click()

    # Somebody else was faster: the preview, which has been made, is old.
    expect(dialog.get_by_role("button", name="Transfer now")).to_be_visible()
    credits.transfer(
        username="alice", source=Balance.OHMYGPT, amount=Decimal(4), operation="o", actor="staff:sue", reason="x"
    )
    dialog.get_by_role("button", name="Transfer now").click()
    expect(dialog.get_by_role("alert")).to_contain_text("This has changed since the preview, so nothing was done.")
    expect(dialog.get_by_role("row", name=re.compile("OpenHands credits"))).to_contain_text("$10.50")
    assert Account.objects.get().credits_new == Decimal("6.5")
    page.context.close()


def test_a_session_that_ended_leads_to_the_log_in_and_back(browser: Browser, server: Server, alice: str) -> None:
    page = staff_page(browser, server)
    page.goto(ACCOUNT)
    page.get_by_role("link", name="Transfer credits").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Amount (USD)").fill("4")
    Session.objects.all().delete()
    dialog.get_by_role("button", name="Preview").click()
    expect(page.get_by_label("Password")).to_be_visible()
    expect(page.locator("#staff-dialog")).to_have_count(0)
    page.get_by_label("Username").fill("sam")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Credits of this account")).to_be_visible()
    assert page.url.endswith(ACCOUNT)
    page.context.close()


def test_a_key_that_is_shown_once_is_not_lost(browser: Browser, server: Server, alice: str) -> None:
    page = staff_page(browser, server, permissions=["clipboard-read", "clipboard-write"])
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.goto(ACCOUNT)
    page.get_by_role("link", name="Replace the API key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("Leaked")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("button", name="Replace now").click()
    key = dialog.locator(".whole-key").inner_text()
    for _ in range(3):
        page.keyboard.press("Escape")
    page.mouse.click(5, 5)
    page.evaluate("document.getElementById('staff-dialog').close()")  # As a phone's own way back does.
    expect(dialog.locator(".whole-key")).to_have_text(key)
    dialog.get_by_role("button", name="Copy the API key").focus()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("Copied the API key")
    assert page.evaluate("navigator.clipboard.readText()") == key
    picture(page, "key-shown-once")
    page.evaluate("window.location.assign('/admin/')")
    expect(dialog.locator(".whole-key")).to_have_text(key)
    assert asked == ["beforeunload"]
    dialog.get_by_role("link", name="I have copied it").click()
    expect(page.locator("#timeline table")).to_be_visible()
    assert asked == ["beforeunload"]
    page.context.close()


def test_a_dialog_without_javascript(browser: Browser, server: Server, alice: str) -> None:
    page = staff_page(browser, server, java_script_enabled=False)
    page.goto(ACCOUNT)
    expect(page.get_by_label("Credits of this account")).to_be_visible()
    page.get_by_role("link", name="Transfer credits").click()
    page.get_by_label("From OhMyGPT to OpenHands").check()
    page.get_by_label("Amount (USD)").fill("4")
    page.get_by_label("Reason").fill("Asked on Discord")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("row", name=re.compile("OpenHands credits"))).to_contain_text("$6.50")
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_label("Amount (USD)")).to_have_value("4")
    page.get_by_role("button", name="Preview").click()
    picture(page, "dialog-without-javascript")
    page.get_by_role("button", name="Transfer now").click()
    expect(page.get_by_text("Transferred $4.00 from OhMyGPT to OpenHands.")).to_be_visible()
    assert AuditEntry.objects.filter(action="transfer", outcome="done").count() == 1
    page.context.close()
