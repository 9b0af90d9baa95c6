"""The timeline of one account, as fragments of its page."""

from datetime import UTC, datetime
from typing import cast

from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.models import Account, Balance
from billing_site.admin_base import day_after, list_url
from proxy.models import RequestLog
from support.reconciliation import read_reconciliation
from support.timeline import KINDS, read_timeline

MAX_REQUESTS = 100
FIRST_TIME, LAST_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""What is outside has no days before or after it that could be counted with."""


def timeline(request: HttpRequest, username: str) -> HttpResponse:
    """A fragment of the account's page: the reconciliation line and a page of the timeline."""
    account = _viewed_account(request, username)
    query = request.GET
    kind = query.get("kind", "") if query.get("kind") in KINDS else ""
    balance = Balance(query["balance"]) if query.get("balance") in Balance.values else None
    page = read_timeline(username=account.pk, before=_time(query.get("before", "")), balance=balance, kind=kind)
    context = {
        "account": account,
        "page": page,
        "kinds": KINDS,
        "kind": kind,
        "balance": balance,
        "balances": list(Balance),
        "reconciliation": None if page.end else read_reconciliation(account.pk),
    }
    return render(request, "support/timeline.html", context)


def timeline_requests(request: HttpRequest, username: str) -> HttpResponse:
    """A fragment: the single requests behind one line of use."""
    account = _viewed_account(request, username)
    if not cast(User, request.user).has_perm("proxy.view_requestlog"):
        raise PermissionDenied
    first, last = _time(request.GET.get("first", "")), _time(request.GET.get("last", ""))
    if first is None or last is None:
        raise Http404
    logs = RequestLog.objects.filter(user_id=account.pk, created_at__gte=first, created_at__lte=last)
    shown = [
        log
        for log in logs.order_by("-created_at")[: MAX_REQUESTS * 5]
        if (log.credit_type or Balance.OHMYGPT) == request.GET.get("balance")
        and (log.model or "") == request.GET.get("model")
    ]
    context = {"logs": shown[:MAX_REQUESTS], "all_url": list_url(RequestLog, q=account.pk)}
    return render(request, "support/timeline_requests.html", context)


def _viewed_account(request: HttpRequest, username: str) -> Account:
    user = cast(User, request.user)
    if not user.has_perm("accounts.view_account") or not user.has_perm("accounts.view_ledgerentry"):
        raise PermissionDenied
    account = Account.objects.filter(pk=unquote(username)).first()
    if account is None:
        raise Http404("There is no such account.")
    return account


def _time(text: str) -> datetime | None:
    """A time from an address, in UTC; a bare day means its end. None for anything else."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not value.tzinfo:
        value = value.replace(tzinfo=UTC)
    if not FIRST_TIME <= value <= LAST_TIME:
        return None
    return day_after(value) if len(text) == len("2026-01-31") else value
