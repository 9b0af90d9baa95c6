"""Which indexes `manage.py migrate` would add and drop, found by running its migrations without writing anything."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.migrations.executor import MigrationExecutor
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from mongo.backend.base import INDEX_NOT_FOUND, DatabaseSchemaEditor, DatabaseWrapper

_SAME = ("key", "unique", "sparse", "partialFilterExpression", "expireAfterSeconds")
"""What makes two indexes equal to the server, whatever their names are."""


@dataclass
class IndexPlan:
    """The indexes by `collection.name`, in the order of the migrations, and how many of these there are."""

    added: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    migrations: int = 0


def plan_indexes(connection: DatabaseWrapper) -> IndexPlan:
    """What `migrate` would do to the indexes now. Reads only. Raises `PyMongoError`."""
    executor = MigrationExecutor(connection)
    graph = executor.loader.graph
    steps = executor.migration_plan(graph.leaf_nodes())
    applied = [key for key in executor.loader.applied_migrations if key in graph.nodes]
    state = executor.loader.project_state(applied)
    plan = IndexPlan(migrations=len(steps))
    editor = DatabaseSchemaEditor(_PlanningConnection(connection, plan), atomic=False)
    for migration, _ in steps:
        state = migration.apply(state, editor)
    return plan


class _PlanningConnection:
    """The connection, but that its collections only remember what is done to their indexes."""

    def __init__(self, connection: DatabaseWrapper, plan: IndexPlan) -> None:
        self._connection, self._plan = connection, plan
        self._collections: dict[str, _Collection] = {}
        self.introspection = type(connection.introspection)(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def get_collection(self, name: str) -> "_Collection":
        if name not in self._collections:
            self._collections[name] = _Collection(name, self._connection.get_collection(name), self._plan)
        return self._collections[name]

    def get_database(self) -> "_Database":
        return _Database()


class _Database:
    """Has every collection that a migration makes."""

    def create_collection(self, name: str) -> None:
        pass


class _Collection:
    """The indexes of a collection as they would be by now; what a migration does to documents is left out."""

    def __init__(self, name: str, live: Any, plan: IndexPlan) -> None:
        self._name, self._plan = name, plan
        self._indexes: dict[str, dict[str, Any]] = live.index_information()

    def index_information(self) -> dict[str, dict[str, Any]]:
        return copy.deepcopy(self._indexes)  # Who asks may change them.

    def create_index(self, keys: Any, **options: Any) -> None:
        self.create_indexes([IndexModel(keys, **options)])

    def create_indexes(self, models: Sequence[IndexModel]) -> None:
        for model in models:
            wanted = dict(model.document)
            wanted["key"] = list(wanted["key"].items())
            if any(_is_same(wanted, there) for there in self._indexes.values()):
                continue
            self._indexes[wanted["name"]] = wanted
            self._plan.added.append(f"{self._name}.{wanted['name']}")

    def drop_index(self, name: str) -> None:
        if name not in self._indexes:
            raise OperationFailure("index not found", INDEX_NOT_FOUND)
        del self._indexes[name]
        full_name = f"{self._name}.{name}"
        if full_name in self._plan.added:  # A migration made it, and a later one drops it.
            self._plan.added.remove(full_name)
        else:
            self._plan.dropped.append(full_name)

    def update_many(self, *args: Any) -> None:
        """What a removed field leaves in documents of ours."""


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(_plain(one.get(name)) == _plain(other.get(name)) for name in _SAME)


def _plain(value: Any) -> Any:
    """Options of the server and of a model, comparable: unset and false are one, and so are all mappings."""
    if hasattr(value, "items"):
        return {name: _plain(inner) for name, inner in value.items()}
    return value or None
