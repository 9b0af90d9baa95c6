"""The list of API keys on an account's page."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.safestring import SafeString

from accounts.api_keys import ApiKey, list_keys
from accounts.models import Account
from money.amounts import format_usd
from support.access.roles import roles_with, who_may
from support.actions.action import Action
from support.actions.dialogs import dialog_url
from support.actions.keys import PERMISSION, actions_of, limits_of_key, lines_of_limits, part_of
from support.admin.display import badge
from support.admin.history import history_url
from support.audit.things import thing_of

UNLIMITED = ("none", "all", "never")


@dataclass(frozen=True)
class KeyRow:
    """One key as the list shows it: what this staff member may do to it, what others may (and who), its history."""

    key: ApiKey
    state: SafeString
    spent: str
    limits: str
    links: list[tuple[Action, str]]
    others: list[tuple[Action, str]]
    history: str


def rows_of(account: Account, user: User) -> list[KeyRow]:
    """The keys of an account, each with what `user` may do to it."""
    who = "" if user.has_perm(PERMISSION) else who_may(roles_with([PERMISSION])[PERMISSION])
    return [_row(account, key, user, who) for key in list_keys(account)]


def _row(account: Account, key: ApiKey, user: User, who: str) -> KeyRow:
    entry, now = key.entry, timezone.now()
    limits = [f"{label}: {text}" for label, text in lines_of_limits(limits_of_key(key)) if text not in UNLIMITED]
    if entry.problems:
        state = badge(f"Unreadable: {', '.join(entry.problems) or 'all of it'}", "danger")
    elif entry.is_disabled:
        state = badge("Disabled", "danger")
    elif entry.expires_at is not None and entry.expires_at <= now:
        state = badge("Expired", "danger")
    else:
        state = badge("Active", "success")
    has_entry = entry.last_used_at is not None
    spent = f"{format_usd(entry.spent_at(now))} this {entry.budget_period.value}" if has_entry else "–"
    links = [
        (action, f"{dialog_url('account', account.pk, action)}?{urlencode({'key': key.key_id})}")
        for action in actions_of(key)
        if user.has_perm(action.permission)
    ]
    others = [(action, who) for action in actions_of(key) if not user.has_perm(action.permission)]
    history = history_url(thing_of(account), part_of(key))
    return KeyRow(key, state, spent, " · ".join(limits) or "none", links, others, history)
