"""The one search box: what leads straight to a page, what is listed, and what stays unseen."""

import html
import logging
import re
from typing import Any

import pytest
from bson import ObjectId
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.api_keys import create_key
from accounts.models import Account
from payments import orders
from payments.models import Payment
from support.search import names
from support.search import page as search_page
from tests.conftest import key_of
from tests.factories import InsertUser, LogIn
from tests.pages import page, text_of
from tests.support.conftest import send_money

SEARCH = "/admin/support/search/"
REQUEST = "req_" + "1a2b3c4d" * 4


@pytest.fixture
def order(insert_user: InsertUser) -> Payment:
    insert_user("alice", creditsNew=5, discordId="123456789012345678")
    return orders.create_order(account=Account.objects.get(pk="alice"), credits=20)


def led_to(client: Client, text: str) -> str:
    """The address that a text leads to when it is sent."""
    response = client.post(SEARCH, {"q": text})
    assert response.status_code == 302, text_of(response)
    return str(response["Location"])


def log(request_id: str, **fields: Any) -> None:
    connection.database["request_logs"].insert_one(
        {"_id": request_id, "userId": "alice", "creditsCost": 0.02, "createdAt": timezone.now(), **fields}
    )


def test_one_exact_hit_leads_there_at_once(admin_client: Client, order: Payment, insert_user: InsertUser) -> None:
    insert_user("Nguyễn Văn A")
    log(REQUEST)
    connection.database["refused_requests"].insert_one(
        {"_id": "req_refused", "userId": "alice", "upstream": "openhands", "code": "x", "createdAt": timezone.now()}
    )
    event = send_money("no code in here")
    code = str(order)
    addresses = {
        "alice": "/admin/accounts/account/alice/change/",
        "Nguyễn Văn A": "/admin/accounts/account/Nguy%E1%BB%85n%20V%C4%83n%20A/change/",
        "123456789012345678": "/admin/accounts/account/alice/change/",
        "<@123456789012345678>": "/admin/accounts/account/alice/change/",
        code: f"/admin/payments/payment/{order.pk}/change/",
        f"{code[:3]}-{code[3:7]} {code[7:]}".lower().replace("0", "o"): f"/admin/payments/payment/{order.pk}/change/",
        str(order.pk): f"/admin/payments/payment/{order.pk}/change/",
        REQUEST: f"/admin/proxy/requestlog/{REQUEST.replace('_', '_5F')}/change/",
        "req_refused": "/admin/proxy/refusedrequest/req_5Frefused/change/",
        event.event_id: f"/admin/payments/webhookevent/{event.pk}/change/",
        str(event.reference): f"/admin/payments/webhookevent/{event.pk}/change/",
        str(event.pk): f"/admin/payments/webhookevent/{event.pk}/change/",
    }
    assert {text: led_to(admin_client, text) for text in addresses} == addresses


def test_money_that_came_is_found_by_all_its_names(admin_client: Client, order: Payment) -> None:
    event = send_money(f"chuyen tien {order}")
    payment = Payment.objects.get(pk=order.pk)
    assert payment.status == Payment.Status.SUCCESS
    for text in (event.event_id, str(event.reference), str(order), f" {str(event.reference).lower()} "):
        assert led_to(admin_client, text) == f"/admin/payments/payment/{order.pk}/change/", text
    shown = page(admin_client, f"{SEARCH}?q={order}")
    assert event.event_id in shown


