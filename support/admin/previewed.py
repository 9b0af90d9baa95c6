"""Forms of the admin that show what they would change before it is saved, as the dialogs do.

A first POST shows it, a second (`confirm`) saves it. Saved is what was shown, or nothing: other values, and a document
that somebody else has changed since the form was opened, are shown and asked about again.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, cast

import bson
from bson import ObjectId
from django.contrib import messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core import signing
from django.db import IntegrityError, connection
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from unfold.admin import ModelAdmin

from accounts.errors import BillingError
from mongo.backend.base import DatabaseWrapper
from mongo.collections import collection_of
from mongo.transactions import run_in_transaction
from mongo.unreadable import id_of_text
from support.actions.action import Line, digest, promise_of
from support.admin.display import list_url
from support.admin.edits import REASON, REPLACE
from support.errors import AlreadyDone, ChangedSincePreview
from support.typed import moment_in_words, write_amount

SALT = "support.admin.previewed"
LIFETIME_SECONDS = 8 * 3600
CONFIRM, BACK, TOKEN, SEEN = "confirm", "back", "token", "seen"
NOT_SENT_ON = (CONFIRM, BACK, TOKEN, "csrfmiddlewaretoken")
CHANGED = "Somebody else has changed this since you opened the form. Nothing was saved: open it again."
OTHER_VALUES = "These are not the values of the preview."
TOO_OLD = "This preview is too old. Look at it again."


class _Again:
    """A form that is shown once more with what was typed, whether it can be saved or not."""

    def is_valid(self) -> bool:
        super().is_valid()  # type: ignore[misc]
        return False


class PreviewedEdits:
    """A mixin of admins whose forms ask for a confirmation. `effect` says what an edit does beside its fields."""

    change_form_before_template = "support/seen.html"
    names_left_out: tuple[str, ...] = ()
    """Fields that have no line in the preview."""

    def effect(self, request: HttpRequest, form: Any, *, is_new: bool) -> list[Line]:
        """What the edit means, in lines of the preview."""
        return []

    def write(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save it, inside a transaction that has seen that nobody else did."""
        super().save_model(request, obj, form, change)  # type: ignore[misc]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        def go_on() -> HttpResponse:
            view = super(PreviewedEdits, self).changeform_view  # type: ignore[misc]
            return cast(HttpResponse, view(request, object_id, form_url, extra_context))

        if request.method != "POST" or BACK in request.POST:
            return go_on()
        form = self._valid_form(request, object_id)
        if form is None:
            return go_on()  # Which says what is wrong, or who may not.
        found = _Shown(request, form, self._lines(request, form, is_new=object_id is None), _digest_of(form.instance))
        try:
            error = found.refusal()
            if error or CONFIRM not in request.POST:
                return self._preview(request, found, error)
            request.confirmed_edit = found  # type: ignore[attr-defined]
            return go_on()
        except AlreadyDone as done:
            messages.warning(request, str(done))
            return HttpResponseRedirect(list_url(form.instance.__class__))
        except BillingError as refused:
            return self._preview(request, found, str(refused), may_save=False)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)  # type: ignore[misc]
        return type(form.__name__, (_Again, form), {}) if BACK in request.POST else form

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        document = kwargs.get("obj")
        context[SEEN] = request.POST.get(SEEN, "") or (_digest_of(document) if document is not None else "")
        return cast(HttpResponse, super().render_change_form(request, context, *args, **kwargs))  # type: ignore[misc]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what the preview showed. Raises `ChangedSincePreview`, and `AlreadyDone` for a page that is sent twice.

        Safe to repeat: a new document has the key that its preview chose.
        """
        shown: _Shown = request.confirmed_edit  # type: ignore[attr-defined]
        if not change:
            obj.pk = obj.pk or ObjectId(shown.new_key)

        def save() -> None:
            if change and _digest_of(obj) != shown.row:
                raise ChangedSincePreview
            self.write(request, obj, form, change)

        try:
            run_in_transaction(save)
        except IntegrityError as error:
            raise AlreadyDone from error

    def _valid_form(self, request: HttpRequest, object_id: str | None) -> Any:
        """The form as it was sent; None if it cannot be saved, or not by this user."""
        admin = cast(ModelAdmin, self)
        document = None if object_id is None else admin.get_object(request, unquote(object_id))
        is_missing = object_id is not None and document is None
        may = admin.has_change_permission(request, document) if document else admin.has_add_permission(request)
        if is_missing or not may:
            return None
        fields = flatten_fieldsets(admin.get_fieldsets(request, document))
        form_class = admin.get_form(request, document, change=document is not None, fields=fields)
        form = form_class(request.POST, request.FILES, instance=document)
        return form if form.is_valid() else None

    def _lines(self, request: HttpRequest, form: Any, *, is_new: bool) -> list[Line]:
        return [*lines_of_fields(form, self.names_left_out, is_new=is_new), *self.effect(request, form, is_new=is_new)]

    def _preview(
        self, request: HttpRequest, shown: "_Shown", error: str, *, may_save: bool | None = None
    ) -> HttpResponse:
        document = shown.form.instance
        is_new = document._state.adding
        name = document._meta.verbose_name
        context = {
            **cast(ModelAdmin, self).admin_site.each_context(request),
            "title": f"Add {name}" if is_new else f"Change {name} {document}",
            "opts": document._meta,
            "error": error,
            "lines": shown.lines,
            "reason": shown.form.cleaned_data.get(REASON, ""),
            "sent": shown.sent,
            "token": shown.new_token(),
            "may_save": shown.is_of_now if may_save is None else may_save,
        }
        return render(request, "support/edit_preview.html", context)


class _Shown:
    """What a preview shows, and what its token keeps of it."""

    def __init__(self, request: HttpRequest, form: Any, lines: Sequence[Line], row: str) -> None:
        self.request, self.form, self.lines, self.row = request, form, lines, row
        self.sent = [(n, v) for n, values in request.POST.lists() if n not in NOT_SENT_ON for v in values]
        self.values = digest([(name, value) for name, value in self.sent])
        self.new_key = str(ObjectId())

    @property
    def is_of_now(self) -> bool:
        """Whether the document is as it was when the form was opened, as far as the form says."""
        return self.request.POST.get(SEEN, "") in ("", self.row)

    def refusal(self) -> str:
        """Why what was sent is not what a preview showed; '' if it is, or if there was no preview yet.

        Raises `AlreadyDone` for a page that is sent twice.
        """
        if not self.is_of_now:
            return CHANGED
        if CONFIRM not in self.request.POST:
            return ""
        try:
            token = signing.loads(self.request.POST.get(TOKEN, ""), salt=self._salt, max_age=LIFETIME_SECONDS)
        except signing.BadSignature:
            return TOO_OLD
        if token["for"] != self.request.path or token["values"] != self.values:
            return OTHER_VALUES
        self.new_key = token["new_key"]
        if not self.row and self.form.instance.__class__.objects.filter(pk=self.new_key).exists():
            raise AlreadyDone
        is_same = (token["row"], token["promise"]) == (self.row, promise_of(self.lines))
        return "" if is_same else str(ChangedSincePreview())

    def new_token(self) -> str:
        content = {"for": self.request.path, "values": self.values, "row": self.row, "new_key": self.new_key}
        return signing.dumps(content | {"promise": promise_of(self.lines)}, salt=self._salt)

    @property
    def _salt(self) -> str:
        """A token is good in the session in which it was made."""
        return f"{SALT}:{self.request.user.pk}:{self.request.session.session_key}"


def lines_of_fields(form: Any, left_out: Sequence[str] = (), *, is_new: bool) -> list[Line]:
    """The fields that a form changes, each with its value before and after in words."""
    names = list(form.fields) if is_new else getattr(form, "names_to_save", lambda: form.changed_data)()
    lines = []
    for name in names:
        field = form.fields.get(name)
        if field is None or name in (REASON, REPLACE, *left_out):
            continue
        before = "–" if is_new else in_words(getattr(form, "unreadable", {}).get(name, form.initial.get(name)))
        after = in_words(form.cleaned_data.get(name))
        if before != after:
            lines.append(Line(str(field.label or name).capitalize(), before, after))
    return lines


def in_words(value: Any) -> str:
    """A field's value as a preview shows it."""
    match value:
        case None | "" | [] | {}:
            return "–"
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return write_amount(value)
        case datetime():
            return moment_in_words(value)
        case list() | dict():
            return json.dumps(value, ensure_ascii=False)
    return str(value)


def _digest_of(document: Model) -> str:
    """What tells whether a stored document is still the same; '' for one that is not stored."""
    database = cast(DatabaseWrapper, connection)
    key = id_of_text(document.pk) if isinstance(document.pk, str) else document.pk
    stored = collection_of(document.__class__).find_one({"_id": key}, session=database.session) if key else None
    return sha256(bson.encode(stored)).hexdigest() if stored else ""
