"""What the commands of a roll-back are tried with: a database that no process serves."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from accounts import processes

PROCESSES = "processes_of_this_test"
Tell = Callable[..., None]


@pytest.fixture(autouse=True)
def nothing_serves(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Servers of other tests beat in their own collection; here there are no processes but those that a test names."""
    connection.database[PROCESSES].delete_many({})
    connection.database["user_keys"].delete_many({})
    monkeypatch.setattr(processes, "COLLECTION", PROCESSES)
    settings.PROCESS_SILENT_SECONDS = 4.0
