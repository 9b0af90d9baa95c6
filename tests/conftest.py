"""Fixtures for all tests: a fast cleanup between tests, and factories of documents as they really occur."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import TransactionTestCase, override_settings

from proxy.fake_upstream import FakeUpstream
from tests.serving import Server, serve

KEPT_APPS = {"contenttypes", "auth"}
KEPT_MODELS = {"modelprice"}
"""Prices are the same in all tests: a gunicorn that serves them caches them."""


def _empty_collections(self: TransactionTestCase) -> None:
    """Delete the documents of our collections. (Django's flush re-creates permissions each time: 0.25 s a test.)"""
    for model in apps.get_models():
        kept = model._meta.app_label in KEPT_APPS or model._meta.model_name in KEPT_MODELS
        if not kept or model._meta.model_name == "user":
            connection.database[model._meta.db_table].delete_many({})


@pytest.fixture(autouse=True, scope="session")
def _fast_teardown() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(TransactionTestCase, "_fixture_teardown", _empty_collections)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _fast_passwords() -> Iterator[None]:
    """Staff passwords of tests need no slow hash: 0.3 s a log-in."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture
def usersnew(db: None) -> Any:
    """The raw `usersNew` collection."""
    return connection.database["usersNew"]


@pytest.fixture
def insert_user(usersnew: Any) -> Callable[..., str]:
    """Insert a `usersNew` document exactly as given and return its name; its plain API key is `key_of(name)`."""

    def insert(username: str = "alice", **fields: Any) -> str:
        usersnew.insert_one({"_id": username, "apiKey": key_of(username), **fields})
        return username

    return insert


def key_of(username: str) -> str:
    """The plain API key that `insert_user` gave an account."""
    return "sk-trollllm-" + username.encode().hex().ljust(64, "0")[:64]


@pytest.fixture
def in_threads(db: None) -> Callable[[int, Callable[[int], Any]], list[Any]]:
    """Call a function with 0, 1, … n - 1 in that many threads at once and return the results."""

    def run(count: int, function: Callable[[int], Any]) -> list[Any]:
        barrier = Barrier(count)

        def call(index: int) -> Any:
            barrier.wait(timeout=30)
            try:
                return function(index)
            finally:
                connection.close()

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(call, range(count)))

    return run


@pytest.fixture(scope="session")
def upstream() -> Iterator[FakeUpstream]:
    """The fake upstream that both real ones are pointed at, over HTTP."""
    with FakeUpstream(api_key="upstream-key") as fake:
        yield fake


@pytest.fixture(scope="session")
def _gunicorn(
    upstream: FakeUpstream, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with django_db_blocker.unblock():
        from proxy.seed_prices import seed_prices

        seed_prices()
        with serve(tmp_path_factory.mktemp("gunicorn"), upstream_environment(upstream)) as server:
            yield server


@pytest.fixture
def server(_gunicorn: Server, upstream: FakeUpstream, db: None) -> Server:
    """gunicorn as it runs in production, one for the whole session; what reached the upstream is forgotten before."""
    upstream.clear()
    return _gunicorn


def upstream_environment(upstream: FakeUpstream) -> dict[str, str]:
    """The settings that point both upstreams at the fake one."""
    return {
        "OPENHANDS_BASE_URL": upstream.url,
        "OPENHANDS_API_KEY": "upstream-key",
        "OHMYGPT_BASE_URL": f"{upstream.url}/v1",
        "OHMYGPT_API_KEY": "upstream-key",
    }
