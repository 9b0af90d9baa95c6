"""The search box in a browser: reached by a key, on every page, and without scripts."""

import re
from collections.abc import Callable

from playwright.sync_api import Browser, expect

from tests.conftest import key_of
from tests.e2e.test_admin_questions import Desk, desk_of
from tests.factories import InsertUser
from tests.serving import Server

__all__ = ["desk_of"]  # The fixture.


def test_the_search_box(
    desk_of: Callable[[str], Desk], browser: Browser, server: Server, insert_user: InsertUser
) -> None:
    for name in ("Nguyễn Văn A", "trannguyen", "alice"):
        insert_user(name, creditsNew=5)
    desk = desk_of("Support")
    page = desk.page
    box = page.get_by_role("searchbox", name="Search everything")

    # A list has a search of its own: the key leads to the box all the same.
    page.goto("/admin/accounts/account/")
    page.keyboard.press("/")
    expect(box).to_be_focused()
    page.keyboard.type("nguyen")
    page.keyboard.press("Enter")
    accounts = page.get_by_role("region", name="Accounts")
    expect(accounts.get_by_role("link")).to_have_count(2)
    desk.pictures("search")
    accounts.get_by_role("link", name="Nguyễn Văn A").click()
    expect(page.locator("#timeline table")).to_be_visible()
    desk.pictures("search-box-on-an-account")

    # While one types somewhere else, the key is a letter.
    page.get_by_label("Kind").first.focus()
    page.keyboard.press("/")
    expect(box).not_to_be_focused()
    page.keyboard.press("Control+k")
    expect(box).to_be_focused()

    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    box.fill(f" {key_of('alice')} ")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/account/alice/change/"))
    assert [url for url in requests if key_of("alice")[20:] in url] == []
    box.fill("nobody at all")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Nothing found for “nobody at all”")).to_be_visible()
    desk.pictures("search-nothing")

    cookies = page.context.cookies()
    plain = browser.new_context(java_script_enabled=False, base_url=server.site)
    plain.add_cookies(cookies)  # type: ignore[arg-type]
    bare = plain.new_page()
    bare.goto("/admin/support/help/")
    bare.get_by_role("searchbox", name="Search everything").fill("alice")
    bare.keyboard.press("Enter")
    expect(bare).to_have_url(re.compile("/account/alice/change/"))
    plain.close()
