"""Staff users and their roles, in the look of the rest."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from support.admin.base import DeclaredLookups
from support.admin.edits import ReasonForm, RecordedEdits

admin.site.unregister(User)
admin.site.unregister(Group)


class StaffUserForm(ReasonForm, UserChangeForm):
    """A staff user, its roles and rights."""


@admin.register(User)
class UserAdmin(DeclaredLookups, RecordedEdits, DjangoUserAdmin, ModelAdmin):
    form = StaffUserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")


@admin.register(Group)
class GroupAdmin(DeclaredLookups, RecordedEdits, DjangoGroupAdmin, ModelAdmin):
    form = ReasonForm
    fields = ("name", "permissions")
    search_fields = ()
