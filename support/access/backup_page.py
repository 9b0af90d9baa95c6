"""The page on which staff make backup codes."""

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from support.access.backup_codes import count_left, make_codes
from support.access.code_field import code_field
from support.access.lockout import count_attempt, forget_attempts
from support.access.second_factor import use_code


class MakeCodesForm(forms.Form):
    """A code of the app: a session alone, left open somewhere, makes no codes."""

    code = code_field("Code that your app shows now")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_code(self) -> str:
        attempts = f"second factor of {self.user.pk}"
        if not count_attempt(attempts):
            raise forms.ValidationError("Too many wrong codes. Try again in 15 minutes.")
        code = str(self.cleaned_data["code"])
        if not use_code(self.user, code):
            raise forms.ValidationError("Enter the code that your app shows now. Each code works only once.")
        forget_attempts(attempts)
        return code


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def backup_codes(request: HttpRequest) -> HttpResponse:
    """How many codes are left, and new ones for a code of the app: shown in this one answer."""
    user = cast(User, request.user)
    form = MakeCodesForm(request.POST or None, user=user)
    made = make_codes(user) if request.method == "POST" and form.is_valid() else []
    context = {
        **admin.site.each_context(request),
        "title": "Backup codes",
        "form": form,
        "codes": made,
        "left": count_left(user),
    }
    response = render(request, "support/backup_codes.html", context)
    response["Cache-Control"] = "no-store"
    return response
