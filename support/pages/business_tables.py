"""What the owner's page shows of some days: cards, charts and tables, with the address of the list of each number."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from django.conf import settings

from accounts.models import Account, Balance
from books.business import Business, Day, Sums, total
from money.amounts import ZERO
from mongo.days import day_of, show_with_zone
from payments.models import Payment, WebhookEvent
from payments.providers import label_of
from proxy.models import RefusedRequest, RequestLog
from support.admin.display import account_url, list_url, show_money, usable_list
from support.admin.dollars import CENT, usd
from support.admin.filters import WHY_REFUSED
from support.pages.charts import Chart, Series, draw

LEAST_LOSS = CENT
"""USD. What is less comes from rounding each request."""
UNKNOWN = "not known"
NO_CREDITS = ("insufficient_credits", "credits_expired")
"""The codes of refusals of which all are counted, kept or not."""
USE_COLUMNS = ("Requests", "Failed", "Charged", "Operator's cost", "Margin", "of charged")


@dataclass(frozen=True)
class Cell:
    """A number or a name, and the list that it leads to."""

    text: str
    address: str = ""


@dataclass(frozen=True)
class Row:
    cells: tuple[Cell, ...]
    is_loss: bool = False


@dataclass(frozen=True)
class Table:
    key: str
    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    empty: str = "Nothing in these days."
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """A sum, and what it is made of."""

    title: str
    amount: str
    lines: list[Cell]
    address: str = ""
    is_bad: bool = False


def days_of(found: Business, name: str = "created_at") -> dict[str, str]:
    """The filter of a list for these days."""
    return {f"{name}_from": found.days[0].day.isoformat(), f"{name}_to": found.days[-1].day.isoformat()}


# --- In short ---------------------------------------------------------------------------------------------------------


def cards_of(found: Business) -> list[Card]:
    """Net revenue, the margin, and what customers hold of each balance."""
    return [_revenue_card(found), _margin_card(found), *(_held_card(found, balance) for balance in Balance)]


def _revenue_card(found: Business) -> Card:
    paid = sum((day.paid_usd for day in found.days if day.paid_usd is not None), ZERO)
    if found.money_back is None:
        return Card("Net revenue", UNKNOWN, [Cell(f"{usd(paid)} paid", _paid_list(found))])
    back = sum((one.usd for one in found.money_back), ZERO)
    lines = [
        Cell(f"{usd(paid)} paid, at the rate of each order", _paid_list(found)),
        Cell(f"{usd(back)} refunded, or lost in disputes", _back_list(found)),
    ]
    return Card("Net revenue", usd(paid - back), lines, is_bad=paid < back)


def _margin_card(found: Business) -> Card:
    sums = total(found.by_upstream.values())
    requests = list_url(RequestLog, **days_of(found))
    lines = [Cell(f"{usd(sums.charged)} charged for {sums.requests:,} requests", requests)]
    if sums.margin is None:
        return Card("Margin of use", UNKNOWN if sums.requests else "–", lines, requests)
    lines.append(Cell(f"{usd(sums.own_cost)} taken by upstreams for {usd(sums.charged_known)} of it", requests))
    if sums.known < sums.requests:
        lines.append(Cell(f"Of {sums.requests - sums.known:,} requests the cost is not known."))
    return Card("Margin of use", usd(sums.margin), lines, requests, is_bad=sums.margin < 0)


def _held_card(found: Business, balance: Balance) -> Card:
    title = f"{balance.label} credits that customers hold"
    if not found.held:
        return Card(title, "being counted", [])
    held, counted_at = found.held["balances"][balance.value], datetime.fromisoformat(found.held["at"])
    lines = [
        Cell("They can be spent: the account is not disabled, the credits have not expired."),
        Cell(f"{usd(-Decimal(held['debts']))} owed by accounts below $0", list_url(Account, **{balance.value: "debt"})),
        Cell(f"{usd(Decimal(held['disabled']))} of disabled accounts", _disabled(balance)),
        Cell(f"{usd(Decimal(held['expired']))} expired, and not yet taken off", _expired(balance)),
        Cell(f"Counted at {show_with_zone(counted_at)}, without what running requests hold."),
    ]
    return Card(title, usd(Decimal(held["usable"])), lines, usable_list(balance))


def _disabled(balance: Balance) -> str:
    return list_url(Account, **{balance.value: "some"}, status="disabled")


def _expired(balance: Balance) -> str:
    return list_url(Account, **{balance.value: "some"}, status="active", expiry="expired")


# --- By day -----------------------------------------------------------------------------------------------------------


MOST_COLUMNS = 92
"""Of more days, a chart shows each week."""
Values = list[Decimal | None]


def charts_of(found: Business) -> list[Chart]:
    """Net revenue, what was charged and what it cost, requests, and refusals for want of credits."""
    back: dict[date, Decimal] = {}
    for one in found.money_back or ():
        back[day_of(one.at)] = back.get(day_of(one.at), ZERO) + one.usd
    net: Values = [None if day.paid_usd is None else day.paid_usd - back.get(day.day, ZERO) for day in found.days]
    if found.money_back is None:
        net = [None] * len(net)
    use = [None if day.by_upstream is None else total(day.by_upstream.values()) for day in found.days]
    charged: Values = [None if one is None else one.charged for one in use]
    requests = {balance.label: [_requests(day, balance) for day in found.days] for balance in Balance}
    refused = {WHY_REFUSED[code]: [_refused(day, code) for day in found.days] for code in NO_CREDITS}
    cost = {"Charged": charged, "Operator's cost, where known": [_cost(one) for one in use]}
    charts: tuple[tuple[str, str, str, dict[str, Values]], ...] = (
        ("revenue", "Net revenue", "USD", {"Paid less what went back": net}),
        ("margin", "Charged, and the operator's cost", "USD", cost),
        ("requests", "Requests", "requests", requests),
        ("refusals", "Refused for want of credits (402)", "requests", refused),
    )
    length = 1 if len(found.days) <= MOST_COLUMNS else 7
    return [
        draw(
            key=key,
            title=title,
            unit=unit,
            days=[day.day for day in found.days[::length]],
            series=[Series(label, _each(values, length)) for label, values in series.items()],
            show=usd if unit == "USD" else _count,
            length=length,
        )
        for key, title, unit, series in charts
    ]


def _each(values: Values, length: int) -> Values:
    """The sums of so many values each; not known where one of them is not."""
    groups = (values[start : start + length] for start in range(0, len(values), length))
    return [None if None in group else sum((one for one in group if one is not None), ZERO) for group in groups]


def _cost(sums: Sums | None) -> Decimal | None:
    """Not known where there were requests, and of none of them the cost is known."""
    return None if sums is None or (sums.requests and not sums.known) else sums.own_cost


def _count(value: Decimal) -> str:
    return f"{value:,.0f}"


def _requests(day: Day, balance: Balance) -> Decimal | None:
    return None if day.by_upstream is None else Decimal(day.by_upstream.get(balance.value, Sums()).requests)


def _refused(day: Day, code: str) -> Decimal | None:
    return None if day.refusals is None else Decimal(sum(codes.get(code, 0) for codes in day.refusals.values()))


# --- What was used ----------------------------------------------------------------------------------------------------


def _use_row(name: Cell, sums: Sums, requests: str, failed: str, *, says_cost: bool = True) -> Row:
    """`requests` and `failed` are the addresses of the lists of these requests; whether those say the cost, too."""
    costs = requests if says_cost else ""
    margin = sums.margin
    part = "" if sums.charged_known == sums.charged else f" for {usd(sums.charged_known)}"
    is_loss = margin is not None and -margin >= LEAST_LOSS
    share = f"{margin / sums.charged_known:.1%}" if margin is not None and sums.charged_known else "–"
    left = UNKNOWN if margin is None else f"{usd(margin)}{' (loses money)' if is_loss else ''}"
    cells = (
        name,
        Cell(f"{sums.requests:,}", requests),
        Cell(f"{sums.errors:,}", failed),
        Cell(usd(sums.charged), requests),
        Cell(UNKNOWN if margin is None else f"{usd(sums.own_cost)}{part}", costs),
        Cell(left, costs),
        Cell(share),
    )
    return Row(cells, is_loss)


def upstreams_table(found: Business) -> Table:
    """What was charged and paid on each upstream."""
    rows = []
    for upstream, sums in sorted(found.by_upstream.items()):
        requests, failed = _request_lists(found, upstream=upstream)
        rows.append(_use_row(Cell(upstream_label(upstream), requests), sums, requests, failed))
    return Table("upstreams", "By upstream", ("Upstream", *USE_COLUMNS), rows)


def models_table(found: Business) -> Table:
    """The same by model: those that lose money first, then the largest."""
    rows, notes = [], []
    for (upstream, model), sums in sorted(found.models.items(), key=_losses_first):
        label = f"{model or 'No model'} ({upstream_label(upstream)})"
        if not model or model.startswith("unreadable: "):  # No filter of the list finds these.
            rows.append(_use_row(Cell(label), sums, "", ""))
            continue
        requests, failed = _request_lists(found, upstream=upstream, model=model)
        rows.append(_use_row(Cell(label, requests), sums, requests, failed))
    counted = total(found.models.values())
    others = total(found.by_upstream.values()).requests - counted.requests
    if others > 0 and not found.days_without("has_models"):
        notes.append(
            f"{others:,} requests were for models beyond the largest of a day; they are in the sums by upstream."
        )
    notes.append(
        "A model loses money where the upstream took more than was charged, of the requests whose cost is known."
    )
    return Table("models", "By model", ("Model", *USE_COLUMNS), rows, notes=notes)


def _losses_first(item: tuple[tuple[str, str], Sums]) -> tuple[bool, Decimal, tuple[str, str]]:
    key, sums = item
    is_loss = sums.margin is not None and -sums.margin >= LEAST_LOSS
    return (not is_loss, sums.margin if is_loss and sums.margin is not None else -sums.charged, key)


def customers_table(found: Business) -> Table:
    """Who used most."""
    rows = []
    for one in found.customers:
        requests = list_url(RequestLog, q=one.account, **days_of(found))
        failed = list_url(RequestLog, q=one.account, result="failed", **days_of(found))
        name = Cell(one.account, account_url(one.account)) if one.account else Cell("No account")
        lists = (requests, failed) if one.account else ("", "")
        row = _use_row(name, one.sums, *lists, says_cost=False)
        if not one.is_exact:
            at_least = tuple(Cell(f"{cell.text} or more", cell.address) for cell in row.cells[1:4])
            row = Row((row.cells[0], *at_least, *row.cells[4:]), row.is_loss)
        rows.append(row)
    notes = []
    if found.most_of_others:
        words = f"at most {usd(found.most_of_others)} was charged or paid for each of them in these days"
        notes.append(f"Customers who were never among the largest of a day are not here: {words}.")
    return Table("customers", "Top customers", ("Account", *USE_COLUMNS), rows, notes=notes)


def _request_lists(found: Business, **filters: str) -> tuple[str, str]:
    days = days_of(found)
    return list_url(RequestLog, **filters, **days), list_url(RequestLog, **filters, result="failed", **days)


def upstream_label(value: str) -> str:
    """The name of an upstream as people read it."""
    return Balance(value).label if value in Balance.values else value


# --- Money, refusals, events ------------------------------------------------------------------------------------------


def _paid_list(found: Business, **filters: str) -> str:
    return list_url(Payment, status__exact="success", **filters, **days_of(found, "completed_at"))


def _back_list(found: Business, **filters: str) -> str:
    return list_url(Payment, went_back=f"{found.days[0].day}..{found.days[-1].day}", **filters)


def money_table(found: Business) -> Table:
    """What was paid and what went back, in the money it was paid in."""
    paid: dict[tuple[str, str], tuple[Decimal, int]] = {}
    for row in (row for day in found.days for row in day.paid or ()):
        amount, count = paid.get((row["provider"], row["currency"]), (ZERO, 0))
        paid[row["provider"], row["currency"]] = (amount + Decimal(row["amount"]), count + row["payments"])
    back: dict[tuple[str, str], Decimal] = {}
    for one in found.money_back or ():
        back[one.provider, one.currency] = back.get((one.provider, one.currency), ZERO) + one.amount
    rows = []
    for key in sorted({*paid, *back}):
        provider, currency = key
        amount, count = paid.get(key, (ZERO, 0))
        through = f"{provider}:{currency}"
        net = show_money(amount - back.get(key, ZERO), currency) if found.money_back is not None else UNKNOWN
        gone = show_money(back.get(key, ZERO), currency) if found.money_back is not None else UNKNOWN
        cells = (
            Cell(f"{label_of(provider)} ({currency})", _paid_list(found, through=through)),
            Cell(f"{count:,}", _paid_list(found, through=through)),
            Cell(show_money(amount, currency), _paid_list(found, through=through)),
            Cell(gone, _back_list(found, through=through)),
            Cell(net),
        )
        rows.append(Row(cells))
    columns = ("Paid through", "Payments", "Paid", "Went back", "Net")
    notes = [
        "Money counts on the day on which it was credited. What went back are refunds, and disputes that are lost or "
        "not decided yet, on the day of their newest report; a dispute that was won is in no day."
    ]
    return Table("money", "Revenue", columns, rows, "Nothing was paid in these days.", notes)


def refusals_table(found: Business, *, today: date) -> Table:
    """402s by reason, then what else was refused before it was forwarded."""
    kept_from = max(found.days[0].day, today - timedelta(days=settings.REFUSALS_KEPT_DAYS - 1))
    kept: dict[tuple[str, int], dict[str, int]] = {}
    for row in (row for day in found.days if day.day >= kept_from for row in day.kept_refusals or ()):
        of_code = kept.setdefault((row["code"], row["status"]), {})
        of_code[row["upstream"]] = of_code.get(row["upstream"], 0) + row["count"]
    for code in NO_CREDITS:
        if any(_refused(day, code) for day in found.days):
            kept.setdefault((code, 402), {})
    days = {"created_at_from": kept_from.isoformat(), "created_at_to": found.days[-1].day.isoformat()}
    rows = []
    for (code, status), counts in sorted(kept.items(), key=lambda item: (item[0][1], item[0][0])):
        counted = f"{sum(_refused(day, code) or 0 for day in found.days):,.0f}" if code in NO_CREDITS else "–"
        cells = [
            Cell(f"{status} {WHY_REFUSED.get(code, code)}", list_url(RefusedRequest, code=code, **days)),
            Cell(counted),
        ]
        cells.append(Cell(f"{sum(counts.values()):,}", list_url(RefusedRequest, code=code, **days)))
        cells += [
            Cell(f"{counts.get(one.value, 0):,}", list_url(RefusedRequest, code=code, upstream=one.value, **days))
            for one in Balance
        ]
        rows.append(Row(tuple(cells)))
    columns = ("Why", "Refused", "Kept", *(f"Kept: {balance.label}" for balance in Balance))
    notes = [
        "Refused is every refusal; it is counted where credits were missing or had expired. Kept are those whose "
        f"details are in the list: for {settings.REFUSALS_KEPT_DAYS} days, and so many of each account."
    ]
    return Table("refusals", "Refused requests", columns, rows, "Nothing was refused in these days.", notes)


def events_table(found: Business) -> Table:
    """What needed a person, whatever became of it since."""
    days = days_of(found, "received_at")
    rows = [
        Row((Cell(label), Cell(f"{found.needed[name]:,}", list_url(WebhookEvent, came=name, **days))))
        for name, label in (("review", "Needed review"), ("dead", "Were given up"))
    ]
    notes = []
    if not_said := sum(day.not_said or 0 for day in found.days):
        notes.append(f"Of {not_said:,} more, which an earlier release stored, it is not known whether they did.")
    return Table("events", "Events that came and needed somebody", ("What they needed", "Events"), rows, notes=notes)
