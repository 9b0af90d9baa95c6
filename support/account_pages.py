"""The pages and dialogs of one account: what staff do to it, and the timeline of its credits."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from accounts.errors import BillingError
from accounts.models import Account, Balance
from billing_site.admin_base import account_url, list_url
from proxy.models import RequestLog
from support.account_actions import ACTIONS, AccountAction, ActionForm
from support.audit import AlreadyDone, record_refusal
from support.reconciliation import read_reconciliation
from support.timeline import KINDS, read_timeline

SALT = "support.account-action"
DIALOG_LIFETIME_SECONDS = 8 * 3600
MAX_REQUESTS = 100


def account_action(request: HttpRequest, username: str, slug: str) -> HttpResponse:
    """One dialog: GET shows the form, a first POST the preview, a second (`confirm`) does it."""
    action = ACTIONS.get(slug)
    if action is None:
        raise Http404
    user = cast(User, request.user)
    name = unquote(username)
    if not user.has_perm(action.permission):
        if request.method == "POST":
            record_refusal(actor=f"staff:{user}", action=slug, target=name[:200], error="No permission")
        raise PermissionDenied
    account = Account.objects.filter(pk=name).first()
    if account is None:
        raise Http404("There is no such account.")
    if request.method != "POST":
        return _render(request, action, account, action.form_class(account=account), token=_new_token(account, slug))
    return _submit(request, action, account)


def _submit(request: HttpRequest, action: AccountAction, account: Account) -> HttpResponse:
    form = action.form_class(request.POST, account=account)
    token = request.POST.get("token", "")
    try:
        opened = _read_token(token, account, action.slug)
    except signing.BadSignature:
        error = "This dialog is too old. Check the values and continue."
        return _render(request, action, account, form, token=_new_token(account, action.slug), error=error)
    if not form.is_valid():
        return _render(request, action, account, form, token=token)
    seen = opened["seen_expires_at"]
    data = form.cleaned_data | {"seen_expires_at": datetime.fromisoformat(seen) if seen else None}
    try:
        if "confirm" not in request.POST:
            lines = action.preview(account, data)
            return _render(request, action, account, form, token=token, lines=lines, fixed=form.fixed_values())
        operation = opened["operation"]
        return _do(request, action=action, account=account, form=form, data=data, operation=operation)
    except BillingError as error:
        fresh = _new_token(account, action.slug)
        return _render(request, action, account, form, token=fresh, error=str(error))


def _do(
    request: HttpRequest,
    *,
    action: AccountAction,
    account: Account,
    form: ActionForm,
    data: dict[str, Any],
    operation: str,
) -> HttpResponse:
    try:
        result = action.run(account=account, data=data, operation=operation, user=cast(User, request.user))
    except AlreadyDone as error:
        return _finish(request, account, str(error), level=messages.WARNING)
    if result.api_key:
        return _render(request, action, account, form, token="", api_key=result.api_key)
    return _finish(request, account, result.message, level=messages.SUCCESS)


def _new_token(account: Account, slug: str) -> str:
    """What makes one dialog do one thing once: a signed operation id, and the expiry that its reader saw."""
    seen = account.expires_at.isoformat() if account.expires_at else ""
    operation = f"staff:{secrets.token_hex(12)}"
    return signing.dumps({"operation": operation, "for": [account.pk, slug], "seen_expires_at": seen}, salt=SALT)


def _read_token(token: str, account: Account, slug: str) -> dict[str, Any]:
    """Raises `BadSignature` for a token that is forged, too old, or of another dialog."""
    opened: dict[str, Any] = signing.loads(token, salt=SALT, max_age=DIALOG_LIFETIME_SECONDS)
    if opened["for"] != [account.pk, slug]:
        raise signing.BadSignature("another dialog's token")
    return opened


def _render(
    request: HttpRequest, action: AccountAction, account: Account, form: ActionForm, **context: Any
) -> HttpResponse:
    is_dialog = request.headers.get("HX-Request") == "true"
    template = "support/action_dialog.html" if is_dialog else "support/action_page.html"
    context |= {
        **({} if is_dialog else admin.site.each_context(request)),
        "title": f"{action.title}: {account.pk}",
        "action": action,
        "account": account,
        "account_url": account_url(account.pk),
        "form": form,
    }
    response = render(request, template, context)
    if context.get("api_key"):
        response["Cache-Control"] = "no-store"
    return response


def _finish(request: HttpRequest, account: Account, message: str, *, level: int) -> HttpResponse:
    """Back to the account's page with a message."""
    messages.add_message(request, level, message)
    address = account_url(account.pk)
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)


# --- Timeline ----------------------------------------------------------------------------------------------------


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
    if len(text) == len("2026-01-31"):
        value += timedelta(days=1)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
