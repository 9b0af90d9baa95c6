"""The filters of the lists, each served by an index."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateFilter, RangeNumericFilter
from unfold.contrib.filters.forms import RangeDateForm

from accounts.models import UNDER_REVIEW_AFTER, Balance
from mongo.days import day_of, end_of, start_of
from mongo.fields import find_unreadable
from payments.models import WAITING_FOR_STAFF
from proxy.models import ModelPrice
from support.actions.account import ACTIONS
from support.actions.desk import EVENT_ACTIONS, PAYMENT_ACTIONS, SITE_ACTIONS
from support.admin.lists import ChoiceFilter
from support.forms import AmountField, AmountInput, DayField
from support.typed import DAY_EXAMPLE, NotUnderstood, read_amount, read_day, shorten

WHY_REFUSED = {
    "insufficient_credits": "Too little on the balance",
    "credits_expired": "Credits expired",
    "key_budget_reached": "Budget of the key",
    "rate_limit_exceeded": "Too many requests",
    "model_not_allowed": "Not allowed to the key",
    "account_disabled": "Account disabled",
    "account_under_review": "Under review",
    "account_needs_repair": "Needs repair",
    "account_not_converted": "Not converted",
    "first_key_required": "Not the first key",
    "too_many_keys": "Too many keys",
    "key_disabled": "Key disabled",
    "key_expired": "Key expired",
}
"""The codes of what is kept of refused requests, in words."""
FIELDS = {Balance.OPENHANDS: "credits_new", Balance.OHMYGPT: "credits"}
SOON = timedelta(days=1)
MAX_AMOUNT = 10**9
ENDS = ("from", "to")

# --- Of every list ----------------------------------------------------------------------------------------------------


class DayRangeForm(RangeDateForm):
    """The two days of a filter, as they were typed; what cannot be read is said beside it."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(name, *args, **kwargs)
        for end in ENDS:
            widget = self.fields[f"{name}_{end}"].widget
            widget.attrs["placeholder"] = f"{end.capitalize()}, such as {DAY_EXAMPLE}"
            self.fields[f"{name}_{end}"] = DayField(label="", required=False, widget=widget)


class AmountRangeForm(forms.Form):
    """The two amounts of a filter, as they were typed."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for end in ENDS:
            attributes = {"placeholder": end.capitalize(), "aria-label": end.capitalize()}
            self.fields[f"{name}_{end}"] = AmountField(label="", required=False, widget=AmountInput(attributes))


class RangeFilter:
    """What the filters from one value to another, both included, have in common: each end is read once, or refused."""

    title: str
    parameter_name: Any
    used_parameters: Any

    def read(self, text: str) -> Any:
        """The value of one end. Raises `NotUnderstood`."""
        raise NotImplementedError

    def typed(self, end: str) -> str:
        """What was typed for one end."""
        return str(self.used_parameters.get(f"{self.parameter_name}_{end}") or "").strip()

    def value_of(self, end: str) -> Any:
        """The value of one end; None if there is none, or it cannot be read, which `problems` says."""
        try:
            return self.read(self.typed(end)) if self.typed(end) else None
        except NotUnderstood:
            return None

    @property
    def problems(self) -> list[str]:
        found = []
        for end in ENDS:
            try:
                self.read(self.typed(end)) if self.typed(end) else None
            except NotUnderstood as error:
                found.append(f"The filter “{self.title}, {end}” cannot be read: {error}")
        return found

    @property
    def in_words(self) -> str:
        ends = [f"{end} {shorten(self.typed(end))}" for end in ENDS if self.typed(end)]
        return f"{self.title}: {' '.join(ends)}" if ends else ""


class DayRangeFilter(RangeFilter, RangeDateFilter):
    """From one day to another, both included, in the site's zone."""

    form_class = DayRangeForm

    def read(self, text: str) -> datetime:
        return start_of(read_day(text))

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        first, last = (self.value_of(end) for end in ENDS)
        if first:
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": first})
        if last:
            queryset = queryset.filter(**{f"{self.parameter_name}__lt": end_of(day_of(last))})
        return queryset


class UnreadableFilter(ChoiceFilter):
    """Documents of which something cannot be read. No index knows them: each is looked at, until the time is over."""

    title = "unreadable"
    parameter_name = "unreadable"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Something cannot be read")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() != "any":
            return queryset
        found, are_all = find_unreadable(queryset.model, limit=MOST_UNREADABLE, seconds=LOOKING_SECONDS)
        if not are_all:
            words = f"These are the first {len(found)} that were found; there may be more."
            messages.warning(request, words)
        return queryset.filter(pk__in=found)


MOST_UNREADABLE = 500
LOOKING_SECONDS = 4.0


# --- Of the accounts --------------------------------------------------------------------------------------------------


