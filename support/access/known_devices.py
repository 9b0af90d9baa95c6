"""Browsers in which somebody has logged in before. What strangers guess does not lock them out.

https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import hashlib
import secrets
from collections.abc import Callable

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

COOKIE = "known_device"
SALT = "support.known_device"
LIFETIME_SECONDS = 90 * 24 * 3600


def known_device(request: HttpRequest, name: str) -> str | None:
    """What names the browser, if `name` has logged in with it; None if it is a stranger's, for all one knows."""
    try:
        content = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature:
        return None
    return str(content["device"]) if content["user"] == _digest(name) else None


def remember_device(request: HttpRequest, name: str) -> None:
    """`name` has logged in: the answer tells the browser so. An earlier user of this browser is a stranger again."""
    content = {"user": _digest(name), "device": secrets.token_hex(16)}
    request.known_device = signing.dumps(content, salt=SALT)  # type: ignore[attr-defined]


class KnownDeviceMiddleware:
    """Sets the cookie of a browser in which somebody has just logged in; only the page to log in is ever sent it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if value := getattr(request, "known_device", None):
            response.set_cookie(
                COOKIE,
                value,
                max_age=LIFETIME_SECONDS,
                path=reverse("admin:login"),
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Strict",
            )
        return response


def _digest(name: str) -> str:
    return hashlib.sha256(name.casefold().encode()).hexdigest()
