"""The audit trail as staff see it."""

import json
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from support.access.costs import hide_costs
from support.actions.account import ACTIONS
from support.admin.base import ReadOnlyAdmin, first_match
from support.admin.display import account_url, choice_badge, code_block, link, time_of
from support.admin.filters import ActionFilter, DayRangeFilter
from support.admin.history import PartFilter, ThingFilter, page_of_thing
from support.audit.actors import actors_meant_by
from support.audit.refused_log_ins import times_of
from support.models import AuditEntry, SecondFactor

BREAK = SafeString("<br>")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what, when and why, and what changed by it; what was refused, too."""

    search_help_text = "Staff name, account or operation id"
    list_display = ("time", "actor", "action", "target_page", "changes", "why", "result")
    list_display_links = ("time",)
    list_before_template = "support/history_heading.html"
    list_filter = ("outcome", ActionFilter, ("at", DayRangeFilter), ThingFilter, PartFilter)
    ordering = ("-at",)
    fields = (
        ("time", "result"),
        ("actor", "action"),
        ("target_page", "id"),
        ("why", "times"),
        "changes",
        ("before_text", "after_text"),
    )
    readonly_fields = ("time", "result", "target_page", "why", "times", "changes", "before_text", "after_text")

    time = time_of("at", "time")
    result = choice_badge("outcome", "outcome", {"done": "success", "refused": "danger"})

    @admin.display(description="target")
    def target_page(self, entry: AuditEntry) -> str:
        address = page_of_thing(entry.thing) if entry.thing else ""
        if not address and entry.action in ACTIONS:
            address = account_url(entry.target)
        return link(address, entry.target) if address and entry.target else entry.target or "–"

    @admin.display(description="why")
    def why(self, entry: AuditEntry) -> str:
        return " · ".join(text for text in (entry.reason, entry.error) if text) or "–"

    @admin.display(description="how often on that day")
    def times(self, entry: AuditEntry) -> str:
        """Of refused log-ins only the first of a day has an entry."""
        count = times_of(entry)
        return "once" if count is None else f"{count} times"

    @admin.display(description="what changed")
    def changes(self, entry: AuditEntry) -> SafeString | str:
        before, after = entry.before or {}, entry.after or {}
        changed = [(key, before.get(key), after.get(key)) for key in after if before.get(key) != after.get(key)]
        if not changed:
            return "–"
        return format_html_join(BREAK, '<span class="nowrap">{}: {} → {}</span>', changed)

    @admin.display(description="before")
    def before_text(self, entry: AuditEntry) -> str:
        return code_block(json.dumps(entry.before, indent=2)) if entry.before else "–"

    @admin.display(description="after")
    def after_text(self, entry: AuditEntry) -> str:
        return code_block(json.dumps(entry.after, indent=2)) if entry.after else "–"

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        entry = super().get_object(request, object_id, from_field)
        hide_costs(request.user, [entry] if entry is not None else [])
        return entry

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        found.result_list = list(found.result_list)
        hide_costs(request.user, found.result_list)
        return found

    def find(self, text: str) -> Q:
        by_actor = Q(actor__in=actors_meant_by(text))
        found = first_match(AuditEntry.objects, Q(pk=text), Q(target=text), by_actor)
        return found or Q(pk=text)


@admin.register(SecondFactor)
class SecondFactorAdmin(ReadOnlyAdmin):
    """Who has set up an authenticator app. A superuser deletes the one of somebody who has lost the phone.

    Nobody deletes their own: it is replaced with a code of the old one.
    """

    search_fields = ()
    list_after_template = None
    list_display = ("username", "confirmed")
    ordering = ("pk",)
    fields = ("username", "confirmed")
    readonly_fields = ("username", "confirmed")

    confirmed = time_of("confirmed_at", "set up")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_own = obj is not None and obj.pk == str(request.user.pk)
        return isinstance(request.user, User) and request.user.is_superuser and not is_own
