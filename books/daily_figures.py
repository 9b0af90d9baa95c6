"""The figures of each day, counted from the ledger, the request log, the payments and the inbox.

A past day is counted once more after it has ended, and then never again; today is counted again when its figures are
older than a minute. So a year on the dashboard is 365 small documents, however many requests there were. A day that an
earlier release counted is completed by the sweeper; until then, what it did not count is not known.
"""

from datetime import date, datetime, timedelta
from time import monotonic

import pymongo
from django.conf import settings
from django.utils import timezone
from pymongo.errors import PyMongoError

from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance, LedgerEntry
from books import day_parts
from books.daily_use import read_day_use
from books.day_parts import Figures, within
from books.held_credits import read_held
from books.models import DailyFigures
from books.reconciliation import read_reconciliation
from mongo.collections import Document, collection_of
from mongo.days import day_of, end_of
from payments.inbox.bad_signatures import read_bad_signatures
from payments.models import WebhookEvent
from proxy.billing.refusals import read_refusals

FRESH_SECONDS = 60
SETTLING_TIME = timedelta(hours=2)
"""A request that began before midnight is settled, and logged, by then."""
DAYS_KEPT_READY = 31
EARLIER_DAYS = 400
"""Days before these that the sweeper counts little by little, so that longer periods can be asked for."""
EARLIER_SECONDS = 2.0
JUST_COUNTED_SECONDS = 5
MAX_RECONCILED = 50
LIABILITY_SECONDS = 0.3
MOST_ACCOUNTS_OF_A_PAGE = 100_000
"""Of more, the sweeper alone reads the balances."""
LATEST_PART = "figures.models"
"""What every day has that this release has counted."""


def refresh_figures(*, now: datetime | None = None, seconds: float | None = None) -> int:
    """Count today (and the days before it that are missing or not final); returns how many days were counted.

    The sweeper counts all that is due; a page stops after `seconds`, the latest days first. Cheap when everything is
    fresh; safe to run in parallel, as every count gives the same.
    """
    now = now or timezone.now()
    days = [day_of(now) - timedelta(days=back) for back in range(DAYS_KEPT_READY)]
    known = {found.day: found.computed_at for found in DailyFigures.objects.filter(**kept(days[-1], days[0]))}
    due = [day for day in days if _is_due(day, known.get(key_of(day)), now)]
    deadline = None if seconds is None else monotonic() + seconds
    for counted, day in enumerate(due):
        if counted and deadline is not None and monotonic() > deadline:
            return counted
        count_day(day=day, now=now, is_patient=deadline is None)
    return len(due)


def key_of(day: date) -> str:
    """The key of a day's figures. Those of another zone have other keys: its days begin at other moments."""
    return day.isoformat() if settings.TIME_ZONE == "UTC" else f"{settings.TIME_ZONE} {day.isoformat()}"


def kept(first: date, last: date) -> dict[str, str]:
    """The condition of the figures of some days, for the ORM."""
    return {"day__gte": key_of(first), "day__lte": key_of(last)}


def _is_due(day: date, computed_at: datetime | None, now: datetime) -> bool:
    if computed_at is None:
        return True
    is_final = computed_at >= end_of(day) + SETTLING_TIME
    return not is_final and (now - computed_at).total_seconds() >= FRESH_SECONDS


def count_earlier_days(*, now: datetime | None = None, seconds: float = EARLIER_SECONDS) -> int:
    """Count days that are over, the latest first, and were never counted or by a release that counted less.

    Returns how many, in `seconds` or little more: the sweeper calls it again and again. Safe to repeat, and beside
    itself.
    """
    now = now or timezone.now()
    first = day_parts.read_first_day()
    days = [day_of(now) - timedelta(days=back) for back in range(2, EARLIER_DAYS)]
    days = [day for day in days if first is not None and day >= first]
    if not days:
        return 0
    period = {"$gte": key_of(days[-1]), "$lte": key_of(days[0])}
    collection = collection_of(DailyFigures)
    whole = {found["_id"] for found in collection.find({"_id": period, LATEST_PART: {"$exists": True}}, {"_id": 1})}
    deadline, counted = monotonic() + seconds, 0
    for day in (one for one in days if key_of(one) not in whole):
        if counted and monotonic() > deadline:
            break
        found = DailyFigures.objects.filter(pk=key_of(day)).first()
        count_day(day=day, now=now, known=found.figures if found else None)
        counted += 1
    return counted


def freshen_today(*, now: datetime | None = None) -> None:
    """Count today again for a page, unless it was just counted, or it takes longer than a page may wait.

    Then the page shows what the sweeper found last, which is at most a minute old. Safe to repeat.
    """
    now = now or timezone.now()
    today = day_of(now)
    found = DailyFigures.objects.filter(pk=key_of(today)).first()
    if found is not None and (now - found.computed_at).total_seconds() < JUST_COUNTED_SECONDS:
        return
    try:
        with pymongo.timeout(LIABILITY_SECONDS if found is not None else None):
            count_day(day=today, now=now)
    except PyMongoError as error:
        if not error.timeout:
            raise


