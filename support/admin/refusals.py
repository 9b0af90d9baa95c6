"""Refused requests as staff see them: the list, and on the page of one, in words, why it was refused."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import Account, Balance
from money.amounts import format_usd
from mongo.days import today
from proxy.billing.refused_requests import read_not_kept
from proxy.models import RefusedRequest, RequestLog
from support.admin.base import ReadOnlyAdmin, first_match, name_is
from support.admin.display import (
    BALANCE_COLOURS,
    account_link,
    badge,
    choice_badge,
    copyable_text,
    short_id,
    text_of,
    time_of,
    usd,
)
from support.admin.filters import (
    WHY_REFUSED,
    CodeFilter,
    DayRangeFilter,
    RefusedModelFilter,
    RefusedUpstreamFilter,
)
from support.admin.request_ids import refusals_beginning


@dataclass(frozen=True)
class HolderRow:
    """A request that held credits when another one was refused, and what became of it."""

    request_id: str
    amount: str
    since: str
    became: str
    is_logged: bool


@admin.register(RefusedRequest)
class RefusedRequestAdmin(ReadOnlyAdmin):
    """One row per refusal that was kept."""

    search_help_text = "Account name, request id or its beginning"
    list_display = (
        "time",
        "request_key",
        "account",
        "why",
        "needed_usd",
        "available_usd",
        "held_usd",
        "upstream_name",
        "model_name",
    )
    list_display_links = ("time",)
    list_filter = (CodeFilter, RefusedUpstreamFilter, RefusedModelFilter, ("created_at", DayRangeFilter))
    ordering = ("-created_at",)
    list_before_template = "admin/proxy/refusals_not_kept.html"
    change_form_outer_before_template = "admin/proxy/refusal_why.html"
    fields = (
        "whole_id",
        ("time", "account"),
        ("upstream_name", "model_name"),
        ("endpoint", "why"),
        ("needed_usd", "available_usd"),
        ("held_usd", "api_key_prefix"),
        "expires",
        "message",
    )
    readonly_fields = (
        "whole_id",
        "time",
        "account",
        "upstream_name",
        "model_name",
        "why",
        "needed_usd",
        "available_usd",
        "held_usd",
        "expires",
    )

    account = account_link("user_id")
    request_key = short_id("pk", "request id")
    whole_id = copyable_text("pk", "request id")
    model_name = text_of("model", "model")
    time = time_of("created_at", "time")
    expires = time_of("expires_at", "kept until")
    upstream_name = choice_badge("upstream", "upstream", BALANCE_COLOURS)
    needed_usd = usd("needed", "needed")
    available_usd = usd("available", "available then")
    held_usd = usd("held", "held then")

    @admin.display(description="why")
    def why(self, refused: RefusedRequest) -> str:
        return badge(f"{refused.status_code} {WHY_REFUSED.get(refused.code, refused.code)}", "warning")

    def find(self, text: str) -> Q:
        """By the id, the account's name, or the beginning of ids."""
        found = first_match(RefusedRequest.objects, Q(pk=text), name_is("user_id", text))
        if found is None and (ids := refusals_beginning(text)):
            return Q(pk__in=ids)
        return found or name_is("user_id", text)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Says how many were only counted, of the account that was searched for."""
        context = (extra_context or {}) | {
            "per_minute": settings.REFUSALS_KEPT_PER_MINUTE,
            "per_day": settings.REFUSALS_KEPT_PER_DAY,
            "days": settings.REFUSALS_KEPT_DAYS,
            **_not_kept(request.GET.get("q", "").strip()),
        }
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        refused = kwargs.get("obj")
        if refused is not None:
            context["sentences"] = sentences_of(refused)
            context["holders"] = holders_of(refused)
            context["holders_left_out"] = max((refused.holds_count or 0) - len(context["holders"]), 0)
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response


def _not_kept(name: str) -> dict[str, Any]:
    if not name or not Account.objects.filter(pk=name).exists():
        return {}
    last = today()
    first = last - timedelta(days=settings.REFUSALS_KEPT_DAYS)
    return {"of_account": name, "not_kept": sum(read_not_kept(name, first=first, last=last).values())}


def sentences_of(refused: RefusedRequest) -> list[SafeString | str]:
    """Why a request was refused, in plain words: which balance was short, by what, and why so much was asked for."""
    explain = {"insufficient_credits": _balance_was_short, "key_budget_reached": _budget_was_short}.get(refused.code)
    sentences = (
        explain(refused) if explain else [f"{WHY_REFUSED.get(refused.code, refused.code)}.", _balances_then(refused)]
    )
    sentences += _worst_case(refused)
    sentences.append("It was not forwarded, and cost nothing.")
    return [sentence for sentence in sentences if sentence]


def _balance_was_short(refused: RefusedRequest) -> list[SafeString | str]:
    balance = Balance(refused.upstream)
    needed, available, held = (_usd(amount) for amount in (refused.needed, refused.available, refused.held))
    missing = (refused.needed or 0) - (refused.available or 0)
    first = format_html(
        "<strong>The {} balance was short by {}:</strong> the request needed {}, and {} of that balance was available.",
        balance.label,
        format_usd(Decimal(missing)),
        needed,
        available,
    )
    count = refused.holds_count or 0
    if refused.held and count:
        requests = "1 request that ran then" if count == 1 else f"{count} requests that ran then"
        without = "it" if count == 1 else "them"
        enough = (refused.available or 0) + (refused.held or 0) >= (refused.needed or 0)
        end = (
            f"without {without} this one would have passed."
            if enough
            else "even with that it would have been too little."
        )
        second = f"Another {held} of it was held by {requests}; {end}"
    else:
        second = "Nothing of it was held by other requests."
    other = (refused.balances or {}).get(balance.other.value)
    third = (
        f"The {balance.other.label} balance had {format_usd(Decimal(other))} then, which pays for "
        f"{balance.other.label} requests only."
        if other is not None
        else f"What the {balance.other.label} balance had cannot be read."
    )
    return [first, second, third]


def _budget_was_short(refused: RefusedRequest) -> list[SafeString | str]:
    return [
        format_html(
            "<strong>The budget of the key {} was short:</strong> the request needed {}, and {} of the budget was "
            "left. What is on the balance does not matter then.",
            refused.api_key_prefix,
            _usd(refused.needed),
            _usd(refused.available),
        ),
        _balances_then(refused),
    ]


def _balances_then(refused: RefusedRequest) -> str:
    stored = refused.balances or {}
    parts = [
        f"{_usd(Decimal(stored[balance.value]))} {balance.label}"
        if stored.get(balance.value) is not None
        else f"an {balance.label} balance that cannot be read"
        for balance in Balance
    ]
    expired = ", all of which had expired: none of it can be spent" if refused.code == "credits_expired" else ""
    return f"The account had {' and '.join(parts)} credits then{expired}."


def _worst_case(refused: RefusedRequest) -> list[SafeString | str]:
    """Why a request asks for so much: it must be able to pay for the most that it can come to."""
    worst, price = refused.worst_case, (refused.worst_case or {}).get("price") or {}
    if not worst:
        return [] if refused.model else ["It was refused before its body was read, so its model is not known."]
    limit = worst.get("limit")
    asked = (
        f"The client set its output limit to {limit:,} tokens."
        if limit
        else "The client set no output limit, so that of a short answer was asked for."
    )
    sentences: list[SafeString | str] = [
        f"Before a request runs, the balance must cover {worst['text']}. {asked} What is not used is given back."
    ]
    if price.get("input") is not None:
        rates = {name: format_usd(Decimal(price.get(name) or 0)) for name in ("input", "output")}
        multiplier = Decimal(price.get("multiplier") or 1)
        times = f", times {multiplier.normalize():f}" if multiplier != 1 else ""
        sentences.append(
            f"The price of {refused.model} was {rates['input']} for a million input tokens and {rates['output']} for a "
            f"million output tokens{times}; the input counts at its dearest rate."
        )
    return sentences


def _usd(amount: Decimal | None) -> str:
    return "an amount that cannot be read" if amount is None else format_usd(amount)


def holders_of(refused: RefusedRequest) -> list[HolderRow]:
    """The requests that held credits of the balance then, and what became of each since."""
    holds = [one for one in refused.holds or [] if isinstance(one, dict)]
    logs = {log.pk: log for log in RequestLog.objects.filter(pk__in=[one["id"] for one in holds])}
    account = Account.objects.filter(pk=refused.user_id).first()
    running = account.holds if account is not None else {}
    rows = []
    for one in holds:
        log = logs.get(one["id"])
        if log is not None:
            became = f"cost {format_usd(log.cost)}, the rest was given back"
        else:
            became = "still holds it" if one["id"] in running else "ended, and left no record"
        since = (one.get("since") or "–")[:19].replace("T", " ")
        rows.append(HolderRow(one["id"], format_usd(Decimal(one["amount"])), since, became, log is not None))
    return rows
