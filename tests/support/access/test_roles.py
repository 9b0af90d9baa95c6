"""Every screen and every action of the admin for each role, by direct POST too. What has no row here fails."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts.api_keys import create_key
from accounts.keys import hash_key, key_id
from accounts.models import Account, LedgerEntry
from books.reconciliation import reconcile_account
from payments import orders
from payments.models import Payment, Promotion, WebhookEvent
from proxy.models import ModelPrice, RefusedRequest, RequestLog
from support.actions.bulk import BULK_ACTIONS
from support.actions.dialogs import KINDS
from support.audit.trail import record
from support.models import AuditEntry, SecondFactor
from support.pages.exports import COLUMNS
from tests.conftest import key_of
from tests.factories import InsertUser, LogIn
from tests.support.conftest import ADMIN_MODELS, send_money

Roles = frozenset[str]

FRAGMENT = {"HX-Request": "true"}  # Dialogs answer with themselves alone.
STRANGERS = ("anonymous", "customer with a role")
STAFF = ("Viewer", "Support", "Billing admin", "Owner", "superuser")
ROLES = (*STRANGERS, *STAFF)
NOBODY: Roles = frozenset()
ALL: Roles = frozenset(STAFF)
SUPPORT = ALL - {"Viewer"}
BILLING = SUPPORT - {"Support"}
OWNER: Roles = frozenset({"Owner", "superuser"})
ROOT: Roles = frozenset({"superuser"})

# --- The table ---------------------------------------------------------------------------------------------------


def id_of_further(username: str) -> str:
    """The id of the second API key of an account of these tests."""
    return key_id(hash_key(key_of(f"further-{username}")))


class Rights(NamedTuple):
    """Who may do what with the documents of one model in its own screens."""

    view: Roles
    add: Roles = NOBODY
    change: Roles = NOBODY
    delete: Roles = NOBODY


MODELS: dict[type[Model], Rights] = {
    Account: Rights(view=ALL, add=BILLING, change=BILLING),
    LedgerEntry: Rights(view=ALL),
    Payment: Rights(view=ALL),
    WebhookEvent: Rights(view=ALL),
    Promotion: Rights(view=ALL, add=BILLING, change=BILLING),
    RequestLog: Rights(view=ALL),
    RefusedRequest: Rights(view=ALL),
    ModelPrice: Rights(view=ALL, add=BILLING, change=BILLING),
    AuditEntry: Rights(view=ALL),
    SecondFactor: Rights(view=ROOT, delete=ROOT),
    User: Rights(view=ROOT, add=ROOT, change=ROOT, delete=ROOT),
    Group: Rights(view=ROOT, add=ROOT, change=ROOT, delete=ROOT),
}
MODEL_VIEWS = {"changelist": "view", "change": "view", "history": "view", "add": "add", "delete": "delete"}
PAGES: dict[str, Roles] = {
    "admin:index": ALL,
    "admin:search": ALL,
    "admin:app_list": ALL,
    "admin:jsi18n": ALL,
    "admin:password_change": ALL,
    "admin:password_change_done": ALL,
    "admin:autocomplete": NOBODY,  # No form of ours uses it.
    "admin:auth_user_password_change": ROOT,
    "support:business": OWNER,
    "support:help": ALL,
    "support:search": ALL,
    "support:second_factor": ALL,
    "support:backup_codes": ALL,
    "support:timeline": ALL,
    "support:timeline_requests": ALL,
}
SEVERAL_PAGES = {"support:dialog", "support:bulk", "support:export"}  # One for each action, or each list.
NO_PAGES = {
    "admin:login",
    "admin:logout",
    "admin:view_on_site",
    "support:find_key",
    "support:save_filter",
    "support:delete_filter",
}
DIALOGS: dict[tuple[str, str], tuple[Roles, dict[str, str]]] = {
    ("account", "transfer"): (SUPPORT, {"source": "ohmygpt", "amount": "4"}),
    ("account", "adjust"): (BILLING, {"balance": "openhands", "direction": "add", "amount": "4"}),
    ("account", "expiry"): (BILLING, {"choice": "30"}),
    ("account", "disable"): (SUPPORT, {}),
    ("account", "enable"): (SUPPORT, {}),
    ("account", "clear-review"): (SUPPORT, {}),
    ("account", "rotate-key"): (SUPPORT, {}),
    ("account", "limits"): (SUPPORT, {"requests_per_minute": "5"}),
    ("account", "accept-drift"): (BILLING, {}),
    ("account", "note-account"): (SUPPORT, {}),
    ("account", "add-key"): (SUPPORT, {"name": "ci", "budget_period": "day"}),
    ("account", "change-key"): (SUPPORT, {"key": id_of_further("change-key"), "name": "new", "budget_period": "day"}),
    ("account", "disable-key"): (SUPPORT, {"key": id_of_further("disable-key")}),
    ("account", "enable-key"): (SUPPORT, {"key": id_of_further("enable-key")}),
    ("account", "replace-key"): (SUPPORT, {"key": id_of_further("replace-key")}),
    ("account", "delete-key"): (SUPPORT, {"key": id_of_further("delete-key")}),
    ("event", "match-event"): (SUPPORT, {}),
    ("event", "credit-event"): (SUPPORT, {"username": "alice", "amount": "7"}),
    ("event", "dismiss-event"): (SUPPORT, {}),
    ("event", "replay-event"): (SUPPORT, {}),
    ("event", "split-event"): (SUPPORT, {}),
    ("event", "note-event"): (SUPPORT, {}),
    ("event", "take-event"): (SUPPORT, {}),
    ("event", "release-event"): (SUPPORT, {}),
    ("payment", "record-refund"): (BILLING, {"amount": "25000", "reference": "FT1"}),
    ("site", "stop-purchasing"): (BILLING, {"notice": "Back at noon."}),
    ("site", "start-purchasing"): (BILLING, {"notice": ""}),
}
WHY = {"reason": "asked"}
PROMOTION = {
    **WHY,
    "percent": "20",
    "starts_at_0": "2026-11-01",
    "starts_at_1": "00:00:00",
    "ends_at_0": "2026-12-01",
    "ends_at_1": "00:00:00",
}
PRICE = {"aliases": "[]", "input_price": "2", "output_price": "9", "multiplier": "1", "is_active": "on", **WHY}
PASSWORD = "a-long-staff-password"
NEW_PASSWORD = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
JOINED = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
FORMS: dict[type[Model], tuple[dict[str, str], dict[str, str]]] = {
    Account: (
        {"username": "new", "role": "user", **WHY},
        {"role": "user", "discord_id": "123456789012345678", **WHY},
    ),
    Promotion: ({"name": "new", **PROMOTION}, {"name": "changed", **PROMOTION}),
    ModelPrice: ({"model_id": "new", "upstream": "ohmygpt", **PRICE}, {"display_name": "changed", **PRICE}),
    User: ({"username": "new", **NEW_PASSWORD}, {"username": "other", "email": "other@example.com", **JOINED, **WHY}),
    Group: ({"name": "temporary: new", **WHY}, {"name": "temporary: changed", **WHY}),
}

PREVIEWED = (Promotion, ModelPrice)
"""Whose forms show what they would change first, and save it when that is confirmed."""
DONE = "answered, and changed something"
ONLY_ANSWERED = "answered"

# --- What there is to see and to change --------------------------------------------------------------------------

Keys = dict[type[Model], str]


@pytest.fixture
def keys(insert_user: InsertUser, prices: None) -> Iterator[Keys]:
    """One document of each model, by its key; beside them an account of its own for each action."""
    insert_user("alice", credits=10, creditsNew=10)
    for kind, slug in DIALOGS:
        if kind == "account":
            review = {"reviewSince": timezone.now()} if slug == "clear-review" else {}
            insert_user(slug, credits=10, creditsNew=10, isActive=slug != "enable", **review)
            create_key(username=slug, name="further", new_key=key_of(f"further-{slug}"))
            if slug == "accept-drift":
                reconcile_account(slug)
                connection.database["usersNew"].update_one({"_id": slug}, {"$inc": {"credits": -3}})
            insert_user(f"bulk-{slug}", credits=10, creditsNew=10, isActive=slug != "enable")
    paid = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    event = send_money(str(paid.order_code))
    connection.database["request_logs"].insert_one({"_id": "r1", "userId": "alice", "createdAt": timezone.now()})
    connection.database["refused_requests"].insert_one(
        {"_id": "req_refused", "userId": "alice", "upstream": "openhands", "code": "x", "createdAt": timezone.now()}
    )
    record(actor="staff:other", action="export", target="Account")
    other = User.objects.create_user("other", password=PASSWORD, is_staff=True)
    now = timezone.now()
    fields = {"name": "Tet", "percent": 10, "starts_at": now, "ends_at": now + timedelta(days=1)}
    yield {
        Account: "alice",
        LedgerEntry: str(LedgerEntry.objects.all()[0].pk),
        Payment: str(paid.pk),
        WebhookEvent: str(event.pk),
        Promotion: str(Promotion.objects.create(**fields).pk),
        RequestLog: "r1",
        RefusedRequest: "req_refused",
        ModelPrice: str(ModelPrice.objects.all()[0].pk),
        AuditEntry: AuditEntry.objects.get(action="export").pk,
        SecondFactor: SecondFactor.objects.create(pk="x", username="gone", secret="A" * 32, confirmed_at=now).pk,
        User: str(other.pk),
        Group: str(Group.objects.create(name="temporary").pk),
    }
    Group.objects.filter(name__startswith="temporary").delete()


@pytest.fixture
def browser_of(log_in: LogIn) -> Callable[[str], Client]:
    """A browser of each role. The customer has every permission of a billing admin, and no access to the admin."""

    def run(role: str) -> Client:
        if role == "anonymous":
            return Client()
        client = log_in({"superuser": None, STRANGERS[1]: "Billing admin"}.get(role, role))
        if role in STRANGERS:
            User.objects.filter(username="sam").update(is_staff=False)
        return client

    return run


def model_address(model: type[Model], view: str, keys: Keys) -> str:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}"
    return reverse(name, args=() if view in ("changelist", "add") else (admin.utils.quote(keys[model]),))


def page_address(name: str, keys: Keys) -> str:
    args = {
        "admin:app_list": ("accounts",),
        "admin:auth_user_password_change": (keys[User],),
        "support:timeline": ("alice",),
        "support:timeline_requests": ("alice",),
    }
    query = {"admin:search": "?s=acc", "support:timeline_requests": "?first=2026-01-01&last=2026-01-02"}
    return reverse(name, args=args.get(name, ())) + query.get(name, "")


def dialog_address(kind: str, slug: str, key: str) -> str:
    return reverse("support:dialog", args=(kind, key, slug))


def export_address(model: type[Model]) -> str:
    return reverse("support:export", args=(model._meta.app_label, model._meta.model_name))


def screens(keys: Keys) -> dict[str, Roles]:
    """The address of every page, and who may see it."""
    example = {"account": "alice", "event": keys[WebhookEvent], "payment": keys[Payment], "site": "purchasing"}
    return (
        {
            model_address(model, view, keys): getattr(rights, right)
            for model, rights in MODELS.items()
            for view, right in MODEL_VIEWS.items()
        }
        | {page_address(name, keys): roles for name, roles in PAGES.items()}
        | {export_address(model): SUPPORT for model in COLUMNS}
        | {dialog_address(kind, slug, example[kind]): roles for (kind, slug), (roles, _) in DIALOGS.items()}
        | {
            reverse("support:bulk", args=(slug,)) + "?account=alice": DIALOGS["account", slug][0]
            for slug in BULK_ACTIONS
        }
    )


class Deed(NamedTuple):
    """Something that can be sent to the admin: where, what, who may, and what comes of it then."""

    address: str
    form: dict[str, str]
    roles: Roles
    needs_token: bool = False
    is_previewed: bool = False
    done: str = DONE


def dialog_deeds(keys: Keys) -> Iterator[Deed]:
    """Every action of a dialog, confirmed: each on a target of its own."""
    order = orders.create_order(account=Account.objects.get(pk="alice"), credits=20)
    two = [orders.create_order(account=Account.objects.get(pk="alice"), credits=20).pk for _ in range(2)]
    named = {"match-event": {"order": str(order.pk)}, "split-event": {"parts": f"{two[0]} 30000\n{two[1]} 20000"}}
    for (kind, slug), (roles, form) in DIALOGS.items():
        key = {"account": slug, "payment": keys[Payment], "site": "purchasing"}.get(kind) or str(send_money("x").pk)
        if slug == "release-event":
            WebhookEvent.objects.filter(pk=key).update(assigned_to="staff:other")
        sent = form | named.get(slug, {}) | {"reason": "asked", "confirm": "1"}
        done = (
            ONLY_ANSWERED if slug in ("note-event", "note-account") else DONE
        )  # The note is its own entry of the audit.
        yield Deed(dialog_address(kind, slug, key), sent, roles, needs_token=True, done=done)
        if kind == "account" and slug in BULK_ACTIONS:
            address = reverse("support:bulk", args=(slug,))
            yield Deed(f"{address}?account=bulk-{slug}", sent | {"account": f"bulk-{slug}"}, roles, needs_token=True)


def form_deeds(keys: Keys) -> Iterator[Deed]:
    """Every form of the admin itself: add, change and delete of each model."""
    for model, rights in MODELS.items():
        adding, changing = FORMS.get(model, ({}, {}))
        asks = model in PREVIEWED
        yield Deed(model_address(model, "add", keys), adding, rights.add, is_previewed=asks)
        yield Deed(model_address(model, "change", keys), changing, rights.change, is_previewed=asks)
        if model is User:
            yield Deed(page_address("admin:auth_user_password_change", keys), NEW_PASSWORD, ROOT)
        yield Deed(model_address(model, "delete", keys), {"post": "yes"}, rights.delete)


def other_deeds(keys: Keys) -> Iterator[Deed]:
    """What only looks; Django's own action that deletes what is selected in a list; and one's own password."""
    for model in COLUMNS:
        yield Deed(export_address(model), {}, SUPPORT, done=ONLY_ANSWERED)
    yield Deed(reverse("support:find_key"), {"key": key_of("alice")}, ALL, done=ONLY_ANSWERED)
    deletable: Keys = {
        User: str(User.objects.create_user("another").pk),
        Group: str(Group.objects.create(name="temporary: another").pk),
    }
    for model, rights in MODELS.items():
        selected = {"action": "delete_selected", "_selected_action": deletable.get(model, keys[model]), "post": "yes"}
        done = DONE if model in deletable else ONLY_ANSWERED
        yield Deed(model_address(model, "changelist", keys), selected, rights.view, done=done)
    own = {"old_password": "x", "new_password1": PASSWORD, "new_password2": PASSWORD}
    yield Deed(reverse("admin:password_change"), own, ALL)


# --- What happens ------------------------------------------------------------------------------------------------

Documents = dict[str, dict[Any, Any]]
NOT_COMPARED = {Session, ContentType, Permission}
GROWING = {model._meta.db_table for model in (AuditEntry, LogEntry)}


def documents() -> Documents:
    """The raw documents of every collection, by collection and key; one round trip, as this is read after each deed."""
    models = apps.get_models(include_auto_created=True)
    tables = [model._meta.db_table for model in models if model not in NOT_COMPARED]

    def all_of(table: str) -> list[dict[str, Any]]:
        return [{"$replaceWith": {"table": table, "document": "$$ROOT"}}]

    others = [{"$unionWith": {"coll": table, "pipeline": all_of(table)}} for table in tables[1:]]
    found: Documents = {table: {} for table in tables}
    for row in connection.database[tables[0]].aggregate([*all_of(tables[0]), *others]):
        found[row["table"]][row["document"]["_id"]] = row["document"]
    return found


def is_changed(before: Documents, after: Documents) -> bool:
    """Whether anything but new lines of the audit is different."""
    kept = {
        table: {key: found for key, found in rows.items() if table not in GROWING or key in before[table]}
        for table, rows in after.items()
    }
    return kept != before


def outcome(response: Any, *, changed: bool = False) -> str:
    """What a role was told, in a word; with what happened to the documents, if that is not what the word means."""
    status = response.status_code
    # A fragment cannot show the log-in: it sends the whole page there.
    address = response.headers.get("HX-Redirect") or (response["Location"] if status == 302 else "")
    if address.startswith(reverse("admin:login")):
        word = "sent to log in"
    else:
        word = {403: "refused", 200: "answered", 302: "answered"}.get(status, str(status))
    return f"{word}, and changed something" if changed else word


def expected(role: str, roles: Roles, done: str) -> str:
    if role in STRANGERS:
        return "sent to log in"
    return done if role in roles else "refused"


def token_of(response: Any) -> str:
    """The token of the form that a page holds, or ''."""
    found = re.search(r'name="token" value="([^"]+)"', response.content.decode())
    return found[1] if found else ""


def send(client: Client, deeds: Iterable[Deed]) -> dict[str, str]:
    """Send each deed and say what came of it. Who is given no token sends a superuser's: it is not refused for want of
    one.
    """
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    found = {}
    before = documents()
    for deed in deeds:
        form = dict(deed.form)
        if deed.needs_token:
            own, roots = (token_of(browser.get(deed.address, headers=FRAGMENT)) for browser in (client, root))
            assert roots, deed.address
            form["token"] = own or roots
            if "/bulk/" in deed.address:  # Only a preview's token is good for a confirmation.
                unconfirmed = {name: value for name, value in form.items() if name != "confirm"}
                form["token"] = token_of((client if own else root).post(deed.address, unconfirmed))
        if deed.is_previewed:
            roots = token_of(root.post(deed.address, form))
            assert roots, deed.address
            form |= {"token": roots, "confirm": "1"}
        response = client.post(deed.address, form)
        if deed.is_previewed and (own := token_of(response)):  # The other's preview is none of this session.
            response = client.post(deed.address, form | {"token": own})
        after = documents()
        found[deed.address] = outcome(response, changed=is_changed(before, after))
        before = after
    return found


# --- The tests ---------------------------------------------------------------------------------------------------


def names_of(patterns: Iterable[Any], namespace: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names_of(pattern.url_patterns, pattern.namespace or namespace)
        elif namespace in ("admin", "support") and pattern.name:
            yield f"{namespace}:{pattern.name}"


def test_every_screen_and_action_has_a_row() -> None:
    assert set(MODELS) == set(ADMIN_MODELS)
    model_pages = {
        f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}" for model in MODELS for view in MODEL_VIEWS
    }
    assert set(names_of(get_resolver().url_patterns)) == model_pages | set(PAGES) | SEVERAL_PAGES | NO_PAGES
    assert set(DIALOGS) == {(name, slug) for name, kind in KINDS.items() for slug in kind.actions}


@pytest.mark.parametrize("role", ROLES)
def test_every_screen_is_shown_to_whom_it_is_for(browser_of: Callable[[str], Client], keys: Keys, role: str) -> None:
    client = browser_of(role)
    found = {address: outcome(client.get(address, headers=FRAGMENT)) for address in screens(keys)}
    assert found == {address: expected(role, roles, ONLY_ANSWERED) for address, roles in screens(keys).items()}


@pytest.mark.parametrize("role", ROLES)
def test_everything_is_done_by_whom_it_is_for(browser_of: Callable[[str], Client], keys: Keys, role: str) -> None:
    client = browser_of(role)
    deeds = [*dialog_deeds(keys), *form_deeds(keys), *other_deeds(keys)]
    found = send(client, deeds)
    assert found == {deed.address: expected(role, deed.roles, deed.done) for deed in deeds}
    refused = AuditEntry.objects.filter(outcome="refused", actor="staff:sam", error="No permission")
    assert refused.count() == list(found.values()).count("refused")
