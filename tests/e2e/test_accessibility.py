"""Every page of the site under axe-core, and a few rules of ours: no serious or critical violation.

`make accessibility` looks at all pages in four ways, light and dark, on a desk and a phone, and keeps a picture of each
in `var/screenshots/`. Here some of the pages, of every kind, are looked at once each: all of them take minutes.
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from playwright.sync_api import Browser, Page

from accounts import credits
from support.admin.display import account_url
from tests.e2e.test_admin_browser import WINDOWS, log_in_as, open_window, picture
from tests.factories import InsertUser
from tests.proxy.requests import chat, post
from tests.serving import Server
from tests.support.access import test_roles
from tests.support.access.test_roles import MODELS, Keys, model_address, screens

keys = test_roles.keys


IS_WHOLE = bool(os.environ.get("ACCESSIBILITY"))
WAYS = list(product(WINDOWS, ("light", "dark")))
FOR_EVERYBODY = ("/", "/nothing", "/admin/nothing/", "/admin/login/?next=/admin/")
OPTIONS = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
EVERY = 5
"""Here one page of so many is looked at."""
FRAGMENTS = ("/timeline/", "/export/", "/autocomplete/", "/jsi18n/", "/admin/search/")
"""Parts of addresses that show no whole page."""


@pytest.fixture
def pages(keys: Keys, insert_user: InsertUser, server: Server) -> list[str]:
    """The address of every page, with something on it."""
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay", reason="Order NAP20X")
    assert post(server, chat()).status == 200
    assert post(server, chat(max_tokens=10_000_000)).status != 200
    long_name = "Nguyễn Văn An with a very long name that somebody typed in " + "x" * 60
    insert_user(long_name, creditsNew=-2.5, credits=1, expiresAt=timezone.now() - timedelta(days=1), isActive=False)
    odd = {"apiKey": 5, "expiresAt": "soon"}
    connection.database["usersNew"].insert_one({"_id": "odd", "creditsNew": "many", **odd})
    lists = [model_address(model, "changelist", keys) for model in MODELS]
    own = (account_url(name) for name in (long_name, "odd"))
    addresses = [*FOR_EVERYBODY, *screens(keys), *(f"{address}?q=zzz" for address in lists), *own]
    whole = [address for address in addresses if not any(part in address for part in FRAGMENTS)]
    assert len(whole) > 100
    return whole if IS_WHOLE else whole[::EVERY]


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """A window of a superuser."""
    page = open_window(browser, server)
    log_in_as(User.objects.create_superuser("sam"), page, server)
    yield page
    page.context.close()


def show(page: Page, window: str, theme: Any) -> None:
    page.set_viewport_size(WINDOWS[window])
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.evaluate('dark => document.documentElement.classList.toggle("dark", dark)', theme == "dark")
    # What fades between two colours has neither yet.
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; animation: none !important }")


def faults_of(page: Page) -> list[str]:
    """What is wrong with a page as it is shown, a line each."""
    found = [
        f"{violation['id']}: {node['target']} {node['html'][:200]}"
        for violation in Axe().run(page, options=OPTIONS).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    if (overflow := page.evaluate("document.documentElement.scrollWidth - window.innerWidth")) > 1:
        found.append(f"{overflow} pixels wider than the window")
    found += [f"no {name}" for name in ("main", "h1") if not page.locator(f"{name}:visible").count()]
    return found


def test_every_page_is_accessible(page: Page, pages: list[str]) -> None:
    faults: dict[str, list[str]] = {}
    for number, address in enumerate(pages):
        page.goto(address, wait_until="load")
        for window, theme in WAYS if IS_WHOLE else WAYS[number % 4 : number % 4 + 1]:
            show(page, window, theme)
            if found := faults_of(page):
                faults[f"{address} {window} {theme}"] = found
            if IS_WHOLE:
                picture(page, f"page-{number}-{window}-{theme}")
    assert faults == {}, "\n".join(f"{where}\n    " + "\n    ".join(found) for where, found in faults.items())
