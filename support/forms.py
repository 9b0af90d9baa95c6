"""What the forms of staff have in common, wherever they stand: fields that read what people type by `support/typed.py`.

Inputs are plain text. A browser's own inputs for numbers leave out a comma without a word, and those for dates show
the order of the browser's language.
"""

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from support import typed

EMPTY = forms.Field.empty_values


def _read(value: Any, read: Callable[[str], Any], *kinds: type) -> Any:
    """A typed value, or one that is of its kind already; None for nothing. Raises `ValidationError`."""
    if isinstance(value, kinds):
        return value
    if value in EMPTY or not str(value).strip():
        return None
    try:
        return read(str(value))
    except typed.NotUnderstood as error:
        raise ValidationError(str(error), code="invalid") from error


class AmountInput(UnfoldAdminTextInputWidget):
    """A text for a number with a fraction; phones show their keyboard for numbers."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"inputmode": "decimal", "autocomplete": "off", **(attrs or {})})


class WholeNumberInput(UnfoldAdminTextInputWidget):
    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"inputmode": "numeric", "autocomplete": "off", **(attrs or {})})


class MomentInput(UnfoldAdminTextInputWidget):
    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"placeholder": typed.MOMENT_EXAMPLE, "autocomplete": "off", **(attrs or {})})


class AmountField(forms.DecimalField):
    """A number with a fraction, such as an amount of money."""

    widget = AmountInput

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]
        amount: Decimal | None = _read(value, typed.read_amount, Decimal)
        return amount

    def prepare_value(self, value: Any) -> Any:
        return typed.write_amount(value) if isinstance(value, Decimal) and value.is_finite() else value


class WholeNumberField(forms.IntegerField):
    """A whole number. Django's own field reads `1.000` as 1."""

    widget = WholeNumberInput

    def to_python(self, value: Any) -> int | None:
        number: int | None = _read(value, typed.read_whole_number, int)
        return number


class DayField(forms.DateField):
    """A date."""

    def to_python(self, value: Any) -> date | None:
        day: date | None = _read(value, typed.read_day, date)
        return day


class ClockField(forms.TimeField):
    """A time of day."""

    def to_python(self, value: Any) -> time | None:
        clock: time | None = _read(value, typed.read_clock, time)
        return clock


class MomentField(forms.DateTimeField):
    """A date and time in one text."""

    widget = MomentInput

    def to_python(self, value: Any) -> datetime | None:
        moment: datetime | None = _read(value, typed.read_moment, datetime)
        return moment

    def prepare_value(self, value: Any) -> Any:
        return typed.write_moment(value) if isinstance(value, datetime) else value


class SplitMomentField(forms.SplitDateTimeField):
    """A date and time in two texts, with a calendar beside them."""

    def __init__(self, *, input_date_formats: Any = None, input_time_formats: Any = None, **kwargs: Any) -> None:
        forms.MultiValueField.__init__(self, fields=(DayField(), ClockField()), **kwargs)


TYPED_FIELDS = (AmountField, WholeNumberField, DayField, ClockField, MomentField, SplitMomentField)
"""The fields that forms of staff have for whatever Django's fields would read in a way of their own."""

FIELD_OVERRIDES: dict[Any, dict[str, Any]] = {
    models.DecimalField: {"form_class": AmountField, "widget": AmountInput},
    models.FloatField: {"form_class": AmountField, "widget": AmountInput},
    models.IntegerField: {"form_class": WholeNumberField, "widget": WholeNumberInput},
    models.BigIntegerField: {"form_class": WholeNumberField, "widget": WholeNumberInput},
    models.DateTimeField: {"form_class": SplitMomentField, "widget": UnfoldAdminSplitDateTimeWidget},
}
"""The `formfield_overrides` of every admin with a form."""
