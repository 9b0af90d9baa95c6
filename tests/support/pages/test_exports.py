"""CSV exports: what is filtered, nothing secret, nothing that a spreadsheet runs."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from support.models import AuditEntry
from support.pages import exports
from support.pages.csv_export import cell, stream_csv
from tests.conftest import key_of
from tests.factories import InsertUser, LogIn


def export(client: Client, path: str) -> list[list[str]]:
    response: Any = client.get(f"/admin/support/export/{path}")
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1+1", "' =1+1"),
        ("  \t +1", "'  \t +1"),
        ("\n=1", "'\n=1"),
        ("\r\n@SUM(A1)", "'\r\n@SUM(A1)"),
        ("\n plain", "'\n plain"),
        ("\x0b=1", "'\x0b=1"),
        ("\xa0=1", "'\xa0=1"),
        ("\u200b=1", "'\u200b=1"),
        ("\ufeff-1", "'\ufeff-1"),
        ("\u3000\uff1d1", "'\u3000\uff1d1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("\uff0d1", "'\uff0d1"),
        ("\uff20SUM(A1)", "'\uff20SUM(A1)"),
        ("\ufe631", "'\ufe631"),
        ("\u22121", "'\u22121"),
        ('"=1+1"', '\'"=1+1"'),
        (" alice", " alice"),
        ("a=1", "a=1"),
        ("", ""),
        ("alice", "alice"),
        (None, ""),
        (True, "yes"),
        (7, 7),
        (Decimal("-0.5"), "-0.50000000"),
        (Decimal("1E-8"), "0.00000001"),
        (datetime(2026, 11, 20, tzinfo=UTC), "2026-11-20T00:00:00+00:00"),
    ],
)
def test_cells(value: object, written: object) -> None:
    assert cell(value) == written


def test_rows_are_written_as_they_are_read() -> None:
    read: list[int] = []

    def rows() -> Any:
        for index in range(3):
            read.append(index)
            yield [index]

    lines = stream_csv(["a"], rows())
    assert next(lines) == "\ufeffa\r\n"
    assert next(lines) == "0\r\n"
    assert read == [0]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_no_other_separator_divides_a_cell(separator: str) -> None:
    _, line = stream_csv(["a", "b"], [[f"x{separator}=1+1", 7]])
    assert line == f'"x{separator}=1+1","7"\r\n'


def test_no_cell_of_an_export_is_a_formula(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user(" \n=HYPERLINK(1)", role="\uff1dcmd")
    _, row = export(admin_client, "accounts/account/")
    assert row[:2] == ["' \n=HYPERLINK(1)", "'\uff1dcmd"]


def test_an_export_holds_what_is_filtered(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", credits=5, isActive=False)
    insert_user("bob", creditsNew=2.5, discordId="123456789012345678")
    header, *rows = export(admin_client, "accounts/account/?status=disabled")
    assert header[0] == "username"
    assert [row[0] for row in rows] == ["alice"]
    _, row = export(admin_client, "accounts/account/?q=bo")
    assert row[3] == "2.50000000"
    assert AuditEntry.objects.filter(action="export", target="Account").count() == 2


def test_an_export_that_is_cut_says_so(
    admin_client: Client, insert_user: InsertUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob", "carol"):
        insert_user(name)
    monkeypatch.setattr(exports, "MAX_ROWS", 3)
    assert [row[0] for row in export(admin_client, "accounts/account/")[1:]] == ["alice", "bob", "carol"]
    monkeypatch.setattr(exports, "MAX_ROWS", 2)
    (last,) = export(admin_client, "accounts/account/")[3:]
    assert last == ["The export ends here, after 2 rows; there are more. Narrow the list by its filters."]


def test_exports_hold_no_key_and_no_hash(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", apiKeyHash="f" * 64)
    connection.database["request_logs"].insert_one({"_id": "r1", "userKeyId": key_of("alice"), "userId": "alice"})
    for path in ("accounts/account/", "proxy/requestlog/"):
        text = str(export(admin_client, path))
        assert key_of("alice") not in text
        assert "f" * 64 not in text


def test_an_export_that_is_refused_repeats_no_key(admin_client: Client, insert_user: InsertUser) -> None:
    insert_user("alice")
    for name in ("status", "credits_from", "nonsense"):
        address = f"/admin/support/export/accounts/account/?{name}={key_of('alice')}"
        response = admin_client.get(address)
        assert response.status_code == 302
        shown = admin_client.get(response["Location"])
        for text in (response["Location"], str(response.cookies), shown.content.decode()):
            assert key_of("alice")[:20] not in text
        assert "Nothing was exported. " in shown.content.decode()


@pytest.mark.parametrize(("path", "name"), [("accounts/account/", "q"), ("proxy/requestlog/", "model")])
def test_no_whole_key_of_an_address_is_kept(
    admin_client: Client, insert_user: InsertUser, path: str, name: str
) -> None:
    insert_user("alice")
    export(admin_client, f"{path}?{name}={key_of('alice')}")
    assert AuditEntry.objects.get(action="export").reason == f"{name}={key_of('alice')[:16]}…"


@pytest.mark.parametrize(
    "written",
    [
        "q=%20{key}",
        "q=Bearer+{key}",
        "q=key:{key},",
        "q=alice&q={key}",
        "{key}=1",
        "q={upper}",
        "q={random}",
        "q=" + 480 * "x" + "+{key}",
        "q={odd}",
        "q=+{odd}+bob",
    ],
)
def test_no_key_is_kept_wherever_it_stands_in_the_address(
    admin_client: Client, insert_user: InsertUser, written: str
) -> None:
    key, odd = key_of("alice"), "Old.Key!2019"
    insert_user("alice")
    insert_user("old", apiKey=odd)
    address = written.format(key=key, upper=key.upper(), random=key.removeprefix("sk-trollllm-"), odd=odd)
    admin_client.get(f"/admin/support/export/accounts/account/?{address}")
    for entry in AuditEntry.objects.exclude(action="log-in"):
        assert key[16:32].lower() not in entry.reason.lower()
        assert odd not in entry.reason


@pytest.mark.parametrize(
    "path",
    [
        "accounts/account/",
        "accounts/ledgerentry/",
        "payments/payment/",
        "payments/webhookevent/",
        "proxy/requestlog/",
        "support/auditentry/",
    ],
)
def test_every_role_exports_only_what_it_may(log_in: LogIn, path: str) -> None:
    assert log_in("Viewer", "v").get(f"/admin/support/export/{path}").status_code == 403
    entry = AuditEntry.objects.get(action="export")
    assert (entry.actor, entry.outcome) == ("staff:v", "refused")
    assert entry.target.lower() == path.split("/")[1]
    assert export(log_in("Support", "s"), path)[0]


def test_what_is_no_list_cannot_be_exported(admin_client: Client) -> None:
    assert admin_client.get("/admin/support/export/auth/user/").status_code == 404
