"""The filters of the list of accounts, each served by an index."""

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import RangeNumericFilter

from accounts.models import Balance

FIELDS = {Balance.OPENHANDS: "credits_new", Balance.OHMYGPT: "credits"}
SOON = timedelta(days=1)
MAX_AMOUNT = 10**9


class ExpiryFilter(admin.SimpleListFilter):
    title = "expiry"
    parameter_name = "expiry"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("soon", "Expires in 24 hours"), ("valid", "Valid"), ("expired", "Expired"), ("never", "Never expires")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        conditions = {
            "soon": Q(expires_at__gt=now, expires_at__lte=now + SOON),
            "valid": Q(expires_at__gt=now),
            "expired": Q(expires_at__gt=datetime.min.replace(tzinfo=now.tzinfo), expires_at__lte=now),
            "never": Q(expires_at=None),
        }
        condition = conditions.get(self.value() or "")
        return queryset.filter(condition) if condition else queryset


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("disabled", "Disabled")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "disabled":
            return queryset.filter(is_active=False)
        return queryset.exclude(is_active=False) if self.value() == "active" else queryset


def is_zero(name: str) -> Q:
    """Accounts whose balance in this field is $0; old documents lack the field."""
    return Q(**{name: 0}) | Q(**{name: None})


class BalanceFilter(admin.SimpleListFilter):
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


class BalanceRangeFilter(RangeNumericFilter):
    """Accounts with a balance from one amount to another, both included; what is no amount is left out."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        name = str(self.parameter_name)
        least, most = (self._amount(f"{name}_{end}") for end in ("from", "to"))
        if least is None and most is None:
            return queryset
        condition = Q()
        if least is not None:
            condition &= Q(**{f"{name}__gte": least})
        if most is not None:
            condition &= Q(**{f"{name}__lte": most})
        has_zero = (least is None or least <= 0) and (most is None or most >= 0)
        return queryset.filter(condition | Q(**{name: None}) if has_zero else condition)

    def _amount(self, parameter: str) -> Decimal | None:
        try:
            amount = Decimal(self.used_parameters.get(parameter) or "")
        except InvalidOperation:
            return None
        return amount if amount.is_finite() and abs(amount) < MAX_AMOUNT else None
