"""Strangers guess slowly, fill no audit, burn no core, and lock out nobody but themselves."""

import threading
import time
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone

from support.access import login, password_turns
from support.access.client_address import address_of
from support.access.lockout import MAX_FAILURES
from support.audit.refused_log_ins import Problem, record_refused_log_in, times_of
from support.models import AuditEntry
from tests.pages import page, text_of

URL = "/admin/login/"
MANY = 25
STAFF, STRANGER = "203.0.113.1", "198.51.100.9"
TOO_MANY = "Too many wrong passwords. Try again in 15 minutes."


@pytest.fixture
def sam(db: None) -> User:
    return User.objects.create_superuser("sam", password="right")


def log_in(client: Client, password: str, name: str = "sam", address: str = STAFF) -> str:
    data = {"username": name, "password": password}
    return text_of(client.post(URL, data, follow=True, REMOTE_ADDR=address))


def known_browser() -> Client:
    """A browser in which sam has logged in before, and out."""
    browser = Client()
    assert "Dashboard" in log_in(browser, "right")
    browser.post("/admin/logout/")
    return browser


def refusals() -> dict[tuple[str, str], int | None]:
    """How often what was refused, by actor; each has one entry in the audit."""
    entries = AuditEntry.objects.filter(outcome="refused")
    found = {(entry.actor, entry.error): times_of(entry) for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set a bound so low that a test soon reaches it."""
    return lambda name, most: monkeypatch.setattr(login, name, most)


def test_a_stranger_locks_out_only_themselves(sam: User) -> None:
    stranger = Client()
    told = [log_in(stranger, "wrong", address=STRANGER) for _ in range(MANY)]
    assert sum(TOO_MANY in text for text in told) == MANY - MAX_FAILURES
    assert TOO_MANY in log_in(stranger, "right", address=STRANGER)
    assert "Dashboard" in log_in(Client(), "right")
    assert refusals() == {
        ("staff:sam", "Wrong name or password"): MAX_FAILURES,
        ("staff:sam", "Locked after wrong passwords"): MANY - MAX_FAILURES + 1,
    }


def test_behind_one_address_who_has_logged_in_before_gets_in(sam: User) -> None:
    browser = known_browser()
    for _ in range(MAX_FAILURES + 3):
        log_in(Client(), "wrong")
    assert TOO_MANY in log_in(Client(), "right")
    assert "Dashboard" in log_in(browser, "right")


def test_names_at_random_are_soon_refused_without_a_hash(sam: User, bounds: Any) -> None:
    bounds("MOST_OF_AN_ADDRESS", 7)
    stranger = Client()
    for index in range(MANY):
        log_in(stranger, "wrong", f"name-{index}", STRANGER)
    assert refusals() == {
        ("unknown name", "Wrong name or password"): 7,
        ("unknown name", "Locked after wrong passwords"): MANY - 7,
    }
    assert connection.database["login_attempts"].count_documents({}) == 1 + 7 * 2
    assert "Dashboard" in log_in(Client(), "right")


def test_many_addresses_together_guess_no_faster_and_lock_no_known_browser(sam: User, bounds: Any) -> None:
    bounds("MOST_OF_A_NAME", 7)
    browser, stranger = known_browser(), Client()
    for index in range(9):
        log_in(stranger, "wrong", address=f"198.51.100.{index}")
    assert refusals()["staff:sam", "Wrong name or password"] == 7
    assert TOO_MANY in log_in(Client(), "right", address="192.0.2.1")
    assert "Dashboard" in log_in(browser, "right")


def test_a_right_password_takes_back_what_was_counted_with_others(sam: User, bounds: Any) -> None:
    bounds("MOST_OF_AN_ADDRESS", 2)
    bounds("MOST_OF_A_NAME", 2)
    for _ in range(4):
        assert Client().post(URL, {"username": "sam", "password": "right"}).status_code == 302


def test_a_known_browser_guesses_no_more_than_others_and_for_its_user_only(sam: User) -> None:
    User.objects.create_superuser("sue", password="right")
    browser = known_browser()
    for _ in range(MAX_FAILURES):
        log_in(browser, "wrong")
    assert TOO_MANY in log_in(browser, "right")
    for _ in range(MAX_FAILURES):
        log_in(Client(), "wrong", "sue")
    assert TOO_MANY in log_in(browser, "right", "sue")


def test_the_cookie_of_a_known_browser(sam: User, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    browser = Client()
    browser.post(URL, {"username": "sam", "password": "right"}, REMOTE_ADDR=STAFF, secure=True)
    cookie = browser.cookies["known_device"]
    assert {name: cookie[name] for name in ("path", "httponly", "secure", "samesite")} == {
        "path": URL,
        "httponly": True,
        "secure": True,
        "samesite": "Strict",
    }
    assert "sam" not in str(signing.loads(cookie.value, salt="support.known_device"))
    for forged in ("", "x", signing.dumps({"user": "x", "device": "x"}, salt="other")):
        other = Client()
        other.cookies["known_device"] = forged
        for _ in range(MAX_FAILURES):
            log_in(other, "wrong", address=STRANGER)
        assert TOO_MANY in log_in(other, "right", address=STRANGER)


def test_each_day_has_its_entry_and_its_count(sam: User, admin_client: Client) -> None:
    now = timezone.now()
    for day in (now - timedelta(days=1), now, now):
        record_refused_log_in(name="sam", problem=Problem.WRONG, address=STRANGER, now=day)
    second, first = AuditEntry.objects.filter(outcome="refused")
    assert (times_of(first), times_of(second)) == (1, 2)
    text = page(admin_client, f"/admin/support/auditentry/{admin_key(second.pk)}/change/")
    assert "2 times" in text
    assert STRANGER in text


def admin_key(key: str) -> str:
    return key.replace("_", "_5F").replace(":", "_3A")


@pytest.mark.parametrize(
    ("connection_from", "forwarded", "address"),
    [
        ("203.0.113.1", "", "203.0.113.1"),
        ("203.0.113.1", "198.51.100.9", "203.0.113.1"),  # No proxy of ours: it says what it likes.
        ("10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", "192.0.2.1, 198.51.100.9", "198.51.100.9"),  # The client said the first.
        ("10.0.0.1", "192.0.2.1, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.9, unknown", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.9", "198.51.100.9"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("10.0.0.1", "2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", "198.51.100.9", ""),
    ],
)
def test_where_a_request_came_from(settings: Any, connection_from: str, forwarded: str, address: str) -> None:
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert address_of(RequestFactory().get("/", REMOTE_ADDR=connection_from, headers=headers)) == address


def test_no_proxy_is_trusted_unless_it_is_named(sam: User) -> None:
    stranger = Client()
    for index in range(MAX_FAILURES):
        data = {"username": "sam", "password": "wrong"}
        stranger.post(URL, data, REMOTE_ADDR=STRANGER, headers={"X-Forwarded-For": f"192.0.2.{index}"})
    assert TOO_MANY in log_in(stranger, "right", address=STRANGER)


def test_strangers_get_a_quarter_of_a_core_and_wait_for_it_in_small_numbers() -> None:
    began, hashing = time.monotonic(), 0.0
    for _ in range(4):
        with password_turns.STRANGERS.take() as is_our_turn:
            assert is_our_turn
            started = time.monotonic()
            time.sleep(0.05)
            hashing += time.monotonic() - started
    assert time.monotonic() - began > 2 * hashing

    release, results = threading.Event(), []

    def wait() -> None:
        with password_turns.STRANGERS.take() as is_our_turn:
            results.append(is_our_turn)
            release.wait(10)

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(results) < 20 - password_turns.MOST_WAITING + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert results.count(True) == 1
    with password_turns.KNOWN.take() as is_our_turn:
        assert is_our_turn
    release.set()
    for thread in threads:
        thread.join(10)
    assert len(results) == 20


def test_who_did_not_get_a_turn_is_not_counted(sam: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_turns, "LONGEST_WAIT_SECONDS", 0.01)
    with password_turns.STRANGERS.take():
        for _ in range(MAX_FAILURES + 1):
            assert "Too many people log in just now." in log_in(Client(), "right")
    assert "Dashboard" in log_in(Client(), "right")