class ExpiryFilter(ChoiceFilter):
    title = "expiry"
    parameter_name = "expiry"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("soon", "Expires in 24 hours"),
            ("valid", "Valid"),
            ("expired", "Expired"),
            ("never", "Never expires"),
            ("usable", "Not expired"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        conditions = {
            "soon": Q(expires_at__gt=now, expires_at__lte=now + SOON),
            "valid": Q(expires_at__gt=now),
            "expired": Q(expires_at__gt=datetime.min.replace(tzinfo=now.tzinfo), expires_at__lte=now),
            "never": Q(expires_at=None),
            "usable": Q(expires_at__gt=now) | Q(expires_at=None),
        }
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition else queryset


class StatusFilter(ChoiceFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("disabled", "Disabled"), ("review", "Under review")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "disabled":
            return queryset.filter(is_active=False)
        if self.value() == "review":
            return queryset.filter(review_since__gt=UNDER_REVIEW_AFTER)
        return queryset.exclude(is_active=False) if self.value() == "active" else queryset


def is_zero(name: str) -> Q:
    """Accounts whose balance in this field is $0; old documents lack the field."""
    return Q(**{name: 0}) | Q(**{name: None})


class BalanceFilter(ChoiceFilter):
    """Accounts by what one balance holds: the usual questions as links, served by the balance's index."""

    balance: Balance

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("debt", "Below $0"),
            ("zero", "Exactly $0"),
            ("some", "Above $0"),
            ("1", "$1 or more"),
            ("20", "$20 or more"),
            ("100", "$100 or more"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        name = FIELDS[self.balance]
        conditions = {"debt": Q(**{f"{name}__lt": 0}), "zero": is_zero(name), "some": Q(**{f"{name}__gt": 0})} | {
            least: Q(**{f"{name}__gte": Decimal(least)}) for least in ("1", "20", "100")
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


class OpenHandsFilter(BalanceFilter):
    title = "OpenHands credits"
    parameter_name = "openhands"
    balance = Balance.OPENHANDS


class OhMyGPTFilter(BalanceFilter):
    title = "OhMyGPT credits"
    parameter_name = "ohmygpt"
    balance = Balance.OHMYGPT


class BalanceRangeFilter(RangeFilter, RangeNumericFilter):
    """Accounts with a balance from one amount to another, both included."""

    def read(self, text: str) -> Decimal:
        amount = read_amount(text)
        if abs(amount) >= MAX_AMOUNT:
            raise NotUnderstood(f"“{shorten(text)}” is more than any account has.")
        return amount

    def choices(self, changelist: Any) -> Iterator[dict[str, Any]]:
        names = [f"{self.parameter_name}_{end}" for end in ENDS]
        form = AmountRangeForm(str(self.parameter_name), {name: self.used_parameters.get(name) for name in names})
        yield {"request": self.request, "parameter_name": self.parameter_name, "form": form}

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        name = str(self.parameter_name)
        least, most = (self.value_of(end) for end in ENDS)
        if least is None and most is None:
            return queryset
        condition = Q()
        if least is not None:
            condition &= Q(**{f"{name}__gte": least})
        if most is not None:
            condition &= Q(**{f"{name}__lte": most})
        has_zero = (least is None or least <= 0) and (most is None or most >= 0)
        return queryset.filter(condition | Q(**{name: None}) if has_zero else condition)


# --- Of the payments --------------------------------------------------------------------------------------------------


class QueueFilter(ChoiceFilter):
    """What the number in the sidebar counts."""

    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [("waiting", "Waits for staff")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(status__in=WAITING_FOR_STAFF) if self.value() == "waiting" else queryset


# --- Of the requests --------------------------------------------------------------------------------------------------


class UpstreamFilter(ChoiceFilter):
    title = "upstream"
    parameter_name = "upstream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Balance.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        chosen = [balance for balance in Balance if balance.value == self.value()]
        return queryset.billed_to(*chosen) if chosen else queryset


class ResultFilter(ChoiceFilter):
    title = "result"
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failed", "Failed"), ("ok", "Succeeded")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(is_success=self.value() == "ok") if self.value() in ("failed", "ok") else queryset


class ModelFilter(ChoiceFilter):
    title = "model"
    parameter_name = "model"
    takes_any = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # Logs may name models that have no price row any more.
        listed = [name for name in ModelPrice.objects.values_list("model_id", flat=True) if isinstance(name, str)]
        names = {*listed, request.GET.get(self.parameter_name, "")}
        return [(name, name) for name in sorted(names - {""})]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Without an upstream both balances are named, which changes nothing but lets the index of both serve."""
        if not self.value():
            return queryset
        has_upstream = request.GET.get(UpstreamFilter.parameter_name) in Balance.values
        return (queryset if has_upstream else queryset.billed_to(*Balance)).filter(model=self.value())


# --- Of the refusals --------------------------------------------------------------------------------------------------


class CodeFilter(ChoiceFilter):
    title = "why"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(WHY_REFUSED.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(code=self.value()) if self.value() else queryset


class RefusedUpstreamFilter(UpstreamFilter):
    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(upstream=self.value()) if self.value() in Balance.values else queryset


class RefusedModelFilter(ModelFilter):
    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(model=self.value()) if self.value() else queryset


# --- Of the audit trail -----------------------------------------------------------------------------------------------


class ActionFilter(ChoiceFilter):
    title = "action"
    parameter_name = "action"
    takes_any = True

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        every = ACTIONS | EVENT_ACTIONS | PAYMENT_ACTIONS | SITE_ACTIONS
        return [*((slug, action.title) for slug, action in every.items()), ("export", "Export"), ("log-in", "Log in")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(action=self.value()) if self.value() else queryset
