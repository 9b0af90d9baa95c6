"""Direct writes only where they were tried: everywhere else the driver's own calls bill the same, with a warning."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from django.db import connection

from accounts.models import Account
from mongo.writer import TRIED_WITH
from proxy.models import RequestLog
from tests.proxy.requests import assert_reconciles, chat, post
from tests.serving import ROOT, Server

MONEY_TESTS = (
    "tests/accounts/test_holds.py",
    "tests/faults/test_every_end.py",
    "tests/mongo/test_transactions.py",
    "tests/proxy/billing/test_idempotency.py",
)
WARNING = "go through the driver's own calls"
OTHER_VERSION = "import pymongo\npymongo.version = '4.99.0'\n"
NAME_GONE = "import pymongo, sys, types\nsys.modules['pymongo.server_selectors'] = types.ModuleType('gone')\n"


def start_with(code: str, directory: Path) -> dict[str, str]:
    """The environment in which Python runs `code` before anything else."""
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(directory)}


@pytest.fixture
def opens_ledger() -> bool:
    return True


@pytest.mark.parametrize(
    ("settings", "code", "reason"),
    [
        ({"DIRECT_WRITES": "off"}, "", "DIRECT_WRITES is off"),
        ({}, OTHER_VERSION, f"tried with pymongo {TRIED_WITH}, and this is 4.99.0"),
        ({}, NAME_GONE, "cannot be imported (cannot import name 'writable_server_selector'"),
    ],
    ids=["switched off", "another version", "a name that is gone"],
)
def test_without_direct_writes_a_request_is_billed_the_same_and_each_process_says_why_once(
    serve_with: Callable[..., Server],
    insert_user: Callable[..., str],
    tmp_path: Path,
    settings: Mapping[str, str],
    code: str,
    reason: str,
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1", **settings, **start_with(code, tmp_path))
    response = post(server, chat())
    assert response.status == 200
    log = RequestLog.objects.get()
    assert (log.outcome, log.usage_source) == ("ok", "upstream")
    assert log.cost > 0
    assert Account.objects.get(pk="alice").credits_new == 1 - log.cost
    assert_reconciles()
    warnings = [line for line in server.log().splitlines() if WARNING in line]
    assert len(warnings) == 1
    assert " WARNING mongo.writer " in warnings[0]
    assert reason in warnings[0]


def test_a_sweeper_says_it_too_and_nothing_is_said_where_writes_are_direct(db: None, tmp_path: Path) -> None:
    def sweep(**environment: str) -> str:
        command = [sys.executable, "manage.py", "sweep"]
        environment["DATABASE_NAME"] = str(connection.settings_dict["NAME"])
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
        )
        return done.stderr

    assert sweep(**start_with(OTHER_VERSION, tmp_path)).count(WARNING) == 1
    assert sweep().count(WARNING) == 0


def test_the_version_that_is_installed_in_production_is_the_one_that_was_tried() -> None:
    assert f"pymongo=={TRIED_WITH}\n" in (ROOT / "requirements.txt").read_text()


def test_the_tests_of_money_pass_without_direct_writes_too() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *MONEY_TESTS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment | {"DIRECT_WRITES": "off"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
