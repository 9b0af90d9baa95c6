"""WSGI entry point: the site with its middleware, and the proxy API without any.

A request to an upstream's own port is the same as one below that upstream's prefix on the site port, so the two ports
serve nothing but the proxy API (no admin), and one process serves all three.
"""

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.http import HttpRequest
from django.urls import ResolverMatch, resolve
from django.utils.log import log_response


class ProxyHandler(WSGIHandler):
    """Django's handler with only what an API request needs: the URL, the view, and an answer to its exceptions.

    No middleware, no session, no CSRF, no static files; nor what Django keeps for each thread while it serves a page.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        self._middleware_chain = convert_exception_to_response(self._call_view)

    def get_response(self, request: HttpRequest) -> Any:
        """Django's own, without the URL configuration of the thread and the files to close."""
        response: Any = self._middleware_chain(request)
        if response.status_code >= 400:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
        return response

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        request = self.request_class(environ)
        response = self.get_response(request)
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
        return response

    def _call_view(self, request: HttpRequest) -> Any:
        _, upstream, path = request.path_info.split("/", 2)
        match = _resolve(f"/{path}")
        return match.func(request, upstream=upstream, **match.kwargs)


@lru_cache(maxsize=64)
def _resolve(path: str) -> ResolverMatch:
    """The view of a path. Nearly all requests have one of four paths, which need not be matched again each time."""
    return resolve(path, "proxy.api.urls")


# The driver keeps its own pool, and this back end's `close` does nothing: there is nothing to look for on each request.
for _signal in (request_started, request_finished):
    _signal.disconnect(close_old_connections)

_site = get_wsgi_application()
_proxy = ProxyHandler()
_PREFIX_BY_PORT = {str(settings.OPENHANDS_PORT): "/openhands", str(settings.OHMYGPT_PORT): "/ohmygpt"}
_PREFIXES = tuple(f"{prefix}/" for prefix in _PREFIX_BY_PORT.values())


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve one request; the port of the listening socket, never a header, says which upstream was asked for."""
    prefix = _PREFIX_BY_PORT.get(environ["SERVER_PORT"])
    if prefix:
        environ["PATH_INFO"] = prefix + environ["PATH_INFO"]
    if environ["PATH_INFO"].startswith(_PREFIXES):
        response = _proxy(environ, start_response)
        # The bytes alone: a plain answer has nothing to close, and nobody hears the signal that closing one sends.
        return response if response.streaming else (response.content,)
    return _site(environ, start_response)
