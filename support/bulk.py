"""The same action for several accounts that were selected in the list: each account on its own, told one by one."""

import secrets
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.errors import BillingError
from accounts.models import Account
from billing_site.admin_base import account_url, list_url
from support.account_actions import ACTIONS, state_of
from support.actions import Action, Line
from support.audit import record_refusal

BULK_ACTIONS = ("transfer", "expiry", "disable", "enable")
MAX_ACCOUNTS = 50
SALT = "support.bulk"
LIFETIME_SECONDS = 8 * 3600


@dataclass(frozen=True)
class Row:
    """What would happen, or has happened, to one account."""

    account: Account
    lines: list[Line]
    message: str = ""
    error: str = ""

    @property
    def url(self) -> str:
        return account_url(self.account.pk)


def bulk_action(request: HttpRequest, slug: str) -> HttpResponse:
    """GET with `account=…` for each: the form. Then a preview of every account, and the confirmation."""
    action = ACTIONS.get(slug) if slug in BULK_ACTIONS else None
    if action is None:
        raise Http404
    user = cast(User, request.user)
    sent = request.POST if request.method == "POST" else request.GET
    names = list(dict.fromkeys(sent.getlist("account")))[:MAX_ACCOUNTS]
    if not user.has_perm(action.permission):
        if request.method == "POST":
            target = ", ".join(names)[:200]
            record_refusal(actor=f"staff:{user}", action=slug, target=target, error="No permission")
        raise PermissionDenied
    accounts = list(Account.objects.filter(pk__in=names).order_by("pk"))
    if not accounts:
        raise Http404("No account was selected.")
    if request.method == "POST":
        return _submit(request, action, accounts)
    return _render(request, action, accounts, form=action.form_class(target=accounts[0]), token=_new_token())


def _submit(request: HttpRequest, action: Action, accounts: list[Account]) -> HttpResponse:
    form = action.form_class(request.POST, target=accounts[0])
    try:
        operation = signing.loads(request.POST.get("token", ""), salt=SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature:
        return _render(
            request, action, accounts, form=form, token=_new_token(), error="This page is too old. Send it again."
        )
    # What is wrong with the values is wrong for every account; what is wrong with one account stands in its row.
    common_errors = set(form.errors) - {"source"}
    if common_errors:
        return _render(request, action, accounts, form=form, token=request.POST["token"])
    is_confirmed = "confirm" in request.POST
    user = cast(User, request.user)
    rows = [
        _row(request, action, account, operation=f"{operation}:{account.pk}" if is_confirmed else "", user=user)
        for account in accounts
    ]
    fixed = {name: request.POST.get(name, "") for name in form.fields}
    return _render(
        request, action, accounts, form=form, token=request.POST["token"], rows=rows, fixed=fixed, is_done=is_confirmed
    )


def _row(request: HttpRequest, action: Action, account: Account, *, operation: str, user: User) -> Row:
    """Preview one account, or do it (with an `operation`)."""
    form = action.form_class(request.POST, target=account)
    if not form.is_valid():
        return Row(account, [], error=" ".join(str(text) for texts in form.errors.values() for text in texts))
    data = form.cleaned_data | {"seen_expires_at": account.expires_at}
    try:
        if not operation:
            return Row(account, action.preview(account, data))
        result = action.run(
            target=account,
            name=account.pk,
            data=data,
            operation=operation,
            user=user,
            read_state=lambda: state_of(account),
        )
    except BillingError as error:
        return Row(account, [], error=str(error))
    return Row(account, [], message=result.message)


def _new_token() -> str:
    return signing.dumps(f"staff:{secrets.token_hex(12)}", salt=SALT)


def _render(request: HttpRequest, action: Action, accounts: list[Account], **context: Any) -> HttpResponse:
    context |= {
        **admin.site.each_context(request),
        "title": f"{action.title}: {len(accounts)} accounts",
        "action": action,
        "accounts": accounts,
        "list_url": list_url(Account),
    }
    return render(request, "support/bulk.html", context)
