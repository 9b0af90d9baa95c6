"""The form by which staff log in: name, password and the code of the second factor."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from support.access.lockout import LOCK_TIME, count_attempt, forget_attempts
from support.access.second_factor import PASSED, factor_of, use_code
from support.audit.actors import actor_of, actor_of_log_in
from support.audit.trail import record_refusal


class LoginForm(AuthenticationForm):
    """The log-in of staff: too many wrong passwords or codes in a row lock the name for `LOCK_TIME`."""

    code = forms.CharField(
        label="Code of your authenticator app, if you have set one up",
        required=False,
        max_length=10,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": " ".join(BASE_INPUT_CLASSES)}
        ),
    )

    def clean(self) -> dict[str, Any]:
        name = str(self.cleaned_data.get("username", ""))
        if not count_attempt(name):
            actor = actor_of_log_in(name)
            record_refusal(actor=actor, action="log-in", target="", error="Locked after wrong passwords")
            minutes = int(LOCK_TIME.total_seconds() // 60)
            raise ValidationError(f"Too many wrong passwords. Try again in {minutes} minutes.", code="locked")
        cleaned: dict[str, Any] = super().clean()
        forget_attempts(name)
        return cleaned

    def confirm_login_allowed(self, user: Any) -> None:
        """Called when the password is right: who has a second factor needs its code, which is good once."""
        super().confirm_login_allowed(user)
        factor = factor_of(user)
        if factor is None:
            return
        if not use_code(user, self.cleaned_data.get("code", "")):
            record_refusal(actor=actor_of(user), action="log-in", target="", error="Wrong code")
            raise ValidationError(
                "Enter the code that your authenticator app shows now. Each code works only once.", code="code"
            )
        self.request.session[PASSED] = factor
