"""How staff change their own password: with the old one, by the validators, and with an entry in the audit."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.auth.views import PasswordChangeView
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse_lazy
from unfold.forms import AdminOwnPasswordChangeForm

from support.access.lockout import count_attempt, forget_attempts
from support.audit.actors import actor_of
from support.audit.trail import new_operation, perform


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]
    """The old password, which cannot be guessed here either, and a new one twice."""

    def clean_old_password(self) -> str:
        attempts = f"password of {self.user.pk}"
        if not count_attempt(attempts):
            raise forms.ValidationError("Too many wrong passwords. Try again in 15 minutes.")
        password = str(super().clean_old_password())
        forget_attempts(attempts)
        return password

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("old_password") and cleaned["old_password"] == cleaned.get("new_password1"):
            self.add_error("new_password1", "This is the old password.")
        return cleaned


class OwnPassword(PasswordChangeView):
    """The page. The other sessions of the user end, as they were opened with the old password."""

    form_class = OwnPasswordForm
    template_name = "support/password.html"
    success_url = reverse_lazy("admin:index")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = {**super().get_context_data(**kwargs), **admin.site.each_context(self.request)}
        return context | {"title": "Change your password"}

    def form_valid(self, form: Any) -> HttpResponse:
        user = cast(User, self.request.user)
        perform(
            operation=new_operation(),
            actor=actor_of(user),
            action="change own password",
            target=user.get_username(),
            reason="",
            change=form.save,
        )
        update_session_auth_hash(self.request, form.user)
        messages.success(self.request, "Your password was changed. Your other sessions have ended.")
        return HttpResponseRedirect(str(self.success_url))
