"""What the browser may do on our pages, and with what the API answers: the security headers of every answer."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from billing_site.error_pages import TOO_LARGE, show
from border.digits import read_whole_number

POLICY = "; ".join(
    (
        "default-src 'self'",
        # The admin's components evaluate expressions in attributes; inline scripts stay forbidden.
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
NO_PAGE_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Of what is no page: shown in a browser all the same, it can do nothing."""


def transport_headers() -> dict[str, str]:
    """Tells browsers to come by HTTPS alone, if the settings say so. (Django tells it only who came by HTTPS: it cannot
    know where a proxy ends TLS.)"""
    seconds = settings.HSTS_SECONDS
    return {"Strict-Transport-Security": f"max-age={seconds}"} if seconds else {}


def api_headers() -> list[tuple[str, str]]:
    """The security headers of every answer that no middleware sees."""
    headers = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "Content-Security-Policy": NO_PAGE_POLICY,
    }
    return list((headers | transport_headers()).items())


class ContentSecurityPolicyMiddleware:
    """Nothing is loaded from, sent to, or framed by another site. A view may set a policy of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
        for name, value in transport_headers().items():
            response.headers.setdefault(name, value)
        return response


class BodySizeMiddleware:
    """No page takes a body larger than `DATA_UPLOAD_MAX_MEMORY_SIZE`.

    Django counts the fields of a form, but writes files of any size to the disk, for anybody and before any log-in. The
    API reads no forms; it has bounds of its own, and answers in JSON.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/api/"):
            return self.get_response(request)
        size = read_whole_number(request.META.get("CONTENT_LENGTH") or "0")
        if size is None or size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return show(request, TOO_LARGE)
        return self.get_response(request)
