"""What an action is: a form, a permission, a preview, and the one domain function that it calls."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts import credits
from accounts.errors import BillingError
from accounts.models import LedgerEntry
from money.amounts import ZERO, format_usd
from mongo.collections import collection_of, current_session
from mongo.errors import DATABASE_FAILURES
from mongo.transactions import rehearse
from support.audit.actors import actor_of
from support.audit.things import thing_of
from support.audit.trail import State, new_operation, perform
from support.errors import AmountAboveLimit, ChangedSincePreview, PermissionNeeded

Data = dict[str, Any]
REHEARSED = "rehearsed"
"""Begins the operation of a change that is run for a preview, and rolled back."""


@dataclass(frozen=True)
class Line:
    """One line of a preview: what it is, before and after.

    `drifts`: it changes by itself, as a balance does while requests run, or the change is refused when it did. Then
    `mark` says what else would be seen as a change (for a balance: how many entries its ledger has).
    """

    label: str
    before: str
    after: str
    drifts: bool = False
    mark: str = ""

    @property
    def is_changed(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class Result:
    """What to tell the staff member; `api_key` is shown once. `part` is the API key that it was about, if it is new."""

    message: str
    api_key: str = ""
    part: str | None = None


@dataclass(frozen=True)
class Need:
    """A permission beyond the action's own, and why these values need it."""

    permission: str
    why: str


class ActionForm(forms.Form):
    """Every action has a reason; `target` is what the dialog was opened for."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="The reason is kept for good, and others will read it.",
    )

    def __init__(self, *args: Any, target: Any, **kwargs: Any) -> None:
        self.target = target
        super().__init__(*args, **kwargs)
        self.auto_id = "dialog_%s"  # A dialog lies over a form of the page that may have fields of the same names.

    def fixed_values(self) -> dict[str, str]:
        """What the confirmation sends: the values as entered, and never more than the preview showed."""
        return {name: self.data.get(name, "") for name in self.fields}


def nothing(target: Any, data: Data) -> Decimal:
    """The amount of an action that moves no credits."""
    return ZERO


def digest(content: Mapping[str, str] | Sequence[Sequence[str]]) -> str:
    """What a token keeps of values or lines, to know them again. Blanks count as one: browsers change new lines."""
    rows = sorted(content.items()) if isinstance(content, Mapping) else content
    text = json.dumps([[" ".join(part.split()) for part in row] for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Action:
    """One thing staff can do. `preview` may raise `BillingError`; `change` gets the operation and the actor too.

    `amount` is the most that it moves, in USD: what roles are limited in, and a bound that `run` holds it to. Every
    action says it: `nothing` moves none, and None means that the rules decide. Then the limit is judged by what they
    moved, before that is committed; `estimate` is what the preview judges. `need` is what some values ask for beyond
    `permission`. `part` says which API key of the target it is about. `is_atomic`: the audit entry is written in the
    change's own transaction. Only what handles its own failures is not. `opens_previewed`: where the dialog's address
    gives all that it asks for but the reason, it opens with the preview, and the reason is written beside it.
    """

    slug: str
    title: str
    icon: str
    permission: str
    submit: str
    preview: Callable[[Any, Data], list[Line]]
    change: Callable[[Any, Data, str, str], Result]
    amount: Callable[[Any, Data], Decimal] | None
    form_class: type[ActionForm] = ActionForm
    note: str = ""
    estimate: Callable[[Any, Data], Decimal] = nothing
    need: Callable[[Any, Data], Need | None] = field(default=lambda target, data: None)
    is_offered: Callable[[Any], bool] = field(default=lambda target: True)
    part: Callable[[Any, Data], str | None] = field(default=lambda target, data: None)
    is_atomic: bool = True
    opens_previewed: bool = False

    def check(self, target: Any, data: Data, user: User) -> None:
        """Raise `PermissionNeeded` or `AmountAboveLimit` if these values are not this user's to decide."""
        need = self.need(target, data)
        if need and not user.has_perm(need.permission):
            raise PermissionNeeded(f"{need.why} Your role may not decide this. Ask a billing admin.")
        if self.amount is not None:
            check_limit(user, need.permission if need else self.permission, self.amount(target, data))

    def show(self, target: Any, data: Data, user: User) -> list[Line]:
        """What would change. Raises `BillingError` for what would be refused, by the change itself too."""
        lines = self.preview(target, data)
        self.check(target, data, user)
        check_limit(user, self.permission, self.estimate(target, data))
        if self.is_atomic:
            # What the change itself refuses is said here, and not only to the confirmation. A database that cannot
            # write just now says nothing about it.
            with contextlib.suppress(*DATABASE_FAILURES):
                rehearse(lambda: self.change(target, data, f"{REHEARSED}:{new_operation()}", actor_of(user)))
        return lines

    def run(
        self,
        *,
        target: Any,
        name: str,
        data: Data,
        operation: str,
        user: User,
        read_state: Callable[[], State],
        promise: str = "",
    ) -> Result:
        """Do it with its audit entry, once. Raises `BillingError` with a sentence for the staff member.

        `promise` is that of the preview, if there was one. Raises `ChangedSincePreview` if it is another one now, and
        if more than `amount` was moved, which then is undone.
        """
        actor = actor_of(user)

        def change() -> Result:
            refusal = self._changed_since(promise, target, data) if promise else None
            if refusal and not self.is_atomic:
                raise refusal
            self.check(target, data, user)
            bound = self.amount(target, data) if self.amount else None
            with credits.watch() as moved:
                result = self.change(target, data, operation, actor)
            if refusal:
                raise refusal  # The change itself had nothing against it, and is undone.
            if bound is None:
                check_limit(user, self.permission, moved.amount)
            elif moved.amount > bound and self.is_atomic:
                raise ChangedSincePreview
            return result

        return perform(
            operation=operation,
            actor=actor,
            action=self.slug,
            target=name,
            reason=data["reason"],
            change=change,
            read_state=read_state,
            is_atomic=self.is_atomic,
            thing=thing_of(target) or None,
            part_of=lambda result: (result and result.part) or self.part(target, data),
        )

    def _changed_since(self, promise: str, target: Any, data: Data) -> BillingError | None:
        """Why what a preview promised is not what would be done now."""
        try:
            return None if promise_of(self.preview(target, data)) == promise else ChangedSincePreview()
        except BillingError as error:
            return error


