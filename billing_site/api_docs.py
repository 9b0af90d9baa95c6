"""The API's document, and the page that shows it: Swagger UI from this server, under a strict content policy."""

from typing import Any

from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from accounts.errors import RequestThrottled
from accounts.throttle import FREE_REQUESTS

# The page's own script is a URL of this server (that is what "split" means); its style sheet sits in the page.
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


DOCUMENT_WEIGHT = 10
"""The document is made anew for each request, which costs as much as so many requests that read something."""


class DocumentThrottle(BaseThrottle):
    """FREE_REQUESTS_PER_MINUTE, by address: there is no key."""

    retry_seconds: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        name = f"document for {request.META.get('REMOTE_ADDR')}"  # Not `get_ident`, which believes a header.
        try:
            FREE_REQUESTS.take(name)
        except RequestThrottled as error:
            self.retry_seconds = error.retry_seconds
            return False
        FREE_REQUESTS.count(name, DOCUMENT_WEIGHT - 1)
        return True

    def wait(self) -> float | None:
        return self.retry_seconds


class ApiDocumentView(SpectacularAPIView):
    """The OpenAPI document."""

    throttle_classes = (DocumentThrottle,)


class ApiDocsView(SpectacularSwaggerSplitView):
    """Swagger UI over `/api/schema`."""

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Response:
        finished: Response = super().finalize_response(request, response, *args, **kwargs)
        finished.headers["Content-Security-Policy"] = _CONTENT_POLICY
        return finished
