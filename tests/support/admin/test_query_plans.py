"""No query of any page reads or sorts a whole collection: MongoDB's profiler tells how each was answered."""

from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client, RequestFactory, override_settings

from benchmarks.admin_pages import Page, pages_of
from benchmarks.query_plans import Profiler
from books import account_use, timeline
from support.admin import base
from tests.support.conftest import ADMIN_MODELS

ACCOUNTS, REQUESTS = 1200, 2400
MOST_COUNTED, MOST_OF_USE = 100, 100
MOST_DOCUMENTS = 600
"""What one query may read here, where any collection has thousands."""
MODELS = {model._meta.label_lower: model for model in ADMIN_MODELS}


@pytest.fixture
def history(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench's history in small, and the bounds of the pages in small with it."""
    monkeypatch.setattr(base, "MAX_COUNT", MOST_COUNTED)
    monkeypatch.setattr(timeline, "MAX_REQUESTS", MOST_OF_USE)
    monkeypatch.setattr(account_use, "MOST_ADDED_UP", MOST_OF_USE)
    with override_settings(ENVIRONMENT="development"):
        call_command("load_history", f"--accounts={ACCOUNTS}", f"--requests={REQUESTS}", stdout=StringIO())


def open_page(client: Client, page: Page) -> None:
    """As a browser does; of most lists only their queries, as drawing them takes most of the time."""
    path, _, query = page.address.partition("?")
    app, model = path.split("/")[2:4] if path.count("/") == 4 and query else ("", "")
    listed = MODELS.get(f"{app}.{model}")
    if listed is None or "totals" in page.group:
        assert client.get(page.address).status_code == 200, page
        return
    request: Any = RequestFactory().get(page.address)
    request.user = User.objects.get()
    assert admin.site.get_model_admin(listed).get_changelist_instance(request).result_list is not None


def chosen(pages: Iterable[Page]) -> Iterator[Page]:
    """All but what takes long and tells little: pages that are not there, and of pairs of filters every third."""
    pairs = 0
    for page in pages:
        if page.address.endswith(("p=100", "p=200")) or page.group.endswith("three filters"):
            continue
        if page.group.endswith("two filters"):
            pairs += 1
            if pairs % 3 or "_from=" in page.address:
                continue
        yield page


def test_no_query_of_any_page_reads_or_sorts_a_whole_collection(admin_client: Client, history: None) -> None:
    with Profiler(connection.database) as profiler:
        for page in chosen(pages_of(connection.database)):
            open_page(admin_client, page)
        queries = profiler.new_queries()
    assert len(queries) > 300
    assert [f"{problem}: {query}" for query in queries if (problem := query.problem(MOST_DOCUMENTS))] == []
