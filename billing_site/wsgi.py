"""WSGI entry point: the site with its middleware, and the proxy API without any.

A request to an upstream's own port is the same as one below that upstream's prefix on the site port, so the two ports
serve nothing but the proxy API (no admin), and one process serves all three.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from socket import IPPROTO_TCP, TCP_CORK, socket
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.urls import ResolverMatch, resolve

from accounts.keys import mask_keys_in

logger = logging.getLogger(__name__)

_site = get_wsgi_application()

_PREFIX_BY_PORT = {str(settings.OPENHANDS_PORT): "/openhands", str(settings.OHMYGPT_PORT): "/ohmygpt"}
_PREFIXES = tuple(f"{prefix}/" for prefix in _PREFIX_BY_PORT.values())


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve one request; the port of the listening socket, never a header, says which upstream was asked for."""
    prefix = _PREFIX_BY_PORT.get(environ["SERVER_PORT"])
    if prefix:
        environ["PATH_INFO"] = prefix + environ["PATH_INFO"]
    serve = _serve_proxy if environ["PATH_INFO"].startswith(_PREFIXES) else _site
    body: Iterable[bytes] = serve(environ, start_response)
    if environ["REQUEST_METHOD"] != "HEAD":
        return body
    # A view answers a HEAD as a GET. A server would drop the body too, but gunicorn warns of each one.
    if hasattr(body, "close"):
        body.close()
    return ()


def _serve_proxy(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Only what an API request needs: the URL and the view, which answers every exception of its own.

    No middleware, no session, no CSRF, no static files, no signals; nor what Django keeps for each thread while it
    serves a page.
    """
    try:
        request = WSGIRequest(environ)
        _, upstream, path = request.path_info.split("/", 2)
        match = _resolve(f"/{path}")
        response = match.func(request, upstream=upstream, **match.kwargs)
    except Exception as error:  # The outermost: the server's own answer would be HTML.
        response = _failed(error)
    if response.status_code >= 500:
        logger.error("%s: %s", response.reason_phrase, mask_keys_in(environ["PATH_INFO"]))
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
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
    return resolve(path, "proxy.api.urls")
