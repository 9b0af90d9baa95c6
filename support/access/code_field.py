"""The input for a code of an authenticator app, or a backup code."""

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

LONGEST = 24


def code_field(label: str, *, has_letters: bool = False) -> forms.CharField:
    """A field for one code, of digits alone unless it `has_letters`, as backup codes have."""
    attributes = {"autocomplete": "one-time-code", "inputmode": "text" if has_letters else "numeric"}
    return forms.CharField(label=label, max_length=LONGEST, widget=UnfoldAdminTextInputWidget(attrs=attributes))
