"""Addresses of the staff's own pages, below `/admin/support/`."""

from django.contrib import admin
from django.urls import path

from support.access import backup_page, second_factor
from support.actions import bulk, dialogs
from support.pages import account, business, exports, help, saved_filters
from support.search import page as search_page

app_name = "support"

urlpatterns = [
    path("backup-codes/", admin.site.admin_view(backup_page.backup_codes), name="backup_codes"),
    path("second-factor/", admin.site.admin_view(second_factor.set_up), name="second_factor"),
    path("find-key/", admin.site.admin_view(help.find_key), name="find_key"),
    path("filters/save/", admin.site.admin_view(saved_filters.save_filter), name="save_filter"),
    path("filters/delete/", admin.site.admin_view(saved_filters.delete_filter), name="delete_filter"),
    path("search/", admin.site.admin_view(search_page.search), name="search"),
    path("help/", admin.site.admin_view(help.help_page), name="help"),
    path("business/", admin.site.admin_view(business.business), name="business"),
    path("export/<slug:app>/<slug:model>/", admin.site.admin_view(exports.export_list), name="export"),
    path("bulk/<slug:slug>/", admin.site.admin_view(bulk.bulk_action), name="bulk"),
    path("do/<slug:kind>/<path:key>/<slug:slug>/", admin.site.admin_view(dialogs.dialog), name="dialog"),
    path("accounts/<path:username>/timeline/", admin.site.admin_view(account.timeline), name="timeline"),
    path(
        "accounts/<path:username>/timeline/requests/",
        admin.site.admin_view(account.timeline_requests),
        name="timeline_requests",
    ),
]
