"""The whole cycle: a few customers of every kind here, ten thousand by `make takeover`."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts import processes
from tests.takeover.cycle import Cycle
from tests.takeover.deeds import Clock
from tests.takeover.model import CONVERTING, GENEROUS, STRICT

ACCOUNTS = int(os.environ.get("TAKEOVER_ACCOUNTS") or 110)
SEEDS = [int(os.environ["TAKEOVER_SEED"])] if os.environ.get("TAKEOVER_SEED") else [1]
DECISIONS = (STRICT, GENEROUS, CONVERTING)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_customer_gains_or_loses_a_cent_in_the_whole_cycle(
    database: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any, seed: int
) -> None:
    clock, started = Clock(), time.monotonic()
    monkeypatch.setattr(timezone, "now", clock)
    connection.database["processes_of_this_test"].delete_many({})
    monkeypatch.setattr(processes, "COLLECTION", "processes_of_this_test")
    decisions = DECISIONS[seed % len(DECISIONS)]
    cycle = Cycle(database, clock, size=ACCOUNTS, seed=seed, decisions=decisions, files=tmp_path, say=print)
    print(f"\n{ACCOUNTS} accounts, seed {seed}, {decisions}")
    cycle.run()
    print(f"{len(cycle.customers)} customers, each as the model says: {(time.monotonic() - started) / 60:.1f} minutes")
