"""Who changed what: “History” of a thing is the audit trail of that thing."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse

from accounts.api_keys import list_keys
from accounts.models import Account
from support.access.roles import roles_with, who_may
from support.admin.display import document_key, list_url
from support.admin.lists import ChoiceFilter
from support.audit.things import FIRST_KEY, VERBS, entries_about, name_of_thing, read_thing, thing_of
from support.models import AuditEntry
from support.typed import shorten

MAY_SEE = "support.view_auditentry"
LONGEST_TARGET = 200
COMMANDS = {
    "accounts.account": ("take over", "prepare-rollback", "drop-new-fields", "verify"),
    "payments.payment": ("prepare-rollback",),
    "proxy.modelprice": ("import price", "stop old price"),
}
"""What commands call what they do to things of a model."""


class AuditHistory:
    """A mixin of every admin: “History” leads to the audit of the document, for who may see both."""

    @property
    def has_history(self) -> bool:
        """Whether it is ever changed; what is only read is not."""
        return True

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit of the document, also of one that was deleted. Raises `PermissionDenied`."""
        key = unquote(object_id)
        document = self.get_object(request, key)  # type: ignore[attr-defined]
        if not self.has_view_or_change_permission(request, document):  # type: ignore[attr-defined]
            raise PermissionDenied
        if not isinstance(request.user, User) or not request.user.has_perm(MAY_SEE):
            raise PermissionDenied(f"History: {who_may(roles_with([MAY_SEE])[MAY_SEE])}.")
        thing = thing_of(document) or name_of_thing(self.opts.label_lower, key)  # type: ignore[attr-defined]
        asked = request.GET.copy()
        asked[ThingFilter.parameter_name] = thing
        request.GET = asked  # type: ignore[assignment]
        return admin.site.get_model_admin(AuditEntry).changelist_view(request, extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        context["show_history"] = self.has_history
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]


def history_url(thing: str, part: str = "") -> str:
    """The address of the audit of a thing; of one API key of an account if `part` says which."""
    return list_url(AuditEntry, thing=thing, **({"part": part} if part else {}))


def heading_of(thing: str) -> dict[str, str] | None:
    """What a list of the audit is the history of: its kind, its name, and the address of its page; None if of all."""
    found = read_thing(thing)
    if found is None or not admin.site.is_registered(found[0]):
        return None
    return {"kind": str(found[0]._meta.verbose_name), "name": _name_of(*found), "address": page_of_thing(thing)}


def entries_of(thing: str) -> Q:
    """The audit entries about a thing, those that only name it too."""
    found = read_thing(thing)
    if found is None:
        return Q(thing=thing)
    return entries_about(thing, names=_names_of(*found), actions=_actions_on(found[0]))


def page_of_thing(thing: str) -> str:
    """The address of a thing's own page; '' if it has none."""
    found = read_thing(thing)
    if found is None:
        return ""
    model, key = found
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(document_key(key),))
    except NoReverseMatch:
        return ""


class ThingFilter(ChoiceFilter):
    """The entries about one thing. It is asked for by addresses alone, and offered only when it is."""

    title = "history of"
    parameter_name = "thing"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        asked = request.GET.get(self.parameter_name, "")
        found = read_thing(asked)
        if not asked:
            return []
        if found is None or not admin.site.is_registered(found[0]):
            return [("", "none")]  # Which is not what was asked for, so that the list says so.
        return [(asked, f"{found[0]._meta.verbose_name} {shorten(_name_of(*found))}")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(entries_of(self.value() or "")) if self.value() else queryset


class PartFilter(ChoiceFilter):
    """Of an account's history that of one of its API keys."""

    title = "API key"
    parameter_name = "part"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        asked = request.GET.get(self.parameter_name, "")
        if not asked:
            return []
        found = read_thing(request.GET.get(ThingFilter.parameter_name, ""))
        account = Account.objects.filter(pk=found[1]).first() if found and found[0] is Account else None
        names = {key.key_id: key.entry.name or key.entry.prefix for key in list_keys(account)} if account else {}
        return [(asked, "the first one" if asked == FIRST_KEY else names.get(asked, f"{shorten(asked)} (deleted)"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(part=self.value()) if self.value() else queryset


def _actions_on(model: Any) -> list[str]:
    """What the audit calls everything that can be done to a document of a model."""
    # The actions' own modules show documents as this package does.
    from support.actions.dialogs import KINDS
    from support.audit.things import MODELS_OF_KINDS

    label, name = model._meta.label_lower, model._meta.verbose_name
    slugs = [slug for kind, of in MODELS_OF_KINDS.items() if of == label for slug in KINDS[kind].actions]
    return [*slugs, *COMMANDS.get(label, ()), *(f"{verb} {name}" for verb in VERBS)]


def _find(model: Any, key: str) -> Any:
    try:
        return model._default_manager.filter(pk=key).first()
    except (ValidationError, ValueError, TypeError):  # Not a key of this model.
        return None


def _name_of(model: Any, key: str) -> str:
    document = _find(model, key)
    return key if document is None else str(document)


def _names_of(model: Any, key: str) -> list[str]:
    """What entries without a thing may call a document: by its key, its name, or its model's id."""
    document = _find(model, key)
    names = [key, *([str(document), getattr(document, "model_id", "")] if document is not None else [])]
    return list(dict.fromkeys(name[:LONGEST_TARGET] for name in names if name))
