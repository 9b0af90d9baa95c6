"""The one way to run a MongoDB transaction.

Django's `transaction.atomic` and `select_for_update` do nothing on this database, and a write conflict surfaces as an
error to retry: `run_in_transaction` does both right.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import pymongo
from django.db import DatabaseError
from django_mongodb_backend.query import wrap_database_errors
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from mongo.backend.base import DatabaseWrapper
from mongo.collections import wrapper

Result = TypeVar("Result")

TIMEOUT_SECONDS = 20
"""A transaction that still conflicts or cannot commit after this raises; nothing of it is applied."""


def run_in_transaction(function: Callable[[], Result]) -> Result:
    """Run `function` in a MongoDB transaction and return what it returns.

    Transient errors (write conflicts, a new primary) run it again, so it must be safe to repeat: no network, no state
    outside the database. ORM calls join the transaction; raw collection calls join with `session=connection.session`.
    Called inside a transaction, it joins that one. It sees one snapshot and commits to a majority.

    Raises what `function` raises, and `DatabaseError` when the transaction cannot be completed in time.
    """
    if wrapper().in_atomic_block_mongo:
        return function()
    return cast(Result, wrap_database_errors(_run_outermost)(function))


class _RolledBack(Exception):
    """Ends a transaction of which nothing is to be kept but what it returned."""

    def __init__(self, result: object) -> None:
        super().__init__("only to be seen")
        self.result = result


def rehearse(function: Callable[[], Result]) -> Result:
    """Run `function` in a transaction and keep nothing of it, to see what it would return or raise. Safe to repeat.

    Not inside another transaction, which would be rolled back with it. Raises what `function` raises, and
    `DatabaseError` when the database did not answer in time.
    """

    def run() -> Result:
        raise _RolledBack(function())

    try:
        return run_in_transaction(run)
    except _RolledBack as rolled_back:
        return cast(Result, rolled_back.result)


def is_in_transaction() -> bool:
    """Whether this thread is in a transaction, which another call of `run_in_transaction` would join."""
    return bool(wrapper().in_atomic_block_mongo)


def _run_outermost(function: Callable[[], Result]) -> Result:
    database = wrapper()

    def attempt(session: ClientSession) -> Result:
        database.run_on_commit = []
        try:
            return function()
        except DatabaseError as error:
            # The ORM wraps driver errors; the driver decides by its own labels whether to retry.
            if isinstance(error.__cause__, PyMongoError):
                raise error.__cause__ from error
            raise

    database.ensure_connection()
    with pymongo.timeout(TIMEOUT_SECONDS), database.connection.start_session() as session:
        database.session = session
        database.in_atomic_block_mongo = True
        try:
            result: Result = session.with_transaction(
                attempt, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
            )
        finally:
            database.session = None
            database.in_atomic_block_mongo = False
    _run_commit_hooks(database)
    return result


def _run_commit_hooks(database: DatabaseWrapper) -> None:
    """Run what waits for the commit, in one of Django's own `atomic` blocks too (the admin's forms are in one).

    Such a block does nothing on this database, so what was written is committed; Django would refuse to run the hooks.
    """
    was_in_block, database.in_atomic_block = database.in_atomic_block, False
    try:
        database.run_and_clear_commit_hooks()
    finally:
        database.in_atomic_block = was_in_block
