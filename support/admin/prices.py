"""The price list, which staff with the permission edit."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest

from proxy.models import ModelPrice
from support.admin.base import BigCollectionAdmin
from support.admin.display import BALANCE_COLOURS, badge, usd
from support.admin.edits import REASON, ReasonForm


class ModelPriceForm(ReasonForm):
    """A price row; the database's unique key and this check keep one row per model and upstream."""

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
        return badge(price.get_upstream_display() or "Both", BALANCE_COLOURS.get(price.upstream or "", ""))

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
