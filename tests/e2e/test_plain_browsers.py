"""The admin in a browser without scripts, and on paper."""

import re

from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from tests.e2e import test_admin_browser
from tests.e2e.test_admin_browser import balances, log_in_as, open_window, picture
from tests.serving import Server

alice = test_admin_browser.alice
ACCOUNT = "/admin/accounts/account/alice/change/"


def window_of(browser: Browser, server: Server, *, has_scripts: bool) -> Page:
    page = open_window(browser, server, java_script_enabled=has_scripts)
    log_in_as(User.objects.create_superuser("sam"), page, server)
    return page


def test_credits_are_found_and_moved_without_scripts(browser: Browser, server: Server, alice: str) -> None:
    page = window_of(browser, server, has_scripts=False)
    page.goto("/admin/")
    expect(page.get_by_role("main")).to_be_visible()
    page.goto(ACCOUNT)
    expect(page.get_by_role("heading", name="alice").first).to_be_visible()
    picture(page, "account-without-scripts")
    page.get_by_role("link", name="Transfer credits").click()
    page.get_by_label("From OhMyGPT to OpenHands").check()
    page.get_by_label("Amount (USD)").fill("4")
    page.get_by_label("Reason").fill("Customer asked on Discord")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Transfer now").click()
    expect(page.get_by_text("Transferred $4.00 from OhMyGPT to OpenHands.")).to_be_visible()
    assert balances() == (26.5, 6)
    page.get_by_role("link", name="Show what moved the credits").click()
    expect(page.get_by_role("row", name=re.compile("Transfer")).first).to_be_visible()
    page.context.close()


def test_an_account_is_printed_without_what_is_for_a_screen(browser: Browser, server: Server, alice: str) -> None:
    page = window_of(browser, server, has_scripts=True)
    page.goto(ACCOUNT)
    expect(page.locator("#timeline table")).to_be_visible()
    page.emulate_media(media="print")
    picture(page, "account-printed")
    for is_shown, thing in (
        (True, page.get_by_role("heading", name="alice").first),
        (True, page.get_by_label("Credits of this account")),
        (True, page.locator("#timeline table")),
        (False, page.locator("#nav-sidebar")),
        (False, page.get_by_role("link", name="Transfer credits")),
    ):
        expect(thing).to_be_visible(visible=is_shown)
    page.context.close()
