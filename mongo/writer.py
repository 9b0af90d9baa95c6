"""Writes of one document outside a transaction, and which of two ways a process makes them.

`mongo.fast_writes` is the faster way (docs/performance.md has the figures). It uses private names of the driver, so it
is taken only with the version of the driver that it was tried with; else the driver's own calls are.
"""

import logging
from functools import cache
from typing import Any, Protocol

import pymongo
from django.conf import settings
from pymongo import MongoClient, ReturnDocument

logger = logging.getLogger(__name__)

Document = dict[str, Any]

TRIED_WITH = "4.20.0"
"""The version of pymongo that `mongo.fast_writes` was tried with. To raise it, run the tests of tests/mongo with it."""


class Writer(Protocol):
    """Writes to one database of a client, for all threads of a process.

    A write is tried once more after a lost connection or a change of the primary, and is never applied twice.
    """

    client: "MongoClient[Document]"
    database: str

    def find_one_and_update(
        self, collection: str, query: Document, update: list[Document], fields: Document
    ) -> Document | None:
        """Update one document and return `fields` of it as it is then; None if none matches. Raises `PyMongoError`."""

    def insert_one(self, collection: str, document: Document) -> None:
        """Insert a document that has its `_id`. Raises `DuplicateKeyError` and any other `PyMongoError`."""


class DriverWriter:
    """The writes by the driver's own calls, which retry as the client's `retryWrites` says (it is on by default)."""

    def __init__(self, client: "MongoClient[Document]", database: str) -> None:
        self.client = client
        self.database = database

    def find_one_and_update(
        self, collection: str, query: Document, update: list[Document], fields: Document
    ) -> Document | None:
        """See `Writer`."""
        document: Document | None = self.client[self.database][collection].find_one_and_update(
            query, update, projection=fields, return_document=ReturnDocument.AFTER
        )
        return document

    def insert_one(self, collection: str, document: Document) -> None:
        """See `Writer`."""
        self.client[self.database][collection].insert_one(document)


def make_writer(client: "MongoClient[Document]", database: str) -> Writer:
    """The writer of this process for one database."""
    if why_not_direct() is not None:
        return DriverWriter(client, database)
    from mongo.fast_writes import DirectWriter

    return DirectWriter(client, database)


def warn_unless_direct() -> None:
    """Tell the log that this process writes by the slower way, and why. Called once, at its start."""
    if reason := why_not_direct():
        logger.warning(
            "%s: holds, records and settlements go through the driver's own calls. Nothing is billed otherwise than "
            "with direct writes; a request takes more CPU.",
            reason,
        )


@cache
def why_not_direct() -> str | None:
    """Why this process makes no direct writes; None where it makes them."""
    if not settings.DIRECT_WRITES:
        return "DIRECT_WRITES is off"
    if pymongo.version != TRIED_WITH:
        return f"direct writes were tried with pymongo {TRIED_WITH}, and this is {pymongo.version}"
    try:
        from mongo import fast_writes  # noqa: F401
    except ImportError as error:
        return f"direct writes cannot be imported ({error})"
    return None
