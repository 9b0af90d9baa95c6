"""Backup codes of the second factor, and passwords that their owners change."""

import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from support.access.backup_codes import count_left, make_codes, use_backup_code
from support.access.second_factor import STEP_SECONDS, code_at
from support.models import AuditEntry, SecondFactor
from tests.pages import page, text_of

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
CODES, PASSWORD, SET_UP = "/admin/support/backup-codes/", "/admin/password_change/", "/admin/support/second-factor/"
NEW = "a-new-staff-password"


@pytest.fixture
def sam(db: None) -> User:
    return User.objects.create_superuser("sam", password="right")


@pytest.fixture
def factor(sam: User) -> SecondFactor:
    return SecondFactor.objects.create(user_key=str(sam.pk), username="sam", secret=SECRET, confirmed_at=timezone.now())


def code_now(steps: int = 0) -> str:
    return code_at(SECRET, int(time.time() // STEP_SECONDS) + steps)


def sign_in(client: Client, code: str = "", phrase: str = "right") -> str:
    data = {"username": "sam", "password": phrase, "code": code}
    return text_of(client.post("/admin/login/", data, follow=True))


def test_codes_are_shown_once_and_each_is_good_once(client: Client, sam: User, factor: SecondFactor) -> None:
    sign_in(client, code_now())
    assert "You have no unused codes." in page(client, CODES)
    response = client.post(CODES, {"code": code_now(1)})
    assert "no-store" in response["Cache-Control"]
    codes = re.findall(r"<li>([0-9A-Z-]{19})</li>", response.content.decode())
    assert len(set(codes)) == 10
    again = client.post(CODES, {"code": code_now(1)})
    assert "Each code works only once." in text_of(again)
    assert not any(code in again.content.decode() or code in page(client, CODES) for code in codes)
    stored = str(list(SecondFactor.objects.values())) + str(list(AuditEntry.objects.values()))
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)

    phoneless = Client()
    assert "Dashboard" in sign_in(phoneless, f" {codes[0].lower().replace('-', ' ').replace('0', 'o')} ")
    assert "Enter the code that your authenticator app shows now" in sign_in(Client(), codes[0])
    assert "You have 9 unused codes." in page(phoneless, CODES)
    used = AuditEntry.objects.get(action="use backup code")
    assert (used.actor, used.after) == ("staff:sam", {"left": 9})
    assert AuditEntry.objects.filter(action="make backup codes").count() == 1

    # With another one the app is replaced; the codes of the old app go with it.
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", phoneless.get(SET_UP).content.decode())
    assert secret
    new_code = code_at(secret[1].replace(" ", ""), int(time.time() // STEP_SECONDS))
    assert phoneless.post(SET_UP, {"code": new_code, "old_code": codes[1]}).status_code == 302
    assert count_left(sam) == 0
    assert "Enter the code" in sign_in(Client(), codes[2])


def test_two_at_once_use_a_code_once(sam: User, factor: SecondFactor, in_threads: Any) -> None:
    first, *_ = make_codes(sam)
    assert sum(in_threads(8, lambda _: use_backup_code(sam, first))) == 1
    assert count_left(sam) == 9


def test_new_codes_take_the_place_of_the_old(sam: User, factor: SecondFactor) -> None:
    old, new = make_codes(sam), make_codes(sam)
    assert not use_backup_code(sam, old[0])
    assert use_backup_code(sam, new[0])
    other = User.objects.create_superuser("other")
    SecondFactor.objects.create(user_key=str(other.pk), username="other", secret=SECRET, confirmed_at=timezone.now())
    make_codes(other)
    for wrong in (new[1], "", "0" * 16, "0" * 500):
        assert not use_backup_code(other, wrong)


def test_without_an_app_there_are_none(client: Client, sam: User) -> None:
    assert make_codes(sam) == []
    client.force_login(sam)
    assert "Set up an app first." in page(client, CODES)
    assert "Enter the code" in text_of(client.post(CODES, {"code": "123456"})) or count_left(sam) is None


def test_codes_cannot_be_guessed(client: Client, sam: User, factor: SecondFactor) -> None:
    sign_in(client, code_now())
    for _ in range(5):
        client.post(CODES, {"code": "000000"})
    assert "Too many wrong codes." in text_of(client.post(CODES, {"code": code_now(1)}))
    assert count_left(sam) == 0


def test_staff_change_their_own_password(client: Client, sam: User) -> None:
    for browser in (client, other := Client()):
        sign_in(browser)
    assert f'href="{PASSWORD}"' in client.get("/admin/").content.decode()
    for old, new, words in (
        ("wrong", NEW, "Your old password was entered incorrectly"),
        ("right", "short", "This password is too short"),
        ("right", "password1234", "This password is too common"),
    ):
        shown = text_of(client.post(PASSWORD, {"old_password": old, "new_password1": new, "new_password2": new}))
        assert words in shown
    sent = {"old_password": "right", "new_password1": NEW, "new_password2": NEW}
    assert "Your other sessions have ended." in text_of(client.post(PASSWORD, sent, follow=True))
    assert "Dashboard" in page(client, "/admin/")
    assert other.get("/admin/")["Location"].startswith("/admin/login/")
    assert "Dashboard" in sign_in(Client(), phrase=NEW)
    entry = AuditEntry.objects.get(action="change own password")
    assert (entry.actor, entry.target, entry.before, entry.after) == ("staff:sam", "sam", None, None)
    again = text_of(client.post(PASSWORD, {**sent, "old_password": NEW}))
    assert "This is the old password." in again


def test_the_old_password_cannot_be_guessed(client: Client, sam: User) -> None:
    sign_in(client)
    sent = {"new_password1": NEW, "new_password2": NEW}
    for _ in range(5):
        client.post(PASSWORD, {**sent, "old_password": "wrong"})
    assert "Too many wrong passwords." in text_of(client.post(PASSWORD, {**sent, "old_password": "right"}))
    sam.refresh_from_db()
    assert sam.check_password("right")
