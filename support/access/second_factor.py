"""The second factor of staff: codes of an authenticator app (RFC 6238), each good once."""

import base64
import hashlib
import hmac
import logging
import secrets
import struct
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import quote

import segno
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from support.access.backup_codes import use_backup_code
from support.access.code_field import code_field
from support.access.lockout import count_attempt, forget_attempts
from support.access.sealed import Unreadable, seal, unseal
from support.audit.actors import actor_of
from support.audit.trail import record
from support.models import SecondFactor

STEP_SECONDS = 30
DIGITS = 6
ALLOWED_DRIFT_STEPS = 1
PASSED = "has_second_factor"
PENDING = "pending_second_factor"
ISSUER = "LLM credits"
STAFF_PAGES = frozenset(("admin", "support"))
OPEN_VIEWS = ("admin:login", "admin:logout")

logger = logging.getLogger(__name__)

# --- Codes -------------------------------------------------------------------------------------------------------


def code_at(secret: str, step: int) -> str:
    """The code of a base32 secret in one 30-second step (RFC 4226, SHA-1, six digits)."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def matching_step(secret: str, code: str, *, now: float | None = None) -> int | None:
    """The step that a code belongs to, with a step of drift either way; None if it is wrong."""
    current = int((time.time() if now is None else now) // STEP_SECONDS)
    given = code.replace(" ", "").encode()
    for step in range(current - ALLOWED_DRIFT_STEPS, current + ALLOWED_DRIFT_STEPS + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), given):
            return step
    return None


def factor_of(user: User) -> str | None:
    """What names the user's present factor: a session that was opened with it keeps this. None without a factor."""
    confirmed = SecondFactor.objects.filter(pk=str(user.pk)).values_list("confirmed_at", flat=True).first()
    return None if confirmed is None else confirmed.isoformat()


def use_code(user: User, code: str, *, now: float | None = None) -> bool:
    """Whether the code is right and was not used before. The update decides, so that a replay cannot win a race.

    The secret is encrypted anew with it, as the present `SECRET_KEY` has it.
    """
    factor = SecondFactor.objects.filter(pk=str(user.pk)).first()
    if factor is None:
        return False
    try:
        secret = unseal(factor.secret)
    except Unreadable as error:
        logger.error("the second factor of %s cannot be read: %s", factor, error)
        return False
    step = matching_step(secret, code, now=now)
    if step is None:
        return False
    unused = SecondFactor.objects.filter(pk=factor.pk, confirmed_at=factor.confirmed_at, last_step__lt=step)
    return bool(unused.update(last_step=step, secret=seal(secret)))


def use_any_code(user: User, code: str) -> bool:
    """Whether a code of the app is right and unused, or is an unused backup code; it is used by that."""
    return use_code(user, code) or use_backup_code(user, code)


# --- Setting it up -----------------------------------------------------------------------------------------------


class SetUpForm(forms.Form):
    """The first code of the new app; who has one already proves it by a code of the old app, or a backup code."""

    code = code_field("Code that the new app shows now")
    old_code = code_field("Code that the old app shows now, or a backup code", has_letters=True)

    def __init__(self, *args: Any, user: User, secret: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user, self.secret = user, secret
        self.step = 0
        self.has_one = factor_of(user) is not None
        if not self.has_one:
            del self.fields["old_code"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        step = matching_step(self.secret, cleaned["code"])
        if step is None:
            self.add_error("code", "This is not the code that the app should show. Is the clock of the phone right?")
            return cleaned
        self.step = step
        if self.has_one:
            self._check_old(cleaned["old_code"])
        return cleaned

    def _check_old(self, code: str) -> None:
        attempts = f"second factor of {self.user.pk}"
        if not count_attempt(attempts):
            self.add_error("old_code", "Too many wrong codes. Try again in 15 minutes.")
        elif use_any_code(self.user, code):
            forget_attempts(attempts)
        else:
            self.add_error("old_code", "Enter the code that the old app shows now. Each code works only once.")


def set_up(request: HttpRequest) -> HttpResponse:
    """Show a new secret as a QR code; the first right code of the app confirms it. Replaces an earlier one."""
    user = cast(User, request.user)
    pending = request.session.get(PENDING)
    secret = unseal(pending) if pending else base64.b32encode(secrets.token_bytes(20)).decode()
    if not pending:
        request.session[PENDING] = seal(secret)
    form = SetUpForm(request.POST or None, user=user, secret=secret)
    if request.method == "POST" and form.is_valid():
        _confirm(request, user, form)
        return HttpResponseRedirect(reverse("admin:index"))
    address = f"otpauth://totp/{quote(ISSUER)}:{quote(user.get_username())}?secret={secret}&issuer={quote(ISSUER)}"
    context = {
        **admin.site.each_context(request),
        "title": "Second factor",
        "form": form,
        "secret": " ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        "picture": segno.make(address).svg_data_uri(scale=5),
    }
    response = render(request, "support/second_factor.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _confirm(request: HttpRequest, user: User, form: SetUpForm) -> None:
    """Store the factor. The user's other sessions were not opened with it, so `SecondFactorMiddleware` ends them."""
    fields = {
        "username": user.get_username(),
        "secret": seal(form.secret),
        "last_step": form.step,
        "confirmed_at": timezone.now(),
        "backup_hashes": None,  # Those of the old app go with it.
    }
    SecondFactor.objects.update_or_create(pk=str(user.pk), defaults=fields)
    del request.session[PENDING]
    request.session[PASSED] = factor_of(user)
    request.session.cycle_key()
    record(actor=actor_of(user), action="replace second factor" if form.has_one else "set up second factor", target="")


# --- Requiring it ------------------------------------------------------------------------------------------------


class SecondFactorMiddleware:
    """Nobody who has a factor works in the admin without it, and with STAFF_SECOND_FACTOR_REQUIRED nobody without one.

    Judged by the view that was found, whatever the address looked like.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        match = request.resolver_match
        is_open = match is None or match.view_name in OPEN_VIEWS or STAFF_PAGES.isdisjoint(match.namespaces)
        if is_open or not isinstance(request.user, User):
            return None
        factor = factor_of(request.user)
        if factor is not None:
            if request.session.get(PASSED) == factor:
                return None
            logout(request)  # A log-in from before the factor: it has to be done again, with a code.
            return HttpResponseRedirect(reverse("admin:login"))
        is_set_up = match is not None and match.view_name == "support:second_factor"
        if settings.STAFF_SECOND_FACTOR_REQUIRED and not is_set_up:
            return HttpResponseRedirect(reverse("support:second_factor"))
        return None
