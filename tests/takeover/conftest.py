"""A database of the replaced system, of its own, on which commands run as an operator runs them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from tests.serving import ROOT

NAME = "test_takeover"


@pytest.fixture
def old(db: None) -> Iterator[Any]:
    """An empty database, beside the one of the tests."""
    database = connection.database.client[NAME]
    database.client.drop_database(NAME)
    yield database
    database.client.drop_database(NAME)


@pytest.fixture
def database(db: None) -> Iterator[Any]:
    """The database of the tests, without what the replaced system keeps in collections that are no model's."""
    yield connection.database
    for name in ("user_keys", "friend_keys"):
        connection.database.drop_collection(name)


def environment(**settings: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_NAME": NAME, **settings}


Manage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def manage(old: Any) -> Manage:
    """Run `manage.py` on that database: `manage("inspect", "--json")`."""

    def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment(**settings),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def contents(database: Any) -> dict[str, list[dict[str, Any]]]:
    """All documents by collection, but for the heart-beats of a server that serves other tests."""
    names = sorted(set(database.list_collection_names()) - {"serving_processes"})
    return {name: list(database[name].find().sort("_id")) for name in names}
