"""Above the list of one account's requests: what the filtered ones come to, and the days that are asked about most."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR
from django.contrib.auth.models import User
from django.http import HttpRequest, QueryDict

from accounts.models import Balance
from books.account_use import MOST_ADDED_UP, Use, UseFilter, read_use
from mongo.days import day_of, end_of, today
from proxy.models import RefusedRequest, RequestLog
from support.admin.base import names_of
from support.admin.display import list_url
from support.admin.filters import (
    ENDS,
    DayRangeFilter,
    ModelFilter,
    ResultFilter,
    UnreadableFilter,
    UpstreamFilter,
)
from support.admin.requests import RequestLogAdmin

FIRST_DAY, LAST_DAY = "created_at_from", "created_at_to"
COST = "cost_usd"
MOST_MODELS = 5


@dataclass(frozen=True)
class Choice:
    """A link that changes one thing of the list's address."""

    label: str
    address: str
    is_chosen: bool


@dataclass(frozen=True)
class Totals:
    """What stands above the list. `use` is None where nothing was added up; `note` says why."""

    use: Use | None
    note: str
    days: tuple[Choice, ...]
    order: Choice | None
    refusals_url: str
    most_added_up: int = MOST_ADDED_UP
    most_models: int = MOST_MODELS
    slice: str = f":{MOST_MODELS}"


def totals_of(request: HttpRequest, changelist: Any) -> Totals:
    """The totals of the list as it is filtered, and links to its usual days and to its order by cost."""
    query = request.GET
    account = account_of(changelist)
    use, note = None, "Search for an account to see what its requests come to, and to sort them by cost."
    if changelist.problems:
        note = "A filter cannot be read, so nothing is added up."
    elif account and query.get(UnreadableFilter.parameter_name):
        note = "What cannot be read is not added up."
    elif account:
        use, note = (
            read_use(_filter_of(query, account, changelist)),
            "These could not be added up in time. Choose fewer days.",
        )
    refused = {
        name: value for name in (SEARCH_VAR, "upstream", "model", FIRST_DAY, LAST_DAY) if (value := query.get(name))
    }
    return Totals(
        use=use,
        note="" if use else note,
        days=tuple(_days(query)),
        order=_order(query, changelist) if account else None,
        refusals_url=list_url(RefusedRequest, **refused),
    )


def account_of(changelist: Any) -> str:
    """The account's name as it was searched for, if the search was read as one; else ''."""
    text = str(changelist.query or "").strip()
    return text if text and changelist.model_admin.means_account(text) else ""


def _filter_of(query: QueryDict, account: str, changelist: Any) -> UseFilter:
    """The list's own filters, once more for the sum. The days are what the list's filter has read."""
    days = next((one for one in changelist.filter_specs if isinstance(one, DayRangeFilter)), None)
    first, last = (days.value_of(end) for end in ENDS) if days else (None, None)
    upstream, result = query.get(UpstreamFilter.parameter_name), query.get(ResultFilter.parameter_name)
    return UseFilter(
        names=names_of(account),
        balance=Balance(upstream) if upstream in Balance.values else None,
        model=query.get(ModelFilter.parameter_name) or None,
        has_succeeded=result == "ok" if result in ("failed", "ok") else None,
        start=first,
        end=end_of(day_of(last)) if last else None,
    )


def _days(query: QueryDict) -> list[Choice]:
    now = today()
    yesterday, week = now - timedelta(days=1), now - timedelta(days=6)
    periods = {"Today": (now, now), "Yesterday": (yesterday, yesterday), "7 days": (week, now)}
    choices = []
    for label, (first, last) in periods.items():
        days = {FIRST_DAY: first.isoformat(), LAST_DAY: last.isoformat()}
        is_chosen = all(query.get(name) == value for name, value in days.items())
        choices.append(Choice(label, _address(query, **days), is_chosen))
    choices.append(Choice("All days", _address(query, **{FIRST_DAY: "", LAST_DAY: ""}), FIRST_DAY not in query))
    return choices


def _order(query: QueryDict, changelist: Any) -> Choice:
    """By cost, dearest first; or back to the newest first."""
    dearest = f"-{changelist.list_display.index(COST)}"
    if query.get(ORDER_VAR) == dearest:
        return Choice("Dearest first", _address(query, **{ORDER_VAR: ""}), is_chosen=True)
    return Choice("Dearest first", _address(query, **{ORDER_VAR: dearest}), is_chosen=False)


def lists_of_account(username: str, user: User) -> list[tuple[str, str]]:
    """The account's requests, those of yesterday with the dearest first, and its refusals, for who may see them."""
    lists = []
    if user.has_perm("proxy.view_requestlog"):
        yesterday = (today() - timedelta(days=1)).isoformat()
        order = f"-{RequestLogAdmin.list_display.index(COST)}"
        dearest = {FIRST_DAY: yesterday, LAST_DAY: yesterday, ORDER_VAR: order}
        lists.append(("Requests", list_url(RequestLog, q=username)))
        lists.append(("Yesterday's requests, dearest first", list_url(RequestLog, q=username, **dearest)))
    if user.has_perm("proxy.view_refusedrequest"):
        lists.append(("Refusals", list_url(RefusedRequest, q=username)))
    return lists


def _address(query: QueryDict, **changes: str) -> str:
    """The list's address with other values; an empty one is left out. From the first page on."""
    changed = query.copy()
    for name, value in {PAGE_VAR: "", **changes}.items():
        changed.pop(name, None)
        if value:
            changed[name] = value
    return f"?{changed.urlencode()}"
