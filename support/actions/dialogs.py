"""The dialogs of the actions: a form, then a preview, then a confirmation that takes effect once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from bson import ObjectId
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from accounts.errors import BillingError
from accounts.models import Account
from mongo.unreadable import is_odd_id
from payments.models import Payment, WebhookEvent
from support.access.roles import roles_with, who_may
from support.actions import account, desk
from support.actions.action import Action, ActionForm, Line, digest, promise_of
from support.actions.drift import ACCEPT_DRIFT
from support.admin.display import account_url, document_key, key_of_address
from support.audit.trail import State, new_operation
from support.errors import AlreadyDone, ChangedSincePreview, NotFinished

SALT = "support.dialog"
LIFETIME_SECONDS = 8 * 3600
TYPED, BACK = "typed-", "back"
"""Before the names of values as they were typed, where the confirmation sends others; the button that leads back."""
GIVEN = ("key", "choice", "order")
"""What a dialog's address may choose beforehand: which API key, which of several values, which order."""


@dataclass(frozen=True)
class Kind:
    """What actions can be done to: how it is found by its key, where its page is, what the audit keeps of it."""

    actions: dict[str, Action]
    find: Callable[[str], Any | None]
    url: Callable[[Any], str]
    read_state: Callable[[Any], State]


def _by_object_id(model: Any) -> Callable[[str], Any | None]:
    return lambda key: model.objects.filter(pk=key).first() if ObjectId.is_valid(key) or is_odd_id(key) else None


KINDS = {
    "account": Kind(
        actions=account.ACTIONS | {ACCEPT_DRIFT.slug: ACCEPT_DRIFT},
        find=lambda key: Account.objects.filter(pk=key).first(),
        url=lambda account: account_url(account.pk),
        read_state=account.state_of,
    ),
    "event": Kind(
        actions=desk.EVENT_ACTIONS,
        find=_by_object_id(WebhookEvent),
        url=lambda event: reverse("admin:payments_webhookevent_change", args=(event.pk,)),
        read_state=desk.state_of_event,
    ),
    "payment": Kind(
        actions=desk.PAYMENT_ACTIONS,
        find=_by_object_id(Payment),
        url=lambda payment: reverse("admin:payments_payment_change", args=(document_key(payment.pk),)),
        read_state=desk.state_of_payment,
    ),
    "site": Kind(
        actions=desk.SITE_ACTIONS,
        find=lambda key: "purchasing" if key == "purchasing" else None,
        url=lambda target: reverse("admin:index"),
        read_state=desk.state_of_site,
    ),
}


@dataclass(frozen=True)
class Dialog:
    """One open dialog: which action on what."""

    kind_name: str
    action: Action
    target: Any
    name: str

    @property
    def kind(self) -> Kind:
        return KINDS[self.kind_name]

    @property
    def url(self) -> str:
        return dialog_url(self.kind_name, self.name, self.action)


def dialog_url(kind_name: str, key: str, action: Action) -> str:
    """The address of a dialog."""
    return reverse("support:dialog", args=(kind_name, document_key(key), action.slug))


def dialog(request: HttpRequest, kind: str, key: str, slug: str) -> HttpResponse:
    """GET shows the form, a first POST the preview, a second does it (`confirm`), or shows the form again (`back`)."""
    action = KINDS[kind].actions.get(slug) if kind in KINDS else None
    if action is None:
        raise Http404
    user, name = cast(User, request.user), key_of_address(key)
    if not user.has_perm(action.permission):
        raise PermissionDenied(f"{action.title}: {who_may(roles_with([action.permission])[action.permission])}.")
    target = KINDS[kind].find(name)
    if target is None:
        raise Http404("There is no such thing.")
    opened = Dialog(kind, action, target, name)
    if request.method == "POST":
        return _submit(request, opened)
    given = {name: request.GET[name] for name in GIVEN if name in request.GET}
    if action.opens_previewed and (shown := _open_previewed(request, opened, given)):
        return shown
    form = action.form_class(target=target, initial=given)
    return _render(request, opened, form, token=_new_token(request, opened))


