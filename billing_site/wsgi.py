"""WSGI entry point: the site with its middleware, and the proxy API without any.

A request to an upstream's own port is the same as one below that upstream's prefix on the site port, so the two ports
serve nothing but the proxy API (no admin), and one process serves all three.
"""

import os
from collections.abc import Iterable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")

from django.conf import settings
from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application


class ProxyHandler(WSGIHandler):
    """Django's handler with no middleware: an API request needs no session, no CSRF, no static files."""

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]


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
        return _proxy(environ, start_response)
    return _site(environ, start_response)