def promise_of(lines: Sequence[Line]) -> str:
    """What a preview promises: its lines; of those that drift only what they are about, and their mark."""
    return digest([_promised(line) for line in lines])


def _promised(line: Line) -> tuple[str, ...]:
    return (line.label, line.mark) if line.drifts else (line.label, line.before, line.after)


def ledger_mark(username: str) -> str:
    """The mark of a line that shows a balance: it changes with each entry of the ledger, and not by requests.

    So the second of two open dialogs is asked again, and one for an account that is in use is not.
    """
    entries = collection_of(LedgerEntry).count_documents({"account": username}, session=current_session())
    return f"{entries} ledger entries"


def check_limit(user: User, permission: str, amount: Decimal) -> None:
    """Raise `AmountAboveLimit` when none of the user's roles may move this much at once (USD).

    A role without a limit may. Only roles that grant `permission` count: another one says nothing about this. What was
    given to the user alone is bound by the roles that they have.
    """
    limits: dict[str, Decimal] = settings.STAFF_AMOUNT_LIMITS
    if user.is_superuser or not limits:
        return
    app, _, codename = permission.partition(".")
    granting = user.groups.filter(permissions__codename=codename, permissions__content_type__app_label=app)
    roles = set(granting.values_list("name", flat=True)) or limits.keys() & user.groups.values_list("name", flat=True)
    if not roles or roles - limits.keys():
        return
    largest = max(limits[role] for role in roles)
    if amount > largest:
        raise AmountAboveLimit(f"Your role may move at most {format_usd(largest)} at once. Ask a billing admin.")
