"""The driver below the ORM, typed: raw collections, and the session of the running transaction."""

import threading
from collections.abc import Sequence
from typing import Any, cast

import bson
from bson.raw_bson import RawBSONDocument
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from mongo.backend.base import DatabaseWrapper

Document = dict[str, Any]

IS_NO_LIST: Document = {"$not": {"$type": "array"}}
"""A part of a field's condition: a list meets any other condition that one of its elements meets."""


class _Thread(threading.local):
    """What each thread keeps: Django's own look-up also asks whether a coroutine is running."""

    def __init__(self) -> None:
        self.wrapper = cast(DatabaseWrapper, connections[DEFAULT_DB_ALIAS])


_thread = _Thread()


def wrapper() -> DatabaseWrapper:
    """This thread's connection, typed: the MongoDB back end's wrapper around the process's pooled client."""
    return _thread.wrapper


def encoded(part: Document) -> RawBSONDocument:
    """A part of commands that is always the same, encoded once instead of in each of them."""
    return RawBSONDocument(bson.encode(part))


def collection_of(model: type[Model]) -> "Collection[Document]":
    """The raw collection behind a model. Pass `session=current_session()` to take part in a transaction."""
    return cast("Collection[Document]", wrapper().get_collection(model._meta.db_table))


def current_session() -> ClientSession | None:
    """The session of the transaction that this thread is in, or None outside one."""
    return cast("ClientSession | None", wrapper().session)


def find_one_and_update(
    model: type[Model], query: Document, update: list[Document], *, fields: Sequence[str]
) -> Document | None:
    """Update one document by a pipeline, and return its `_id` and `fields` as they are then; None if none matches.

    Takes part in the transaction that this thread is in. Raises `PyMongoError`.
    """
    collection, projection = model._meta.db_table, dict.fromkeys(fields, 1)
    database = wrapper()
    if database.session is None:
        return database.writer.find_one_and_update(collection, query, update, projection)
    return collection_of(model).find_one_and_update(
        query, update, projection=projection, return_document=ReturnDocument.AFTER, session=database.session
    )


def insert_one(model: type[Model], document: Document) -> None:
    """Insert a document that has its `_id`, outside any transaction. Raises `DuplicateKeyError`, `PyMongoError`."""
    wrapper().writer.insert_one(model._meta.db_table, document)
