"""What the forms of staff have in common, wherever they stand."""

from typing import Any

from django import forms

NUMBERS = (forms.IntegerField, forms.DateField, forms.DateTimeField, forms.TimeField, forms.SplitDateTimeField)
"""Fields of digits, with those that derive from them: amounts are a kind of `IntegerField` to Django."""


class AsciiDigits(forms.BaseForm):
    """A form whose numbers and times are written with the digits 0 to 9.

    Python reads the digits of every script, and `1_000`: what a page shows would not be what somebody typed.
    """

    def clean(self) -> Any:
        cleaned = super().clean()
        for name, field in self.fields.items():
            if isinstance(field, NUMBERS) and name not in self.errors:
                typed = field.widget.value_from_datadict(self.data, self.files, self.add_prefix(name))
                if not all(_is_plain(text) for text in (typed if isinstance(typed, list) else [typed])):
                    self.add_error(name, "Use the digits 0 to 9.")
        return cleaned


def _is_plain(text: object) -> bool:
    return not isinstance(text, str) or (text.isascii() and "_" not in text)
