"""The admin's first page: what was sold, spent and refused, and what needs attention now."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import UNDER_REVIEW_AFTER, Account, Balance
from books.daily_figures import count_day, kept, key_of, refresh_figures
from books.day_parts import Figures
from books.models import DailyFigures
from books.reconciliation import LastRun, read_last_run
from money.amounts import ZERO
from mongo.days import day_of, end_of, start_of
from payments.inbox.alarms import InboxHealth, read_health
from payments.inbox.events import count_needed
from payments.models import WebhookEvent
from payments.orders.promotions import find_promotion
from payments.orders.purchasing import read_purchasing
from payments.providers import label_of
from proxy.models import RequestLog
from support.access.roles import sees_margin
from support.admin.display import account_url, in_words, list_url, usable_list
from support.pages.charts import Chart, Series, draw

PERIODS = {"Today": 1, "7 days": 7, "30 days": 30}
COUNTING_SECONDS = 0.3
"""How long a page may count days that the sweeper has not counted yet."""
REVERSALS = ("refund", "chargeback")
MARGIN_COLUMNS = ("Charged", "Own cost", "Margin", "")
MARGIN_ROWS = 10
LEAST_LOSS = Decimal("0.01")
"""USD. What is less comes from rounding each request."""
MOST_LOSSES = 5


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The dashboard for those who may see accounts; others get the plain list of pages."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm("accounts.view_account"):
        return context
    now = timezone.now()
    today = day_of(now)
    refresh_figures(now=now, seconds=COUNTING_SECONDS)
    first = today - timedelta(days=max(PERIODS.values()) - 1)
    days = {found.day: found.figures for found in DailyFigures.objects.filter(**kept(first, today))}
    ordered = [days.get(key_of(today - timedelta(days=back)), {}) for back in range(max(PERIODS.values()))]
    current = ordered[0].get("now") or count_day(day=today)["now"]
    periods = {name: ordered[:length] for name, length in PERIODS.items()}
    return context | {
        "title": "Dashboard",
        "has_dashboard": True,
        "periods": list(periods),
        "money_rows": [
            (label, [_money(days, kinds, balance) for days in periods.values()])
            for label, kinds, balance in _MONEY_ROWS
        ],
        "use_tables": [
            (f"{balance.label} use", [(label, [read(days) for days in periods.values()]) for label, read in rows])
            for balance, rows in ((balance, _use_rows(balance)) for balance in Balance)
        ],
        "revenue_rows": _revenue_rows(periods),
        "margin_columns": MARGIN_COLUMNS,
        "margin_rows": _margin_rows(ordered) if sees_margin(user) else None,
        "webhook_rows": _webhook_rows(periods, today),
        "alarms": _alarms(read_health()),
        "alerts": _alerts(current, ordered, today, has_margin=sees_margin(user)),
        "liability": [
            (f"{balance.label} credits", _outstanding(current, balance), usable_list(balance)) for balance in Balance
        ],
        "charts": _charts(ordered, today),
    }


_MONEY_ROWS = [
    ("Sold (all to OpenHands)", ("purchase",), None),
    ("Bonus", ("bonus",), None),
    ("Refunds and chargebacks", REVERSALS, None),
    *((f"Expired: {balance.label}", ("expiry",), balance) for balance in Balance),
    *((f"Adjusted by staff: {balance.label}", ("adjustment",), balance) for balance in Balance),
    *((f"Moved by other programs: {balance.label}", ("correction",), balance) for balance in Balance),
]


def _money(days: list[Figures], kinds: tuple[str, ...], balance: Balance | None) -> str:
    return _cents(sum((_entries(day, kinds, balance) for day in days), ZERO))


def _cents(amount: Decimal) -> str:
    """An overview needs no more than cents."""
    return f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"


def _entries(day: Figures, kinds: tuple[str, ...], balance: Balance | None) -> Decimal:
    found = (day.get("ledger", {}).get(kind, {}) for kind in kinds)
    return sum((Decimal(amount) for sums in found for name, amount in sums.items() if balance in (None, name)), ZERO)


def _use_rows(balance: Balance) -> list[tuple[str, Any]]:
    return [
        ("Credits spent", _summed_usd(balance, "cost")),
        ("Requests", _summed(balance, "requests")),
        ("Failed requests", _summed(balance, "errors")),
        ("Refused: insufficient credits", _refused(balance)),
        ("Uncollected cost", _summed_usd(balance, "uncollected")),
    ]


def _summed_usd(balance: Balance, name: str) -> Any:
    return lambda days: _cents(sum((_use(day, balance, name) for day in days), ZERO))


def _summed(balance: Balance, name: str) -> Any:
    return lambda days: f"{int(sum((_use(day, balance, name) for day in days), ZERO)):,}"


def _use(day: Figures, balance: Balance, name: str) -> Decimal:
    return Decimal(day.get("use", {}).get(balance.value, {}).get(name, 0))


def _refused(balance: Balance) -> Any:
    def read(days: list[Figures]) -> str:
        counts = (day.get("refusals", {}).get(balance.value, {}).get("insufficient_credits", 0) for day in days)
        return f"{sum(counts):,}"

    return read


def _revenue_rows(periods: dict[str, list[Figures]]) -> list[tuple[str, list[str]]]:
    names = sorted({(row["provider"], row["currency"]) for day in periods["30 days"] for row in day.get("revenue", [])})
    return [
        (
            f"{provider} ({currency})",
            [_revenue(days, provider, currency) for days in periods.values()],
        )
        for provider, currency in names
    ]


def _revenue(days: list[Figures], provider: str, currency: str) -> str:
    all_rows = (row for day in days for row in day.get("revenue", []))
    rows = [row for row in all_rows if (row["provider"], row["currency"]) == (provider, currency)]
    amount = sum((Decimal(row["amount"]) for row in rows), ZERO)
    count = sum(row["payments"] for row in rows)
    return f"{amount:,.{0 if currency == 'VND' else 2}f} ({count})"


def _margin_rows(days: list[Figures]) -> list[tuple[str, list[str]]]:
    """Of each upstream, and of the models for which the most was charged in these days: what was charged, the
    operator's cost, and what is left.
    """
    upstreams = _margin_sums(days, "upstreams", lambda row: _upstream(row["upstream"]))
    models = _margin_sums(days, "models", lambda row: f"{row['model'] or 'No model'} ({_upstream(row['upstream'])})")
    return [(label, _margin(*sums)) for label, sums in [*upstreams, *models[:MARGIN_ROWS]]]


def _margin_sums(days: list[Figures], name: str, label: Callable[[Figures], str]) -> list[tuple[str, list[Decimal]]]:
    """The sums of all days under each label, the largest charge first."""
    sums: dict[str, list[Decimal]] = {}
    for row in (row for day in days for row in day.get("margin", {}).get(name, [])):
        found = sums.setdefault(label(row), [ZERO, ZERO, ZERO])
        for index, amount in enumerate(("charged", "charged_known", "own_cost")):
            found[index] += Decimal(row[amount])
    return sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))


def _margin(charged: Decimal, charged_known: Decimal, own_cost: Decimal) -> list[str]:
    if not own_cost:
        return [_cents(charged), "–", "–", "–"]
    margin = charged_known - own_cost
    share = f"{margin / charged_known:.1%}" if charged_known else "–"
    part = "" if charged_known == charged else f" (of {_cents(charged_known)})"
    return [_cents(charged), f"{_cents(own_cost)}{part}", _cents(margin), share]


def _upstream(value: str) -> str:
    return Balance(value).label if value in Balance.values else value


def _loss_alerts(days: list[Figures], today: date) -> list[dict[str, str]]:
    """A warning for each model that cost the operator more on a day than was charged, the latest first."""
    losses = []
    for back, figures in enumerate(days):
        day = today - timedelta(days=back)
        for row in figures.get("margin", {}).get("models", []):
            charged, own_cost = Decimal(row["charged_known"]), Decimal(row["own_cost"])
            if own_cost - charged < LEAST_LOSS:
                continue
            words = (
                f"{row['model']} ({_upstream(row['upstream'])}) cost {_cents(own_cost)} on {day:%d %b}, "
                f"and {_cents(charged)} was charged"
            )
            period = {"created_at_from": day.isoformat(), "created_at_to": day.isoformat()}
            address = list_url(RequestLog, upstream=row["upstream"], model=row["model"], **period)
            losses.append(_alert("danger", words, address))
    more = len(losses) - MOST_LOSSES
    return losses[:MOST_LOSSES] + ([_alert("danger", f"Other days at a loss: {more}")] if more > 0 else [])


def _needed_rows(today: date) -> list[tuple[str, list[str]]]:
    """How many of the events of each period needed somebody, whatever became of them since."""
    end = end_of(today)
    starts = [start_of(today - timedelta(days=length - 1)) for length in PERIODS.values()]
    counts = [count_needed(start=start, end=end) for start in starts]
    rows = (("Needed review", "review"), ("Gave up", "dead"))
    return [(label, [f"{one[name]:,}" for one in counts]) for label, name in rows]


def _received(days: list[Figures]) -> str:
    return f"{sum(count for day in days for count in day.get('events', {}).values()):,}"


_WEBHOOK_ROWS: list[tuple[str, Callable[[list[Figures]], str]]] = [
    ("Events received", _received),
    ("Refused: bad signature", lambda days: f"{sum(day.get('bad_signatures', 0) for day in days):,}"),
]


def _webhook_rows(periods: dict[str, list[Figures]], today: date) -> list[tuple[str, list[str]]]:
    received, *others = [(label, [read(days) for days in periods.values()]) for label, read in _WEBHOOK_ROWS]
    return [received, *_needed_rows(today), *others]


def _outstanding(current: Figures, balance: Balance) -> str:
    return _usd(current["liability"][balance.value]) if current["liability"] else "being counted"


def _usd(amount: str) -> str:
    return _cents(Decimal(amount))


_WAITING = (
    ("review", "warning", "Events that need review"),
    ("dead", "danger", "Events that could not be processed"),
    ("received", "info", "Events waiting to be processed"),
)


def _alerts(current: Figures, days: list[Figures], today: date, *, has_margin: bool) -> list[dict[str, str]]:
    """What needs attention, or is unusual, each with the screen for it. The most urgent comes first."""
    accounts = reverse("admin:accounts_account_changelist")
    alerts = []
    for status, colour, words in _WAITING:
        if count := current["waiting"][status]:
            address = f"{reverse('admin:payments_webhookevent_changelist')}?status__exact={status}"
            alerts.append(_alert(colour, f"{words}: {count}", address))
    uncollected = sum((_use(days[0], balance, "uncollected") for balance in Balance), ZERO)
    if uncollected:
        logs = reverse("admin:proxy_requestlog_changelist")
        alerts.append(_alert("danger", f"{_cents(uncollected)} of cost was not collected today", logs))
    if reviewed := Account.objects.filter(review_since__gt=UNDER_REVIEW_AFTER)[:100].count():
        alerts.append(_alert("danger", f"Accounts under review: {reviewed}", f"{accounts}?status=review"))
    alerts += _loss_alerts(days, today) if has_margin else []
    if refused := days[0].get("bad_signatures"):
        alerts.append(_alert("warning", f"Webhooks refused today for a bad signature: {refused}"))
    alerts += _reconciliation_alerts(current.get("reconciliation"), read_last_run())
    alerts.append(
        _alert("", f"Accounts whose credits expire within 24 hours: {current['expiring']}", f"{accounts}?expiry=soon")
    )
    purchasing = read_purchasing()
    alerts.append(_alert("success", "Purchasing is on") if purchasing.is_on else _alert("danger", "Purchasing is off"))
    promotion = find_promotion(at=timezone.now())
    alerts.append(_alert("success", f"Promotion: {promotion}") if promotion else _alert("", "No promotion is running"))
    return alerts


def _alarms(health: InboxHealth) -> list[dict[str, str]]:
    """What says that money may be missed, and what to do about it."""
    alerts = []
    for webhooks in (one for one in health.webhooks if one.is_silent):
        since = f"no webhook {_for(health.at, webhooks.last_at)}" if webhooks.last_at else "no webhook has ever come"
        words = (
            f"{label_of(webhooks.provider)}: {since}, but the pull found {webhooks.pulled_since:,} since. "
            "Check the webhook's address and secret at the provider."
        )
        alerts.append(_alert("danger", words, list_url(WebhookEvent)))
    for pull in health.pulls:
        name = label_of(pull.provider)
        if pull.failing_since:
            words = f"{name}: the pull fails {_for(health.at, pull.failing_since)} ({pull.error[:120]}). Check its key."
            alerts.append(_alert("danger", words))
        if pull.is_overdue:
            since = f"has not run {_for(health.at, pull.succeeded_at)}" if pull.succeeded_at else "has not run yet"
            alerts.append(_alert("danger", f"{name}: the pull {since}. Check that manage.py sweep runs."))
    if (queue := health.queue).is_stuck and queue.oldest_due_at:
        words = (
            f"Events that are due: {queue.due:,} of {queue.waiting:,} waiting, the oldest "
            f"{_for(health.at, queue.oldest_due_at)}. Check that manage.py sweep runs."
        )
        alerts.append(_alert("danger", words, list_url(WebhookEvent, status__exact="received")))
    return alerts


def _for(now: datetime, since: datetime) -> str:
    """How long something has been so: `for 3 hours`."""
    return f"for {in_words(since - now).removesuffix(' ago')}".replace("for just now", "since just now")


def _reconciliation_alerts(checked: Figures | None, last: LastRun | None) -> list[dict[str, str]]:
    """What the sweeper found among the accounts that moved today, and `manage.py reconcile` among all."""
    today = set(checked["drifting"]) if checked else set()
    alerts = [_alert("danger", f"Drift: {name}", account_url(name)) for name in sorted(today)]
    if checked and checked["checked"] > len(today):
        words = f"Accounts with movements today that were checked and add up: {checked['checked'] - len(today)}"
        alerts.append(_alert("success", words))
    if checked:
        damaged = checked.get("damaged", ())
        alerts += [_alert("danger", f"Needs repair, so not checked: {name}", account_url(name)) for name in damaged]
    if last is None:
        return [*alerts, _alert("", "No full reconciliation has run yet.")]
    ago = in_words(last.at - timezone.now())
    if last.damaged:
        address = list_url(Account, unreadable="any")
        words = f"Accounts that need repair, so that reconciliation could not check them {ago}: {last.damaged:,}"
        alerts.append(_alert("danger", words, address))
    if not last.count:
        add_up = last.accounts - last.damaged
        return [*alerts, _alert("success", f"All accounts reconciled {ago}: {add_up:,} add up")]
    alerts.append(_alert("danger", f"All accounts reconciled {ago}: {last.count:,} of {last.accounts:,} drift"))
    earlier = (name for name in last.drifting if name not in today)
    return [*alerts, *(_alert("danger", f"Drift {ago}: {name}", account_url(name)) for name in earlier)]


def _alert(colour: str, text: str, link: str = "") -> dict[str, str]:
    return {"colour": colour, "text": text, "link": link}


def _charts(days: list[Figures], today: date) -> list[Chart]:
    """Two charts of the last 30 days, oldest first."""
    dates = [today - timedelta(days=back) for back in reversed(range(len(days)))]
    oldest_first = days[::-1]
    sold = [_entries(day, ("purchase",), None) for day in oldest_first]
    spent = [sum((_use(day, balance, "cost") for balance in Balance), ZERO) for day in oldest_first]
    requests = [Series(one.label, [_use(day, one, "requests") for day in oldest_first]) for one in Balance]
    return [
        draw(
            key="credits",
            title="Credits sold and spent",
            unit="USD",
            days=dates,
            series=[Series("Sold", sold), Series("Spent", spent)],
            show=_cents,
        ),
        draw(
            key="requests",
            title="Requests",
            unit="requests",
            days=dates,
            series=requests,
            show=lambda one: f"{one:,.0f}",
        ),
    ]
