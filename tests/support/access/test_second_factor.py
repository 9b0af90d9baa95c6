"""The second factor of staff."""

import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from support.access.sealed import seal, unseal
from support.access.second_factor import STEP_SECONDS, code_at, matching_step, use_code
from support.audit.refused_log_ins import times_of
from support.models import AuditEntry, SecondFactor
from tests.factories import ServeWith
from tests.pages import page, text_of

# RFC 6238, appendix B: the SHA-1 key, and codes at some times (their last six digits).
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SET_UP = "/admin/support/second-factor/"
NOW = 1_800_000_015.0


@pytest.fixture
def sam(db: None) -> User:
    return User.objects.create_superuser("sam", password="right")


def give_factor(user: User) -> None:
    SecondFactor(user_key=str(user.pk), username="sam", secret=RFC_SECRET, confirmed_at=timezone.now()).save()


def current_code() -> str:
    return code_at(RFC_SECRET, int(time.time() // STEP_SECONDS))


def new_secret(client: Client) -> str:
    """The secret that the page of the set-up shows."""
    found = re.search(r"<code>([A-Z2-7 ]+)</code>", client.get(SET_UP).content.decode())
    assert found
    return found[1].replace(" ", "")


def code_now(secret: str, steps: int = 0) -> str:
    return code_at(secret, int(time.time() // STEP_SECONDS) + steps)


def sign_in(client: Client, code: str = "") -> str:
    data = {"username": "sam", "password": "right", "code": code}
    return text_of(client.post("/admin/login/", data, follow=True))


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130")],
)
def test_the_published_vectors(seconds: int, code: str) -> None:
    assert code_at(RFC_SECRET, seconds // STEP_SECONDS) == code
    assert matching_step(RFC_SECRET, f"{code[:3]} {code[3:]}", now=seconds) == seconds // STEP_SECONDS


@pytest.mark.parametrize(("late", "is_right"), [(-31, True), (0, True), (31, True), (-75, False), (75, False)])
def test_a_step_of_drift_is_allowed(late: int, is_right: bool) -> None:
    code = code_at(RFC_SECRET, int((NOW + late) // STEP_SECONDS))
    assert (matching_step(RFC_SECRET, code, now=NOW) is not None) == is_right


@pytest.mark.parametrize("code", ["", "abc", "12345é", "0" * 7])
def test_a_malformed_code_is_wrong(code: str) -> None:
    assert matching_step(RFC_SECRET, code, now=NOW) is None


def test_a_code_is_good_once(sam: User, in_threads: Any) -> None:
    give_factor(sam)
    code = code_at(RFC_SECRET, int(NOW // STEP_SECONDS))
    assert sum(in_threads(10, lambda _: use_code(sam, code, now=NOW))) == 1
    assert not use_code(sam, code, now=NOW)
    assert use_code(sam, code_at(RFC_SECRET, int(NOW // STEP_SECONDS) + 1), now=NOW + STEP_SECONDS)


def test_who_has_a_factor_needs_its_code(client: Client, sam: User) -> None:
    give_factor(sam)
    for wrong in ("", "000000"):
        assert "Enter the code that your authenticator app shows now" in sign_in(client, wrong)
        assert "_auth_user_id" not in client.session
    assert "Dashboard" in sign_in(client, current_code())
    entry = AuditEntry.objects.get(error="Wrong code")  # One a day, and how often it was.
    assert (entry.actor, times_of(entry)) == ("staff:sam", 2)


def test_wrong_codes_lock_the_name(client: Client, sam: User) -> None:
    give_factor(sam)
    for _ in range(5):
        sign_in(client, "000000")
    assert "Try again in 15 minutes" in sign_in(client, current_code())


def test_who_has_none_logs_in_with_the_password(client: Client, sam: User) -> None:
    assert "Dashboard" in sign_in(client)


def test_set_up_shows_a_secret_and_takes_its_first_code(client: Client, sam: User) -> None:
    client.force_login(sam)
    response = client.get(SET_UP)
    assert "data:image/svg+xml" in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert "This is not the code" in text_of(client.post(SET_UP, {"code": "000000"}))
    assert SecondFactor.objects.count() == 0

    secret = new_secret(client)
    assert secret not in str(client.session.items())
    client.post(SET_UP, {"code": code_now(secret)})
    stored = SecondFactor.objects.get().secret
    assert unseal(stored) == secret
    assert secret not in stored
    assert "pending_second_factor" not in client.session
    assert secret not in page(client, "/admin/support/secondfactor/")
    assert secret not in str(AuditEntry.objects.values_list())


def test_when_it_is_required_nothing_is_seen_without_it(client: Client, sam: User, settings: Any) -> None:
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    client.force_login(sam)
    for address in ("/admin/", "/admin/accounts/account/", "/admin/support/help/"):
        assert client.get(address)["Location"] == SET_UP
    code = code_now(new_secret(client))
    assert "Dashboard" in text_of(client.post(SET_UP, {"code": code}, follow=True))


def test_a_session_without_the_code_cannot_replace_a_factor(client: Client, sam: User) -> None:
    give_factor(sam)
    for send in (client.get, client.post):
        client.force_login(sam)
        assert send(SET_UP, {"code": "123456"})["Location"] == "/admin/login/"
        assert "_auth_user_id" not in client.session
    assert SecondFactor.objects.get().secret == RFC_SECRET


def test_setting_one_up_ends_the_other_sessions(client: Client, sam: User) -> None:
    others = [Client(), Client()]
    for browser in (client, *others):
        sign_in(browser)
    old_key = client.session.session_key
    client.post(SET_UP, {"code": code_now(new_secret(client))})
    assert "Dashboard" in page(client, "/admin/")
    assert client.session.session_key != old_key
    for address, other in zip(("/admin/", SET_UP), others, strict=True):
        key = other.session.session_key
        assert other.get(address)["Location"] == "/admin/login/"
        assert not Session.objects.filter(pk=key).exists()


def test_replacing_one_asks_for_the_old_code(client: Client, sam: User) -> None:
    give_factor(sam)
    sign_in(client, current_code())
    secret = new_secret(client)
    for wrong in ({}, {"old_code": ""}, {"old_code": "000000"}, {"old_code": code_now(secret)}):
        response = client.post(SET_UP, {"code": code_now(secret), **wrong})
        assert response.status_code == 200
    assert "Enter the code that the old app shows now." in text_of(response)
    # The code that opened the session was used; and the old code alone is not enough.
    used = SecondFactor.objects.get().last_step
    assert client.post(SET_UP, {"code": code_now(secret), "old_code": code_at(RFC_SECRET, used)}).status_code == 200
    unused = code_at(RFC_SECRET, used + 1)
    assert client.post(SET_UP, {"code": "000000", "old_code": unused}).status_code == 200
    assert SecondFactor.objects.get().secret == seal_of(RFC_SECRET)
    other = Client()
    other.force_login(sam)
    response = client.post(SET_UP, {"code": code_now(secret), "old_code": unused})
    assert response.status_code == 302
    assert unseal(SecondFactor.objects.get().secret) == secret
    assert "Dashboard" in page(client, "/admin/")
    assert other.get("/admin/")["Location"] == "/admin/login/"
    assert AuditEntry.objects.filter(action="replace second factor").count() == 1


def seal_of(secret: str) -> str:
    """As it is stored now, if it is stored sealed and says this."""
    stored = SecondFactor.objects.get().secret
    assert stored != secret
    return stored if unseal(stored) == secret else ""


def test_old_codes_cannot_be_guessed(client: Client, sam: User) -> None:
    give_factor(sam)
    sign_in(client, current_code())
    secret = new_secret(client)
    for _ in range(5):
        client.post(SET_UP, {"code": code_now(secret), "old_code": "000000"})
    right = {"code": code_now(secret), "old_code": code_now(RFC_SECRET, 1)}
    assert "Too many wrong codes." in text_of(client.post(SET_UP, right))
    assert unseal(SecondFactor.objects.get().secret) == RFC_SECRET


def test_a_secret_of_an_older_release_is_sealed_at_its_next_use(client: Client, sam: User, settings: Any) -> None:
    give_factor(sam)
    assert SecondFactor.objects.get().secret == RFC_SECRET
    assert "Dashboard" in sign_in(client, current_code())
    first = seal_of(RFC_SECRET)

    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-" + "x" * 40
    assert use_code(sam, code_now(RFC_SECRET, 1))
    settings.SECRET_KEY_FALLBACKS = []
    assert seal_of(RFC_SECRET) != first

    settings.SECRET_KEY = "a-third-key-" + "x" * 40
    SecondFactor.objects.update(last_step=0)
    assert not use_code(sam, current_code())
    assert seal("a") != seal("a")


def test_nobody_removes_their_own_factor(client: Client, sam: User) -> None:
    give_factor(sam)
    sign_in(client, current_code())
    assert client.post(f"/admin/support/secondfactor/{sam.pk}/delete/", {"post": "yes"}).status_code == 403
    assert SecondFactor.objects.count() == 1


ADDRESSES = [
    ("/admin/accounts/account/", {}),
    ("/%61dmin/accounts/account/", {}),
    ("//admin/accounts/account/", {}),
    ("/./admin/accounts/account/", {}),
    ("/x/../admin/accounts/account/", {}),
    ("/x/admin/accounts/account/", {"SCRIPT_NAME": "/x"}),
    ("/x/accounts/account/", {"SCRIPT_NAME": "/x", "PATH_INFO": "/admin/accounts/account/"}),
    ("/healthz", {"PATH_INFO": "/admin/accounts/account/"}),
    ("/admin/accounts/account/", {"SCRIPT_NAME": "/admin/login/"}),
    ("/admin/accounts/account/", {"X-Script-Name": "/x", "X-Forwarded-Prefix": "/x", "X-Original-URL": "/healthz"}),
    ("/admin/accounts/account/", {"REMOTE_USER": "sam", "X-Forwarded-Host": "localhost"}),
]


def test_no_way_to_write_an_address_leads_past_it(serve_with: ServeWith, sam: User, client: Client) -> None:
    server = serve_with(GUNICORN_WORKERS="1", STAFF_SECOND_FACTOR_REQUIRED="on")
    for has_factor in (False, True):
        if has_factor:
            give_factor(sam)
        for path, headers in ADDRESSES:
            client.force_login(sam)
            cookie = {"Cookie": f"sessionid={client.session.session_key}"}
            response = server.http.request("GET", server.site + path, headers=cookie | headers, redirect=False)
            told = response.status, response.headers.get("Location")
            if path == "/healthz":
                assert told == (200, None)
            elif "admin/accounts" in path and path.startswith(("/admin", "/%61dmin")):
                assert told == (302, "/admin/login/" if has_factor else SET_UP), (path, headers)
            else:
                assert told in ((404, None), (302, "/admin/login/" if has_factor else SET_UP)), (path, headers)


def test_only_a_superuser_removes_the_factor_of_a_lost_phone(client: Client, sam: User, log_in: Any) -> None:
    give_factor(sam)
    address = f"/admin/support/secondfactor/{sam.pk}/delete/"
    assert log_in("Billing admin", "boss").post(address, {"post": "yes"}).status_code == 403
    assert log_in(None, "root").post(address, {"post": "yes"}).status_code == 302
    assert SecondFactor.objects.count() == 0
    entries = AuditEntry.objects.filter(action="delete second factor")
    assert sorted(entries.values_list("actor", "outcome")) == [("staff:boss", "refused"), ("staff:root", "done")]
