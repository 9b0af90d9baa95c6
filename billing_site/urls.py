"""URLs of the site. The proxy API below each upstream's prefix is not among them: billing_site/wsgi.py serves it."""

from typing import Never

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.urls import include, path

from billing_site import health
from billing_site.api_docs import ApiDocsView, ApiDocumentView
from support.pages.home import home


def no_such_page(request: HttpRequest, anything: str) -> Never:
    """Django's own view of these addresses fails for an id that this database cannot have, and nothing here uses it."""
    raise Http404


urlpatterns = [
    path("", home, name="home"),
    path("admin/r/<path:anything>", admin.site.admin_view(no_such_page)),
    path("admin/support/", include("support.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("api/payment/", include("payments.api.urls")),
    path("api/schema", ApiDocumentView.as_view(), name="schema"),
    path("api/docs", ApiDocsView.as_view(url_name="schema")),
]

handler400 = "billing_site.error_pages.bad_request"
handler403 = "billing_site.error_pages.permission_denied"
handler404 = "billing_site.error_pages.not_found"
handler500 = "billing_site.error_pages.server_error"
