"""Adopted documents that hold any BSON type in any field: nothing fails for anybody else, and nothing is a traceback.

Each field of each adopted collection goes through each value of `tests/odd_values.py`, all of them together; beside
them stand a healthy account, its payments, its requests and a healthy price, for which nothing may change.
"""

import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pymongo.errors import BulkWriteError

from accounts.models import Account
from accounts.needs_repair import HARMFUL
from billing_site.jobs import JOBS
from books.daily_figures import count_day
from books.reconciliation import reconcile_account
from books.timeline import read_timeline
from mongo.each_item import SomeFailed
from payments.models import Payment
from proxy.models import ModelPrice, RequestLog
from support.admin.base import BigCollectionAdmin
from support.admin.display import TOO_LONG, document_key
from tests.conftest import key_of
from tests.factories import InsertUser
from tests.odd_values import NOT_AN_ID, VALUES
from tests.proxy.requests import CHAT, chat
from tests.serving import Server

pytestmark = pytest.mark.usefixtures("odd_documents")

DUPLICATE_KEY = 11000
NOW = timezone.now()
NOON = NOW - timedelta(hours=1)
ADDRESSES = {
    Account: "accounts/account",
    Payment: "payments/payment",
    RequestLog: "proxy/requestlog",
    ModelPrice: "proxy/modelprice",
}
FILTERS = {
    Account: (
        "?q=odd&o=5",
        "?expiry=soon",
        "?expiry=expired",
        "?expiry=never",
        "?expiry=valid",
        "?status=active",
        "?status=disabled",
        "?status=review",
        "?openhands=debt",
        "?openhands=zero",
        "?openhands=some",
        "?ohmygpt=20",
        "?credits_from=1&credits_to=50",
        "?q=12345678901234567",
        "?q=sk-trollllm-",
        "?unreadable=any",
    ),
    Payment: ("?q=odd", "?status__exact=success", "?created_at_from=2026-01-01", "?q=alice", "?unreadable=any"),
    RequestLog: (
        "?q=alice",
        "?upstream=openhands",
        "?upstream=ohmygpt",
        "?model=sonnet",
        "?result=failed",
        "?result=ok",
        "?created_at_from=2026-01-01&created_at_to=2027-01-01",
        "?unreadable=any",
    ),
    ModelPrice: ("?q=odd", "?upstream__exact=openhands", "?unreadable=any"),
}


def healthy(model: type[Model]) -> dict[str, Any]:
    """A document of the replaced system's kind with nothing odd in it."""
    if model is Account:
        return {"creditsNew": 5.0, "credits": 5, "expiresAt": NOW + timedelta(days=3), "isActive": True, "role": "user"}
    if model is Payment:
        return {
            "userId": "alice",
            "credits": 20,
            "amount": 50_000,
            "orderCode": "TROLL20",
            "status": "success",
            "paymentMethod": "sepay",
            "createdAt": NOON,
            "completedAt": NOON,
        }
    if model is RequestLog:
        return {
            "userId": "alice",
            "model": "sonnet",
            "creditType": "openhands",
            "creditsCost": 0.5,
            "hold": 1.0,
            "inputTokens": 3,
            "outputTokens": 4,
            "isSuccess": True,
            "statusCode": 200,
            "createdAt": NOON,
        }
    return {"inputPricePerMTok": 2, "outputPricePerMTok": 8.0, "createdAt": NOON}


