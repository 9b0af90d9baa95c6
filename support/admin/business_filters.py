"""The filters to which numbers of the owner's page lead. They stand beside a list only where its address has them."""

from datetime import date
from typing import Any

from django.db.models import Q
from django.http import HttpRequest

from mongo.days import end_of, start_of
from payments.inbox.events import NEEDED
from payments.orders.prices import DEFAULT_CURRENCY
from payments.providers import label_of
from payments.rules.money_back import MoneyBack, read_money_back
from support.admin.lists import ChoiceFilter
from support.typed import NotUnderstood, read_day, shorten

NO_PROVIDER = "unknown"
"""What revenue calls payments that name none."""
BETWEEN = ".."
"""Between the two days of a period in an address."""


class LinkedFilter(ChoiceFilter):
    """A filter by what an address says; there is nothing to choose beside the list."""

    takes_any = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = request.GET.get(str(self.parameter_name), "")
        return [(value, self.words_of(value))] if value else []

    def words_of(self, value: str) -> str:
        """A value as people read it."""
        return shorten(value)


class ThroughFilter(LinkedFilter):
    """Payments by provider and currency, such as `sepay:VND`, as revenue is added up."""

    title = "paid through"
    parameter_name = "through"

    def words_of(self, value: str) -> str:
        provider, _, currency = value.rpartition(":")
        return shorten(f"{label_of(provider)} ({currency})")

    @property
    def problems(self) -> list[str]:
        value = self.value()
        is_pair = value is None or ":" in value
        return [] if is_pair else [f"The filter “{self.title}” cannot be “{shorten(str(value))}”. Write sepay:VND."]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        provider, mark, currency = (self.value() or "").rpartition(":")
        if not mark:
            return queryset
        is_provider = Q(provider=provider) | Q(provider=None, payment_method=provider)
        if provider == NO_PROVIDER:
            is_provider |= Q(provider=None, payment_method=None)
        is_currency = Q(currency__in=[currency.upper(), currency.lower(), currency.capitalize()])
        if currency.upper() == DEFAULT_CURRENCY:
            is_currency |= Q(currency=None) | Q(currency="")
        return queryset.filter(is_provider).filter(is_currency)


def read_period(value: str) -> tuple[date, date]:
    """The days of a period such as `2026-11-01..2026-11-27`. Raises `NotUnderstood`."""
    first, mark, last = value.partition(BETWEEN)
    if not mark:
        raise NotUnderstood(f"“{shorten(value)}” is no period. Write 2026-11-01..2026-11-27.")
    return read_day(first), read_day(last)


def back_within(value: str) -> list[MoneyBack]:
    """What went back in a period. Raises `NotUnderstood`, also where it is too much."""
    first, last = read_period(value)
    try:
        found = read_money_back(start=start_of(first), end=end_of(last))
    except OverflowError as error:
        raise NotUnderstood(f"“{shorten(value)}” is too long a period.") from error
    if found is None:
        raise NotUnderstood("More went back in this period than can be added up. Choose fewer days.")
    return found


class WentBackFilter(LinkedFilter):
    """Payments of which money went back in some days: refunds, and disputes that were not won."""

    title = "money went back"
    parameter_name = "went_back"

    def words_of(self, value: str) -> str:
        return shorten(value.replace(BETWEEN, " to "))

    @property
    def problems(self) -> list[str]:
        try:
            back_within(self.value() or "") if self.value() else None
        except NotUnderstood as error:
            return [f"The filter “{self.title}” cannot be read: {error}"]
        return []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        if not value:
            return queryset
        try:
            return queryset.filter(pk__in=list({one.payment for one in back_within(value)}))
        except NotUnderstood:
            return queryset.none()


class CameFilter(ChoiceFilter):
    """Events that needed somebody, whatever became of them since."""

    title = "came"
    parameter_name = "came"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("review", "Needed review"), ("dead", "Were given up")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        condition = NEEDED.get(self.value() or "")
        return queryset.filter(condition) if condition else queryset
