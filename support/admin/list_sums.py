"""Above a list: what its rows come to, where the list is filtered as the owner's page leads to it."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR
from django.http import HttpRequest

from accounts.models import Account, Balance
from books.business import MOST_DAYS, read_days, read_held_last, read_sums
from money.amounts import ZERO
from mongo.days import show_with_zone, today
from payments.models import Payment
from proxy.models import RequestLog
from support.access.roles import sees_margin
from support.admin.business_filters import back_within
from support.admin.display import show_money
from support.admin.dollars import usd
from support.typed import NotUnderstood, read_day

Parts = list[tuple[str, str]]
DAYS = ("{}_from", "{}_to")


def sums_of(request: HttpRequest, changelist: Any) -> Parts:
    """What the rows of a list come to: words, and the sum. Empty where that is not known."""
    if changelist.problems:
        return []
    asked = {name: str(value) for name, value in request.GET.items()}
    query = {name: value for name, value in asked.items() if value and name not in (ORDER_VAR, PAGE_VAR)}
    if changelist.model is Payment:
        return _payments(query)
    if changelist.model is Account:
        return _accounts(query)
    return _requests(query, request.user) if changelist.model is RequestLog else []


def _period(query: dict[str, str], name: str) -> tuple[date, date] | None:
    """The days of a filter, taken out of the query; None if they are not both there, or too many."""
    try:
        first, last = (read_day(query.pop(end.format(name), "")) for end in DAYS)
    except NotUnderstood:
        return None
    last = min(last, today())
    return (first, last) if timedelta() <= last - first < timedelta(days=MOST_DAYS) else None


def _requests(query: dict[str, str], user: object) -> Parts:
    """By upstream, model and days: as the figures of the days have it, which are at most a minute old."""
    period = _period(query, "created_at")
    upstream, model, result = (query.pop(name, "") for name in ("upstream", "model", "result"))
    if query or period is None or result not in ("", "failed"):
        return []
    sums = read_sums(first=period[0], last=period[1], upstream=upstream, model=model)
    if sums is None:
        return []
    failed = ("Failed", f"{sums.errors:,}")
    if result:
        return [failed]
    parts = [("Requests", f"{sums.requests:,}"), failed, ("Charged", usd(sums.charged))]
    if sums.margin is not None and sees_margin(user):
        part = "" if sums.charged_known == sums.charged else f" for {usd(sums.charged_known)}"
        parts += [("Operator's cost", f"{usd(sums.own_cost)}{part}"), ("Margin", usd(sums.margin))]
    return parts


def _payments(query: dict[str, str]) -> Parts:
    """What was paid in some days, or what went back in them, by currency."""
    through = query.pop("through", "")
    sums: dict[str, Decimal] = {}
    if (back := query.pop("went_back", "")) and not query:
        for one in back_within(back):
            if through in ("", f"{one.provider}:{one.currency}"):
                sums[one.currency] = sums.get(one.currency, ZERO) + one.amount
        return [(f"Went back, {currency}", show_money(amount, currency)) for currency, amount in sorted(sums.items())]
    period = _period(query, "completed_at")
    if back or period is None or query != {"status__exact": Payment.Status.SUCCESS.value}:
        return []
    days = read_days(*period)
    if any(day.paid is None for day in days):
        return []
    payments = 0
    for row in (row for day in days for row in day.paid or ()):
        if through in ("", f"{row['provider']}:{row['currency']}"):
            sums[row["currency"]] = sums.get(row["currency"], ZERO) + Decimal(row["amount"])
            payments += row["payments"]
    paid = [(f"Paid, {currency}", show_money(amount, currency)) for currency, amount in sorted(sums.items())]
    return [("Payments", f"{payments:,}"), *paid] if paid else []


def _accounts(query: dict[str, str]) -> Parts:
    """What accounts hold of one balance: what can be spent, is owed, or cannot be spent any more."""
    balance = next((one for one in Balance if one.value in query), None)
    held = read_held_last()
    if balance is None or not held:
        return []
    asked, found = query.pop(balance.value), held["balances"][balance.value]
    kinds = {
        ("some", "active", "usable"): ("Can be spent", found["usable"]),
        ("some", "active", "expired"): ("Expired, and not yet taken off", found["expired"]),
        ("some", "disabled", ""): ("Of disabled accounts", found["disabled"]),
        ("debt", "", ""): ("Owed", found["debts"].removeprefix("-")),
    }
    part = kinds.get((asked, query.pop("status", ""), query.pop("expiry", "")))
    if part is None or query:
        return []
    at = show_with_zone(datetime.fromisoformat(held["at"]))
    return [(f"{part[0]}, {balance.label} credits", usd(Decimal(part[1]))), ("Counted at", at)]
