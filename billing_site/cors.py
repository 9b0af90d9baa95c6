"""Which pages of other origins may read the answers of the APIs in a browser: CORS, off without `CORS_ORIGINS`.

Credentials of the browser (cookies) are never allowed: who calls an API shows a key. So an origin that is allowed can
do nothing that a program without a browser could not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings

ANY_ORIGIN = "*"
API_PATHS = ("/openhands/", "/ohmygpt/", "/api/")
ALLOWED_METHODS = "GET, HEAD, POST, PATCH, DELETE, OPTIONS"
PREFLIGHT_SECONDS = "7200"
"""How long a browser remembers a preflight: the longest that Chromium does."""
EXPOSED_HEADERS = (
    "X-Request-Id",
    "request-id",
    "Retry-After",
    "X-Should-Retry",
    "X-Credits-Cost",
    "X-Credits-Balance",
    "X-Removed-Tools",
    "X-Max-Tokens-Lowered",
    "Idempotent-Replayed",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Reset-Requests",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "openai-processing-ms",
    "openai-version",
    "Allow",
    "Accept-Encoding",
)
"""What a page may read of an answer beside its body: all headers of ours that say something to a client."""
_EXPOSED = ", ".join(EXPOSED_HEADERS)
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}){0,99}")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_USUAL_PORTS = (("http://", ":80"), ("https://", ":443"))

Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]


def is_origin(text: str) -> bool:
    """Whether a browser would send this as an origin: scheme and host in small letters, a port if it is unusual."""
    return bool(_ORIGIN.fullmatch(text)) and not any(
        text.startswith(scheme) and text.endswith(port) for scheme, port in _USUAL_PORTS
    )


def concerns(path: str) -> bool:
    """Whether answers of this path may be read by pages of other origins, and any may."""
    return bool(settings.CORS_ORIGINS) and path.startswith(API_PATHS)


def is_preflight(environ: Mapping[str, Any]) -> bool:
    """Whether a browser asks what a page may do, before the page's own request."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def answer_preflight(environ: Mapping[str, Any], start_response: StartResponse, security: Headers) -> Sequence[bytes]:
    """What the page may do. Neither a key nor the database is asked for: browsers send no key with it."""
    headers: Headers = [("Content-Length", "0"), *_origin_headers(environ)]
    if _is_allowed(environ):
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
        headers += [("Access-Control-Allow-Methods", ALLOWED_METHODS), ("Access-Control-Max-Age", PREFLIGHT_SECONDS)]
        headers += [("Access-Control-Allow-Headers", asked)] if _NAMES.fullmatch(asked) else []
    start_response("204 No Content", headers + security)
    return ()


def telling(environ: Mapping[str, Any], start_response: StartResponse) -> StartResponse:
    """`start_response` that also says who may read the answer."""

    def start(status: str, headers: Headers, *more: Any) -> Any:
        exposed = [("Access-Control-Expose-Headers", _EXPOSED)] if _is_allowed(environ) else []
        return start_response(status, [*headers, *_origin_headers(environ), *exposed], *more)

    return start


def _is_allowed(environ: Mapping[str, Any]) -> bool:
    return ANY_ORIGIN in settings.CORS_ORIGINS or environ.get("HTTP_ORIGIN") in settings.CORS_ORIGINS


def _origin_headers(environ: Mapping[str, Any]) -> Headers:
    """The header that allows a request's origin, if the settings do. Caches are told that it depends on the origin."""
    if ANY_ORIGIN in settings.CORS_ORIGINS:
        return [("Access-Control-Allow-Origin", ANY_ORIGIN)]
    allowed = [("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"])] if _is_allowed(environ) else []
    return [*allowed, ("Vary", "Origin")]