def test_whole_keys_lead_to_their_account_and_are_never_repeated(
    admin_client: Client, order: Payment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    further = key_of("further")
    create_key(username="alice", name="ci", new_key=further)
    for key in (key_of("alice"), further):
        for text in (key, f"Authorization: Bearer {key}", key.removeprefix("sk-trollllm-")):
            assert led_to(admin_client, text) == "/admin/accounts/account/alice/change/"
    unknown = key_of("nobody")
    for text in (unknown, f"Bearer {unknown}", unknown.removeprefix("sk-trollllm-")):
        for response in (admin_client.post(SEARCH, {"q": text}), admin_client.get(SEARCH, {"q": text})):
            assert "No account has this API key" in text_of(response)
            assert unknown[20:] not in response.content.decode()
    assert unknown[20:] not in caplog.text
    assert key_of("alice") not in caplog.text


def test_what_is_like_it_is_listed_by_kind(admin_client: Client, order: Payment, insert_user: InsertUser) -> None:
    insert_user("Nguyễn Văn A")
    insert_user("trannguyen")
    log(REQUEST)
    connection.database["request_logs"].insert_one({"_id": ObjectId("65a000001111222233334444"), "userId": "alice"})
    event = send_money("no code in here", amount=50_000)
    wanted = {
        "nguyen": ("Nguyễn Văn A", "trannguyen"),
        "lic": ("alice",),
        str(order)[:7].lower(): (str(order), "50,000 VND of alice"),
        "50.000đ": (str(order), event.event_id),
        "$20": (str(order),),
        "code in HERE": (event.event_id,),
        "9" * 20: (),
        REQUEST[:12]: (REQUEST,),
        f"{REQUEST[:16]}…": (REQUEST,),
        "65a000": ("65a000001111222233334444",),
        key_of("alice")[:16] + "…": ("alice",),
    }
    for text, found in wanted.items():
        assert led_to(admin_client, text).startswith(SEARCH)
        response = admin_client.get(SEARCH, {"q": text})
        shown = text_of(response)
        assert [one for one in found if one not in shown] == [], text
        assert "It was looked for in: Accounts" in " ".join(shown.replace("Accounts:", "Accounts").split())


def test_nothing_found_says_what_was_searched_and_where(admin_client: Client, db: None) -> None:
    response = admin_client.post(SEARCH, {"q": "  no <b>such</b> thing "}, follow=True)
    shown = text_of(response)
    assert "Nothing found for “no &lt;b&gt;such&lt;/b&gt; thing”" in shown
    for place in search_page.PLACES:
        assert f"{place.name}: {place.found_by}" in shown.replace("&#x27;", "'")
    assert "What can be searched" in page(admin_client, SEARCH)
    assert led_to(admin_client, "") == f"{SEARCH}?q="
    assert admin_client.get(SEARCH, {"q": "\0…"}).status_code == 200
    assert admin_client.get(SEARCH, {"q": "x" * 5000, "after": "y" * 5000}).status_code == 200


def test_who_may_not_see_something_does_not_find_it(log_in: LogIn, order: Payment) -> None:
    event = send_money(str(order))
    log(REQUEST)
    client = log_in("Viewer")
    role, _ = Group.objects.get_or_create(name="temporary: accounts")
    role.permissions.set(Permission.objects.filter(codename="view_account"))
    user_groups = client.get("/admin/").context["user"].groups
    user_groups.set([role])
    try:
        for text in (str(order), event.event_id, REQUEST, "50000", str(order.pk)):
            assert led_to(client, text).startswith(SEARCH)
            shown = page(client, f"{SEARCH}?q={text}")
            assert "Nothing found" in shown
            assert "Not in Payments, Webhook events, Requests, Refusals, Ledger, Audit" in shown
        assert led_to(client, "alice") == "/admin/accounts/account/alice/change/"
        role.permissions.set(Permission.objects.filter(codename="view_payment"))
        assert led_to(client, str(order)).endswith(f"{order.pk}/change/")
        assert led_to(client, event.event_id).endswith(f"{order.pk}/change/")
        assert "Nothing found" in page(client, f"{SEARCH}?q=alice")
        response = client.post(SEARCH, {"q": key_of("alice")})
        assert "API keys were not searched Your role does not show accounts." in text_of(response)
    finally:
        role.delete()


def test_lists_find_by_order_code(admin_client: Client, order: Payment) -> None:
    send_money(f"chuyen tien {order}")
    typed = f"{str(order)[:3]} {str(order)[3:]}".lower()

    def rows(address: str, text: str) -> list[Any]:
        return list(admin_client.get(address, {"q": text}).context["cl"].result_list)

    assert [account.pk for account in rows("/admin/accounts/account/", typed)] == ["alice"]
    assert [account.pk for account in rows("/admin/accounts/account/", "ali")] == ["alice"]
    assert rows("/admin/accounts/account/", "nobody at all") == []
    (entry,) = rows("/admin/accounts/ledgerentry/", typed)
    assert (entry.account_id, entry.kind, entry.amount) == ("alice", "purchase", 20)


def test_an_event_without_a_body_does_no_harm(admin_client: Client, db: None) -> None:
    waiting = {"provider": "sepay", "eventId": "bare", "status": "review", "error": "", "receivedAt": timezone.now()}
    connection.database["webhook_events"].insert_one(waiting)
    assert "Nothing found" in page(admin_client, f"{SEARCH}?q=nobody")
    assert "/admin/payments/webhookevent/" in led_to(admin_client, "bare")
    for address in ("/admin/payments/webhookevent/", led_to(admin_client, "bare")):
        assert admin_client.get(address).status_code == 200


def test_two_exact_hits_are_both_shown(admin_client: Client, order: Payment, insert_user: InsertUser) -> None:
    insert_user("bob", discordId="123456789012345678")
    assert led_to(admin_client, "123456789012345678") == f"{SEARCH}?q=123456789012345678"
    shown = page(admin_client, f"{SEARCH}?q=123456789012345678")
    assert shown.count("exactly this") == 2


def test_the_box_is_on_every_page_and_works_without_scripts(admin_client: Client, order: Payment) -> None:
    for address in ("/admin/", "/admin/accounts/account/", "/admin/accounts/account/alice/change/", SEARCH):
        content = admin_client.get(address).content.decode()
        form = content[content.index('role="search" aria-label="Everything"') - 100 :][:1500]
        assert 'method="post"' in form
        assert "csrfmiddlewaretoken" in form
        assert 'aria-label="Search everything"' in form
        assert 'type="submit"' in form
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(SEARCH, {"q": "alice"}).status_code == 403


def test_a_search_that_takes_too_long_says_so(
    admin_client: Client, insert_user: InsertUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob", "trannguyen"):
        insert_user(name)
    monkeypatch.setattr(names, "PART", 1)
    monkeypatch.setattr(names, "SCAN_SECONDS", 0)
    content = admin_client.get(SEARCH, {"q": "nguyen"}).content.decode()
    for name in ("alice", "bob"):
        assert f"were looked for up to “{name}”" in content
        onward = re.search(r'href="(\?q=[^"]+)">Look at the names after it', content)
        assert onward
        content = admin_client.get(SEARCH + html.unescape(onward[1])).content.decode()
    assert "trannguyen" in content