def columns_of(model: type[Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields if field.column != "_id"]


def one_odd_field(model: type[Model], *, every: int = 1) -> Iterator[dict[str, Any]]:
    """A healthy document with one odd value, for every field and value; or for each field every so many of them."""
    for number, column in enumerate(columns_of(model)):
        for name, value in list(VALUES.items())[number % every :: every]:
            document = healthy(model) | ({"modelId": f"odd-{column}-{name}"} if model is ModelPrice else {})
            if model is Account:
                document["apiKey"] = key_of(f"{column}-{name}")
            if model is Payment:
                document["orderCode"] = f"{column}-{name}"
            key: Any = f"odd-{column}-{name}"
            yield document | {"_id": ObjectId() if model is Payment else key, column: value}


def all_odd(model: type[Model]) -> Iterator[dict[str, Any]]:
    """A document whose every field holds the same odd value, for every value; and every odd `_id`."""
    for name, value in VALUES.items():
        columns = columns_of(model)
        if isinstance(value, list):  # No index holds two arrays of one document.
            columns = [column for column in columns if column not in ("userId", "createdAt", "creditType", "hold")]
            columns = [column for column in columns if column not in ("providerTransactionId", "status", "apiKeyHash")]
            columns = [column for column in columns if column not in ("creditsCost", "modelId", "expiresAt", "credits")]
            columns = [column for column in columns if column not in ("keyHashes", "uncollected")]
        document = dict.fromkeys(columns, value)
        if model is Account:
            document["apiKey"] = key_of(f"all-{name}")
            document.pop("apiKeyHash", None)
        if model is Payment:
            document.pop("rate", None)
            document.pop("provider", None)
            document.pop("transferKey", None)
        if model is ModelPrice:
            document.pop("upstream", None)
        yield document | {"_id": f"all-{name}"}
        if name not in NOT_AN_ID:
            key = key_of(f"id-{name}")
            yield healthy(model) | {"_id": value} | ({"apiKey": key} if model is Account else {})


def insert(model: type[Model], documents: Iterator[dict[str, Any]]) -> int:
    """Insert what the server's own indexes allow; returns how many that were."""
    try:
        collection = connection.database[model._meta.db_table]  # type: ignore[attr-defined]
        return len(collection.insert_many(list(documents), ordered=False).inserted_ids)
    except BulkWriteError as error:
        if any(problem["code"] != DUPLICATE_KEY for problem in error.details["writeErrors"]):
            raise
        return int(error.details["nInserted"])


@pytest.fixture
def healthy_world(insert_user: InsertUser, prices: None) -> None:
    insert_user("alice", **healthy(Account))
    reconcile_account("alice")
    logs = connection.database["request_logs"]  # type: ignore[attr-defined]
    logs.insert_one(healthy(RequestLog) | {"_id": "req_alice", "hold": None})
    connection.database["payments"].insert_one(healthy(Payment))  # type: ignore[attr-defined]


@pytest.fixture
def odd_world(healthy_world: None) -> None:
    for model in ADDRESSES:
        insert(model, one_odd_field(model, every=5))
        insert(model, all_odd(model))


class Failures:
    """What went wrong, all of it: one run tells everything."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.found: list[str] = []
        self.caplog = caplog

    def note(self, where: str, what: object) -> None:
        self.found.append(f"{where}: {str(what)[:2000]}")

    def tell(self) -> None:
        assert not self.found, f"{len(self.found)} failures:\n" + "\n".join(self.found[:60])

    def get(self, client: Client, address: str) -> str:
        """The text of a page that must be there, or lead to one."""
        self.caplog.clear()
        try:
            response = client.get(address)
            parts = response.streaming_content if response.streaming else [response.content]  # type: ignore[attr-defined]
            body = b"".join(parts).decode()
        except Exception as error:  # Whatever a page raises is what is looked for.
            self.note(address, repr(error))
            return ""
        if response.status_code not in (200, 302):
            self.note(address, response.status_code)
        self.check_log(address)
        return body

    def check_log(self, where: str) -> None:
        """No traceback was logged."""
        for record in self.caplog.records:
            if record.exc_info and record.levelno >= logging.WARNING:
                self.note(where, f"traceback: {record.exc_info[1]!r}")
                break
        self.caplog.clear()


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> Failures:
    return Failures(caplog)


def test_every_list_filter_and_export(
    admin_client: Client, odd_world: None, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model, address in ADDRESSES.items():
        monkeypatch.setattr(BigCollectionAdmin, "list_per_page", 30)
        for query in ("", *FILTERS[model]):
            failures.get(admin_client, f"/admin/{address}/{query}")
        failures.get(admin_client, f"/admin/{address}/?p=3")
        if model is ModelPrice:
            continue
        exported = failures.get(admin_client, f"/admin/support/export/{address}/")
        stored = connection.database[model._meta.db_table].count_documents({})  # type: ignore[attr-defined]
        if exported.count("\n") < stored + 1:
            failures.note(f"export of {address}", f"{exported.count(chr(10))} lines of {stored} documents")
        if "alice" not in exported:
            failures.note(f"export of {address}", "alice is not in it")
    failures.tell()


def test_every_row_and_page_of_odd_documents(
    admin_client: Client, healthy_world: None, failures: Failures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BigCollectionAdmin, "list_per_page", 150)
    for model, address in ADDRESSES.items():
        count = insert(model, all_odd(model))
        body = failures.get(admin_client, f"/admin/{address}/")
        if body.count('name="_selected_action"') + body.count("/change/") < count:
            failures.note(address, f"not all of {count} rows are listed and linked")
        links = {part.partition('"')[0] for part in body.split(f'href="/admin/{address}/')[1:]}
        pages = sorted(link for link in links if "/change/" in link)
        for link in pages[:: 3 if model is Account else 9]:
            response_body = failures.get(admin_client, f"/admin/{address}/{link}")
            if "<form" not in response_body and not link.startswith(("~too-long/", "~long-")):
                failures.note(f"{address}/{link[:80]}", "this page is not there")
        if "unreadable" not in body and model is not ModelPrice:
            failures.note(address, "nothing is shown as unreadable")
    for account in connection.database["usersNew"].find({}, {"_id": 1}):  # type: ignore[attr-defined]
        name = document_key(account["_id"])
        if type(account["_id"]) is str and account["_id"] and name != TOO_LONG:
            failures.get(admin_client, reverse("support:timeline", args=(name,)))
    failures.tell()


def test_every_job_and_command(odd_world: None, failures: Failures) -> None:
    for name, job in JOBS.items():
        try:
            job()
        except SomeFailed:
            pass
        except Exception as error:
            failures.note(name, repr(error))
        failures.check_log(name)
    output, errors = StringIO(), StringIO()
    try:
        call_command("reconcile", stdout=output, stderr=errors)
    except CommandError:
        pass
    except Exception as error:
        failures.note("reconcile", repr(error))
    failures.check_log("reconcile")
    count = connection.database["usersNew"].count_documents({})  # type: ignore[attr-defined]
    if not output.getvalue() or int(output.getvalue().split()[0]) > 2 * count:
        failures.note("reconcile", output.getvalue())
    for command in ("check",):
        call_command(command, stdout=StringIO(), stderr=StringIO())
    failures.tell()


def figures_of_alice(server: Server) -> list[object]:
    figures: list[object] = []
    for path in ("/v1/balance", "/v1/usage", "/v1/usage?group=model", "/v1/requests/req_alice"):
        response = ask(server, path, "alice")
        figures.append((response.status, response.json()))
    figures.append([result.drift for result in reconcile_account("alice")])
    return figures


def ask(
    server: Server, path: str, username: str, method: str = "GET", base: str | None = None, body: Any = None
) -> Any:
    headers = {"Authorization": f"Bearer {key_of(username)}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    return server.http.request(method, (base or server.openhands) + path, headers=headers, body=data, timeout=30)


def test_what_a_healthy_account_sees_does_not_change(
    server: Server, admin_client: Client, healthy_world: None, failures: Failures
) -> None:
    before = figures_of_alice(server)
    day = count_day(day=NOW.date())
    for model in ADDRESSES:
        documents = [*one_odd_field(model, every=2), *all_odd(model)]
        for document in documents:
            if document.get("userId") == "alice":
                document["userId"] = "bob"
        insert(model, iter(documents))
    try:
        after = figures_of_alice(server)
        if after != before:
            failures.note("figures of alice", f"{before} became {after}")
    except Exception as error:
        failures.note("figures of alice", repr(error))
    for path in ("/v1/models", "/api/payment/history", "/api/payment/history-paginated", "/api/payment/user-stats"):
        response = ask(server, path, "alice", base=server.site if path.startswith("/api") else None)
        if response.status != 200:
            failures.note(path, (response.status, response.data[:200]))
    response = ask(server, CHAT, "alice", "POST", body=chat())
    if response.status != 200:
        failures.note("chat", response.data[:200])
    try:
        again = count_day(day=NOW.date(), is_patient=True)
        if again["ledger"] != day["ledger"]:
            failures.note("figures of the day", again)
    except Exception as error:
        failures.note("figures of the day", repr(error))
    failures.get(admin_client, "/admin/")
    failures.tell()


def test_odd_requests_and_payments_of_a_healthy_account(
    server: Server, admin_client: Client, healthy_world: None, failures: Failures
) -> None:
    insert(RequestLog, one_odd_field(RequestLog))
    insert(Payment, one_odd_field(Payment))
    for path in ("/v1/usage", "/v1/usage?group=model", *(f"/v1/requests/odd-model-{name}" for name in VALUES)):
        response = ask(server, path, "alice")
        if response.status != 200 or b"NaN" in response.data:
            failures.note(path, (response.status, response.data[:200]))
    for column in columns_of(RequestLog):
        for name in ("object", "nan", "year-9999", "after-all-years", "binary", "max-key"):
            response = ask(server, f"/v1/requests/odd-{column}-{name}", "alice")
            if response.status != (200 if column != "userId" else 404):
                failures.note(f"receipt of odd {column}: {name}", (response.status, response.data[:200]))
    for path in ("history", "history-paginated?limit=100", "history-paginated?limit=100&page=5", "user-stats"):
        response = ask(server, f"/api/payment/{path}", "alice", base=server.site)
        if response.status != 200:
            failures.note(path, (response.status, response.data[:200]))
    ids = [row["_id"] for row in connection.database["payments"].find({"userId": "alice"}, {"_id": 1})]  # type: ignore[attr-defined]
    for key in ids[::5]:
        response = ask(server, f"/api/payment/{key}/status", "alice", base=server.site)
        if response.status != 200:
            failures.note("status", (response.status, response.data[:200]))
    failures.get(admin_client, "/admin/support/accounts/alice/timeline/")
    try:
        read_timeline(username="alice")
        count_day(day=NOW.date(), is_patient=True)
    except Exception as error:
        failures.note("books", repr(error))
    failures.get(admin_client, "/admin/")
    failures.tell()


def test_every_api_for_the_odd_account_itself(server: Server, healthy_world: None, failures: Failures) -> None:
    logged_before = len(server.log())  # Other tests use this server, too.
    accounts = connection.database["usersNew"]  # type: ignore[attr-defined]
    insert(Account, one_odd_field(Account))
    insert(Account, all_odd(Account))
    harmful = {str(Account._meta.get_field(name).column) for name in HARMFUL}  # type: ignore[union-attr]
    few = ("text", "nan", "array", "after-all-years", "object", "max-key")
    columns = [column for column in columns_of(Account) if column != "apiKey"]
    names = [f"{column}-{name}" for column in columns for name in (VALUES if column in harmful else few)]
    names += [f"{kind}-{name}" for kind in ("all", "id") for name in VALUES]
    before = {str(document["apiKey"]): document for document in accounts.find({})}
    for name in names:
        response = ask(server, CHAT, name, "POST", body=chat())
        if response.status not in (200, 401, 402, 403, 429):
            failures.note(f"chat of {name}", (response.status, response.data[:200]))
        if name.startswith(("all-", "id-")):
            for path in ("/v1/balance", "/v1/models", "/v1/usage", "/api/payment/history"):
                response = ask(server, path, name, base=server.site if path.startswith("/api") else None)
                if response.status not in (200, 401, 403):
                    failures.note(f"{path} of {name}", (response.status, response.data[:200]))
            order = {"credits": 20, "method": "sepay"}
            response = ask(server, "/api/payment/checkout", name, "POST", base=server.site, body=order)
            if response.status not in (200, 401, 403, 503):
                failures.note(f"checkout of {name}", (response.status, response.data[:200]))
    for document in accounts.find({}):
        old = before[str(document["apiKey"])]
        for column in ("creditsNew", "credits", "expiresAt", "isActive", "holds"):
            if type(document.get(column)) is not type(old.get(column)) and not isinstance(
                old.get(column), int | Decimal128 | type(None)
            ):
                failures.note(f"{document['_id']}", f"{column} was {old.get(column)!r}, is {document.get(column)!r}")
    if "Traceback" in (log := server.log()[logged_before:]):
        failures.note("gunicorn", log[max(log.index("Traceback") - 300, 0) :])
    failures.tell()
