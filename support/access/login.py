"""Logging in: how often a password may be guessed."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from pymongo import ReturnDocument
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from mongo.collections import wrapper
from support.access.second_factor import PASSED, has_second_factor, use_code
from support.audit.trail import actor_named, record_refusal

MAX_FAILURES = 5
LOCK_TIME = timedelta(minutes=15)
COLLECTION = "login_attempts"


class LoginForm(AuthenticationForm):
    """The log-in of staff: after `MAX_FAILURES` wrong passwords or codes in a row a name is locked for `LOCK_TIME`."""

    code = forms.CharField(
        label="Code of your authenticator app, if you have set one up",
        required=False,
        max_length=10,
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": " ".join(BASE_INPUT_CLASSES)}
        ),
    )

    def clean(self) -> dict[str, Any]:
        name = str(self.cleaned_data.get("username", ""))
        if not count_attempt(name):
            record_refusal(actor=actor_named(name), action="log-in", target="", error="Locked after wrong passwords")
            minutes = int(LOCK_TIME.total_seconds() // 60)
            raise ValidationError(f"Too many wrong passwords. Try again in {minutes} minutes.", code="locked")
        cleaned: dict[str, Any] = super().clean()
        forget_attempts(name)
        return cleaned

    def confirm_login_allowed(self, user: Any) -> None:
        """Called when the password is right: who has a second factor needs its code, which is good once."""
        super().confirm_login_allowed(user)
        if not has_second_factor(user):
            return
        if not use_code(user, self.cleaned_data.get("code", "")):
            record_refusal(actor=f"staff:{user.get_username()}", action="log-in", target="", error="Wrong code")
            raise ValidationError(
                "Enter the code that your authenticator app shows now; each is good once.", code="code"
            )
        self.request.session[PASSED] = True


def count_attempt(name: str, *, now: datetime | None = None) -> bool:
    """Count an attempt before its password is looked at; False if the name is locked.

    One update: guesses at the same time cannot slip through. A lock ends `LOCK_TIME` after the last counted attempt.
    """
    now = now or timezone.now()
    key = _key(name)
    collection = wrapper().get_collection(COLLECTION)
    is_old = {"$lt": ["$lastAt", now - LOCK_TIME]}
    is_locked = {"$and": [{"$gte": ["$failures", MAX_FAILURES]}, {"$not": [is_old]}]}
    after = collection.find_one_and_update(
        {"_id": key},
        [
            {"$set": {"isLocked": {"$cond": [is_locked, True, False]}}},
            {
                "$set": {
                    "failures": {
                        "$switch": {
                            "branches": [
                                {"case": "$isLocked", "then": "$failures"},
                                {"case": {"$or": [is_old, {"$not": ["$failures"]}]}, "then": 1},
                            ],
                            "default": {"$add": ["$failures", 1]},
                        }
                    },
                    "lastAt": {"$cond": ["$isLocked", "$lastAt", now.astimezone(UTC)]},
                }
            },
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return not after["isLocked"]


def forget_attempts(name: str) -> None:
    """The password was right: count from zero again."""
    wrapper().get_collection(COLLECTION).delete_one({"_id": _key(name)})


def _key(name: str) -> str:
    """A name as it is kept: hashed, as people type passwords into the name field."""
    return hashlib.sha256(name.casefold().encode()).hexdigest()
