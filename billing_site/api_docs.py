"""The page that shows the API: Swagger UI from this server, under a strict content policy."""

from typing import Any

from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.response import Response

# The page's own script is a URL of this server (that is what "split" means); its style sheet sits in the page.
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class ApiDocsView(SpectacularSwaggerSplitView):
    """Swagger UI over `/api/schema`."""

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Response:
        finished: Response = super().finalize_response(request, response, *args, **kwargs)
        finished.headers["Content-Security-Policy"] = _CONTENT_POLICY
        return finished
