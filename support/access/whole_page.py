"""What a fragment of a page cannot show: the log-in, and the page that sets up the second factor."""

from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


class WholePageMiddleware:
    """A dialog, or a part of a page, that is answered by a redirect sends the whole page there.

    The log-in comes back to the page that asked, not to the fragment of it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.headers.get("HX-Request") != "true" or response.status_code != 302:
            return response
        address, log_in = response["Location"], reverse("admin:login")
        if urlsplit(address).path == log_in:
            address = f"{log_in}?{urlencode({REDIRECT_FIELD_NAME: _page_of(request)})}"
        whole = HttpResponse(headers={"HX-Redirect": address})
        whole.cookies = response.cookies
        return whole


def _page_of(request: HttpRequest) -> str:
    """The page of this site that holds the fragment, as the browser says; the dashboard if it says none."""
    said = request.headers.get("HX-Current-URL", "")
    if not url_has_allowed_host_and_scheme(said, allowed_hosts={request.get_host()}):
        return reverse("admin:index")
    parts = urlsplit(said)
    return parts.path + (f"?{parts.query}" if parts.query else "")