def count_day(
    *, day: date, now: datetime | None = None, is_patient: bool = False, known: Figures | None = None
) -> Figures:
    """Count one day and keep the result. Amounts are text in USD, or in units of their currency.

    `is_patient`: also check the accounts that moved today, and read the balances of all accounts however long it
    takes; else what was found last is kept. `known` is what an earlier release counted of the day, which is kept.
    """
    now = now or timezone.now()
    requests = read_day_use(within("createdAt", day))
    revenue, paid_usd = day_parts.read_revenue(day)
    figures: Figures = {
        "ledger": day_parts.read_ledger(day),
        "use": requests.use,
        "margin": requests.margin,
        "models": requests.models,
        "revenue": revenue,
        "paid_usd": paid_usd,
        "events": day_parts.read_events(day),
        "not_said": day_parts.count_not_said(day),
        "bad_signatures": sum(read_bad_signatures(day=day).values()),
        "refusals": {balance.value: read_refusals(upstream=balance, day=day) for balance in Balance},
        "kept_refusals": day_parts.read_kept_refusals(day, now=now),
    }
    customers: Figures | None = requests.customers
    if known is not None:
        figures = _completed(known, figures)
        customers = customers if figures["models"] is not None else None
    if day == day_of(now):
        figures |= _present(day, now, is_patient=is_patient)
    document = {"figures": figures, "customers": customers, "computedAt": now}
    collection_of(DailyFigures).replace_one({"_id": key_of(day)}, document, upsert=True)
    return figures


_MADE_FROM = {"models": "use", "paid_usd": "revenue", "not_said": "events"}
"""What is known of a day only if what an earlier release counted of the same documents is what is there now."""


def _completed(known: Figures, found: Figures) -> Figures:
    """A day's figures with what an earlier release did not count. What it did count stays, as documents may have been
    deleted since; what would then be too little is None: not known.
    """
    for part, whole in _MADE_FROM.items():
        if whole in known and known[whole] != found[whole]:
            found[part] = None
    return {**found, **known}


def _present(day: date, now: datetime, *, is_patient: bool) -> Figures:
    """What is so now: it is kept with today."""
    found = None if is_patient else DailyFigures.objects.filter(pk=key_of(day)).first()
    earlier: Figures = found.figures if found else {}
    last: Figures = earlier.get("now", {})
    held = read_held(now=now) if is_patient else _held_in_time(now)
    return {
        "held": {"at": now.isoformat(), "balances": held} if held else earlier.get("held"),
        "now": {
            "liability": {name: one["usable"] for name, one in held.items()} if held else last.get("liability"),
            "expiring": _expiring(now),
            "waiting": _waiting(),
            "reconciliation": _reconcile(day) if is_patient else last.get("reconciliation"),
        },
    }


def _held_in_time(now: datetime) -> Figures | None:
    """What customers hold, unless there are too many accounts for a page to wait: a million take seconds."""
    if collection_of(Account).estimated_document_count() > MOST_ACCOUNTS_OF_A_PAGE:
        return None
    try:
        with pymongo.timeout(LIABILITY_SECONDS):
            return read_held(now=now)
    except PyMongoError as error:
        if not error.timeout:
            raise
        return None


def _expiring(now: datetime) -> int:
    soon = {"expiresAt": {"$gt": now, "$lte": now + timedelta(days=1)}}
    return collection_of(Account).count_documents(soon, limit=100_000)


def _waiting() -> Figures:
    """Events that wait for a person, and those that could not be processed yet."""
    events = collection_of(WebhookEvent)
    states = (WebhookEvent.Status.REVIEW, WebhookEvent.Status.DEAD, WebhookEvent.Status.RECEIVED)
    return {state.value: events.count_documents({"status": state.value}, limit=10_000) for state in states}


def _reconcile(day: date) -> Figures:
    """Check the accounts whose ledger moved today, the latest first; `manage.py reconcile` checks all of them."""
    pipeline: list[Document] = [
        {"$match": within("createdAt", day)},
        {"$sort": {"createdAt": -1}},
        {"$limit": MAX_RECONCILED * 4},
        {"$group": {"_id": "$account"}},
        {"$limit": MAX_RECONCILED},
    ]
    names = [row["_id"] for row in collection_of(LedgerEntry).aggregate(pipeline)]
    present = Account.objects.filter(pk__in=names).values_list("pk", flat=True)
    # Nothing can be said of accounts that no reconciliation has adopted yet.
    checked: dict[str, bool] = {}
    damaged = []
    for name in present:
        try:
            if results := read_reconciliation(name):
                checked[name] = any(result.drift for result in results)
        except AccountNeedsRepair:
            damaged.append(name)
    drifting = sorted(name for name, has_drift in checked.items() if has_drift)
    return {"checked": len(checked), "drifting": drifting, "damaged": sorted(damaged)}
