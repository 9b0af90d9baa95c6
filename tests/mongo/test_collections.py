"""The database's settings in every form of `DATABASE_URL`, and migrations that are complete."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from pymongo.uri_parser import parse_uri

from mongo.backend.base import DatabaseWrapper


def load_database(monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, Any]:
    """What the settings file makes of a DATABASE_URL."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.delenv("DATABASE_NAME", raising=False)
    database: dict[str, Any] = runpy.run_path(str(Path(settings.BASE_DIR) / "billing_site/settings.py"))["DATABASES"]
    return database["default"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mongodb://one.example", "billing"),
        ("mongodb://one.example:27017/sales?replicaSet=rs0", "sales"),
        ("mongodb://user:p%40ss@one.example:27017,two.example:27018,three.example/sales?replicaSet=rs0", "sales"),
        ("mongodb+srv://user:p%40ss@cluster.example/sales?retryWrites=true&w=majority", "sales"),
        ("mongodb+srv://cluster.example/?appName=x", "billing"),
    ],
)
def test_every_form_of_the_url_is_understood(monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    database = load_database(monkeypatch, url)
    assert (database["NAME"], database["HOST"]) == (name, url)
    # What the driver is given is the URL as it is; nothing connects, and no name is looked up.
    wrapper = DatabaseWrapper(settings.DATABASES["default"] | database)
    parameters = wrapper.get_connection_params()
    assert (parameters["host"], parameters["w"]) == (url, "majority")
    if "+srv" not in url:
        assert len(parse_uri(url)["nodelist"]) == url.count(",") + 1


@pytest.mark.django_db
def test_migrations_say_all_that_the_models_say() -> None:
    call_command("makemigrations", "--check", "--dry-run")
