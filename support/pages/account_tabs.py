"""The tabs of an account's page: what there is of the account in each list, the newest first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Account
from payments.models import Payment, WebhookEvent
from proxy.models import RefusedRequest, RequestLog
from support.access.roles import roles_with, who_may
from support.actions.account import NOTE
from support.admin.display import account_url, document_key, list_url
from support.admin.history import entries_of, history_url
from support.audit.things import thing_of
from support.models import AuditEntry

SHOWN = 25
"""Rows of a tab. The list that it links to has the rest, in pages."""
MOST_PAYMENTS = 100
"""The payments of an account whose events are looked for, the newest."""
TIMELINE, DETAILS = "timeline", "details"
MAY_SEE_AUDIT = "support.view_auditentry"


@dataclass(frozen=True)
class Tab:
    """One tab: what it is called, and which permission it needs."""

    slug: str
    title: str
    permission: str


@dataclass(frozen=True)
class Listing(Tab):
    """A tab with the rows of one model, in the columns of its admin."""

    model: Any
    order: str
    columns: tuple[str, ...]
    find: Callable[[Account], Q]
    list_of: Callable[[Account], str]
    empty: str


def _events_of(account: Account) -> Q:
    payments = Payment.objects.filter(user_id=account.pk).order_by("-created_at")
    return Q(payment_id__in=list(payments.values_list("pk", flat=True)[:MOST_PAYMENTS]))


def notes_of(account: Account) -> Q:
    """The notes on an account: entries of the audit, which nobody changes or deletes."""
    return Q(thing=thing_of(account), action=NOTE, outcome=AuditEntry.Outcome.DONE)


TABS: tuple[Tab, ...] = (
    Tab(TIMELINE, "Timeline", "accounts.view_ledgerentry"),
    Listing(
        "payments",
        "Payments",
        "payments.view_payment",
        model=Payment,
        order="-created_at",
        columns=("ordered", "code", "price", "credits_usd", "bonus_usd", "status_name", "provider_name", "paid"),
        find=lambda account: Q(user_id=account.pk),
        list_of=lambda account: list_url(Payment, q=account.pk),
        empty="This account has ordered nothing.",
    ),
    Listing(
        "requests",
        "Requests",
        "proxy.view_requestlog",
        model=RequestLog,
        order="-created_at",
        columns=("time", "request_key", "model_name", "cost_usd", "tokens_in", "tokens_out", "upstream", "result"),
        find=lambda account: Q(user_id=account.pk),
        list_of=lambda account: list_url(RequestLog, q=account.pk),
        empty="This account has made no requests that were forwarded.",
    ),
    Listing(
        "refusals",
        "Refusals",
        "proxy.view_refusedrequest",
        model=RefusedRequest,
        order="-created_at",
        columns=(
            "time",
            "request_key",
            "why",
            "needed_usd",
            "available_usd",
            "held_usd",
            "upstream_name",
            "model_name",
        ),
        find=lambda account: Q(user_id=account.pk),
        list_of=lambda account: list_url(RefusedRequest, q=account.pk),
        empty="No refused request of this account is kept.",
    ),
    Listing(
        "events",
        "Events",
        "payments.view_webhookevent",
        model=WebhookEvent,
        order="-received_at",
        columns=("came", "money", "memo", "state", "payment_page"),
        find=_events_of,
        list_of=lambda account: list_url(WebhookEvent, q=account.pk),
        empty="No event of a provider belongs to a payment of this account.",
    ),
    Listing(
        "audit",
        "Audit",
        MAY_SEE_AUDIT,
        model=AuditEntry,
        order="-at",
        columns=("time", "actor", "action", "changes", "why", "result"),
        find=lambda account: entries_of(thing_of(account)),
        list_of=lambda account: history_url(thing_of(account)),
        empty="Nobody has done anything to this account, or tried.",
    ),
    Listing(
        "notes",
        "Notes",
        MAY_SEE_AUDIT,
        model=AuditEntry,
        order="-at",
        columns=("time", "actor", "reason"),
        find=notes_of,
        list_of=lambda account: f"{history_url(thing_of(account))}&action={NOTE}",
        empty="Nobody has written a note on this account.",
    ),
    Tab(DETAILS, "Details", "accounts.view_account"),
)


def context_of(request: HttpRequest, account: Account, *, is_form: bool) -> dict[str, Any]:
    """What the page of an account shows: its tabs, the chosen one, the newest note. `is_form`: the form was sent."""
    user = cast(User, request.user)
    wanted = DETAILS if is_form else request.GET.get("tab", TIMELINE)
    chosen = next((tab for tab in TABS if tab.slug == wanted), TABS[0])
    lacking = [tab.permission for tab in TABS if not user.has_perm(tab.permission)]
    roles = roles_with(lacking) if lacking else {}
    page = account_url(account.pk)
    tabs = [
        {
            "title": tab.title,
            "address": page if tab is TABS[0] else f"{page}?tab={tab.slug}",
            "is_chosen": tab is chosen,
            "who": who_may(roles[tab.permission]) if tab.permission in roles else "",
        }
        for tab in TABS
    ]
    may = chosen.permission not in roles
    listing = _read(chosen, account) if isinstance(chosen, Listing) and may else None
    found = AuditEntry.objects.filter(notes_of(account)).order_by("-at") if MAY_SEE_AUDIT not in roles else None
    return {
        "tabs": tabs,
        "tab": chosen,
        "who_sees_tab": "" if may else who_may(roles[chosen.permission]),
        "listing": listing,
        "newest_note": None if found is None else found.first(),
        "notes_address": f"{page}?tab=notes",
        "has_own_heading": True,
    }


def _read(tab: Listing, account: Account) -> dict[str, Any]:
    """The rows of a tab, each with the address of its own page and its cells."""
    model_admin = admin.site.get_model_admin(tab.model)
    found = list(tab.model.objects.filter(tab.find(account)).order_by(tab.order)[: SHOWN + 1])
    page = f"admin:{tab.model._meta.app_label}_{tab.model._meta.model_name}_change"
    return {
        "heads": [_head(name, tab.model, model_admin) for name in tab.columns],
        "rows": [
            {
                "address": reverse(page, args=(document_key(document.pk),)),
                "cells": [_cell(name, document, model_admin) for name in tab.columns],
            }
            for document in found[:SHOWN]
        ],
        "has_more": len(found) > SHOWN,
        "shown": SHOWN,
        "all_address": tab.list_of(account),
        "empty": tab.empty,
    }


def _head(name: str, model: Any, model_admin: Any) -> str:
    label = str(label_for_field(name, model, model_admin=model_admin))
    return label[:1].upper() + label[1:]


def _cell(name: str, document: Any, model_admin: Any) -> Any:
    """What the list of the model shows in this column: a display of its admin, or a text of the document."""
    _, _, value = lookup_field(name, document, model_admin)
    return "–" if value in (None, "") else value
