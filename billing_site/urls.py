"""URLs of the site, and of the proxy API below each upstream's prefix."""

from django.contrib import admin
from django.urls import path

from support.views import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
]
