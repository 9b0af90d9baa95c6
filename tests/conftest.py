"""Fixtures for all tests: a fast cleanup between tests, and factories of documents as they really occur."""

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import hypothesis
import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client, TransactionTestCase, override_settings
from pymongo.write_concern import WriteConcern

from books.reconciliation import reconcile_account
from development.fake_upstream.server import FakeUpstream
from mongo.collections import collection_of
from proxy.billing.seed_prices import seed_prices
from proxy.models import ModelPrice
from tests.balance_watch import ROOT, BalanceWatch
from tests.factories import InsertUser, InThreads, LogIn, ServeWith
from tests.serving import Server, serve

hypothesis.settings.register_profile(
    # Whether an example is made in time says how busy the machine is, and nothing about what is tested.
    "any machine",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("any machine")

KEPT_APPS = {"contenttypes", "auth"}
LONGEST_FIRST = [
    ROOT / "tests" / name
    for name in (
        "e2e/test_admin_browser.py",
        "e2e/test_accessibility.py",
        "development/test_run.py",
        "e2e/test_admin_questions.py",
        "support/access/test_roles.py",
        "faults/test_campaign.py",
        "faults/test_crash.py",
        "faults/test_frozen_database.py",
        "faults/test_processes.py",
        "takeover/test_cycle.py",
        "e2e/test_admin_dialogs.py",
        "payments/inbox/test_faults.py",
        "proxy/relay/test_large_answer.py",
        "development/test_mongod.py",
        "support/admin/test_query_plans.py",
        "mongo/test_choice_of_writer.py",
        "upgrade/test_upgrade.py",
        "mongo/backend/test_adoption.py",
        "payments/inbox/test_outage.py",
        "e2e/test_concurrency.py",
    )
]
"""Files of few tests that take long; after them those of many. The last to start would keep processors waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    assert [path for path in LONGEST_FIRST if not path.exists()] == []
    sizes = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int, Path]:
        path = item.path
        return LONGEST_FIRST.index(path) if path in LONGEST_FIRST else len(LONGEST_FIRST), -sizes[path], path

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What has been imported stays: the garbage collector need not look through it again all the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


OF_THE_REPLACED_SYSTEM = ("user_keys", "friend_keys")
"""Collections that are no model's, and that keys are looked for in."""


def _empty_collections(self: TransactionTestCase) -> None:
    """Delete the documents of our collections. (Django's flush re-creates permissions each time: 0.25 s a test.)

    One command finds those that hold any. Nothing reads them any more, so nobody waits until the journal is on disk.
    """
    database = connection.database.with_options(write_concern=WriteConcern(w=1, j=False))
    pipeline: list[dict[str, Any]] = [{"$documents": []}]
    emptied = [
        model._meta.db_table
        for model in apps.get_models()
        if model._meta.app_label not in KEPT_APPS or model._meta.model_name == "user"
    ]
    for name in (*emptied, *OF_THE_REPLACED_SYSTEM):
        first = [{"$limit": 1}, {"$project": {"_id": 0, "name": {"$literal": name}}}]
        pipeline.append({"$unionWith": {"coll": name, "pipeline": first}})
    for found in database.aggregate(pipeline):
        database[found["name"]].delete_many({})


@pytest.fixture(autouse=True, scope="session")
def _fast_teardown() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(TransactionTestCase, "_fixture_teardown", _empty_collections)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def _fast_first_request() -> Iterator[None]:
    """A test's client looks for a static file when one is asked for, not for all of them at its first request."""
    with override_settings(WHITENOISE_AUTOREFRESH=True):
        yield


@pytest.fixture(autouse=True, scope="session")
def _fast_passwords() -> Iterator[None]:
    """Staff passwords of tests need no slow hash: 0.3 s a log-in."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


UNWATCHED = ("tests/mongo", "tests/faults", "tests/accounts/test_holds.py", "tests/e2e/test_concurrency.py")
"""Tests of the short way to write: with a listener, the driver sends each command the long way."""


@pytest.fixture(autouse=True, scope="module")
def watch_balances(request: pytest.FixtureRequest) -> Iterator[BalanceWatch | None]:
    """Fails a module during whose tests anything but `accounts/credits` wrote a balance; None where nothing watches."""
    if str(request.path.relative_to(ROOT)).startswith(UNWATCHED):
        yield None
        return
    watch, options = BalanceWatch(), connection.settings_dict["OPTIONS"]
    connection.close_pool()  # type: ignore[attr-defined]  # The next connection has the listener.
    options["event_listeners"] = [watch]
    yield watch
    connection.close_pool()  # type: ignore[attr-defined]
    del options["event_listeners"]
    assert watch.violations == []


@pytest.fixture
def usersnew(db: None) -> Any:
    """The raw `usersNew` collection."""
    return connection.database["usersNew"]


@pytest.fixture
def odd_documents(db: None) -> Iterator[None]:
    """For tests that store lists in indexed fields: an index that has seen one covers no query for ever after."""
    yield
    database = connection.database
    for name in ("usersNew", "payments", "request_logs", "model_pricing"):
        indexes = [index.to_dict() for index in database[name].list_indexes() if index["name"] != "_id_"]
        database[name].delete_many({})
        database[name].drop_indexes()
        database.command("createIndexes", name, indexes=indexes)


@pytest.fixture
def opens_ledger() -> bool:
    """Whether `insert_user` opens the account's ledger too, so that no later drift can pass for an opening balance."""
    return False


@pytest.fixture
def insert_user(usersnew: Any, opens_ledger: bool) -> InsertUser:
    """Insert a `usersNew` document exactly as given and return its name; its plain API key is `key_of(name)`."""

    def insert(username: str = "alice", **fields: Any) -> str:
        usersnew.insert_one({"_id": username, "apiKey": key_of(username), **fields})
        if opens_ledger:
            reconcile_account(username)
        return username

    return insert


def key_of(username: str) -> str:
    """The plain API key that `insert_user` gave an account."""
    return "sk-trollllm-" + username.encode().hex().ljust(64, "0")[:64]


@pytest.fixture
def in_threads(db: None) -> InThreads:
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


@pytest.fixture
def log_in(db: None) -> LogIn:
    """Log in as a new staff member with a role (`None` = superuser); returns the browser."""

    def run(role: str | None, name: str = "sam") -> Client:
        user = User.objects.create_user(name, password="x", is_staff=True, is_superuser=role is None)
        if role:
            user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

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
    directory = tmp_path_factory.mktemp("gunicorn")
    with django_db_blocker.unblock(), serve(directory, upstream_environment(upstream)) as server:
        yield server


@pytest.fixture(scope="session")
def _impatient_gunicorn(
    upstream: FakeUpstream, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("impatient-gunicorn")
    environment = upstream_environment(upstream) | {"GUNICORN_WORKERS": "1", "UPSTREAM_READ_TIMEOUT_SECONDS": "0.5"}
    with django_db_blocker.unblock(), serve(directory, environment) as server:
        yield server


@pytest.fixture(scope="session")
def _price_documents(django_db_setup: None, django_db_blocker: Any) -> list[dict[str, Any]]:
    with django_db_blocker.unblock():
        seed_prices()
        rows = collection_of(ModelPrice)
        documents = list(rows.find())
        rows.delete_many({})
        return documents


@pytest.fixture
def prices(db: None, _price_documents: list[dict[str, Any]]) -> None:
    """The known price rows, in the database and unread by this process's price book."""
    collection_of(ModelPrice).insert_many(_price_documents)


@pytest.fixture
def server(_gunicorn: Server, upstream: FakeUpstream, prices: None) -> Server:
    """gunicorn as it runs in production, one for the whole session; what reached the upstream is forgotten before."""
    upstream.clear()
    _gunicorn.http.clear()  # A connection that was idle for long could be closed by the server just now.
    return _gunicorn


@pytest.fixture
def impatient_server(_impatient_gunicorn: Server, upstream: FakeUpstream, prices: None) -> Server:
    """The same, waiting half a second for the upstream: for time-outs, which must not befall any other test."""
    upstream.clear()
    _impatient_gunicorn.http.clear()
    return _impatient_gunicorn


@pytest.fixture
def serve_with(upstream: FakeUpstream, prices: None, tmp_path: Path) -> Iterator[ServeWith]:
    """Start another gunicorn, for tests that kill it or need their own settings: `serve_with(NAME="value")`."""
    upstream.clear()
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serve(tmp_path, upstream_environment(upstream) | settings))


def upstream_environment(upstream: FakeUpstream) -> dict[str, str]:
    """The settings that point both upstreams at the fake one."""
    return {
        "OPENHANDS_BASE_URL": upstream.url,
        "OPENHANDS_API_KEY": "upstream-key",
        "OHMYGPT_BASE_URL": f"{upstream.url}/v1",
        "OHMYGPT_API_KEY": "upstream-key",
        "UPSTREAM_READ_TIMEOUT_SECONDS": "30",
    }
