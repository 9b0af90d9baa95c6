"""URLs of the site. The proxy API below each upstream's prefix is not among them: billing_site/wsgi.py serves it."""

from django.contrib import admin
from django.urls import include, path

from billing_site import health
from billing_site.api_docs import ApiDocsView, ApiDocumentView
from support.pages.home import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/support/", include("support.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("api/payment/", include("payments.api.urls")),
    path("api/schema", ApiDocumentView.as_view(), name="schema"),
    path("api/docs", ApiDocsView.as_view(url_name="schema")),
]
