"""What every admin page shares: lists that stay fast on huge collections, read-only pages, and how values are shown."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from urllib.parse import quote as quote_url

import pymongo
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ORDER_VAR
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Model, Q
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from pymongo.errors import PyMongoError
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeDateFilter
from unfold.views import ChangeList

from money.amounts import format_usd
from support.admin.edits import RecordedEdits

Display = Callable[[Any, Any], str | SafeString]

MAX_COUNT = 10_000
COUNT_SECONDS = 0.3
PAGE_SECONDS = 5.0
LAST_CHARACTER = "\U0010ffff"
TOO_SLOW = (
    "These filters together match too few rows to be found in time. "
    "Choose fewer days, search for an account, or leave a filter out."
)
END_OF_TIME = datetime.max.replace(tzinfo=UTC)

# --- Lists -------------------------------------------------------------------------------------------------------


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


class BigChangeList(ChangeList):
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
            self.result_list = self.model._default_manager.none()
            return
        if self.paginator.is_uncounted and found < self.list_per_page:
            # The last page: so many there are.
            self.result_count = self.paginator.count = (self.page_num - 1) * self.list_per_page + found
            self.paginator.is_uncounted = False
            self.multi_page = self.page_num > 1

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        """One key where a column was chosen: Django would append the list's own order."""
        ordering: list[str] = super().get_ordering(request, queryset)
        return ordering[:1] if ORDER_VAR in self.params else ordering

    def _get_deterministic_ordering(self, ordering: list[str]) -> list[str]:
        return ordering


class DeclaredLookups:
    """An address filters only by what `list_filter` declares. Django would allow every field, so a viewer could find a
    key or a password hash letter by letter, and any pattern would scan the collection.
    """

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        filters = cast(ModelAdmin, self).get_list_filter(request)
        return any(lookup in _parameters_of(one) for one in filters)


def _parameters_of(list_filter: Any) -> tuple[str, ...]:
    """The parameters of an address that one entry of `list_filter` reads."""
    if isinstance(list_filter, str):
        return f"{list_filter}__exact", f"{list_filter}__isnull"
    if isinstance(list_filter, tuple):
        return f"{list_filter[0]}_from", f"{list_filter[0]}_to"
    return (list_filter.parameter_name,)


class BigCollectionAdmin(DeclaredLookups, RecordedEdits, ModelAdmin):
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

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BigChangeList]:
        return BigChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        text = search_term.strip().replace("\0", "")
        return (queryset.filter(self.find(text)) if text else queryset), False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """No bulk action but those that a class names; deleting is none of them."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}


class ReadOnlyAdmin(BigCollectionAdmin):
    """History: nobody adds, changes or deletes it here, whatever their permissions."""

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
    return Q(**{f"{field}__in": [spaced for variant in _variants(name) for spaced in (variant, f" {variant}")]})


def first_match(queryset: Any, *conditions: Q) -> Q | None:
    """The first of the conditions that finds anything: one look-up each, where `OR` would lose the sorted index."""
    return next((condition for condition in conditions if queryset.filter(condition).exists()), None)


class DayRangeFilter(RangeDateFilter):
    """From one day to another, both included, in UTC."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        first, last = (self._day(end) for end in ("from", "to"))
        if first:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": first})
        if last:
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": day_after(last)})
        return queryset

    def _day(self, end: str) -> datetime | None:
        try:
            return datetime.fromisoformat(self.used_parameters[f"{self.parameter_name}_{end}"]).replace(tzinfo=UTC)
        except (KeyError, ValueError):
            return None


def day_after(time: datetime) -> datetime:
    """A day later; the end of all time for the last day of all."""
    return time + timedelta(days=1) if time < END_OF_TIME - timedelta(days=1) else END_OF_TIME


# --- How values are shown ----------------------------------------------------------------------------------------


def badge(text: str, colour: str = "") -> SafeString:
    """A coloured label: `success`, `warning`, `danger`, `info`, or neutral."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour, "size": "md"})


def usd(attribute: str, label: str, *, is_signed: bool = False) -> Display:
    """A display of a money attribute, `$1.23`; signed ones say in words and colour which way the money went."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        value: Decimal | None = getattr(obj, attribute)
        if value is None:
            return "–"
        sign = "+" if is_signed and value > 0 else ""
        colour = "money-negative" if value < 0 else "money-positive" if is_signed and value > 0 else ""
        return format_html('<span class="money {}">{}{}</span>', colour, sign, format_usd(value))

    return show


def choice_badge(attribute: str, label: str, colours: dict[str, str]) -> Display:
    """A display of a field with choices, as a coloured label."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        value = getattr(obj, attribute)
        return badge(getattr(obj, f"get_{attribute}_display")() or "–", colours.get(value, "")) if value else "–"

    return show


def time_of(attribute: str, label: str, *, ordering: str | None = None) -> Display:
    """A display of a time to the second, in UTC, with how long ago it was."""

    @admin.display(description=label, ordering=ordering)
    def show(self: Any, obj: Any) -> str:
        value: datetime | None = getattr(obj, attribute)
        if value is None:
            return "–"
        return format_html(
            '<time datetime="{}" title="{}" class="nowrap">{}</time>',
            value.isoformat(),
            in_words(value - timezone.now()),
            value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        )

    return show


def account_link(attribute: str, label: str = "account") -> Display:
    """A display of an account's name that leads to its page; no look-up, so a missing account does no harm."""

    @admin.display(description=label)
    def show(self: Any, obj: Any) -> str:
        name = getattr(obj, attribute)
        return link(account_url(name), name) if name else "–"

    return show


def account_url(username: str) -> str:
    """The address of an account's page."""
    return reverse("admin:accounts_account_change", args=(quote(username),))


def list_url(model: type[Model], **filters: str) -> str:
    """The address of a model's list, filtered."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return address + ("?" + "&".join(f"{key}={quote_url(value)}" for key, value in filters.items()) if filters else "")


def link(address: str, text: str) -> SafeString:
    return format_html('<a href="{}" class="text-link">{}</a>', address, text)


def code_block(text: str) -> SafeString:
    """Raw text as it came, in a box that scrolls."""
    return format_html('<pre class="raw-text">{}</pre>', text)


def pretty_json(text: str) -> str:
    """JSON with indentation; other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def in_words(delta: timedelta) -> str:
    """How far away a time is: `in 3 days`, `5 hours ago`."""
    seconds = abs(delta.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            amount = int(seconds // size)
            words = f"{amount} {unit}{'s' if amount > 1 else ''}"
            return f"{words} ago" if delta < timedelta() else f"in {words}"
    return "just now" if delta <= timedelta() else "in less than a minute"
