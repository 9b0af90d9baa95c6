"""“History” of a thing is the audit of that thing: whoever did it, under whatever name, and of nothing else."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.api_keys import create_key, list_keys
from accounts.models import Account
from payments import orders
from payments.models import Promotion
from proxy.models import ModelPrice
from support.audit.trail import record
from support.models import AuditEntry
from tests.factories import InsertUser, LogIn
from tests.pages import save, text_of
from tests.support.actions.test_promises import address_of, confirm, preview
from tests.support.conftest import send_money

ACCOUNT = "/admin/accounts/account/alice/history/"
DAYS = {"starts_at_0": "2099-11-01", "starts_at_1": "00:00", "ends_at_0": "2099-12-01", "ends_at_1": "00:00"}


def history(client: Client, address: str) -> list[tuple[str, str]]:
    """What is listed: the action and the reason of each entry, the latest first."""
    response = client.get(address, follow=True)
    assert response.status_code == 200
    return [(entry.action, entry.reason) for entry in response.context["cl"].result_list]


def test_what_was_done_to_an_account(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=10)
    insert_user("alice2", credits=10)
    address = address_of("account", "alice", "transfer")
    confirm(admin_client, address, preview(admin_client, address, source="ohmygpt", amount="4", reason="mine"))
    other = address_of("account", "alice2", "disable")
    confirm(admin_client, other, preview(admin_client, other, reason="another's"))
    form = {"role": "user", "discord_id": "123456789012345678", "reason": "typed wrong"}
    save(admin_client, "/admin/accounts/account/alice/change/", form)
    rotate = address_of("account", "alice", "rotate-key")
    confirm(admin_client, rotate, preview(admin_client, rotate, reason="leaked"))
    record(actor="staff:old", action="adjust", target="alice", reason="by an older version")
    record(actor="staff:old", action="change promotion", target="alice", reason="a promotion of that name")
    connection.database["audit_entries"].update_many({"actor": "staff:old"}, {"$unset": {"thing": "", "part": ""}})
    assert history(admin_client, ACCOUNT) == [
        ("adjust", "by an older version"),
        ("rotate-key", "leaked"),
        ("change account", "typed wrong"),
        ("transfer", "mine"),
    ]
    text = text_of(admin_client.get(ACCOUNT, follow=True))
    assert f"key: → {Account.objects.get(pk='alice').api_key_prefix}" in text
    assert "Who changed the account alice" in text


def test_a_promotion_keeps_its_history_when_its_name_changes(admin_client: Client) -> None:
    add = "/admin/payments/promotion/add/"
    for reason in ("one", "two"):
        save(admin_client, add, {"name": "Tet", "percent": "10", "reason": reason, **DAYS})
    one, two = Promotion.objects.order_by("pk")
    address = f"/admin/payments/promotion/{one.pk}/"
    changed = {"name": "New year", "percent": "20", "reason": "renamed", **DAYS}
    save(admin_client, f"{address}change/", changed)
    assert history(admin_client, f"{address}history/") == [("change promotion", "renamed"), ("add promotion", "one")]
    assert history(admin_client, f"/admin/payments/promotion/{two.pk}/history/") == [("add promotion", "two")]


def test_of_prices_payments_events_and_staff(admin_client: Client, insert_user: InsertUser, prices: None) -> None:
    insert_user("alice")
    price = ModelPrice.objects.all()[0]
    form = {"aliases": "[]", "input_price": "2", "output_price": "9", "multiplier": "1", "is_active": "on"}
    save(admin_client, f"/admin/proxy/modelprice/{price.pk}/change/", {**form, "display_name": "x", "reason": "dear"})
    record(actor="manage.py import_prices", action="import price", target=str(price), reason="by a command")
    expected = [("import price", "by a command"), ("change model price", "dear")]
    assert history(admin_client, f"/admin/proxy/modelprice/{price.pk}/history/") == expected

    order = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    send_money(str(order.order_code))
    refund = address_of("payment", order.pk, "record-refund")
    shown = preview(admin_client, refund, amount="25000", reference="FT1", reason="sent back")
    confirm(admin_client, refund, shown)
    assert history(admin_client, f"/admin/payments/payment/{order.pk}/history/") == [("record-refund", "sent back")]

    event = send_money("nap tien")
    take = address_of("event", event.pk, "take-event")
    confirm(admin_client, take, preview(admin_client, take, reason="mine"))
    assert history(admin_client, f"/admin/payments/webhookevent/{event.pk}/history/") == [("take-event", "mine")]

    sue = User.objects.create_user("sue", is_staff=True)
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    save(admin_client, f"/admin/auth/user/{sue.pk}/change/", {"username": "susan", **joined, "reason": "married"})
    assert history(admin_client, f"/admin/auth/user/{sue.pk}/history/") == [("change user", "married")]


def test_of_one_key(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    add = address_of("account", "alice", "add-key")
    confirm(admin_client, add, preview(admin_client, add, name="ci", budget_period="day", reason="added"))
    other, _ = create_key(username="alice", name="other")
    first, key = (one for one in list_keys(Account.objects.get()) if one.entry.name != "other")
    for slug, key_id in (("disable-key", key.key_id), ("replace-key", key.key_id), ("disable-key", other.key_id)):
        address = address_of("account", "alice", slug)
        confirm(admin_client, address, preview(admin_client, address, key=key_id, reason=f"{slug} {key_id}"))
    rotate = address_of("account", "alice", "rotate-key")
    confirm(admin_client, rotate, preview(admin_client, rotate, reason="leaked"))
    disable = address_of("account", "alice", "disable-key")
    first = list_keys(Account.objects.get())[0]
    confirm(admin_client, disable, preview(admin_client, disable, key=first.key_id, reason="stolen"))

    page = admin_client.get("/admin/accounts/account/alice/change/")
    rows = {row.key.entry.name: row for row in page.context["rows"]}
    actions = [action for action, _ in history(admin_client, rows["ci"].history)]
    assert actions == ["replace-key", "disable-key", "add-key"]
    assert history(admin_client, rows[first.entry.name].history) == [
        ("disable-key", "stolen"),
        ("rotate-key", "leaked"),
    ]
    assert len(history(admin_client, ACCOUNT)) == 6


def test_what_was_tried_without_the_right(log_in: LogIn, admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    log_in("Viewer", "vera").post(address_of("account", "alice", "transfer"), {})
    (entry,) = AuditEntry.objects.filter(outcome="refused")
    assert (entry.thing, entry.error) == ("accounts.account:alice", "No permission")
    assert history(admin_client, ACCOUNT) == [("transfer", "")]


@pytest.mark.parametrize("role", ["Viewer", "Support", "Billing admin"])
def test_who_may_see_it(log_in: LogIn, insert_user: InsertUser, role: str) -> None:
    insert_user("alice")
    client = log_in(role)
    response = client.get(ACCOUNT, follow=True)
    text = text_of(response)
    assert "No audit entries found" in text
    assert "Filtered by history of: account alice" in text
    promotion = Promotion.objects.create(
        name="Tet", percent=10, starts_at=timezone.now(), ends_at=timezone.now() + timedelta(days=1)
    )
    assert history(client, f"/admin/payments/promotion/{promotion.pk}/history/") == []


def test_who_may_not_see_the_audit_is_told_who_may(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    group = Group.objects.create(name="Only accounts")
    group.permissions.add(*Permission.objects.filter(codename__in=("view_account", "view_ledgerentry")))
    client = log_in("Only accounts")
    assert client.get(ACCOUNT).status_code == 403
    text = text_of(client.get("/admin/accounts/account/alice/change/"))
    assert "Support or Viewer only" in text
    group.delete()


def test_a_long_history_has_pages(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    AuditEntry.objects.bulk_create(
        AuditEntry(
            id=f"entry:{index}",
            at=timezone.now(),
            actor="staff:sue",
            action="limits",
            target="alice",
            outcome="done",
            thing="accounts.account:alice",
        )
        for index in range(60)
    )
    first = admin_client.get(ACCOUNT, follow=True)
    assert len(first.context["cl"].result_list) == 50
    assert "60 audit entries" in text_of(first)
    assert len(history(admin_client, f"{first.request['PATH_INFO']}?{first.request['QUERY_STRING']}&p=2")) == 10


@pytest.mark.parametrize(
    "address",
    [
        "/admin/accounts/account/nobody/history/",
        "/admin/payments/payment/nonsense/history/",
        "/admin/payments/promotion/64b7f0c0c0c0c0c0c0c0c0c0/history/",
    ],
)
def test_of_what_is_not_there_any_more(admin_client: Client, address: str) -> None:
    assert history(admin_client, address) == []


@pytest.mark.parametrize(
    "thing", ["nonsense", "sessions.session:x", "accounts.account:", "a.b:c", "accounts.nothing:x"]
)
def test_what_is_no_thing_shows_nothing_and_says_so(admin_client: Client, thing: str) -> None:
    record(actor="staff:sue", action="export", target="Account")
    response: Any = admin_client.get("/admin/support/auditentry/", {"thing": thing})
    assert "Nothing is shown" in text_of(response)


def test_what_never_changes_has_no_history(admin_client: Client, insert_user: InsertUser) -> None:
    connection.database["request_logs"].insert_one({"_id": "r1", "userId": "alice", "createdAt": timezone.now()})
    assert "/history/" not in admin_client.get("/admin/proxy/requestlog/r1/change/").content.decode()


@pytest.mark.parametrize("role", ["Viewer", "Support"])
def test_of_a_price_as_who_may_not_see_costs(admin_client: Client, log_in: LogIn, prices: None, role: str) -> None:
    price = ModelPrice.objects.all()[0]
    form = {"aliases": "[]", "input_price": "2", "output_price": "9", "multiplier": "1", "is_active": "on"}
    sent = {**form, "own_input_price": "1.2345", "own_output_price": "1.5", "display_name": "x", "reason": "dear"}
    save(admin_client, f"/admin/proxy/modelprice/{price.pk}/change/", sent)
    address = f"/admin/proxy/modelprice/{price.pk}/history/"
    assert history(log_in(role), address) == [("change model price", "dear")]
    assert "1.2345" in text_of(admin_client.get(address))
    assert "1.2345" not in text_of(log_in(role, "other").get(address))
