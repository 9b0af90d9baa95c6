"""The owner's page: what was earned, what it cost, who used most, what customers hold. Each number has its list."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from books.business import MOST_DAYS, Business, read_business
from books.daily_figures import freshen_today, refresh_figures
from mongo.days import day_of
from support.access.roles import sees_margin
from support.pages.business_tables import (
    Table,
    cards_of,
    charts_of,
    customers_table,
    events_table,
    models_table,
    money_table,
    refusals_table,
    upstreams_table,
)
from support.typed import NotUnderstood, read_day

RANGES = {"today": ("Today", 1), "7": ("7 days", 7), "30": ("30 days", 30), "90": ("90 days", 90)}
USUAL = "30"
COUNTING_SECONDS = 0.3
"""How long the page may count days that the sweeper has not counted yet."""


@dataclass(frozen=True)
class Asked:
    """The days that are asked for, and why others are shown instead, if they are."""

    first: date
    last: date
    choice: str
    typed: tuple[str, str]
    problem: str = ""


def business(request: HttpRequest) -> HttpResponse:
    """The page, for those who may see margins."""
    if not sees_margin(request.user):
        raise PermissionDenied
    now = timezone.now()
    refresh_figures(now=now, seconds=COUNTING_SECONDS)
    freshen_today(now=now)
    asked = _asked(request, day_of(now))
    found = read_business(first=asked.first, last=asked.last)
    tables: list[Table] = [
        upstreams_table(found),
        models_table(found),
        customers_table(found),
        money_table(found),
        refusals_table(found, today=day_of(now)),
        events_table(found),
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Business",
        "asked": asked,
        "ranges": [(key, label, key == asked.choice) for key, (label, _) in RANGES.items()],
        "cards": cards_of(found),
        "charts": charts_of(found),
        "tables": tables,
        "notes": _notes(found, now),
    }
    return render(request, "support/business.html", context)


def _asked(request: HttpRequest, today: date) -> Asked:
    """The days of the address: `days`, or `first` and `last`. What cannot be read is said, and the usual days shown."""
    typed = (request.GET.get("first", "").strip(), request.GET.get("last", "").strip())
    if any(typed):
        try:
            first, last = (read_day(text) if text else today for text in typed)
            return _checked(first, last, today, typed)
        except NotUnderstood as error:
            return _usual(today, typed, f"{error} These are the last {USUAL} days.")
    choice = request.GET.get("days", USUAL)
    if choice not in RANGES:
        return _usual(today, typed, f"There is no such range. These are the last {USUAL} days.")
    return Asked(today - timedelta(days=RANGES[choice][1] - 1), today, choice, typed)


def _checked(first: date, last: date, today: date, typed: tuple[str, str]) -> Asked:
    if first > today:
        raise NotUnderstood(f"{first} has not come yet.")
    if first > last:
        raise NotUnderstood(f"{first} is after {last}.")
    last = min(last, today)
    if (last - first).days >= MOST_DAYS:
        raise NotUnderstood(f"These are more than {MOST_DAYS} days.")
    return Asked(first, last, "", typed)


def _usual(today: date, typed: tuple[str, str], problem: str) -> Asked:
    return Asked(today - timedelta(days=RANGES[USUAL][1] - 1), today, USUAL, typed, problem)


_PARTS = {
    "by_upstream": "have not been counted yet, so nothing of them is in these sums",
    "has_models": "were counted without models and customers, which are not known of them",
    "paid_usd": "were counted without what payments were worth in USD, which is not known of them",
    "not_said": "were counted without what events needed, so that there may have been more",
}


def _notes(found: Business, now: datetime) -> list[str]:
    """What is not known, in sentences."""
    notes = []
    uncounted = set(found.days_without("by_upstream"))
    for part, words in _PARTS.items():
        days = [day for day in found.days_without(part) if part == "by_upstream" or day not in uncounted]
        if days:
            notes.append(f"{_days(days)} {words}. The sweeper counts them, the latest first.")
    if found.money_back is None:
        notes.append("More went back than can be added up. Choose fewer days.")
    kept = settings.REFUSALS_KEPT_DAYS
    if found.days and (day_of(now) - found.days[0].day).days >= kept:
        notes.append(f"Refusals are kept for {kept} days: of days before that only some are counted.")
    return notes


def _days(days: list[date]) -> str:
    words = "1 day" if len(days) == 1 else f"{len(days):,} days"
    return f"{words} ({days[0]})" if len(days) == 1 else f"{words} ({days[0]} to {days[-1]})"
