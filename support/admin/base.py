"""What every list has in common: it stays fast on a huge collection, and history is read-only."""

from typing import Any, cast

import pymongo
from django.contrib import admin, messages
from django.contrib.admin.views.main import ORDER_VAR
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from pymongo.errors import PyMongoError
from unfold.admin import ModelAdmin

from support.admin.display import TOO_LONG, document_key
from support.admin.edits import RecordedEdits
from support.admin.history import AuditHistory
from support.admin.lists import CheckedChangeList, DeclaredLookups
from support.audit.things import MODELS_OF_KINDS

MAX_COUNT = 10_000
COUNT_SECONDS = 0.3
PAGE_SECONDS = 5.0
LAST_CHARACTER = "\U0010ffff"
TOO_SLOW = (
    "These filters together match too few rows to be found in time. "
    "Choose fewer days, search for an account, or leave a filter out."
)


class CappedPaginator(Paginator):
    """Counts at most `MAX_COUNT` rows, for 0.3 s at most: an exact count would read the whole collection."""

    template_name = "admin/capped_pagination.html"
    is_uncounted = False
    """Whether the time was over before the count: `count` then only says how many pages there may be."""

    @cached_property
    def count(self) -> int:
        try:
            with pymongo.timeout(COUNT_SECONDS):
                return int(cast(Any, self.object_list)[:MAX_COUNT].count())
        except DatabaseError:
            self.is_uncounted = True
            return MAX_COUNT

    @property
    def is_capped(self) -> bool:
        """Whether there may be more rows than `count` says."""
        return self.count >= MAX_COUNT


class BigChangeList(CheckedChangeList):
    """A list sorted by an index alone: Django's extra sort by primary key would sort the whole collection in memory."""

    result_count: int
    result_list: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = str(self.opts.verbose_name_plural).capitalize()
        self.full_result_count = self.result_count  # Nothing to compare with: the whole is not counted.

    def get_results(self, request: HttpRequest) -> None:
        """The rows of the page, or a sentence when they are not found in time."""
        super().get_results(request)
        try:
            with pymongo.timeout(PAGE_SECONDS):
                found = len(self.result_list)
        except DatabaseError as error:
            if not is_timeout(error):
                raise
            messages.warning(request, TOO_SLOW)
            self.result_list, self.is_cut = self.model._default_manager.none(), True
            return
        if self.paginator.is_uncounted and found < self.list_per_page:
            # The last page: so many there are.
            self.result_count = self.paginator.count = (self.page_num - 1) * self.list_per_page + found
            self.paginator.is_uncounted = False
            self.multi_page = self.page_num > 1

    def url_for_result(self, result: Any) -> str:
        """The address of a row's page, whatever its key is."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=(document_key(result.pk),), current_app=self.model_admin.admin_site.name)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        """The column that was chosen, else the list's own order. Django would append that order and the primary key."""
        if ORDER_VAR in self.params:
            ordering: list[str] = super().get_ordering(request, queryset)
            return ordering[:1]
        return list(self.model_admin.get_ordering(request))


class BigCollectionAdmin(DeclaredLookups, AuditHistory, RecordedEdits, ModelAdmin):
    """An admin of a collection of any size: indexed search and order, bounded counts."""

    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    list_filter_submit = True
    list_fullwidth = True
    list_disable_select_all = True  # An action is for the rows that one sees.
    sortable_by: tuple[str, ...] = ()
    list_after_template: str | None = "support/export_link.html"
    search_fields: tuple[str, ...] = ("pk",)  # Shows the search box; `find` decides what it searches.

    def find(self, text: str) -> Q:
        """The rows that a search text means; look-ups by an index only."""
        return Q(pk=text)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if object_id == TOO_LONG:
            messages.warning(request, "Its name is too long for the address of a page. Open it with mongosh.")
            return None
        return super().get_object(request, object_id, from_field)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """A warning on top of the page of a document of which something cannot be read."""
        unreadable = getattr(kwargs.get("obj"), "unreadable", {})
        if unreadable:
            names = {field.attname: str(field.column) for field in self.model._meta.concrete_fields}
            found = "; ".join(f"{names[name]}: {problem}" for name, problem in unreadable.items())
            messages.warning(request, f"Some of this document cannot be read. {found}. {self.unreadable_note}".strip())
        return super().render_change_form(request, context, *args, **kwargs)

    unreadable_note = "It is kept as it is stored."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BigChangeList]:
        return BigChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        text = search_term.strip().replace("\0", "") if self.search_fields else ""  # Where no search is offered: none.
        return (queryset.filter(self.find(text)) if text else queryset), False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """No bulk action but those that a class names; deleting is none of them."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


class ReadOnlyAdmin(BigCollectionAdmin):
    """History: nobody adds, changes or deletes it here, whatever their permissions."""

    @property
    def has_history(self) -> bool:
        """Whether staff do anything to it: payments and events have actions."""
        return self.opts.label_lower in MODELS_OF_KINDS.values()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def is_timeout(error: Exception) -> bool:
    """Whether an error of the database says that the time for an answer was over."""
    return isinstance(error.__cause__, PyMongoError) and error.__cause__.timeout


def starts_with(field: str, prefix: str) -> Q:
    """A prefix search as a range, which any index serves. (The back end's `startswith` is an unescaped pattern.)"""
    return Q(**{f"{field}__gte": prefix, f"{field}__lt": prefix + LAST_CHARACTER})


def name_starts_with(field: str, prefix: str) -> Q:
    """A prefix search of account names: as typed, in the usual capitalisations, and after the space old names have."""
    condition = Q()
    for variant in _variants(prefix):
        condition |= starts_with(field, variant) | starts_with(field, f" {variant}")
    return condition


def _variants(name: str) -> list[str]:
    return sorted({name, name.lower(), name.upper(), name.capitalize(), name.title()})


def name_is(field: str, name: str) -> Q:
    """The rows of one account, sorted by an index: the name as typed, in the usual capitalisations, with old spaces."""
    return Q(**{f"{field}__in": names_of(name)})


def names_of(name: str) -> list[str]:
    """The ways in which one account's name may be stored."""
    return [spaced for variant in _variants(name) for spaced in (variant, f" {variant}")]


def first_match(queryset: Any, *conditions: Q) -> Q | None:
    """The first of the conditions that finds anything: one look-up each, where `OR` would lose the sorted index."""
    return next((condition for condition in conditions if queryset.filter(condition).exists()), None)
