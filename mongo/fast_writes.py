"""Writes of one document by the shortest way: one command, straight on a connection of the driver.

A billed request makes three of them, and in the driver's own calls most of the CPU goes into what comes before the
command: choosing a server, checking a connection out, a session, the layers of a retry. Here a connection stays checked
out between commands, and an answer is read with one call, so a write takes less than half the CPU
(docs/performance.md). Everything else stays the driver's: it makes the connections (TLS, log-in), watches the servers,
hears of every failure, encodes, decodes and raises; and it sends the command itself where somebody listens to its
commands, or logs them.

Each command carries a session id and a number, as the driver's retryable writes do, so the one retry after a lost
connection or a change of the primary never applies it twice:
https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md

The names with an underscore are the driver's own. `mongo.writer` imports this module only where the driver is of the
version that they were tried with, and does without it elsewhere.
"""

import logging
import os
import struct
import uuid
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any

import bson
from bson import Int64
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, ProtocolError, PyMongoError
from pymongo.helpers_shared import _check_command_response, _check_write_command_response
from pymongo.logger import _COMMAND_LOGGER
from pymongo.message import _op_msg, _OpMsg
from pymongo.server_selectors import writable_server_selector
from pymongo.synchronous.mongo_client import _ClientCheckout
from pymongo.synchronous.pool import Connection, Pool

Document = dict[str, Any]

RECEIVE_BYTES = 64 * 1024
WRITE_SECONDS = 10.0
"""A server that has not answered a write by then stands still: it is tried on whichever is the primary now. (The driver
waits longer, since it also runs reports.)"""
POLL_SECONDS = 0.5
"""How often a command that waits looks whether the driver has lost the server."""

# A message of one document begins with its length, its own id, the id of what it answers, its kind, flags, a section's
# kind: https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
_HEADER = struct.Struct("<iiiiIB")

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

    def run(self, client: "MongoClient[Document]", database: str, command: Document) -> Document:
        """Send a command and return its reply. Raises `PyMongoError`; a broken connection is closed then."""
        connection = self.connection
        if (
            connection.compression_context
            or (connection.listeners and connection.listeners.enabled_for_commands)
            or _COMMAND_LOGGER.isEnabledFor(logging.DEBUG)
        ):
            return connection.command(database, command, client=client)
        # It stays so: the driver sets its own before each of its commands. To send ours never waits: it is short, and
        # nothing else is under way.
        connection.set_conn_timeout(POLL_SECONDS)
        request_id, message, _, largest_document = _op_msg(0, command, database, None, DEFAULT_CODEC_OPTIONS)
        connection.send_message(message, largest_document)
        try:
            data = _receive(connection, request_id, min(self.pool.opts.socket_timeout or inf, WRITE_SECONDS))
        except BaseException as error:
            connection._raise_connection_failure(error)
        reply: Document = bson.decode(data, client.codec_options)
        _check_command_response(reply, connection.max_wire_version)
        return reply

    def give_up(self, error: BaseException | None = None) -> None:
        """Return the connection to the driver's pool, which drops a broken one and learns from `error`."""
        self.checkout.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)


def _receive(connection: Connection, request_id: int, patience: float) -> memoryview:
    """The bytes of the document that answers a request.

    One message is all that comes on a connection until the next request.
    """
    data = _receive_some(connection, patience)
    while len(data) < _HEADER.size:
        data += _receive_some(connection, patience)
    length, _, *kind = _HEADER.unpack_from(data)
    while len(data) < length:
        data += _receive_some(connection, patience)
    if length != len(data) or kind != [request_id, _OpMsg.OP_CODE, 0, 0]:
        raise ProtocolError(f"{len(data)} bytes of {length}, kind {kind}: not the answer to {request_id}")
    return memoryview(data)[_HEADER.size :]


def _receive_some(connection: Connection, patience: float) -> bytes:
    """Wait for bytes, for as long as `patience` seconds, and while the driver believes in the server."""
    waited = 0.0
    while True:
        try:
            data: bytes = connection.conn.get_conn.recv(RECEIVE_BYTES)
        except TimeoutError:
            waited += POLL_SECONDS
            if connection.cancel_context.cancelled:
                raise OSError("given up, the server answers nothing else either") from None
            if waited >= patience:
                raise
            continue
        if not data:
            raise OSError("connection closed")
        return data


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
            reply = lease.run(self.client, self.database, command)
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
