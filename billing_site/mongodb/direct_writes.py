"""Writes of one document by the shortest way: one command, straight on a connection of the driver.

A billed request makes three of them, and in the driver's own calls most of the CPU goes into what comes before the
command: choosing a server, checking a connection out, a session, the layers of a retry. Here a connection stays checked
out between commands, so a write takes half the CPU (docs/performance.md). Everything else stays the driver's: it makes
the connections (TLS, log-in), watches the servers, hears of every failure, encodes, decodes, logs and raises.

Each command carries a session id and a number, as the driver's retryable writes do, so the one retry after a lost
connection or a change of the primary never applies it twice:
https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md

The names with an underscore are the driver's own; requirements.txt pins the version that they were tried with.
"""

import os
import uuid
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from bson import Int64
from bson.binary import Binary, UuidRepresentation
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.helpers_shared import _check_write_command_response
from pymongo.server_selectors import writable_server_selector
from pymongo.synchronous.mongo_client import _ClientCheckout
from pymongo.synchronous.pool import Connection, Pool

Document = dict[str, Any]

MOST_IDLE = 32
"""Connections kept checked out while no command runs; at most half the driver's pool, for all else that uses it."""


@dataclass(frozen=True)
class _Lease:
    """A connection that stays checked out of the driver's pool, and the session of its commands."""

    checkout: _ClientCheckout
    connection: Connection
    pool: Pool
    session: Document = field(
        default_factory=lambda: {"id": Binary.from_uuid(uuid.uuid4(), UuidRepresentation.STANDARD)}
    )
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def give_up(self, error: BaseException | None = None) -> None:
        """Return the connection to the driver's pool, which drops a broken one and learns from `error`."""
        self.checkout.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


class DirectWriter:
    """Writes to one database of a client, for all threads of a process."""

    def __init__(self, client: "MongoClient[Document]", database: str) -> None:
        self.client = client
        self.database = database
        self._write_concern = client.write_concern.document
        self._idle: list[_Lease] = []
        # A child of this process must not write on its parent's connections.
        os.register_at_fork(after_in_child=self._idle.clear)

    def find_one_and_update(
        self, collection: str, query: Document, update: list[Document], fields: Document
    ) -> Document | None:
        """Update one document and return `fields` of it as it is then; None if none matches. Raises `PyMongoError`."""
        command = {"findAndModify": collection, "query": query, "update": update, "fields": fields, "new": True}
        document: Document | None = self._write(command)["value"]
        return document

    def insert_one(self, collection: str, document: Document) -> None:
        """Insert a document that has its `_id`. Raises `DuplicateKeyError` and any other `PyMongoError`."""
        self._write({"insert": collection, "documents": [document]})

    def _write(self, command: Document) -> Document:
        lease = self._take()
        command |= {
            "writeConcern": self._write_concern,
            "lsid": lease.session,
            "txnNumber": Int64(next(lease.numbers)),
        }
        try:
            return self._send(lease, command)
        except PyMongoError as error:
            if not (isinstance(error, ConnectionFailure) or error.has_error_label("RetryableWriteError")):
                raise
        # The other connections lead to the same server: a new one, to whichever is the primary now.
        self._give_up_idle()
        return self._send(self._check_out(), command)

    def _send(self, lease: _Lease, command: Document) -> Document:
        try:
            reply = lease.connection.command(self.database, command, client=self.client)
            _check_write_command_response(reply)
        except BaseException as error:
            lease.give_up(error)
            raise
        lease.connection.update_last_checkin_time()
        # An exhausted pool has others waiting: they are served in their turn.
        if len(self._idle) >= min(MOST_IDLE, lease.pool.max_pool_size / 2) or (
            lease.pool.requests >= lease.pool.max_pool_size
        ):
            lease.give_up()
        else:
            self._idle.append(lease)
        return reply

    def _take(self) -> _Lease:
        """An idle connection that the driver would still use, the one used last; else one of its pool."""
        while True:
            try:
                lease = self._idle.pop()
            except IndexError:
                return self._check_out()
            if not lease.pool._perished(lease.connection):
                return lease
            lease.give_up()

    def _check_out(self) -> _Lease:
        server = self.client._get_topology().select_server(writable_server_selector, "write")
        checkout = self.client._checkout(server, None)
        return _Lease(checkout, checkout.__enter__(), server.pool)

    def _give_up_idle(self) -> None:
        while True:
            try:
                self._idle.pop().give_up()
            except IndexError:
                return
