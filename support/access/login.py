"""The form by which staff log in: name, password and the code of the second factor.

Guesses are counted before a password is hashed, in a way that a stranger can lock out nobody but themselves:

- a browser in which this name has logged in before is counted by itself alone;
- every other one by its address, whatever the names, so that names at random are soon refused without a hash; by name
  and address; and, for who has many addresses, by the name with a higher bound.
"""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from support.access import password_turns
from support.access.client_address import address_of
from support.access.code_field import LONGEST
from support.access.known_devices import known_device, remember_device
from support.access.lockout import LOCK_TIME, MAX_FAILURES, count_attempt, forget_attempts, forgive_attempt
from support.access.second_factor import PASSED, factor_of, use_any_code
from support.audit.refused_log_ins import Problem, record_refused_log_in

MOST_OF_AN_ADDRESS = 30
MOST_OF_A_NAME = 50
"""Attempts of strangers before a lock: of one address at any names, and at one name from any addresses."""


class LoginForm(AuthenticationForm):
    """The log-in of staff: too many wrong passwords or codes in a row are refused for `LOCK_TIME`."""

    code = forms.CharField(
        label="Code of your authenticator app, if you have set one up, or a backup code",
        required=False,
        max_length=LONGEST,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "class": " ".join(BASE_INPUT_CLASSES)}),
    )

    def clean(self) -> dict[str, Any]:
        name = str(self.cleaned_data.get("username", ""))
        device = known_device(self.request, name)
        counted = self._count(name, device)
        turns = password_turns.STRANGERS if device is None else password_turns.KNOWN
        with turns.take() as is_our_turn:
            if not is_our_turn:
                for subject in counted:
                    forgive_attempt(subject)
                raise ValidationError("Too many people log in just now. Try again in a moment.", code="busy")
            cleaned: dict[str, Any] = super().clean()
        own, *shared = reversed(counted)
        forget_attempts(own)
        for subject in shared:
            forgive_attempt(subject)
        remember_device(self.request, name)
        return cleaned

    def _count(self, name: str, device: str | None) -> list[str]:
        """Count this attempt, the narrowest subject last. Raises `ValidationError` if one is locked."""
        address = address_of(self.request)
        bounds = {
            f"address {address}": MOST_OF_AN_ADDRESS,
            f"name {name}": MOST_OF_A_NAME,
            f"{name} from {address}": MAX_FAILURES,
        }
        if device is not None:
            bounds = {f"device {device}": MAX_FAILURES}
        counted: list[str] = []
        for subject, most in bounds.items():
            if not count_attempt(subject, most=most):
                for other in counted:
                    forgive_attempt(other)
                record_refused_log_in(name=name, problem=Problem.LOCKED, address=address)
                minutes = int(LOCK_TIME.total_seconds() // 60)
                raise ValidationError(f"Too many wrong passwords. Try again in {minutes} minutes.", code="locked")
            counted.append(subject)
        return counted

    def confirm_login_allowed(self, user: Any) -> None:
        """Called when the password is right: who has a second factor needs its code, which is good once."""
        super().confirm_login_allowed(user)
        factor = factor_of(user)
        if factor is None:
            return
        if not use_any_code(user, self.cleaned_data.get("code", "")):
            address = address_of(self.request)
            record_refused_log_in(name=user.get_username(), problem=Problem.WRONG_CODE, address=address)
            raise ValidationError(
                "Enter the code that your authenticator app shows now. Each code works only once.", code="code"
            )
        self.request.session[PASSED] = factor
