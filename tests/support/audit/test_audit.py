"""The audit trail: what lands in it, how it is found, and that nobody changes it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from accounts.errors import BillingError
from proxy.models import ModelPrice
from support.admin.edits import RecordedEdits
from support.audit.trail import perform, record
from support.errors import AlreadyDone
from support.models import AuditEntry
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads, LogIn
from tests.pages import page, save
from tests.support.conftest import ADMIN_MODELS

LIST = "/admin/support/auditentry/"


def act(operation: str = "staff:1", change: Callable[[], Any] = lambda: 7, **fields: str) -> Any:
    fields = {"actor": "staff:sam", "action": "transfer", "target": "alice", "reason": "asked", **fields}
    return perform(operation=operation, change=change, **fields)  # type: ignore[arg-type]


def test_an_action_is_done_and_recorded_once(db: None) -> None:
    calls: list[int] = []
    assert act(change=lambda: calls.append(1)) is None
    with pytest.raises(AlreadyDone):
        act(change=lambda: calls.append(2))
    assert calls == [1]
    assert AuditEntry.objects.get().pk == "staff:1"


def test_the_same_action_twenty_times_at_once_is_done_once(in_threads: InThreads) -> None:
    def change() -> None:
        connection.database["usersNew"].update_one(
            {"_id": "alice"}, {"$inc": {"n": 1}}, upsert=True, session=connection.session
        )

    def run(index: int) -> str:
        try:
            act(change=change)
        except AlreadyDone:
            return "repeat"
        return "done"

    assert sorted(in_threads(20, run)) == ["done"] + ["repeat"] * 19
    assert connection.database["usersNew"].find_one()["n"] == 1


def test_a_refused_action_leaves_its_reason_and_no_change(db: None) -> None:
    def change() -> None:
        connection.database["usersNew"].insert_one({"_id": "half"}, session=connection.session)
        raise BillingError("Too little is there.")

    with pytest.raises(BillingError):
        act(change=change)
    entry = AuditEntry.objects.get()
    assert (entry.outcome, entry.error, entry.actor) == ("refused", "Too little is there.", "staff:sam")
    assert connection.database["usersNew"].count_documents({}) == 0
    assert act() == 7  # The same operation may be tried again.


def test_a_crash_records_nothing_and_changes_nothing(db: None) -> None:
    def change() -> None:
        connection.database["usersNew"].insert_one({"_id": "half"}, session=connection.session)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        act(change=change)
    assert AuditEntry.objects.count() == 0
    assert connection.database["usersNew"].count_documents({}) == 0


def test_entries_cannot_be_changed_or_deleted(admin_client: Client) -> None:
    record(actor="staff:sam", action="transfer", target="alice")
    entry = AuditEntry.objects.get(action="transfer")
    with pytest.raises(TypeError):
        entry.save()
    with pytest.raises(TypeError):
        entry.delete()
    address = f"{LIST}{entry.pk.replace(':', '_3A')}/change/"
    assert "alice" in page(admin_client, address)
    assert admin_client.post(address, {"actor": "x"}).status_code == 403
    assert admin_client.post(address.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert admin_client.get(f"{LIST}add/").status_code == 403


def test_the_list_shows_who_what_when_why_before_and_after(admin_client: Client) -> None:
    states = iter([{"openhands": "$1.00", "active": True}, {"openhands": "$2.00", "active": True}])
    perform(
        operation="staff:1",
        actor="staff:sam",
        action="transfer",
        target="alice",
        reason="asked <b>",
        change=lambda: None,
        read_state=lambda: next(states),
    )
    text = page(admin_client, LIST)
    assert "staff:sam transfer alice openhands: $1.00 → $2.00 asked &lt;b&gt; Done" in text
    assert '"active": true' in page(admin_client, f"{LIST}staff_3A1/change/").replace("&quot;", '"')


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"q": "alice"}, 1),
        ({"q": "sam"}, 2),
        ({"q": "staff:sam"}, 2),
        ({"q": "nobody"}, 0),
        ({"outcome__exact": "refused"}, 1),
        ({"action": "transfer"}, 2),
        ({"at_to": "2020-01-01"}, 0),
    ],
)
def test_search_and_filters(admin_client: Client, query: dict[str, str], count: int) -> None:
    record(actor="staff:sam", action="transfer", target="alice")
    with pytest.raises(BillingError):
        act(change=lambda: (_ for _ in ()).throw(BillingError("no")), target="bob")
    assert len(admin_client.get(LIST, query).context["cl"].result_list) == count


def test_edits_in_forms_are_recorded_with_old_and_new_values(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", role="user")
    admin_client.post("/admin/accounts/account/alice/change/", {"role": "priority", "discord_id": ""})
    assert AuditEntry.objects.exclude(action="log-in").count() == 0  # Nobody said why.
    form = {"role": "priority", "discord_id": "", "reason": "asked"}
    admin_client.post("/admin/accounts/account/alice/change/", form)
    entry = AuditEntry.objects.get(action="change account")
    assert (entry.actor, entry.target, entry.reason) == ("staff:admin", "alice", "asked")
    assert (entry.before, entry.after) == ({"role": "user"}, {"role": "priority"})
    assert "role: user → priority asked" in page(admin_client, "/admin/accounts/account/alice/history/")


def test_price_changes_are_recorded(admin_client: Client) -> None:
    ModelPrice.objects.filter(pk="test:audited").delete()
    ModelPrice(id="test:audited", model_id="audited", upstream="openhands", input_price=1, output_price=2).save()
    try:
        form = {"aliases": "[]", "input_price": "1", "output_price": "3", "multiplier": "1", "is_active": "on"}
        form["reason"] = "the upstream's new price"
        save(admin_client, "/admin/proxy/modelprice/test_3Aaudited/change/", form)
        entry = AuditEntry.objects.get(action="change model price")
        assert (entry.before["output_price"], entry.after["output_price"]) == ("2.00000000", "3")
        assert entry.reason == "the upstream's new price"
    finally:
        connection.database["model_pricing"].delete_one({"_id": "test:audited"})


def test_edits_of_staff_are_recorded_without_their_passwords(admin_client: Client) -> None:
    user = User.objects.create_user("sam", password="old", is_staff=True)
    roles = {group.name: group.pk for group in Group.objects.all()}
    address = f"/admin/auth/user/{user.pk}/"
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    form = {"username": "sam", "groups": [roles["Support"], roles["Viewer"]], "reason": "new colleague", **joined}
    admin_client.post(f"{address}change/", form)
    password = {"password1": "a-long-new-password", "password2": "a-long-new-password", "usable_password": "true"}
    admin_client.post(f"{address}password/", password)
    new = {"username": "sue", **password}
    admin_client.post("/admin/auth/user/add/", new)
    pks = list(User.objects.exclude(username="admin").values_list("pk", flat=True))
    selected = {"action": "delete_selected", "_selected_action": [str(pk) for pk in pks], "post": "yes"}
    admin_client.post("/admin/auth/user/", selected)
    entries = list(AuditEntry.objects.exclude(action="log-in").order_by("at"))
    assert [(entry.action, entry.target) for entry in entries] == [
        ("change user", "sam"),
        ("change user", "sam"),
        ("add user", "sue"),
        ("delete user", "sam"),
        ("delete user", "sue"),
    ]
    assert (entries[0].before["groups"], entries[0].after["groups"]) == ([], ["Support", "Viewer"])
    assert entries[0].reason == "new colleague"
    assert set(entries[1].after.values()) == {"changed"}
    assert "a-long-new" not in str([(entry.before, entry.after, entry.reason) for entry in entries])


def test_every_admin_records_its_edits() -> None:
    assert all(isinstance(model_admin, RecordedEdits) for model_admin in map(admin.site.get_model_admin, ADMIN_MODELS))


@pytest.mark.parametrize(
    ("address", "action", "target"),
    [
        ("accounts/account/add/", "add account", ""),
        ("accounts/account/a_2Fb/change/", "change account", "a/b"),
        ("accounts/ledgerentry/add/", "add ledger entry", ""),
        ("auth/user/", "action in the list of user", ""),
        ("support/do/account/a_2Fb/transfer/", "transfer", "a/b"),
        ("support/bulk/transfer/", "transfer", "alice, bob"),
        ("support/export/accounts/account/", "export", "Account"),
    ],
)
def test_every_refused_form_is_recorded(
    log_in: LogIn, insert_user: InsertUser, address: str, action: str, target: str
) -> None:
    insert_user("a/b")
    form = {"account": ["alice", "bob"], "username": "secret"}
    assert log_in("Viewer").post(f"/admin/{address}", form).status_code == 403
    entry = AuditEntry.objects.exclude(action="log-in").get()
    assert (entry.actor, entry.action, entry.target, entry.outcome) == ("staff:sam", action, target, "refused")


def test_log_ins_and_refused_log_ins_are_recorded(client: Client, db: None) -> None:
    User.objects.create_user("sam", password="right-password", is_staff=True)
    address = "/admin/login/"
    client.post(address, {"username": "sam", "password": "wrong"})
    client.post(address, {"username": "my-password-by-mistake", "password": "wrong"})
    client.post(address, {"username": "sam", "password": "right-password"})
    client.post("/admin/logout/")
    assert list(AuditEntry.objects.order_by("at").values_list("actor", "action", "outcome")) == [
        ("staff:sam", "log-in", "refused"),
        ("unknown name", "log-in", "refused"),
        ("staff:sam", "log-in", "done"),
        ("staff:sam", "log-out", "done"),
    ]
    assert "by-mistake" not in str(AuditEntry.objects.values_list())


def test_no_key_is_kept_whoever_wrote_it_where(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    key = key_of("alice")
    act("staff:1", reason=f"lost {key}", target=key)
    record(actor="staff:sam", action="x", target="alice", before={"note": [key]}, after={"note": {"deep": key}})

    def refuse() -> None:
        raise BillingError(f"no {key}")

    with pytest.raises(BillingError):
        act("staff:2", change=refuse)
    viewer = log_in("Viewer", "v")
    assert viewer.post(f"/admin/accounts/account/{key}/change/").status_code == 403
    assert viewer.post("/admin/support/accounts/disable/", {"account": [key]}).status_code in (403, 404)
    kept = str(list(AuditEntry.objects.values()))
    assert key[:16] in kept
    assert key[16:32] not in kept
