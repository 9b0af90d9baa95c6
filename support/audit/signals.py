"""Brings into the audit trail what is done elsewhere: edits in the admin's own forms, log-ins, refused log-ins."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Model
from django.http import HttpRequest

from support.access.client_address import address_of
from support.admin.edits import Edit, edited
from support.audit.actors import actor_of
from support.audit.refused_log_ins import Problem, record_refused_log_in
from support.audit.things import thing_of
from support.audit.trail import record


def connect() -> None:
    """Called once, when the app is ready."""
    edited.connect(_edited)
    user_logged_in.connect(_logged_in)
    user_logged_out.connect(_logged_out)
    user_login_failed.connect(_login_failed)


def _edited(sender: type, user: User, verb: str, document: Model, edit: Edit, **kwargs: Any) -> None:
    record(
        actor=actor_of(user),
        action=f"{verb} {document._meta.verbose_name}"[:60],
        target=str(document)[:200],
        reason=edit.reason,
        before=edit.before,
        after=edit.after,
        thing=thing_of(document),
    )


def _logged_in(sender: type, user: User, **kwargs: Any) -> None:
    record(actor=actor_of(user), action="log-in", target="")


def _logged_out(sender: type, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record(actor=actor_of(user), action="log-out", target="")


def _login_failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    address = address_of(request) if request is not None else ""
    name = str(credentials.get("username", ""))
    record_refused_log_in(name=name, problem=Problem.WRONG, address=address)
