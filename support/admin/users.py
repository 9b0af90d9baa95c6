"""Staff users and their roles, in the look of the rest. What somebody may do is for superusers to say."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from support.access.permissions import may_edit
from support.admin.edits import ReasonForm, RecordedEdits
from support.admin.history import AuditHistory
from support.admin.lists import DeclaredLookups

RIGHTS = ("is_superuser", "groups", "user_permissions")

admin.site.unregister(User)
admin.site.unregister(Group)


class StaffUserForm(ReasonForm, UserChangeForm):
    """A staff user, its roles and rights."""


class ChosenByChecking(ModelAdmin):
    """Roles and rights as check boxes: Django's two columns need a mouse and a wide window."""

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        kwargs.setdefault("widget", UnfoldAdminCheckboxSelectMultipleWidget)
        return super().formfield_for_manytomany(db_field, request, **kwargs)


@admin.register(User)
class UserAdmin(ChosenByChecking, DeclaredLookups, AuditHistory, RecordedEdits, DjangoUserAdmin, ModelAdmin):
    form = StaffUserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_readonly_fields(request, obj) if _is_superuser(request) else RIGHTS

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and _may_edit(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_edit(request, obj)


@admin.register(Group)
class GroupAdmin(ChosenByChecking, DeclaredLookups, AuditHistory, RecordedEdits, DjangoGroupAdmin, ModelAdmin):
    form = ReasonForm
    fields = ("name", "permissions")
    search_fields = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_superuser(request)


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_active and request.user.is_superuser


def _may_edit(request: HttpRequest, other: User | None) -> bool:
    return other is None or may_edit(cast(User, request.user), other)
