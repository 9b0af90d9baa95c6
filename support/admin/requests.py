"""The request log, read-only, and the price list, which staff with the permission edit."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import Balance
from proxy.models import ModelPrice, RequestLog
from support.admin.base import (
    BigCollectionAdmin,
    DayRangeFilter,
    ReadOnlyAdmin,
    account_link,
    badge,
    code_block,
    first_match,
    name_is,
    time_of,
    usd,
)
from support.admin.edits import REASON, ReasonForm

UPSTREAM_COLOURS = {"openhands": "primary", "ohmygpt": "info"}


CREDIT_TYPES: dict[str, Q] = {
    Balance.OPENHANDS: Q(credit_type=Balance.OPENHANDS),
    # Documents older than the dual credits have no credit type: they were billed to the one balance there was.
    Balance.OHMYGPT: Q(credit_type=Balance.OHMYGPT) | Q(credit_type=None),
}
ANY_CREDIT_TYPE = CREDIT_TYPES[Balance.OPENHANDS] | CREDIT_TYPES[Balance.OHMYGPT]


class UpstreamFilter(admin.SimpleListFilter):
    title = "upstream"
    parameter_name = "upstream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Balance.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(CREDIT_TYPES.get(self.value() or "", Q()))


class ResultFilter(admin.SimpleListFilter):
    title = "result"
    parameter_name = "result"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failed", "Failed"), ("ok", "Succeeded")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(is_success=self.value() == "ok") if self.value() in ("failed", "ok") else queryset


class ModelFilter(admin.SimpleListFilter):
    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # Logs may name models that have no price row any more.
        names = {*ModelPrice.objects.values_list("model_id", flat=True), request.GET.get(self.parameter_name, "")}
        return [(name, name) for name in sorted(names - {""})]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Without an upstream, all of them are named, which changes nothing but lets the index of both serve."""
        if not self.value():
            return queryset
        has_upstream = request.GET.get(UpstreamFilter.parameter_name)
        return queryset.filter(Q() if has_upstream else ANY_CREDIT_TYPE, model=self.value())


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """One row a metered request: what it used and what it cost."""

    search_help_text = "Account name or request id"
    list_display = (
        "time",
        "account",
        "upstream",
        "model",
        "tokens_in",
        "tokens_out",
        "cost_usd",
        "uncollected_usd",
        "result",
        "latency",
    )
    list_display_links = ("time",)
    list_filter = (UpstreamFilter, ModelFilter, ResultFilter, ("created_at", DayRangeFilter))
    ordering = ("-created_at",)
    fields = (
        ("id", "time"),
        ("account", "api_key_prefix"),
        ("upstream", "model"),
        ("endpoint", "is_stream"),
        ("input_tokens", "output_tokens"),
        ("cache_read_tokens", "cache_write_tokens"),
        ("cost_usd", "hold_usd"),
        ("uncollected_usd", "usage_source"),
        ("result", "outcome"),
        "latency",
        "price_row",
    )
    readonly_fields = (
        "time",
        "account",
        "upstream",
        "cost_usd",
        "hold_usd",
        "uncollected_usd",
        "result",
        "latency",
        "price_row",
    )

    account = account_link("user_id")
    time = time_of("created_at", "time (UTC)")
    cost_usd = usd("cost", "cost")
    hold_usd = usd("hold", "held before")
    uncollected_usd = usd("uncollected", "uncollected")

    @admin.display(description="upstream")
    def upstream(self, log: RequestLog) -> str:
        return badge(log.get_credit_type_display() or "OhMyGPT", UPSTREAM_COLOURS.get(log.credit_type or "ohmygpt", ""))

    @admin.display(description="input tokens")
    def tokens_in(self, log: RequestLog) -> str:
        return f"{log.input_tokens + log.cache_read_tokens + log.cache_write_tokens:,}"

    @admin.display(description="output tokens")
    def tokens_out(self, log: RequestLog) -> str:
        return f"{log.output_tokens:,}"

    @admin.display(description="result")
    def result(self, log: RequestLog) -> str:
        text = str(log.status_code or "–")
        return badge(text, {True: "success", False: "danger"}.get(log.is_success, ""))  # type: ignore[arg-type]

    @admin.display(description="latency")
    def latency(self, log: RequestLog) -> str:
        return "–" if log.latency_ms is None else f"{log.latency_ms / 1000:.1f} s"

    @admin.display(description="price row it was billed at")
    def price_row(self, log: RequestLog) -> str:
        return code_block(json.dumps(log.price, indent=2, default=str)) if log.price else "–"

    def find(self, text: str) -> Q:
        return first_match(RequestLog.objects, Q(pk=text)) or name_is("user_id", text)


