"""The same action for several accounts that were selected in the list: each account on its own, with its own result."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.errors import BillingError
from accounts.models import Account
from money.amounts import ZERO
from support.actions.account import ACTIONS, state_of
from support.actions.action import Action, ActionForm, Line, check_limit, digest, promise_of
from support.admin.display import account_url, list_url
from support.audit.actors import actor_of
from support.audit.things import thing_of
from support.audit.trail import new_operation, record_refusal
from support.errors import ChangedSincePreview, NotFinished

BULK_ACTIONS = ("transfer", "expiry", "disable", "enable")
MAX_ACCOUNTS = 50
SALT = "support.actions.bulk"
LIFETIME_SECONDS = 8 * 3600
NOT_TRIED = "Not tried, because the database did not finish the account before it."
Seen = dict[str, Any]
"""What a preview showed of an account: why it is `refused`, or `expires_at`, what it `fixed` (all: the amount), the
`amount` that would move, and the `promise` of its lines."""


@dataclass(frozen=True)
class Row:
    """What would happen, or has happened, to one account."""

    account: Account
    lines: list[Line]
    message: str = ""
    error: str = ""
    is_last: bool = False
    asks_again: bool = False

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
        raise PermissionDenied
    accounts = list(Account.objects.filter(pk__in=names).order_by("pk"))
    if not accounts:
        raise Http404("No account was selected.")
    if request.method == "POST":
        return _submit(request, action, accounts)
    form = action.form_class(target=accounts[0])
    return _render(request, action, accounts, form=form, token=_new_token(request, action))


def _submit(request: HttpRequest, action: Action, accounts: list[Account]) -> HttpResponse:
    form = action.form_class(request.POST, target=accounts[0])
    token = request.POST.get("token", "")
    try:
        content = _read_token(request, token, action)
    except signing.BadSignature:
        error = "This page is too old. Send it again."
        return _render(request, action, accounts, form=form, token=_new_token(request, action), error=error)
    # What is wrong with the values is wrong for every account; what is wrong with one account stands in its row.
    common_errors = set(form.errors) - {"source"}
    if common_errors:
        return _render(request, action, accounts, form=form, token=token)
    values = {name: request.POST.get(name, "") for name in form.fields}
    has_preview = "confirm" in request.POST and "seen" in content  # Nothing is done that no preview showed.
    is_confirmed = has_preview and content["values"] == digest(values)
    error = "These are not the values of the preview." if has_preview and not is_confirmed else ""
    seen: dict[str, Seen] = content["seen"] if is_confirmed else {}
    rows = [] if is_confirmed else [_preview(request, action, account, seen) for account in accounts]
    try:
        total = sum((Decimal(one["amount"]) for one in seen.values() if "amount" in one), ZERO)
        check_limit(cast(User, request.user), action.permission, total)  # All of them are one thing done at once.
    except BillingError as refused:
        return _render(request, action, accounts, form=form, token=token, error=f"Together: {refused}")
    operation = content["operation"]
    if is_confirmed:
        rows = _do_all(request, action, accounts, operation, seen)
        operation = new_operation()  # Who looks at the changed ones again decides anew.
    changed = [row.account for row in rows if row.asks_again]
    context = {
        "asked": changed if is_confirmed else accounts,
        "rows": rows,
        "fixed": values,
        "is_done": is_confirmed,
        "error": error,
    }
    shown = {"seen": seen, "values": digest(values)}
    token = _new_token(request, action, operation=operation, shown={} if is_confirmed else shown)
    return _render(request, action, accounts, form=form, token=token, **context)


def _preview(request: HttpRequest, action: Action, account: Account, seen: dict[str, Seen]) -> Row:
    """What would happen to one account; what the confirmation may do to it is added to `seen`."""
    form = action.form_class(request.POST, target=account)
    try:
        if not form.is_valid():
            raise BillingError(_errors_of(form))
        data = form.cleaned_data | {"seen_expires_at": account.expiry}
        lines = action.show(account, data, cast(User, request.user))
    except BillingError as error:
        seen[account.pk] = {"refused": str(error)}
        return Row(account, [], error=str(error))
    fixed = {name: value for name, value in form.fixed_values().items() if value != request.POST.get(name, "")}
    seen[account.pk] = {
        "expires_at": account.expiry.isoformat() if account.expiry else "",
        "fixed": fixed,
        "amount": str((action.amount or action.estimate)(account, form.cleaned_data)),
        "promise": promise_of(lines),
    }
    return Row(account, lines)


def _do_all(
    request: HttpRequest, action: Action, accounts: list[Account], operation: str, seen: dict[str, Seen]
) -> list[Row]:
    """One account after the other, until the database gives up: the others would only wait for it as long again."""
    rows: list[Row] = []
    for account in (account for account in accounts if account.pk in seen):
        if rows and rows[-1].is_last:
            rows.append(replace(rows[-1], account=account, error=NOT_TRIED))
        else:
            rows.append(_do(request, action, account, operation, seen[account.pk]))
    return rows


def _do(request: HttpRequest, action: Action, account: Account, operation: str, seen: Seen) -> Row:
    """Do to one account what its preview showed, whatever has become possible since."""
    user = cast(User, request.user)
    values = request.POST.copy()
    for name, value in seen.get("fixed", {}).items():
        values[name] = value
    form = action.form_class(values, target=account)
    if refused := seen.get("refused") or _errors_of(form):
        reason = str(values["reason"])
        who, thing = actor_of(user), thing_of(account)
        record_refusal(actor=who, action=action.slug, target=account.pk, error=refused, reason=reason, thing=thing)
        return Row(account, [], error=f"Nothing was done. {refused}")
    expires_at = datetime.fromisoformat(seen["expires_at"]) if seen["expires_at"] else None
    try:
        result = action.run(
            target=account,
            name=account.pk,
            data=form.cleaned_data | {"seen_expires_at": expires_at},
            operation=f"{operation}:{account.pk}",
            user=user,
            read_state=lambda: state_of(account),
            promise=seen["promise"],
        )
    except ChangedSincePreview as error:
        return Row(account, [], error=str(error), asks_again=True)
    except BillingError as error:
        return Row(account, [], error=str(error), is_last=isinstance(error, NotFinished))
    return Row(account, [], message=result.message)


def _errors_of(form: ActionForm) -> str:
    return " ".join(str(text) for texts in form.errors.values() for text in texts)


def _salt(request: HttpRequest) -> str:
    """A token is good in the session in which it was made."""
    return f"{SALT}:{request.user.pk}:{request.session.session_key}"


def _new_token(
    request: HttpRequest, action: Action, *, operation: str = "", shown: dict[str, Any] | None = None
) -> str:
    """A signed operation id, and after a preview what it showed of each account: the same is done, or nothing."""
    content: dict[str, Any] = {"operation": operation or new_operation(), "for": action.slug}
    return signing.dumps(content | (shown or {}), salt=_salt(request))


def _read_token(request: HttpRequest, token: str, action: Action) -> dict[str, Any]:
    """Raises `BadSignature` for a token that is forged, too old, of another action or of another session."""
    content: dict[str, Any] = signing.loads(token, salt=_salt(request), max_age=LIFETIME_SECONDS)
    if content["for"] != action.slug:
        raise signing.BadSignature("another action's token")
    return content


def _render(request: HttpRequest, action: Action, accounts: list[Account], **context: Any) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": f"{action.title}: {len(accounts)} accounts",
        "action": action,
        "accounts": accounts,
        "asked": accounts,
        "list_url": list_url(Account),
        **context,
    }
    return render(request, "support/bulk.html", context)
