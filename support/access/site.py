"""The admin's site: Unfold's, with a page of our own on which staff change their password."""

from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from unfold.sites import UnfoldAdminSite

from support.access.password import OwnPassword


class StaffSite(UnfoldAdminSite):
    """Django's `admin.site`, as the settings name it."""

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return cast(HttpResponse, OwnPassword.as_view()(request))
