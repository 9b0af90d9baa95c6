"""The price list, which staff with the permission edit."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.db.models import Q
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from mongo.collections import Document
from mongo.unreadable import id_of_text
from proxy.billing.price_book import stored_prices
from proxy.billing.price_rows import UnusablePrice, price_of, read_price_row
from proxy.models import ModelPrice
from support.actions.action import Line
from support.admin.base import BigCollectionAdmin
from support.admin.display import BALANCE_COLOURS, badge, text_of, unreadable_of, usd
from support.admin.edits import RepairForm
from support.admin.filters import UnreadableFilter
from support.admin.previewed import PreviewedEdits
from support.admin.price_costs import COSTS, WITHOUT_COSTS, HiddenCosts
from support.admin.price_preview import SAMPLE_WORDS, lines_of_price, sample_cost
from support.forms import FIELD_OVERRIDES

FREE = "is_free"
COLUMNS = {field.column: field.name for field in ModelPrice._meta.concrete_fields if field.column}


class PriceJsonField(forms.JSONField):
    """JSON as staff write it: empty for nothing, and a sentence for whatever is no JSON."""

    default_error_messages = {  # noqa: RUF012  # As Django's fields have it.
        "invalid": "This is not valid JSON: check the brackets, the commas and the quotation marks."
    }

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError) as error:  # A number of too many digits, or too deep.
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else super().prepare_value(value)


class ModelPriceForm(RepairForm):
    """A price row; the database's unique key and this check keep one row per model and upstream."""

    is_free = forms.BooleanField(
        label="This model is free",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Needed where the input or the output price, or the multiplier, is 0.",
    )

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
            "cache_write_1h_price",
            "input_audio_price",
            "output_audio_price",
            "input_image_price",
            "output_image_price",
            "multiplier",
            "max_output_tokens",
            "output_member",
            "tiers",
            "option_multipliers",
            "tool_fees",
            "attachment_tokens",
            "passed_members",
            "own_input_price",
            "own_output_price",
            "own_cache_write_price",
            "own_cache_read_price",
            "own_cache_write_1h_price",
            "own_input_audio_price",
            "own_output_audio_price",
            "own_input_image_price",
            "own_output_image_price",
            "own_option_multipliers",
            "is_active",
        )
        field_classes = dict.fromkeys(
            (
                "aliases",
                "tiers",
                "option_multipliers",
                "tool_fees",
                "attachment_tokens",
                "passed_members",
                "own_option_multipliers",
            ),
            PriceJsonField,
        )
        help_texts = {  # noqa: RUF012  # As Django's forms have it.
            "cache_write_price": "USD per million tokens, kept for 5 minutes. Empty: as input.",
            "cache_read_price": "USD per million tokens. Empty: as input.",
            "cache_write_1h_price": "USD per million tokens, kept for an hour. Empty: twice the input price.",
            "input_audio_price": "USD per million tokens. Empty: requests with sound are refused.",
            "output_audio_price": "USD per million tokens. Empty: requests for sound are refused.",
            "input_image_price": "USD per million tokens. Empty: as input.",
            "output_image_price": "USD per million tokens. Empty: as output.",
            "multiplier": "What customers pay is the price times this, fees of tools as well. Empty: 1.",
            "tiers": (
                "Other prices for the whole request when its input, cached or not, is more than so many tokens: "
                '[{"above": 200000, "input": "6", "output": "22.5", "cacheWrite": "7.5", "cacheWrite1h": "12", '
                '"cacheRead": "0.6", "own": {"input": "6", "output": "22.5"}}]. A price that is left out is the '
                'one above; "own" is what the operator pays.'
            ),
            "option_multipliers": (
                'What an option multiplies the price by: {"service_tier=priority": "2", "speed=fast": "6", '
                '"inference_geo=us": "1.1", "prediction": "1"}. An option that is not here is refused.'
            ),
            "tool_fees": (
                'USD per use of a tool that the upstream runs: {"web_search": {"usd": "0.01", "maxUses": 10, '
                '"inputTokens": 20000, "ownUsd": "0.01"}}. "maxUses" bounds the uses in a request that sets no '
                'bound, "inputTokens" what a use adds to the input. A tool that is not here is left out of requests.'
            ),
            "attachment_tokens": (
                'The most input tokens of what is not in the request itself: {"image_url": 2000, "file_id": 100000, '
                '"document_url": 100000, "video_url": 300000, "audio_url": 50000}; "image" where this vendor does not '
                "count images by their pixels. What is not here is refused."
            ),
            "passed_members": 'Members of a request that are not known, and pass all the same: ["some_member"].',
            "max_output_tokens": "What a request without a limit may write. Empty: DEFAULT_MAX_OUTPUT_TOKENS.",
            "output_member": "What a request without a limit is sent with. Some models refuse max_tokens.",
            "own_input_price": "USD per million tokens that the upstream takes. Empty: not known.",
            "own_output_price": "USD per million tokens that the upstream takes. Empty: not known.",
            "own_cache_write_price": "USD per million tokens. Empty: as own input.",
            "own_cache_read_price": "USD per million tokens. Empty: as own input.",
            "own_cache_write_1h_price": "USD per million tokens. Empty: twice the own input price.",
            "own_input_audio_price": "USD per million tokens. Empty: as own input.",
            "own_output_audio_price": "USD per million tokens. Empty: as own output.",
            "own_input_image_price": "USD per million tokens. Empty: as own input.",
            "own_output_image_price": "USD per million tokens. Empty: as own output.",
            "own_option_multipliers": "What an option multiplies the operator's cost by, where that is another factor.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial.setdefault(FREE, 0 in (getattr(self.instance, name) for name in _FREE_BY))
        for name in _FREE_BY:
            if name in self.fields:
                self.fields[name].required = False  # `clean` asks for it, in other words.

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
        self._check_free(cleaned)
        return cleaned

    def full_clean(self) -> None:
        """What no field can see by itself comes last: the row as it would be stored is one that can be billed by."""
        super().full_clean()
        if self.is_bound and not self.errors:
            self._check_row()

    def _check_free(self, cleaned: dict[str, Any]) -> None:
        """No model becomes free by a slip: a price that is empty or 0 needs the tick, and the tick such a price."""
        is_free, has_free = cleaned.get(FREE), False
        for name in _FREE_BY:
            amount = cleaned.get(name)
            if name in self.errors or amount or (name == "multiplier" and amount is None):
                continue
            has_free = True
            if is_free:
                cleaned[name] = Decimal(0)
            elif name == "multiplier":
                self.add_error(name, "0 makes this model free. Write another number, or tick “This model is free”.")
            else:
                self.add_error(name, "Write a price above 0, or tick “This model is free”.")
        if is_free and not has_free and not self.errors:
            self.add_error(FREE, "Nothing of it is free. Write 0 as a price, or leave out this tick.")

    def _check_row(self) -> None:
        try:
            price_of(self.instance)
        except UnusablePrice as error:
            name = COLUMNS.get(error.column, "")
            self.add_error(name if name in self.fields else None, error.problem)


_FREE_BY = ("input_price", "output_price", "multiplier")


@admin.register(ModelPrice)
class ModelPriceAdmin(HiddenCosts, PreviewedEdits, BigCollectionAdmin):
    """What each model costs. A change holds for requests that start later; logs keep their price."""

    form = ModelPriceForm
    formfield_overrides = FIELD_OVERRIDES | {models.JSONField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})}}
    list_after_template = "support/list_hints.html"
    search_help_text = "Model"
    list_display = (
        "model_name",
        "upstream_name",
        "input_usd",
        "output_usd",
        "cache_write_usd",
        "cache_read_usd",
        "times",
        "status",
    )
    list_filter = ("upstream", UnreadableFilter)
    ordering = ("upstream", "model_id")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("model_id", "upstream"),
                    ("display_name", "upstream_model_id"),
                    "aliases",
                    ("input_price", "output_price"),
                    ("cache_write_price", "cache_read_price"),
                    ("multiplier", FREE),
                    "is_active",
                    "sample",
                )
            },
        ),
        (
            "More prices",
            {
                "classes": ("tab",),
                "fields": (
                    "cache_write_1h_price",
                    ("input_image_price", "output_image_price"),
                    ("input_audio_price", "output_audio_price"),
                ),
            },
        ),
        ("Tiers and options", {"classes": ("tab",), "fields": ("tiers", "option_multipliers")}),
        ("Tools and attachments", {"classes": ("tab",), "fields": ("tool_fees", "attachment_tokens")}),
        ("Limits", {"classes": ("tab",), "fields": (("max_output_tokens", "output_member"), "passed_members")}),
        (
            COSTS,
            {
                "classes": ("tab",),
                "fields": (
                    ("own_input_price", "own_output_price"),
                    ("own_cache_write_price", "own_cache_read_price"),
                    "own_cache_write_1h_price",
                    ("own_input_image_price", "own_output_image_price"),
                    ("own_input_audio_price", "own_output_audio_price"),
                    "own_option_multipliers",
                ),
            },
        ),
    )

    model_name = text_of("model_id", "model")
    input_usd = usd("input_price", "input / M")
    output_usd = usd("output_price", "output / M")
    cache_write_usd = usd("cache_write_price", "cache write / M")
    cache_read_usd = usd("cache_read_price", "cache read / M")

    @admin.display(description="upstream")
    def upstream_name(self, price: ModelPrice) -> str:
        if problem := unreadable_of(price, "upstream"):
            return problem
        return badge(price.get_upstream_display() or "Both", BALANCE_COLOURS.get(str(price.upstream), ""))

    @admin.display(description="multiplier")
    def times(self, price: ModelPrice) -> str:
        if problem := unreadable_of(price, "multiplier"):
            return problem
        return "× 1" if price.multiplier is None else f"× {price.multiplier.normalize():f}"

    @admin.display(description="status")
    def status(self, price: ModelPrice) -> str:
        if not price.is_active and "is_active" not in price.unreadable:
            return badge("Inactive", "danger")
        return badge("Not used", "warning") if price.problem else badge("Active", "success")  # type: ignore[attr-defined]

    @admin.display(description="this model is free", boolean=True)
    def is_free(self, price: ModelPrice) -> bool:
        """For those who may not change it; the others see the form's own field."""
        return 0 in (getattr(price, name) for name in _FREE_BY)

    @admin.display(description="a sample request costs")
    def sample(self, price: ModelPrice) -> str:
        return self.sample_of(price, has_own=True)

    def sample_of(self, price: ModelPrice, *, has_own: bool) -> str:
        """What the row as it is stored makes of one request, so that a slip by a power of ten is seen."""
        stored = stored_prices(_id=id_of_text(price.pk)) if price.pk else []
        if not stored:
            return f"Shown once it is saved, for {SAMPLE_WORDS}."
        try:
            return f"{sample_cost(read_price_row(stored[0]).price, has_own=has_own)}, for {SAMPLE_WORDS}."
        except UnusablePrice as error:
            return f"Nothing: the row is not used, and its model is not found. {error}"

    def find(self, text: str) -> Q:
        return Q(model_id__icontains=text)  # A price list is short.

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are deactivated, not deleted: a new row could otherwise take an old one's name unnoticed."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What a row is for never changes, so a row's history stays readable."""
        shown = ("sample", *WITHOUT_COSTS.values())
        return ("model_id", "upstream", *shown) if obj else shown

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, each row of which knows what keeps it from being used."""
        found = super().get_changelist_instance(request)
        rows = list(found.result_list)
        stored = stored_prices(_id={"$in": [id_of_text(row.pk) for row in rows]})
        problems = {str(key_of(row["_id"])): _problem(row) for row in stored}
        for row in rows:
            row.problem = problems.get(row.pk)
        found.result_list = rows
        return found

    names_left_out = (FREE,)

    def effect(self, request: HttpRequest, form: Any, *, is_new: bool) -> list[Line]:
        """What requests cost before and after."""
        before = None if is_new else next(iter(stored_prices(_id=id_of_text(form.instance.pk))), None)
        kept = form.instance.unreadable.keys() - {*form.names_to_save()} if not is_new else ()
        return lines_of_price(before, form.instance, kept=kept)

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        """A new row's key says what it is for, so no second one can be made."""
        before = next(iter(stored_prices(_id=id_of_text(obj.pk))), {}) if change else {}
        if not change:
            obj.pk = f"{obj.upstream or 'both'}:{obj.model_id}"
        super().save_model(request, obj, form, change)
        self._tell_sample(request, before, obj)

    def write(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        """Write the fields that were changed."""
        if change:
            obj.save(update_fields={*(name for name in form.names_to_save() if name != FREE), "updated_at"})
        else:
            obj.save(force_insert=True)

    def _tell_sample(self, request: HttpRequest, before: Document, obj: ModelPrice) -> None:
        try:
            now = sample_cost(read_price_row(stored_prices(_id=id_of_text(obj.pk))[0]).price)
        except UnusablePrice as error:
            messages.warning(request, f"The row is not used, and its model is not found. {error}")
            return
        try:
            was = f"it was {sample_cost(read_price_row(before).price)}" if before else ""
        except UnusablePrice:
            was = "the row was not used before"
        messages.info(request, f"A sample request costs {now} now{was and ', '}{was}. It has {SAMPLE_WORDS}.")


def key_of(stored: object) -> object:
    """The key of a row in memory, from the stored `_id`."""
    return ModelPrice._meta.pk.from_db_value(stored, None, None)  # type: ignore[attr-defined]


def _problem(row: Document) -> str | None:
    try:
        read_price_row(row)
    except UnusablePrice as error:
        return str(error)
    return None
