"""How often a password may be guessed."""

from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from django.test import Client

from support.access.lockout import LOCK_TIME, MAX_FAILURES, count_attempt, forget_attempts
from support.models import AuditEntry
from tests.factories import InThreads
from tests.pages import text_of

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
URL = "/admin/login/"


def log_in(client: Client, password: str, name: str = "sam") -> str:
    return text_of(client.post(URL, {"username": name, "password": password}, follow=True))


def test_five_wrong_passwords_lock_the_name_even_for_the_right_one(client: Client) -> None:
    User.objects.create_superuser("sam", password="right")
    for _ in range(MAX_FAILURES):
        assert "Please enter the correct username and password" in log_in(client, "wrong")
    assert "Too many wrong passwords. Try again in 15 minutes" in log_in(client, "right")
    assert "Too many wrong passwords" in log_in(client, "right", "SAM")
    assert "_auth_user_id" not in client.session
    assert AuditEntry.objects.filter(error="Locked after wrong passwords").count() == 2


def test_another_name_is_not_locked(client: Client) -> None:
    User.objects.create_superuser("sam", password="right")
    User.objects.create_superuser("sue", password="right")
    for _ in range(MAX_FAILURES + 1):
        log_in(client, "wrong")
    assert "Dashboard" in log_in(client, "right", "sue")


def test_a_right_password_starts_from_zero(client: Client) -> None:
    User.objects.create_superuser("sam", password="right")
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            log_in(Client(), "wrong")
        assert "Dashboard" in log_in(client, "right")
        client.post("/admin/logout/")


def test_a_lock_ends_and_guessing_on_does_not_prolong_it() -> None:
    for index in range(MAX_FAILURES):
        assert count_attempt("sam", now=NOW + timedelta(seconds=index))
    for minutes in (1, 5, 14):
        assert not count_attempt("sam", now=NOW + timedelta(minutes=minutes))
    assert count_attempt("sam", now=NOW + LOCK_TIME + timedelta(seconds=MAX_FAILURES))
    forget_attempts("sam")
    assert count_attempt("sam", now=NOW)


def test_guesses_at_the_same_time_cannot_slip_through(in_threads: InThreads) -> None:
    count_attempt("sam", now=NOW - timedelta(days=1))
    assert sum(in_threads(30, lambda _: count_attempt("sam", now=NOW))) == MAX_FAILURES
