"""The tabs of an account's page: each shows its list, to whom it is for, with and without JavaScript."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Account
from books.reconciliation import reconcile_account
from payments import orders
from support.models import AuditEntry
from support.pages.account_tabs import SHOWN, TABS
from tests.factories import InsertUser, LogIn
from tests.pages import page, text_of
from tests.support.actions.test_promises import address_of, confirm, preview
from tests.support.conftest import send_money

PAGE = "/admin/accounts/account/alice/change/"


def table(client: Client, tab: str) -> list[str]:
    """The rows of a tab, as text."""
    response: Any = client.get(PAGE, {"tab": tab})
    return [" ".join(str(cell) for cell in row["cells"]) for row in response.context["listing"]["rows"]]


def test_each_tab_has_what_is_of_the_account_alone(admin_client: Client, insert_user: InsertUser) -> None:
    for name in ("alice", "bob"):
        insert_user(name, creditsNew=5)
        order = orders.create_order(account=Account.objects.get(pk=name), credits=20)
        send_money(str(order.order_code))
        now = timezone.now()
        log = {"_id": f"req_{name}", "userId": name, "model": f"m-{name}", "createdAt": now}
        connection.database["request_logs"].insert_one(log)
        refused = {"_id": f"req_no_{name}", "userId": name, "upstream": "openhands", "code": "x", "createdAt": now}
        connection.database["refused_requests"].insert_one(refused)
        note = address_of("account", name, "note-account")
        confirm(admin_client, note, preview(admin_client, note, reason=f"about {name}"))
    for tab, shown in {
        "payments": "SePay",
        "requests": "req_alice",
        "refusals": "req_no_alice",
        "events": "Done",
        "audit": "about alice",
        "notes": "about alice",
    }.items():
        (row,) = table(admin_client, tab)
        assert shown in row, tab
        assert "bob" not in row
    assert "about alice" in page(admin_client, PAGE)  # The newest note stands on top.


def test_a_note_is_kept_as_it_is(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    before = connection.database["usersNew"].find_one({"_id": "alice"})
    note = address_of("account", "alice", "note-account")
    for reason in ("first", "<b>second</b>\nline"):
        confirm(admin_client, note, preview(admin_client, note, reason=reason), reason=reason)
    assert connection.database["usersNew"].find_one({"_id": "alice"}) == before
    assert ["second" in row for row in table(admin_client, "notes")] == [True, False]
    (latest, first) = AuditEntry.objects.filter(action="note-account").order_by("-at")
    assert (first.reason, first.actor) == ("first", "staff:admin")
    assert "&lt;b&gt;second&lt;/b&gt;" in admin_client.get(PAGE, {"tab": "notes"}).content.decode()
    with pytest.raises(TypeError, match="immutable"):
        latest.delete()


def test_only_the_newest_are_shown(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    logs = [{"_id": f"req_{index:03}", "userId": "alice", "createdAt": timezone.now()} for index in range(SHOWN + 5)]
    connection.database["request_logs"].insert_many(logs)
    assert len(table(admin_client, "requests")) == SHOWN
    body = admin_client.get(PAGE, {"tab": "requests"})
    assert f"The newest {SHOWN} are shown." in text_of(body)
    assert "/admin/proxy/requestlog/?q=alice" in body.content.decode()


def test_an_empty_tab_says_so_and_an_unknown_one_is_the_first(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    for tab in TABS[1:-1]:
        response: Any = admin_client.get(PAGE, {"tab": tab.slug})
        assert response.context["listing"]["empty"] in text_of(response)
    assert admin_client.get(PAGE, {"tab": "nonsense"}).context["tab"] is TABS[0]


def test_a_tab_of_others_says_whose_it_is(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    group = Group.objects.create(name="Only accounts")
    group.permissions.add(*Permission.objects.filter(codename__in=("view_account", "view_ledgerentry")))
    client = log_in("Only accounts")
    text = page(client, PAGE)
    for title in ("Payments", "Requests", "Audit"):
        assert f"{title} Billing admin or Owner or Support or Viewer only" in text
    response: Any = client.get(PAGE, {"tab": "payments"})
    assert response.context["listing"] is None
    assert "Payments: Billing admin or Owner or Support or Viewer only." in text_of(response)
    group.delete()


def test_what_support_may_not_do_says_who_may(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    viewer = page(log_in("Viewer", "vera"), PAGE)
    assert "Transfer credits Billing admin or Owner or Support only" in viewer
    assert "Billing admin or Owner or Support only" in viewer.partition("API keys")[2]
    reconcile_account("alice")
    connection.database["usersNew"].update_one({"_id": "alice"}, {"$inc": {"credits": -3}})
    drift = page(log_in("Support"), "/admin/support/accounts/alice/timeline/")
    assert "Accept the drift Billing admin or Owner only" in drift


def test_the_form_is_in_a_tab_and_says_what_is_wrong_there(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", role="user")
    assert 'name="_save"' not in admin_client.get(PAGE).content.decode()
    details = admin_client.get(PAGE, {"tab": "details"}).content.decode()
    assert 'name="_save"' in details
    assert details.count("<h1") == 1
    wrong = admin_client.post(PAGE, {"role": "user", "discord_id": "12", "reason": "x"})
    assert "A Discord id has 17 to 19 digits." in text_of(wrong)
    assert wrong.context["tab"].slug == "details"


def test_the_timeline_is_a_page_where_no_script_puts_it_in_its_place(
    admin_client: Client, insert_user: InsertUser
) -> None:
    insert_user("alice", credits=5)
    body = admin_client.get(PAGE).content.decode()
    address = "/admin/support/accounts/alice/timeline/"
    assert f'<noscript><p><a class="action-button" href="{address}"' in body
    whole = admin_client.get(address, {"kind": "use"}).content.decode()
    assert "<!DOCTYPE html>" in whole
    assert f'action="{address}" method="get"' in whole
    assert "<!DOCTYPE html>" not in admin_client.get(address, headers={"HX-Request": "true"}).content.decode()


@pytest.mark.parametrize("name", [" Old/Name", "ALLCAPS" * 20, "..", "<b>x</b>"])
def test_any_name_is_the_heading(admin_client: Client, insert_user: InsertUser, name: str) -> None:
    insert_user(name, creditsNew=5)
    response: Any = admin_client.get(f"/admin/accounts/account/?q={name[:5]}")
    address = next(response.context["cl"].url_for_result(one) for one in response.context["cl"].result_list)
    for tab in TABS:
        body = admin_client.get(address, {"tab": tab.slug}).content.decode()
        shown = name.replace("<", "&lt;").replace(">", "&gt;")
        assert f"<h1>{shown}</h1>" in body
        assert f'data-copy="{shown}"' in body


def test_lists_and_forms_say_who_may_do_more(log_in: LogIn, insert_user: InsertUser, prices: None) -> None:
    insert_user("alice")
    support, viewer = log_in("Support"), log_in("Viewer", "vera")
    accounts = page(support, "/admin/accounts/account/")
    assert "Add account, Set the expiry (of those that are selected): Billing admin or Owner only." in accounts
    assert "Export as CSV: Billing admin or Owner or Support only." not in accounts
    many = "Transfer credits (of those that are selected), Disable (of those that are selected), "
    assert many in page(viewer, "/admin/accounts/account/")
    assert "Export as CSV: Billing admin or Owner or Support only." in page(viewer, "/admin/proxy/requestlog/")
    assert "Add promotion: Billing admin or Owner only." in page(support, "/admin/payments/promotion/")
    assert "Add model price: Billing admin or Owner only." in page(support, "/admin/proxy/modelprice/")
    price = page(support, "/admin/proxy/modelprice/openhands_2Fclaude-haiku-4-5-20251001/change/")
    assert "You can read this, but not change it. Change it: Billing admin or Owner only." in price
    owner = page(log_in(None, "root"), "/admin/accounts/account/")
    assert "only." not in owner
