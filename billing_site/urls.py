"""URLs of the site, and of the proxy API below each upstream's prefix."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/payment/", include("payments.urls")),
]
