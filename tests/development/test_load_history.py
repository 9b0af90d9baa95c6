"""The invented history that the bench of the admin loads."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from accounts.models import LedgerEntry
from books.reconciliation import read_reconciliation
from development.invented_history import HEAVY, OPENHANDS_MODEL
from development.management.commands import load_history

COLLECTIONS = (
    "usersNew",
    "ledger_entries",
    "payments",
    "webhook_events",
    "audit_entries",
    "request_logs",
    "refused_requests",
)


def load(*options: str) -> str:
    written = StringIO()
    call_command("load_history", "--accounts=203", "--requests=101", *options, stdout=written)
    return written.getvalue()


def counts() -> list[int]:
    return [connection.database[name].count_documents({}) for name in COLLECTIONS]


@pytest.mark.django_db
def test_every_document_is_inserted_and_a_second_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_history, "BATCH", 10)
    connection.database["usersNew"].insert_one({"_id": "alice"})
    with override_settings(ENVIRONMENT="development"):
        load()
        # Each account has an entry; the heavy one has a tenth as many on top, and its two opening ones.
        assert counts() == [205, 225, 203, 101, 20, 111, 2]
        assert [result.drift for result in read_reconciliation(HEAVY)] == [0, 0]
        assert not LedgerEntry.objects.filter(kind="purchase", balance="ohmygpt").exists()
        assert not connection.database["request_logs"].find_one({"creditType": "ohmygpt", "model": OPENHANDS_MODEL})
        with pytest.raises(CommandError, match="--replace"):
            load()
        load("--replace")
    assert counts() == [205, 225, 203, 101, 20, 111, 2]


@pytest.mark.django_db
def test_production_is_never_filled() -> None:
    with override_settings(ENVIRONMENT="production"), pytest.raises(CommandError, match="production"):
        load("--replace")
