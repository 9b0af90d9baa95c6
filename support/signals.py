"""Brings into the audit trail what is done elsewhere: edits in the admin's own forms, log-ins, refused log-ins."""

from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save

from support.audit import actor_named, record, record_refusal

VERBS = {1: "add", 2: "change", 3: "delete"}


def connect() -> None:
    """Called once, when the app is ready."""
    post_save.connect(_edited, sender=LogEntry)
    user_logged_in.connect(_logged_in)
    user_logged_out.connect(_logged_out)
    user_login_failed.connect(_login_failed)


def _edited(sender: type, instance: LogEntry, created: bool, **kwargs: Any) -> None:
    if created:
        model = instance.content_type.name if instance.content_type else ""
        record(
            actor=f"staff:{instance.user.get_username()}",
            action=f"{VERBS.get(instance.action_flag, 'edit')} {model}"[:60],
            target=instance.object_repr[:200],
            reason=instance.get_change_message()[:500],
        )


def _logged_in(sender: type, user: User, **kwargs: Any) -> None:
    record(actor=f"staff:{user.get_username()}", action="log-in", target="")


def _logged_out(sender: type, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record(actor=f"staff:{user.get_username()}", action="log-out", target="")


def _login_failed(sender: Any, credentials: dict[str, Any], **kwargs: Any) -> None:
    actor = actor_named(str(credentials.get("username", "")))
    record_refusal(actor=actor, action="log-in", target="", error="Wrong name or password")