def _open_previewed(
    request: HttpRequest, opened: Dialog, given: dict[str, str], reason_field: Any = None
) -> HttpResponse | None:
    """The preview at once, if all but the reason is given, which is asked for beside it; else None.

    What would be refused opens the form, with the reason why.
    """
    form = opened.action.form_class(given | {"reason": "–"}, target=opened.target)
    if not form.is_valid():
        return None
    content = _new_content(opened) | {"asks_reason": True}
    data = form.cleaned_data | {"seen_expires_at": None}
    field = reason_field or opened.action.form_class(target=opened.target)["reason"]
    try:
        return _preview(request, opened, form, data, content, reason_field=field)
    except BillingError as error:
        blank = opened.action.form_class(target=opened.target, initial=given)
        return _render(request, opened, blank, token=_new_token(request, opened), error=str(error))


def _submit(request: HttpRequest, opened: Dialog) -> HttpResponse:
    form = opened.action.form_class(request.POST, target=opened.target)
    token = request.POST.get("token", "")
    try:
        content = _read_token(request, token, opened)
    except signing.BadSignature:
        error = "This dialog is too old. Check the values and continue."
        return _render(request, opened, form, token=_new_token(request, opened), error=error)
    if BACK in request.POST:
        return _render(request, opened, _form_as_typed(request, opened, form), token=token)
    if not form.is_valid():
        given = {name: request.POST.get(name, "") for name in form.fields if name != "reason"}
        asks_reason = content.get("asks_reason") and _open_previewed(request, opened, given, form["reason"])
        return asks_reason or _render(request, opened, form, token=token)
    seen = content["seen_expires_at"]
    data = form.cleaned_data | {"seen_expires_at": datetime.fromisoformat(seen) if seen else None}
    is_confirmed = "confirm" in request.POST
    if not is_confirmed:
        content.pop("asks_reason", None)  # The reason is among the values that are sent for a preview.
    values = digest({name: request.POST.get(name, "") for name in _promised(form, content)})
    error = (
        "These are not the values of the preview." if is_confirmed and content.get("values", values) != values else ""
    )
    try:
        if is_confirmed and not error:
            return _do(request, opened, form, data=data, content=content)
        return _preview(request, opened, form, data, content, error=error)
    except BillingError as error:
        # What may have been done is the same operation, if it is sent again.
        token = token if isinstance(error, NotFinished) else _new_token(request, opened)
        return _render(request, opened, _form_as_typed(request, opened, form), token=token, error=str(error))


def _form_as_typed(request: HttpRequest, opened: Dialog, form: ActionForm) -> ActionForm:
    """The form with what was typed, as it was before the preview made of it what the confirmation sends."""
    return opened.action.form_class(target=opened.target, initial=_typed(request, form))


def _typed(request: HttpRequest, form: ActionForm) -> dict[str, str]:
    return {name: request.POST.get(TYPED + name, form.data.get(name) or "") for name in form.fields}


def _preview(
    request: HttpRequest,
    opened: Dialog,
    form: ActionForm,
    data: dict[str, Any],
    content: dict[str, Any],
    **context: Any,
) -> HttpResponse:
    """What would change. The token of its confirmation knows the values and the lines that it showed."""
    lines = opened.action.show(opened.target, data, cast(User, request.user))
    fixed = {name: value for name, value in form.fixed_values().items() if name in _promised(form, content)}
    if content.get("asks_reason"):
        context.setdefault("reason_field", form["reason"])
    changed = {name: value for name, value in _typed(request, form).items() if value != fixed.get(name, value)}
    sent = fixed | {TYPED + name: value for name, value in changed.items()}
    shown = content | {"values": digest(fixed), "promise": promise_of(lines)}
    token = signing.dumps(shown, salt=_salt(request))
    return _render(request, opened, form, token=token, lines=lines, sent=sent, **context)


