"""WSGI entry point: the site with its middleware, and the proxy API without any.

A request to an upstream's own port is the same as one below that upstream's prefix on the site port, so the two ports
serve nothing but the proxy API (no admin) and the health of their process. Which ports a process has is `SERVE`.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from socket import IPPROTO_TCP, TCP_CORK, socket
from threading import BoundedSemaphore
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.urls import ResolverMatch, resolve

from accounts.keys import mask_keys_in
from billing_site import cors
from billing_site.security import api_headers

logger = logging.getLogger(__name__)

_site = get_wsgi_application()

# They import models, which stand only when Django is set up.
from proxy.api.addresses import STANDS_AT_ROOT, endpoint_path  # noqa: E402
from proxy.api.views import HAS_NO_THREAD  # noqa: E402

_PREFIX_BY_PORT = {str(settings.OPENHANDS_PORT): "/openhands", str(settings.OHMYGPT_PORT): "/ohmygpt"}
_CHARSET = re.compile(r";\s*+charset[\s*]*+=[^;]*+", re.IGNORECASE)
_PREFIXES = tuple(f"{prefix}/" for prefix in _PREFIX_BY_PORT.values())
_HEALTH = ("/healthz", "/readyz")
_BUSY = json.dumps({"error": "The service is busy. Try again in a moment.", "code": "busy"}).encode()

# Where a process serves the site as well, API requests leave it a quarter of the threads.
_api_threads = BoundedSemaphore(max(1, settings.GUNICORN_THREADS * 3 // 4))
_security_headers = api_headers()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve one request; the port of the listening socket, never a header, says which upstream was asked for."""
    if ";" in (content_type := environ.get("CONTENT_TYPE", "")):
        # What is sent is UTF-8, whatever a request names: Django decodes addresses and forms by that name, fails on
        # some codecs, and makes texts by others that no database takes.
        environ["CONTENT_TYPE"] = _CHARSET.sub("", content_type)
    if getattr(environ.get("gunicorn.socket"), "has_no_thread", False):
        environ[HAS_NO_THREAD] = True
    path = environ["PATH_INFO"] = _place(environ, environ["PATH_INFO"])
    if cors.concerns(path):
        if cors.is_preflight(environ):
            return cors.answer_preflight(environ, start_response, _security_headers)
        start_response = cors.telling(environ, start_response)
    if path.startswith(_PREFIXES):
        serve = _serve_proxy if settings.SERVE == "api" else _serve_proxy_beside_the_site
    else:
        serve = _refuse_page if HAS_NO_THREAD in environ and path not in _HEALTH else _site
    body: Iterable[bytes] = serve(environ, start_response)
    if environ["REQUEST_METHOD"] != "HEAD":
        return body
    # A view answers a HEAD as a GET. A server would drop the body too, but gunicorn warns of each one.
    if hasattr(body, "close"):
        body.close()
    return ()


def _place(environ: dict[str, Any], path: str) -> str:
    """The path of a request on the site: what came to an upstream's own port stands below that upstream's prefix."""
    tidy = "/" + path.lstrip("/")
    if tidy in _PREFIX_BY_PORT.values():
        tidy += "/"  # The address of an upstream without anything behind it.
    prefix = _PREFIX_BY_PORT.get(environ["SERVER_PORT"])
    if prefix and path not in _HEALTH and not tidy.startswith(f"{prefix}/"):
        environ[STANDS_AT_ROOT] = True
        return prefix + tidy
    return tidy if tidy.startswith(_PREFIXES) else path


def _refuse_page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """There is no thread for a page, a payment or a webhook, whose sender will try again."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(_BUSY))), ("Retry-After", "2")]
    start_response("503 Service Unavailable", headers + _security_headers)
    return (_BUSY,)


def _serve_proxy_beside_the_site(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """An API request in a process that serves the site too: with one of the threads that are for them, or refused."""
    if not _api_threads.acquire(blocking=False):
        environ[HAS_NO_THREAD] = True
        return _serve_proxy(environ, start_response)
    is_over = True
    try:
        body = _serve_proxy(environ, start_response)
        if not isinstance(body, StreamingHttpResponse):
            return body
        is_over = False
        return _Ending(body, _api_threads.release)
    finally:
        if is_over:
            _api_threads.release()


class _Ending:
    """A streamed body, and what to do once it is over."""

    def __init__(self, body: StreamingHttpResponse, at_end: Callable[[], object]) -> None:
        self._body = body
        self._at_end = at_end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """The server calls this once, however the answer ended."""
        try:
            self._body.close()
        finally:
            self._at_end()


def _serve_proxy(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Only what an API request needs: the URL and the view, which answers every exception of its own.

    No middleware, no session, no CSRF, no static files, no signals; nor what Django keeps for each thread while it
    serves a page.
    """
    try:
        request = WSGIRequest(environ)
        _, upstream, path = request.path_info.split("/", 2)
        match = _resolve(path)
        response = match.func(request, upstream=upstream, **match.kwargs)
    except Exception as error:  # The outermost: the server's own answer would be HTML.
        response = _failed(error)
    if response.status_code >= 500:
        logger.error("%s: %s", response.reason_phrase, mask_keys_in(environ["PATH_INFO"]))
    start_response(f"{response.status_code} {response.reason_phrase}", [*response.items(), *_security_headers])
    # The bytes alone where there is no stream: a plain answer has nothing to close.
    return response if response.streaming else _in_one_piece(response.content, environ.get("gunicorn.socket"))


def _in_one_piece(content: bytes, channel: socket | None) -> Iterable[bytes]:
    """A body that leaves together with its header: gunicorn sends the two apart, and each would wake the client."""
    if channel is None:
        return (content,)
    try:
        channel.setsockopt(IPPROTO_TCP, TCP_CORK, 1)
    except OSError:  # It is no TCP socket.
        return (content,)
    return _CorkedBody(content, channel)


class _CorkedBody:
    """What is written to the socket is kept together until the server has written all of it, and closes this."""

    def __init__(self, content: bytes, channel: socket) -> None:
        self._content = content
        self._channel = channel

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    def close(self) -> None:
        """Let it go."""
        self._channel.setsockopt(IPPROTO_TCP, TCP_CORK, 0)


def _failed(error: Exception) -> Any:
    """The answer to a request for which no view was called."""
    # They import models, which stand only when Django is set up.
    from proxy.api.responses import error_response
    from proxy.api.views import OPENAI, new_request_id
    from proxy.errors import InternalError

    request_id = new_request_id()
    logger.exception("request %s reached no view", request_id)
    return error_response(InternalError(repr(error)), OPENAI, request_id)


@lru_cache(maxsize=64)
def _resolve(path: str) -> ResolverMatch:
    """The view of a path. Nearly all requests have one of four paths, which need not be matched again each time."""
    return resolve(endpoint_path(path), "proxy.api.urls")
