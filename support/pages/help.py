"""The staff's pages that belong to no single collection: help, and the way from a key to its account."""

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from support.admin.accounts import to_account_of_key

FAQ_PATH: Path = settings.BASE_DIR / "docs" / "support-faq.md"
SCREENS = {
    "home": ("home", ""),
    "accounts": ("admin:accounts_account_changelist", ""),
    "expiring": ("admin:accounts_account_changelist", "?expiry=soon"),
    "expired": ("admin:accounts_account_changelist", "?expiry=expired"),
    "nothing": ("admin:accounts_account_changelist", "?openhands=zero&ohmygpt=some"),
    "onlyopenhands": ("admin:accounts_account_changelist", "?openhands=some&ohmygpt=zero"),
    "underreview": ("admin:accounts_account_changelist", "?status=review"),
    "unreadable": ("admin:accounts_account_changelist", "?unreadable=any"),
    "ledger": ("admin:accounts_ledgerentry_changelist", ""),
    "dashboard": ("admin:index", ""),
    "payments": ("admin:payments_payment_changelist", ""),
    "review": ("admin:payments_webhookevent_changelist", "?queue=waiting"),
    "requests": ("admin:proxy_requestlog_changelist", ""),
    "refusals": ("admin:proxy_refusedrequest_changelist", ""),
    "audit": ("admin:support_auditentry_changelist", ""),
}


@dataclass(frozen=True)
class Answer:
    """One question of the FAQ; `paragraphs` are safe HTML."""

    question: str
    paragraphs: tuple[SafeString, ...]


def help_page(request: HttpRequest) -> HttpResponse:
    """The support FAQ inside the admin, each answer with links to the screens that it names."""
    context = {**admin.site.each_context(request), "title": "Help", "answers": read_faq(FAQ_PATH.read_text())}
    return render(request, "support/help.html", context)


@require_POST
def find_key(request: HttpRequest) -> HttpResponse:
    """From a pasted whole key to its account. A form, not an address: addresses are kept in histories and logs."""
    if not cast(User, request.user).has_perm("accounts.view_account"):
        raise PermissionDenied
    return to_account_of_key(request, request.POST.get("key", "").strip())


def read_faq(text: str) -> list[Answer]:
    """The questions (`## …`) and answers of the FAQ: paragraphs with `**bold**`, `code` and `[text](screen:name)`."""
    answers = []
    for section in text.split("\n## ")[1:]:
        question, _, body = section.partition("\n")
        paragraphs = (" ".join(part.split()) for part in body.split("\n\n"))
        answers.append(Answer(question.strip(), tuple(_markup(part) for part in paragraphs if part)))
    return answers


def _markup(paragraph: str) -> SafeString:
    text = html.escape(paragraph, quote=False)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    return SafeString(re.sub(r"\[([^\]]+)\]\(screen:([a-z]+)\)", _screen_link, text))


def _screen_link(match: re.Match[str]) -> str:
    name, query = SCREENS[match[2]]
    return format_html('<a class="text-link" href="{}">{}</a>', reverse(name) + query, SafeString(match[1]))
