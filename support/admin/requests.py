"""The request log as staff see it, read-only."""

import json

from django.contrib import admin
from django.db.models import Q

from proxy.models import RequestLog
from support.admin.base import ReadOnlyAdmin, first_match, name_is
from support.admin.display import BALANCE_COLOURS, account_link, badge, choice_badge, code_block, time_of, usd
from support.admin.filters import DayRangeFilter, ModelFilter, ResultFilter, UpstreamFilter


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """One row per metered request: what it used and what it cost."""

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
    upstream = choice_badge("credit_type", "upstream", BALANCE_COLOURS)
    cost_usd = usd("cost", "cost")
    hold_usd = usd("hold", "held beforehand")
    uncollected_usd = usd("uncollected", "uncollected")

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
