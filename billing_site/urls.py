"""URLs of the site, and of the proxy API below each upstream's prefix."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from billing_site.api_docs import ApiDocsView

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/payment/", include("payments.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", ApiDocsView.as_view(url_name="schema")),
]
