"""URLs of the site, and of the proxy API below each upstream's prefix."""

from django.contrib import admin
from django.urls import include, path

from accounts.models import Balance
from billing_site import health
from support.views import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/support/", include("support.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("api/payment/", include("payments.urls")),
    *(path(f"{upstream}/", include("proxy.urls"), {"upstream": upstream}) for upstream in Balance.values),
]
