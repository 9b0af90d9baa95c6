"""What a dialog does beside its action: it goes back, sees what has changed, and refuses in the preview already."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import credits
from accounts.api_keys import create_key
from accounts.models import Account, Balance, LedgerEntry
from support.models import AuditEntry
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import text_of
from tests.proxy.requests import chat, post
from tests.serving import Server
from tests.support.actions.test_promises import CHANGED, TRANSFER, address_of, bulk, confirm, confirm_bulk, preview
from tests.support.actions.test_promises import inputs as hidden

FRAGMENT = {"HX-Request": "true"}


def values_of(response: Any) -> dict[str, Any]:
    """What the fields of the form show."""
    form = response.context["form"]
    return {name: form[name].value() for name in form.fields}


# --- Back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, FRAGMENT])
def test_back_shows_what_was_typed(admin_client: Client, insert_user: InsertUser, headers: dict[str, str]) -> None:
    until = timezone.now() + timedelta(days=2)
    insert_user("alice", credits=10, expiresAt=until)
    cases = {
        "transfer": {"source": "ohmygpt", "amount": "1.50", "is_all": "", "reason": "line one\r\nline two"},
        "expiry": {"choice": "+3", "date": "", "reason": "asked"},
        "limits": {"requests_per_minute": "", "concurrent_requests": "7", "reason": "asked"},
        "adjust": {"balance": "ohmygpt", "direction": "deduct", "amount": "2", "reason": "<b>asked</b>"},
    }
    for slug, typed in cases.items():
        address = address_of("account", "alice", slug)
        shown = preview(admin_client, address, **typed)
        assert shown.context["lines"], slug
        sent = {**hidden(shown), "reason": typed["reason"]}
        again = admin_client.post(address, {**sent, "back": "1"}, headers=headers)
        assert values_of(again) == typed
        assert not again.context["form"].errors
        once_more = admin_client.post(address, {"token": again.context["token"], **typed})
        assert once_more.context["lines"], slug
    assert LedgerEntry.objects.count() == 0


def test_everything_stays_everything_when_one_goes_back(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    shown = preview(admin_client, address, source="ohmygpt", is_all="on")
    again = admin_client.post(address, {**hidden(shown), "reason": "asked", "back": "1"})
    assert values_of(again) == {"source": "ohmygpt", "amount": "", "is_all": "on", "reason": "asked"}


def test_who_goes_back_does_it_once_all_the_same(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    shown = preview(admin_client, address, **TRANSFER)
    confirm(admin_client, address, shown)
    again = admin_client.post(address, {**hidden(shown), "reason": "asked", "back": "1"})
    sent = {**TRANSFER, "token": again.context["token"]}
    told = confirm(admin_client, address, admin_client.post(address, sent))
    assert "This was done already" in text_of(told)
    assert Account.objects.get().credits_new == 4


def test_a_refused_confirmation_keeps_what_was_typed(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10, expiresAt=timezone.now() + timedelta(days=2))
    address = address_of("account", "alice", "expiry")
    shown = preview(admin_client, address, choice="+3")
    Account.objects.filter(pk="alice").update(expires_at=timezone.now() + timedelta(days=9))
    told = confirm(admin_client, address, shown)
    assert "The expiry was changed meanwhile" in text_of(told)
    assert values_of(told)["choice"] == "+3"


# --- The second of two open dialogs ------------------------------------------------------------------------------


def test_the_second_of_two_dialogs_asks_again(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    sam, sue = log_in("Support"), log_in("Support", "sue")
    address = address_of("account", "alice", "transfer")
    first, second = preview(sam, address, **TRANSFER), preview(sue, address, **TRANSFER)
    confirm(sam, address, first)
    again = confirm(sue, address, second)
    assert CHANGED in text_of(again)
    assert "$4.00 $8.00" in text_of(again)
    assert Account.objects.get().credits_new == 4
    assert AuditEntry.objects.filter(action="transfer", outcome="done").count() == 1
    confirm(sue, address, again)
    assert Account.objects.get().credits_new == 8


def test_several_accounts_at_once_ask_again_too(admin_client: Client, insert_user: InsertUser) -> None:
    names = [insert_user("alice", credits=10), insert_user("bob", credits=10)]
    shown = bulk(admin_client, "transfer", names, **TRANSFER)
    credits.adjust(
        username="alice", balance=Balance.OHMYGPT, amount=Decimal(-1), operation="o", actor="staff:sue", reason="x"
    )
    assert f"alice {CHANGED}" in text_of(confirm_bulk(admin_client, "transfer", names, shown))
    assert {account.pk: account.credits_new for account in Account.objects.all()} == {"alice": 0, "bob": 4}


def test_of_two_confirmations_at_once_one_asks_again(
    log_in: LogIn, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    clients = [log_in("Support", name) for name in ("sam", "sue", "sid")]
    shown = [preview(client, address, **TRANSFER) for client in clients]
    told = in_threads(len(clients), lambda index: text_of(confirm(clients[index], address, shown[index])))
    assert sorted(CHANGED in text for text in told) == [False, True, True]
    assert Account.objects.get().credits_new == 4


def test_a_request_in_between_does_not_ask_again(admin_client: Client, insert_user: InsertUser, server: Server) -> None:
    """Else nothing could be moved on an account that is in use; the amount is the one that was shown."""
    insert_user("alice", creditsNew=10)
    address = address_of("account", "alice", "transfer")
    shown = preview(admin_client, address, source="openhands", amount="4")
    assert post(server, chat()).status == 200
    confirm(admin_client, address, shown)
    assert Account.objects.get().credits == 4


# --- What the preview refuses already ----------------------------------------------------------------------------


def test_the_preview_refuses_what_the_confirmation_would(
    admin_client: Client, insert_user: InsertUser, settings: Any
) -> None:
    insert_user("alice", credits=10)
    settings.MAX_KEYS = 1
    create_key(username="alice", name="one")
    refused = {
        "expiry": ({"choice": "date", "date": "2020-01-01 00:00"}, "The expiry must be in the future"),
        "add-key": ({"name": "two", "budget_period": "day"}, "An account may have 1 API keys"),
    }
    for slug, (typed, sentence) in refused.items():
        told = preview(admin_client, address_of("account", "alice", slug), **typed)
        assert sentence in text_of(told), text_of(told)
        assert "lines" not in told.context
    far = preview(admin_client, address_of("account", "alice", "expiry"), choice="date", date="2099-01-01 00:00")
    assert "at most ten years away" in text_of(far)
    several = bulk(admin_client, "expiry", ["alice"], choice="date", date="2020-01-01 00:00")
    assert "The expiry must be in the future" in text_of(several)


def test_a_preview_keeps_nothing(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    before = Account.objects.values().get()
    for slug, typed in {
        "transfer": TRANSFER,
        "rotate-key": {},
        "add-key": {"name": "ci", "budget_period": "day"},
        "disable": {},
        "expiry": {"choice": "7"},
    }.items():
        assert preview(admin_client, address_of("account", "alice", slug), **typed).context["lines"], slug
    assert Account.objects.values().get() == before
    assert (LedgerEntry.objects.count(), AuditEntry.objects.exclude(target="").count()) == (0, 0)


# --- A session that has ended ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "comes_back_to"),
    [
        ("http://testserver/admin/accounts/account/alice/change/?tab=audit", "alice%2Fchange%2F%3Ftab%3Daudit"),
        ("https://evil.example/admin/", "next=%2Fadmin%2F"),
        ("", "next=%2Fadmin%2F"),
        ("http://[", "next=%2Fadmin%2F"),
    ],
)
def test_a_fragment_sends_the_whole_page_to_the_log_in(
    client: Client, insert_user: InsertUser, page: str, comes_back_to: str
) -> None:
    insert_user("alice", credits=10)
    address = address_of("account", "alice", "transfer")
    timeline = "/admin/support/accounts/alice/timeline/"
    for answer in (
        client.get(address, headers={**FRAGMENT, "HX-Current-URL": page}),
        client.post(address, TRANSFER, headers={**FRAGMENT, "HX-Current-URL": page}),
        client.get(timeline, headers={**FRAGMENT, "HX-Current-URL": page}),
    ):
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer["HX-Redirect"].startswith("/admin/login/?next=")
        assert answer["HX-Redirect"].endswith(comes_back_to)
        assert "evil" not in answer["HX-Redirect"]
    assert client.get(address)["Location"].startswith("/admin/login/")


def test_a_fragment_sends_who_must_set_up_a_second_factor_there(
    admin_client: Client, insert_user: InsertUser, settings: Any
) -> None:
    insert_user("alice")
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    answer = admin_client.get(address_of("account", "alice", "transfer"), headers=FRAGMENT)
    assert answer["HX-Redirect"] == "/admin/support/second-factor/"