class ModelPriceForm(ReasonForm):
    """A price row; the database's unique key and this check keep one row a model and upstream."""

    class Meta:
        model = ModelPrice
        fields = (
            "model_id",
            "upstream",
            "display_name",
            "aliases",
            "upstream_model_id",
            "input_price",
            "output_price",
            "cache_write_price",
            "cache_read_price",
            "multiplier",
            "max_output_tokens",
            "is_active",
        )

    def clean_aliases(self) -> list[str]:
        aliases = self.cleaned_data["aliases"]
        if not isinstance(aliases or [], list) or not all(isinstance(alias, str) and alias for alias in aliases or []):
            raise forms.ValidationError('Write a list of names, such as ["claude-sonnet-4-5"], or [].')
        return aliases or []

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        model_id, upstream = cleaned.get("model_id"), cleaned.get("upstream") or None
        if model_id and ModelPrice.objects.filter(model_id=model_id, upstream=upstream).exists():
            raise forms.ValidationError(f"There is a price row for {model_id} on this upstream: change that one.")
        return cleaned


@admin.register(ModelPrice)
class ModelPriceAdmin(BigCollectionAdmin):
    """What each model costs. A change holds for requests that start later; logs keep their price."""

    form = ModelPriceForm
    list_after_template = None
    search_help_text = "Model"
    list_display = (
        "model_id",
        "upstream_name",
        "input_usd",
        "output_usd",
        "cache_write_usd",
        "cache_read_usd",
        "times",
        "status",
    )
    list_filter = ("upstream",)
    ordering = ("upstream", "model_id")
    fieldsets = (
        (None, {"fields": (("model_id", "upstream"), ("display_name", "upstream_model_id"), "aliases", "is_active")}),
        (
            "USD per million tokens",
            {"fields": (("input_price", "output_price"), ("cache_write_price", "cache_read_price"), "multiplier")},
        ),
        ("Limits", {"fields": ("max_output_tokens",)}),
    )

    input_usd = usd("input_price", "input / M")
    output_usd = usd("output_price", "output / M")
    cache_write_usd = usd("cache_write_price", "cache write / M")
    cache_read_usd = usd("cache_read_price", "cache read / M")

    @admin.display(description="upstream")
    def upstream_name(self, price: ModelPrice) -> str:
        return badge(price.get_upstream_display() or "Both", UPSTREAM_COLOURS.get(price.upstream or "", ""))

    @admin.display(description="multiplier")
    def times(self, price: ModelPrice) -> str:
        return "× 1" if price.multiplier is None else f"× {price.multiplier.normalize():f}"

    @admin.display(description="status")
    def status(self, price: ModelPrice) -> str:
        return badge("Active", "success") if price.is_active else badge("Inactive", "danger")

    def find(self, text: str) -> Q:
        return Q(model_id__icontains=text)  # A price list is short.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are deactivated, not deleted: a new row could otherwise take an old one's name unnoticed."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What a row is for never changes, so a row's history stays readable."""
        return ("model_id", "upstream") if obj else ()

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        """Write the fields that were changed; a new row's key says what it is for, so no second one can be made."""
        if change:
            changed = [name for name in form.changed_data if name != REASON]
            obj.save(update_fields=[*changed, "updated_at"])
        else:
            obj.pk = f"{obj.upstream or 'both'}:{obj.model_id}"
            obj.save(force_insert=True)
