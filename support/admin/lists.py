"""What an address may ask of a list: what its filters offer, as they read it. Else it shows no rows, and says why."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import BooleanField
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from support.typed import shorten

YES_AND_NO = {"1": "yes", "True": "yes", "0": "no", "False": "no"}


class CheckedChangeList(ChangeList):
    """A list that shows no rows when a filter of its address cannot be read. Django's would show all rows instead."""

    problems: list[str]
    """Sentences about what cannot be read, each with what was typed."""
    has_undeclared = False
    """Whether the address asks for what no filter of this list offers."""
    is_cut = False
    """Whether the time was over before the rows were found."""
    filter_specs: list[Any]
    page_num: int
    queryset: Any

    def get_filters(self, request: HttpRequest) -> Any:
        self.problems = []
        for name, values in self.get_filters_params().items():
            problem = self._problem_of(request, name, list(dict.fromkeys(value for value in values if value.strip())))
            if problem is None:
                continue
            self.problems += [problem] if problem else []
            del self.filter_params[name], self.params[name]
        found = super().get_filters(request)
        for one in found[0]:
            self.problems += getattr(one, "problems", [])
        return found

    def _problem_of(self, request: HttpRequest, name: str, values: list[str]) -> str | None:
        """Why a parameter cannot be read; None if it can, and an empty text if it asks for nothing."""
        shown = shorten(name)
        if not self.model_admin.lookup_allowed(name, values[0] if values else "", request):
            self.has_undeclared = True
            return f"This list has no filter “{shown}”. Choose one of those it offers."
        if len(values) > 1:
            return f"The filter “{shown}” is given twice: {' and '.join(f'“{shorten(one)}”' for one in values[:2])}."
        if not values:
            return ""
        found = _field_of(self.model, name)
        return _problem_of_value(*found, values[0]) if found else None

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            queryset = super().get_queryset(request, *args, **kwargs)
        except IncorrectLookupParameters:  # Whatever the checks above do not know.
            self.problems.append("A filter of this address cannot be read.")
            queryset = self.root_queryset
        return queryset.none() if self.problems else queryset

    def get_results(self, request: HttpRequest) -> None:
        try:
            super().get_results(request)
        except IncorrectLookupParameters:
            self.problems.append(f"This list has no page {self.page_num}: it has fewer rows.")
            self.queryset, self.page_num = self.queryset.none(), 1
            super().get_results(request)

    @property
    def searched(self) -> str:
        """What was searched, as a sentence may repeat it."""
        return shorten(self.query)

    @property
    def asked(self) -> list[str]:
        """The filters of this list, in words."""
        asked = [words for one in self.filter_specs if (words := getattr(one, "in_words", ""))]
        for name, values in self.filter_params.items():
            if found := _field_of(self.model, name):
                asked.append(_words_of_value(*found, str(values[-1])))
        return asked


class DeclaredLookups:
    """An address filters only by what `list_filter` declares. Django would allow every field, so a viewer could find a
    key or a password hash letter by letter, and any pattern would scan the collection.
    """

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        filters = cast(ModelAdmin, self).get_list_filter(request)
        return any(lookup in _parameters_of(one) for one in filters)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[CheckedChangeList]:
        return CheckedChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        shown = (getattr(response, "context_data", None) or {}).get("cl")
        if shown is not None and shown.has_undeclared:
            response.status_code = 400
        return response


def _parameters_of(list_filter: Any) -> tuple[str, ...]:
    """The parameters of an address that one entry of `list_filter` reads."""
    if isinstance(list_filter, str):
        return f"{list_filter}__exact", f"{list_filter}__isnull"
    if isinstance(list_filter, tuple):
        return f"{list_filter[0]}_from", f"{list_filter[0]}_to"
    return (list_filter.parameter_name,)


def _field_of(model: Any, name: str) -> tuple[Any, str] | None:
    """The field and the look-up that a parameter such as `status__exact` names; None for those of our own filters."""
    field, mark, lookup = name.rpartition("__")
    try:
        return (model._meta.get_field(field), lookup) if mark else None
    except FieldDoesNotExist:
        return None


def _problem_of_value(field: Any, lookup: str, value: str) -> str | None:
    refused = f"The filter “{field.verbose_name}” cannot be “{shorten(value)}”."
    if lookup == "isnull" or isinstance(field, BooleanField):
        return None if value in YES_AND_NO else f"{refused} Choose yes or no."
    if field.flatchoices:
        known = {str(key): str(label) for key, label in field.flatchoices}
        return None if value in known else f"{refused} Choose one of: {', '.join(known.values())}."
    try:
        field.to_python(value)
    except ValidationError:
        return refused
    return None


def _words_of_value(field: Any, lookup: str, value: str) -> str:
    if lookup == "isnull":
        return f"{field.verbose_name}: {'none' if YES_AND_NO[value] == 'yes' else 'any'}"
    if isinstance(field, BooleanField):
        return f"{field.verbose_name}: {YES_AND_NO[value]}"
    labels = {str(key): str(label) for key, label in field.flatchoices}
    return f"{field.verbose_name}: {labels.get(value, value)}"


class ChoiceFilter(admin.SimpleListFilter):
    """A filter by one of a few choices. Any other value cannot be read, unless the filter `takes_any`."""

    takes_any = False

    @property
    def problems(self) -> list[str]:
        value = self.value()
        labels = {str(key): str(label) for key, label in self.lookup_choices}
        if value is None or value in labels or self.takes_any:
            return []
        known = ", ".join(labels.values())
        return [f"The filter “{self.title}” cannot be “{shorten(value)}”. Choose one of: {known}."]

    @property
    def in_words(self) -> str:
        value = self.value()
        labels = {str(key): str(label) for key, label in self.lookup_choices}
        return f"{self.title}: {shorten(labels.get(value, value))}" if value else ""
