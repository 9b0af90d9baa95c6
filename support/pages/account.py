"""The timeline of one account, as fragments of its page."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode

import pymongo
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from accounts.errors import AccountNeedsRepair
from accounts.models import Account, Balance
from books.reconciliation import Reconciliation, read_reconciliation
from books.timeline import KINDS, read_timeline
from mongo.days import day_of, end_of
from proxy.models import RequestLog
from support.actions.dialogs import dialog_url
from support.actions.drift import ACCEPT_DRIFT
from support.admin.base import is_timeout
from support.admin.display import key_of_address, list_url
from support.typed import NotUnderstood, read_day, shorten

MAX_REQUESTS = 100
TIMELINE_SECONDS = 10.0
FIRST_TIME, LAST_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""What is outside has no days before or after it that could be counted with."""


def timeline(request: HttpRequest, username: str) -> HttpResponse:
    """A fragment of the account's page: the reconciliation line and a page of the timeline."""
    account = _viewed_account(request, username)
    query = request.GET
    try:
        before, kind, balance = _filters_of(query)
    except NotUnderstood as error:
        asked = {"account": account, "kinds": KINDS, "balances": list(Balance)}
        asked |= {name: query.get(name, "") for name in ("kind", "balance")} | {"typed": query.get("before", "")}
        return _render(request, "support/timeline_unread.html", asked | {"error": str(error)})
    try:
        with pymongo.timeout(TIMELINE_SECONDS):
            page = read_timeline(username=account.pk, before=before, balance=balance, kind=kind)
            reconciliation = None if page.end else read_reconciliation(account.pk)
    except DatabaseError as error:
        if not is_timeout(error):
            raise
        return _render(request, "support/timeline_failed.html", {"account": account})
    except AccountNeedsRepair as error:
        return _render(request, "support/timeline_failed.html", {"account": account, "error": str(error)})
    context = {
        "account": account,
        "page": page,
        # The last day on the page, so that another filter keeps it.
        "up_to": page.end and day_of(page.end - timedelta(microseconds=1)),
        "kinds": KINDS,
        "kind": kind,
        "balance": balance,
        "balances": list(Balance),
        "reconciliation": reconciliation,
        "accept_drift": _accept_drift_url(account, reconciliation or []),
    }
    return _render(request, "support/timeline.html", context)


def _render(request: HttpRequest, part: str, context: dict[str, Any]) -> HttpResponse:
    """A part of the account's page; a page of its own for who opens its address without scripts."""
    if request.headers.get("HX-Request") == "true":
        return render(request, part, context)
    page = {**admin.site.each_context(request), "title": f"Timeline of {context['account'].pk}", "part": part}
    return render(request, "support/timeline_page.html", page | context)


def _filters_of(query: QueryDict) -> tuple[datetime | None, str, Balance | None]:
    """The time before which, the kind, and the balance that are asked for. Raises `NotUnderstood`."""
    kind, balance, before = (query.get(name, "").strip() for name in ("kind", "balance", "before"))
    if kind and kind not in KINDS:
        raise NotUnderstood(f"There is no kind “{shorten(kind)}”.")
    if balance and balance not in Balance.values:
        raise NotUnderstood(f"There is no balance “{shorten(balance)}”.")
    return _before(before) if before else None, kind, Balance(balance) if balance else None


def _before(text: str) -> datetime:
    """The end of the day that somebody wrote, or the time of a link. Raises `NotUnderstood`."""
    found = _time(text) if "T" in text else _time(read_day(text).isoformat())
    if found is None:
        raise NotUnderstood(f"“{shorten(text)}” is no day that anything can have happened on.")
    return found


def _accept_drift_url(account: Account, found: list[Reconciliation]) -> str:
    """The address of the action that accepts drift, where there is some; else ''."""
    has_drift = any(result.drift for result in found)
    return dialog_url("account", account.pk, ACCEPT_DRIFT) if has_drift else ""


def timeline_requests(request: HttpRequest, username: str) -> HttpResponse:
    """A fragment: the single requests behind one line of use."""
    account = _viewed_account(request, username)
    if not cast(User, request.user).has_perm("proxy.view_requestlog"):
        raise PermissionDenied
    first, last = _time(request.GET.get("first", "")), _time(request.GET.get("last", ""))
    balance, model = request.GET.get("balance", ""), request.GET.get("model", "")
    if first is None or last is None:
        raise Http404
    balances = [found for found in Balance if found.value == balance]
    logs = RequestLog.objects.billed_to(*balances).filter(user_id=account.pk)
    logs = logs.filter(Q(model=model) if model else Q(model=None) | Q(model=""))
    found = list(logs.filter(created_at__gte=first, created_at__lte=last).order_by("-created_at")[: MAX_REQUESTS + 1])
    days = {"created_at_from": day_of(first).isoformat(), "created_at_to": day_of(last).isoformat()}
    filters = {"upstream": balance, **({"model": model} if model else {}), **days}
    context = {
        "account": account,
        "logs": found[:MAX_REQUESTS],
        "has_more": len(found) > MAX_REQUESTS,
        "all_url": f"{list_url(RequestLog)}?{urlencode({'q': account.pk, **filters})}",
    }
    return _render(request, "support/timeline_requests.html", context)


def _viewed_account(request: HttpRequest, username: str) -> Account:
    user = cast(User, request.user)
    if not user.has_perm("accounts.view_account") or not user.has_perm("accounts.view_ledgerentry"):
        raise PermissionDenied
    account = Account.objects.filter(pk=key_of_address(username)).first()
    if account is None:
        raise Http404("There is no such account.")
    return account


def _time(text: str) -> datetime | None:
    """A time from an address, in UTC; a bare day means its end in the site's zone. None for anything else."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not value.tzinfo:
        value = value.replace(tzinfo=UTC)
    if not FIRST_TIME <= value <= LAST_TIME:
        return None
    return end_of(value.date()) if len(text) == len("2026-01-31") else value