def _promised(form: ActionForm, content: dict[str, Any]) -> list[str]:
    """The fields that a confirmation must repeat as they were previewed; the reason not, where it comes with it."""
    return [name for name in form.fields if not (name == "reason" and content.get("asks_reason"))]


def _do(
    request: HttpRequest, opened: Dialog, form: ActionForm, *, data: dict[str, Any], content: dict[str, Any]
) -> HttpResponse:
    try:
        result = opened.action.run(
            target=opened.target,
            name=opened.name,
            data=data,
            operation=content["operation"],
            user=cast(User, request.user),
            read_state=lambda: opened.kind.read_state(opened.target),
            promise=content.get("promise", ""),
        )
    except ChangedSincePreview as error:
        return _preview(request, opened, form, data, content, error=str(error))
    except AlreadyDone as error:
        return _finish(request, opened, str(error), level=messages.WARNING)
    if result.api_key:
        return _render(request, opened, form, token="", api_key=result.api_key)
    return _finish(request, opened, result.message, level=messages.SUCCESS)


def _salt(request: HttpRequest) -> str:
    """A token is good in the session in which it was made: another user's, or an earlier log-in's, is forged."""
    return f"{SALT}:{request.user.pk}:{request.session.session_key}"


def _new_token(request: HttpRequest, opened: Dialog) -> str:
    """What makes one dialog do one thing once, signed."""
    return signing.dumps(_new_content(opened), salt=_salt(request))


def _new_content(opened: Dialog) -> dict[str, Any]:
    """A new operation, which dialog it is of, and the expiry that its reader saw."""
    seen = getattr(opened.target, "expiry", None)
    return {
        "operation": new_operation(),
        "for": [opened.kind_name, opened.name, opened.action.slug],
        "seen_expires_at": seen.isoformat() if seen else "",
    }


def _read_token(request: HttpRequest, token: str, opened: Dialog) -> dict[str, Any]:
    """Raises `BadSignature` for a token that is forged, too old, of another dialog or of another session."""
    content: dict[str, Any] = signing.loads(token, salt=_salt(request), max_age=LIFETIME_SECONDS)
    if content["for"] != [opened.kind_name, opened.name, opened.action.slug]:
        raise signing.BadSignature("another dialog's token")
    return content


def _render(request: HttpRequest, opened: Dialog, form: ActionForm, **context: Any) -> HttpResponse:
    is_dialog = request.headers.get("HX-Request") == "true"
    template = "support/action_dialog.html" if is_dialog else "support/action_page.html"
    context |= {
        **({} if is_dialog else admin.site.each_context(request)),
        "title": f"{opened.action.title}: {opened.target}",
        "action": opened.action,
        "action_url": opened.url,
        "target": opened.target,
        "target_url": opened.kind.url(opened.target),
        "form": form,
        "announcement": _announcement(form, context.get("lines", ())),
    }
    response = render(request, template, context)
    if context.get("api_key"):
        response["Cache-Control"] = "no-store"
    return response


def _announcement(form: ActionForm, lines: Sequence[Line]) -> str:
    """What a screen reader says when this comes in place of what the dialog showed before. Errors are said as such."""
    if lines:
        shown = [f"{line.label}: before {line.before}, after {line.after}." for line in lines]
        return " ".join(["Preview, nothing has changed yet.", *shown])
    errors = {name: " ".join(map(str, form.errors[name])) for name in form.fields if name in form.errors}
    wrong = [f"{form[name].label}: {text}" for name, text in errors.items()]
    return " ".join(["Not accepted.", *wrong]) if wrong else ""


def _finish(request: HttpRequest, opened: Dialog, message: str, *, level: int) -> HttpResponse:
    """Back to the page of what it was done to, with a message."""
    messages.add_message(request, level, message)
    address = opened.kind.url(opened.target)
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)
