"""Log-ins: no counter outlives its test."""

from collections.abc import Iterator

import pytest
from django.db import connection


@pytest.fixture(autouse=True)
def _no_counters(db: None) -> Iterator[None]:
    """The collections of counters belong to no model, so that nothing else empties them."""
    for name in ("login_attempts", "refused_log_ins"):
        connection.database[name].delete_many({})
    yield
    connection.database["login_attempts"].delete_many({})
