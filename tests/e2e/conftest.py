"""Accounts of these tests have an open ledger: `assert_reconciles` then sees every credit that goes astray."""

import os
import shutil
from collections.abc import Iterator

import pytest
from django.db import DEFAULT_DB_ALIAS, connections
from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def opens_ledger() -> bool:
    return True


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert path, "These tests need chromium: `make test` installs it, or `apt-get install chromium-headless-shell`."
    # Playwright runs an event loop in this thread; the ORM calls of these tests do not run inside of it.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
        # Inside of the loop Django has another connection: the next module with a browser must not find it closed.
        connections[DEFAULT_DB_ALIAS].close()
        del connections[DEFAULT_DB_ALIAS]
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
