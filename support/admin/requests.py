"""The request log as staff see it, read-only."""

import json
from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR, SEARCH_VAR
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from proxy.models import INPUT_TOKENS, OUTPUT_TOKENS, RefusedRequest, RequestLog
from support.access.roles import sees_margin
from support.admin.base import BigChangeList, ReadOnlyAdmin, first_match, name_is
from support.admin.display import (
    BALANCE_COLOURS,
    account_link,
    badge,
    choice_badge,
    code_block,
    copyable_text,
    document_key,
    list_url,
    short_id,
    text_of,
    time_of,
    unreadable_of,
    usd,
)
from support.admin.filters import DayRangeFilter, ModelFilter, ResultFilter, UnreadableFilter, UpstreamFilter
from support.admin.request_filters import REQUEST_FILTERS, UncollectedFilter
from support.admin.request_ids import clean_id, is_id_beginning, logs_beginning, refusals_beginning
from support.admin.similar import answer_of


class RequestChangeList(BigChangeList):
    """Sorted by cost only within a search, whatever the address asks for."""

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[str]:
        if ORDER_VAR in self.params and not self.query.strip():
            return list(self.model_admin.get_ordering(request))
        return super().get_ordering(request, queryset)


OWNERS_ROWS = (("own_cost_usd", "own_cost_source"),)
FEW_HAVE = {
    "cache_write_1h_tokens": "written to the cache for an hour",
    "input_audio_tokens": "sound heard",
    "input_image_tokens": "images seen",
    "output_audio_tokens": "sound made",
    "output_image_tokens": "images made",
}


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """One row per metered request: what it used and what it cost."""

    search_help_text = "Account name, request id or its beginning"
    list_before_template = "admin/proxy/request_totals.html"
    change_form_outer_before_template = "admin/proxy/request_similar.html"
    list_display = (
        "time",
        "request_key",
        "account",
        "model_name",
        "cost_usd",
        "tokens_in",
        "tokens_out",
        "upstream",
        "uncollected_usd",
        "result",
        "latency",
    )
    list_display_links = ("time",)
    list_filter = (
        UpstreamFilter,
        ModelFilter,
        ResultFilter,
        *REQUEST_FILTERS,
        ("created_at", DayRangeFilter),
        UnreadableFilter,
    )
    ordering = ("-created_at",)
    fields = (
        "whole_id",
        ("time", "account"),
        ("api_key_prefix", "key_id"),
        ("upstream", "model_name"),
        ("endpoint", "is_stream"),
        ("input_tokens", "output_tokens"),
        ("cache_read_tokens", "cache_write_tokens"),
        "other_use",
        ("cost_usd", "hold_usd"),
        ("uncollected_usd", "usage_source"),
        *OWNERS_ROWS,
        "applied",
        ("result", "outcome"),
        "latency",
        "price_row",
    )
    readonly_fields = (
        "whole_id",
        "time",
        "account",
        "upstream",
        "model_name",
        "cost_usd",
        "hold_usd",
        "uncollected_usd",
        "own_cost_usd",
        "other_use",
        "applied",
        "result",
        "latency",
        "price_row",
    )

    account = account_link("user_id")
    request_key = short_id("pk", "request id")
    whole_id = copyable_text("pk", "request id")
    model_name = text_of("model", "model")
    time = time_of("created_at", "time")
    upstream = choice_badge("credit_type", "upstream", BALANCE_COLOURS)
    cost_usd = usd("cost", "cost", ordering="cost")
    hold_usd = usd("hold", "held beforehand")
    uncollected_usd = usd("uncollected", "uncollected")
    own_cost_usd = usd("own_cost", "operator's cost")

    @admin.display(description="input tokens")
    def tokens_in(self, log: RequestLog) -> str:
        return _first_unreadable(log, INPUT_TOKENS) or f"{log.total_input_tokens:,}"

    @admin.display(description="output tokens")
    def tokens_out(self, log: RequestLog) -> str:
        return _first_unreadable(log, OUTPUT_TOKENS) or f"{log.total_output_tokens:,}"

    @admin.display(description="other use")
    def other_use(self, log: RequestLog) -> str:
        """Kinds of tokens that few requests have, and uses of server tools."""
        counts = ((words, getattr(log, name)) for name, words in FEW_HAVE.items())
        uses = (f"{name}: {count} uses" for name, count in _object(log.tool_uses).items())
        return "; ".join([*(f"{words}: {count:,} tokens" for words, count in counts if count), *uses]) or "–"

    @admin.display(description="what changed the price")
    def applied(self, log: RequestLog) -> str:
        """The tier, the options and the fees that the request was billed by, in words."""
        price = _object(log.price)
        words = [f"more than {price['tier']:,} input tokens"] if isinstance(price.get("tier"), int) else []
        words += [f"{name}: × {multiplier}" for name, multiplier in _object(price.get("options")).items()]
        words += [f"{name}: ${usd} a use" for name, usd in _object(price.get("tools")).items()]
        return "; ".join(words) or "–"

    @admin.display(description="result")
    def result(self, log: RequestLog) -> str:
        if problem := unreadable_of(log, "status_code") or unreadable_of(log, "is_success"):
            return problem
        text = str(log.status_code or "–")
        return badge(text, {True: "success", False: "danger"}.get(log.is_success, ""))  # type: ignore[arg-type]

    @admin.display(description="latency")
    def latency(self, log: RequestLog) -> str:
        if problem := unreadable_of(log, "latency_ms"):
            return problem
        return "–" if log.latency_ms is None else f"{log.latency_ms / 1000:.1f} s"

    @admin.display(description="price row it was billed at")
    def price_row(self, log: RequestLog) -> str:
        if problem := unreadable_of(log, "price"):
            return problem
        return code_block(json.dumps(log.price, indent=2, default=str)) if log.price else "–"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What a request cost the operator is for those who may see margins."""
        return [row for row in self.fields if row not in OWNERS_ROWS or sees_margin(request.user)]

    def find(self, text: str) -> Q:
        """By the id, the account's name, or the beginning of ids, whichever finds something first."""
        found = first_match(RequestLog.objects, Q(pk=text), name_is("user_id", text))
        if found is None and (ids := logs_beginning(text)):
            return Q(pk__in=ids)
        return found or name_is("user_id", text)

    def means_account(self, text: str) -> bool:
        """Whether a search is for an account's name, and not for a request's id."""
        return not RequestLog.objects.filter(pk=text).exists() and not is_id_beginning(text)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """By the index that serves the filter."""
        return ("-uncollected",) if request.GET.get(UncollectedFilter.parameter_name) else self.ordering

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BigChangeList]:
        return RequestChangeList

    def get_sortable_by(self, request: HttpRequest) -> tuple[str, ...]:
        """By cost, within what a search finds: no index sorts all requests by it."""
        return ("cost_usd",) if request.GET.get(SEARCH_VAR, "").strip() else ()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The id of a refused request, or its beginning, leads to the refusal: there is no log of it."""
        text = request.GET.get(SEARCH_VAR, "")
        may_see = cast(User, request.user).has_perm("proxy.view_refusedrequest")
        if is_id_beginning(text) and may_see and not logs_beginning(text) and (ids := refusals_beginning(text)):
            page = f"admin:{RefusedRequest._meta.app_label}_{RefusedRequest._meta.model_name}_change"
            one = reverse(page, args=(document_key(ids[0]),))
            return HttpResponseRedirect(one if len(ids) == 1 else list_url(RefusedRequest, q=clean_id(text)))
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        log = kwargs.get("obj")
        context["similar"] = answer_of(log) if log is not None else None
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response


def _first_unreadable(log: RequestLog, names: Iterable[str]) -> str | None:
    return next((problem for name in names if (problem := unreadable_of(log, name))), None)


def _object(value: Any) -> dict[str, Any]:
    """What an old log may hold in place of an object is no object."""
    return value if isinstance(value, dict) else {}
