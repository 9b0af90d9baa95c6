"""Database back end: `django_mongodb_backend` with a schema editor that adopts existing collections.

The platform takes over a live database. The official schema editor would refuse a collection or an index that is
already there, and would write a default into every old document when a field is added. Ours does neither: what exists
is kept, and documents are never touched by a migration.
"""

import json
from typing import Any, ClassVar, Self, cast

import pymongo
from django.db.models import Field, Index, Model
from django_mongodb_backend.base import DatabaseWrapper as MongoDatabaseWrapper
from django_mongodb_backend.operations import DatabaseOperations as MongoDatabaseOperations
from django_mongodb_backend.schema import DatabaseSchemaEditor as MongoSchemaEditor
from pymongo.errors import CollectionInvalid, OperationFailure

from mongo.writer import Writer, make_writer

# Server error 85, IndexOptionsConflict: the same keys with the same options are indexed under another name.
# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
INDEX_EXISTS_UNDER_ANOTHER_NAME = 85
NAMESPACE_EXISTS = 48
INDEX_NOT_FOUND = 27
BUILD_SECONDS = 6 * 3600


class DatabaseSchemaEditor(MongoSchemaEditor):
    """Creates what is missing, keeps what exists, and waits for the index of a big collection as long as it takes."""

    def __enter__(self) -> Self:
        # In place of the 30 s that a socket has for an answer: 5,000,000 documents take a minute, live ones are more.
        self._patience = pymongo.timeout(BUILD_SECONDS)
        self._patience.__enter__()
        return cast(Self, super().__enter__())

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        finally:
            self._patience.__exit__(*error)

    def create_model(self, model: type[Model]) -> None:
        """Create the collection unless it exists, then its indexes. Safe to repeat."""
        try:
            self.get_database().create_collection(model._meta.db_table)
        except CollectionInvalid:
            pass  # An adopted collection: its documents stay as they are.
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
        self._create_model_indexes(model)
        for field in model._meta.local_many_to_many:
            self._create_through(field)

    def _create_through(self, field: Any) -> None:
        if field.remote_field.through._meta.auto_created:
            self.create_model(field.remote_field.through)

    def add_field(self, model: type[Model], field: Field) -> None:
        """Index a new field where it asks for it; old documents get it on their next write, not here."""
        if field.many_to_many:
            self._create_through(field)
        elif self._field_should_be_indexed(model, field):
            self._add_field_index(model, field)
        elif self._field_should_have_unique(field):
            self._add_field_unique(model, field)

    def add_index(self, model: type[Model], index: Index, **kwargs: Any) -> None:
        """Create an index unless an equal one exists under another name (Mongoose names them `field_1`)."""
        try:
            super().add_index(model, index, **kwargs)
        except OperationFailure as error:
            if error.code != INDEX_EXISTS_UNDER_ANOTHER_NAME:
                raise

    def remove_index(self, model: type[Model], index: Index) -> None:
        """Drop an index, unless there is none of its name: an adopted one, under its own name, stays."""
        try:
            super().remove_index(model, index)
        except OperationFailure as error:
            if error.code != INDEX_NOT_FOUND:
                raise


class DatabaseOperations(MongoDatabaseOperations):
    compiler_module = "mongo.backend.compiler"

    def get_db_converters(self, expression: Any) -> list[Any]:
        """None for the fields of adopted documents (`mongo/fields.py`), which read any stored value themselves."""
        if getattr(expression.output_field, "reads_stored_values", False):
            return []
        return cast(list[Any], super().get_db_converters(expression))

    def convert_jsonfield_value(self, value: Any, expression: Any, connection: Any) -> str:
        """JSON of what a document holds: values that JSON has not (decimals, times) read as text."""
        return json.dumps(value, default=str)


class DatabaseWrapper(MongoDatabaseWrapper):
    ops_class = DatabaseOperations
    SchemaEditorClass = DatabaseSchemaEditor

    connection: Any  # The process's client, of all its threads; None in a thread that has not connected.

    _writer_of_process: ClassVar[Writer | None] = None

    def connect(self) -> None:
        """Connect this thread, wholly or not at all: after a failure the next use of the database tries again.

        Connecting asks the server for its version, so it fails while no server answers. What Django keeps then would
        pass for a connection, in this thread and for good. Raises `PyMongoError`.
        """
        try:
            super().connect()
        except BaseException:
            self.connection = None
            self.__dict__.pop("database", None)
            raise

    def init_connection_state(self) -> None:
        self._collections: dict[str, Any] = {}
        super().init_connection_state()

    @property
    def writer(self) -> Writer:
        """The short way to write one document outside a transaction, shared by all threads."""
        self.ensure_connection()
        writer, name = DatabaseWrapper._writer_of_process, self.settings_dict["NAME"]
        if writer is None or writer.client is not self.connection or writer.database != name:
            writer = DatabaseWrapper._writer_of_process = make_writer(self.connection, name)
        return writer

    def get_collection(self, name: str, **kwargs: Any) -> Any:
        """A collection as the driver has it: stateless, so a collection without options is made once per connection."""
        self.ensure_connection()
        if kwargs or self.queries_logged:
            return super().get_collection(name, **kwargs)
        if name not in self._collections:
            self._collections[name] = super().get_collection(name)
        return self._collections[name]
