"""Edits in the admin's own forms: the reason that a form asks for, and the signal that says what was changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Model
from django.dispatch import Signal
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from support.forms import FIELD_OVERRIDES

REASON = "reason"
Values = dict[str, Any]

edited = Signal()
"""Somebody added, changed or deleted a document: `user`, `verb`, `document`, and the `edit`."""


class ReasonForm(forms.ModelForm):
    """A form of the admin that asks why."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="The reason is kept for good, and others will read it.",
    )


REPLACE = "replace_unreadable"


class RepairForm(ReasonForm):
    """The same for documents of which something may be unreadable. That is kept, unless staff say what to do with it.

    It is replaced by what they write in its place, or by the empty field as it stands there if they tick it.
    """

    replace_unreadable = forms.BooleanField(
        label="Replace what cannot be read by what stands here",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Otherwise it is kept as it is stored, unless you write something in its place.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unreadable = {name: problem for name, problem in self.instance.unreadable.items() if name in self.fields}
        if not self.unreadable:
            self.fields.pop(REPLACE, None)

    def names_to_save(self) -> list[str]:
        """The fields of the document that are written: what was changed, and the unreadable ones if so asked."""
        asked = self.unreadable if self.cleaned_data.get(REPLACE) else ()
        return list(dict.fromkeys([*(name for name in self.changed_data if name not in (REASON, REPLACE)), *asked]))


@dataclass(frozen=True)
class Edit:
    """What a form did: the values of its fields before and after (never a password), and why."""

    text: str = ""
    reason: str = ""
    before: Values | None = None
    after: Values | None = None


class RecordedEdits:
    """A mixin of every admin: what its forms do is sent to `edited`, and forms that ask for a reason show it last."""

    form: type[forms.ModelForm]
    formfield_overrides: Any = FIELD_OVERRIDES

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        form = getattr(self, "add_form", self.form) if obj is None else self.form
        may = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)  # type: ignore[attr-defined]
        asks = REASON in form.base_fields and may
        if not asks:
            return fieldsets
        read_only = self.get_readonly_fields(request, obj)  # type: ignore[attr-defined]
        shown = {name for _, options in fieldsets for name in _flat(options["fields"])} - set(read_only)
        has_odd = REPLACE in form.base_fields and not shown.isdisjoint(getattr(obj, "unreadable", {}))
        return _with_last(fieldsets, REPLACE, REASON) if has_odd else _with_last(fieldsets, REASON)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """An `Edit`, which the log methods below take apart."""
        names = [name for name in (form.fields if add else form.changed_data) if name not in (REASON, REPLACE)]
        unreadable = getattr(form, "unreadable", {})
        if unreadable and not add:
            names = list(dict.fromkeys([*names, *(name for name in form.names_to_save() if name in form.fields)]))
        old, new = {**form.initial, **unreadable}, form.cleaned_data
        before = {name: None if _is_secret(name) else _shown(old.get(name)) for name in names}
        after = {name: "changed" if _is_secret(name) else _shown(new.get(name)) for name in names}
        labels = {name: form.fields[name].label if name in form.fields else name for name in names}
        changes = [f"{labels[name]}: {before[name]} → {after[name]}" for name in names]
        text, reason = "Added" if add else "; ".join(changes), new.get(REASON, "")
        return Edit(f"{text} ({reason})" if reason else text, reason, None if add else before, after)

    def log_addition(self, request: HttpRequest, obj: Model, message: Edit) -> Any:
        edited.send(type(self), user=request.user, verb="add", document=obj, edit=message)
        return super().log_addition(request, obj, message.text)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: Edit) -> Any:
        edited.send(type(self), user=request.user, verb="change", document=obj, edit=message)
        return super().log_change(request, obj, message.text)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for document in queryset:
            edited.send(type(self), user=request.user, verb="delete", document=document, edit=Edit())
        return super().log_deletions(request, queryset)  # type: ignore[misc]


def _flat(fields: Iterable[Any]) -> Iterable[str]:
    for name in fields:
        yield from (name,) if isinstance(name, str) else name


def _with_last(fieldsets: Iterable[Any], *names: str) -> list[Any]:
    """Fields such as the reason below the last group of fields that is not a tab."""
    groups = list(fieldsets)
    last = max(index for index, (_, options) in enumerate(groups) if "tab" not in options.get("classes", ()))
    name, options = groups[last]
    groups[last] = (name, {**options, "fields": (*options["fields"], *names)})
    return groups


def _is_secret(name: str) -> bool:
    return "password" in name


def _shown(value: Any) -> Any:
    """A field's value as the audit keeps it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"  # A zero of eight places has an exponent.
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        return sorted(str(one) for one in value)
    return str(value)
