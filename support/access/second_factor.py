"""The second factor of staff: codes of an authenticator app (RFC 6238), each good for one log-in."""

import base64
import hashlib
import hmac
import secrets
import struct
import time
from collections.abc import Callable
from typing import cast
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
from unfold.widgets import UnfoldAdminTextInputWidget

from support.audit.actors import actor_of
from support.audit.trail import record
from support.models import SecondFactor

STEP_SECONDS = 30
DIGITS = 6
ALLOWED_DRIFT_STEPS = 1
PASSED = "has_second_factor"
PENDING = "pending_second_factor"
ISSUER = "LLM credits"

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


def has_second_factor(user: User) -> bool:
    return SecondFactor.objects.filter(pk=str(user.pk)).exists()


def use_code(user: User, code: str, *, now: float | None = None) -> bool:
    """Whether the code is right and was not used before. The update decides, so that a replay cannot win a race."""
    factor = SecondFactor.objects.filter(pk=str(user.pk)).first()
    step = matching_step(factor.secret, code, now=now) if factor else None
    if step is None:
        return False
    return bool(SecondFactor.objects.filter(pk=str(user.pk), last_step__lt=step).update(last_step=step))


# --- Setting it up -----------------------------------------------------------------------------------------------


class SetUpForm(forms.Form):
    code = forms.CharField(
        label="Code that the app shows now",
        max_length=10,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )


def set_up(request: HttpRequest) -> HttpResponse:
    """Show a new secret as a QR code; the first right code of the app confirms it. Replaces an earlier one."""
    user = cast(User, request.user)
    if has_second_factor(user) and not request.session.get(PASSED):
        logout(request)  # A log-in from before the factor: it has to be done again, with a code.
        return HttpResponseRedirect(reverse("admin:login"))
    form = SetUpForm(request.POST or None)
    secret = request.session.get(PENDING) or base64.b32encode(secrets.token_bytes(20)).decode()
    request.session[PENDING] = secret
    if request.method == "POST" and form.is_valid():
        step = matching_step(secret, form.cleaned_data["code"])
        if step is not None:
            _confirm(request, user, secret, step)
            return HttpResponseRedirect(reverse("admin:index"))
        form.add_error("code", "This is not the code that the app should show. Is the clock of the phone right?")
    address = f"otpauth://totp/{quote(ISSUER)}:{quote(user.get_username())}?secret={secret}&issuer={quote(ISSUER)}"
    context = {
        **admin.site.each_context(request),
        "title": "Second factor",
        "form": form,
        "secret": " ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        "picture": segno.make(address).svg_data_uri(scale=5),
        "has_one": has_second_factor(user),
    }
    response = render(request, "support/second_factor.html", context)
    response["Cache-Control"] = "no-store"
    return response


def _confirm(request: HttpRequest, user: User, secret: str, step: int) -> None:
    fields = {"username": user.get_username(), "secret": secret, "last_step": step, "confirmed_at": timezone.now()}
    SecondFactor.objects.update_or_create(pk=str(user.pk), defaults=fields)
    del request.session[PENDING]
    request.session[PASSED] = True
    record(actor=actor_of(user), action="set up second factor", target="")


# --- Requiring it ------------------------------------------------------------------------------------------------


class SecondFactorMiddleware:
    """With STAFF_SECOND_FACTOR_REQUIRED nobody gets into the admin with a password alone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if (
            settings.STAFF_SECOND_FACTOR_REQUIRED
            and request.path.startswith(reverse("admin:index"))
            and request.path not in (reverse("support:second_factor"), reverse("admin:logout"), reverse("admin:login"))
            and request.user.is_authenticated
            and not request.session.get(PASSED)
        ):
            return HttpResponseRedirect(reverse("support:second_factor"))
        return self.get_response(request)
