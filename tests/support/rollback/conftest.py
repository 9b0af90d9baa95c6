"""What the commands of a roll-back are tried with: a database that no process serves."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts import processes

PROCESSES = "processes_of_this_test"
Tell = Callable[..., None]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def nothing_serves(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Servers of other tests beat in their own collection; here there are no processes but those that a test names."""
    connection.database[PROCESSES].delete_many({})
    connection.database["user_keys"].delete_many({})
    monkeypatch.setattr(processes, "COLLECTION", PROCESSES)
    settings.PROCESS_SILENT_SECONDS = 4.0


@pytest.fixture
def run() -> Run:
    """Run the command; returns its JSON. `fails`: it must exit with an error, too."""

    def call(*, fails: bool = False, **options: Any) -> dict[str, Any]:
        out = StringIO()
        if fails:
            with pytest.raises(CommandError):
                call_command("prepare_rollback", json=True, stdout=out, **options)
        else:
            call_command("prepare_rollback", json=True, stdout=out, **options)
        found: dict[str, Any] = json.loads(out.getvalue())
        return found

    return call


def counts(report: dict[str, Any], row: str) -> tuple[int, int, int]:
    found = report["rows"][row]
    return found["found"], found["done"], found["left"]


def document(username: str = "alice") -> dict[str, Any]:
    found: dict[str, Any] = connection.database["usersNew"].find_one({"_id": username})
    return found


def everything() -> dict[str, list[dict[str, Any]]]:
    names = ("usersNew", "user_keys", "payments", "request_logs", "ledger_entries", "audit_entries")
    return {name: list(connection.database[name].find().sort("_id", 1)) for name in names}
