"""Accounts of these tests have an open ledger: `assert_reconciles` then sees every credit that goes astray."""

from collections.abc import Iterator
from typing import Any

import pytest

from mongo.collections import collection_of
from proxy.models import ModelPrice
from tests.proxy.raw_upstream import RawUpstream
from tests.serving import Server, serve


@pytest.fixture
def opens_ledger() -> bool:
    return True


@pytest.fixture(scope="session")
def raw_upstream() -> Iterator[RawUpstream]:
    """An upstream that plays the bytes that a test gives it."""
    with RawUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def _raw_gunicorn(
    raw_upstream: RawUpstream, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    urls = {"OPENHANDS_BASE_URL": raw_upstream.url, "OHMYGPT_BASE_URL": raw_upstream.url}
    keys = {"OPENHANDS_API_KEY": "upstream-key", "OHMYGPT_API_KEY": "upstream-key"}
    environment = {**urls, **keys, "GUNICORN_WORKERS": "1", "UPSTREAM_READ_TIMEOUT_SECONDS": "5"}
    with django_db_blocker.unblock(), serve(tmp_path_factory.mktemp("raw-gunicorn"), environment) as server:
        yield server


@pytest.fixture
def raw_server(_raw_gunicorn: Server, raw_upstream: RawUpstream, prices: None) -> Server:
    """gunicorn as it runs in production, with the raw upstream behind both ports.

    The price rows say nothing of cache writes for an hour: they cost twice the input.
    """
    collection_of(ModelPrice).update_many({}, {"$set": {"cacheWrite1hPricePerMTok": None}})
    raw_upstream.play()
    _raw_gunicorn.http.clear()
    return _raw_gunicorn
