"""The driver below the ORM, typed: raw collections, and the session of the running transaction."""

from typing import Any, cast

from django.db import connection
from django.db.models import Model
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from billing_site.mongodb.base import DatabaseWrapper

Document = dict[str, Any]


def wrapper() -> DatabaseWrapper:
    """This thread's connection as what it is: the MongoDB back end's wrapper around the process's pooled client."""
    return cast(DatabaseWrapper, connection)


def collection_of(model: type[Model]) -> "Collection[Document]":
    """The raw collection behind a model. Pass `session=current_session()` to take part in a transaction."""
    return cast("Collection[Document]", wrapper().get_collection(model._meta.db_table))


def current_session() -> ClientSession | None:
    """The session of the transaction that this thread is in, or None outside one."""
    return cast("ClientSession | None", wrapper().session)
