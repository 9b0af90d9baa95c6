"""Addresses of the staff's own pages, below `/admin/support/`."""

from django.contrib import admin
from django.urls import path

from support import account_pages

app_name = "support"

urlpatterns = [
    path(
        "accounts/<path:username>/do/<slug:slug>/",
        admin.site.admin_view(account_pages.account_action),
        name="account_action",
    ),
    path("accounts/<path:username>/timeline/", admin.site.admin_view(account_pages.timeline), name="timeline"),
    path(
        "accounts/<path:username>/timeline/requests/",
        admin.site.admin_view(account_pages.timeline_requests),
        name="timeline_requests",
    ),
]
