"""Compilers of the official back end, with pipelines that sort by an index.

The official compiler puts `{"$addFields": {"createdAt": "$createdAt"}}` (which changes nothing) or the `$project`
before the `$sort`. The server then takes the sort key for a computed value and no index can serve it: a list of the
50 latest of five million documents reads and sorts all of them. Measured with django-mongodb-backend 5.2.4 on
MongoDB 6.0: COLLSCAN before, IXSCAN of 50 keys now.
"""

from typing import Any

from django_mongodb_backend import compiler
from django_mongodb_backend.compiler import (
    SQLAggregateCompiler,
    SQLDeleteCompiler,
    SQLInsertCompiler,
    SQLUpdateCompiler,
)
from django_mongodb_backend.query import MongoQuery

__all__ = ["SQLAggregateCompiler", "SQLCompiler", "SQLDeleteCompiler", "SQLInsertCompiler", "SQLUpdateCompiler"]

Stage = dict[str, Any]


def sort_before_projecting(pipeline: list[Stage]) -> list[Stage]:
    """The same pipeline with the same result, where `$sort` comes as early as an index needs it."""
    stages: list[Stage] = []
    for stage in pipeline:
        kept = _without_no_ops(stage)
        if kept is None:
            continue
        projection = stages[-1].get("$project", {}) if stages else {}
        if "$sort" in kept and _includes(projection, kept["$sort"]):
            stages.insert(-1, kept)
        else:
            stages.append(kept)
    return stages


def _without_no_ops(stage: Stage) -> Stage | None:
    """An `$addFields` stage without the fields that it sets to themselves; None when none is left."""
    if "$addFields" not in stage:
        return stage
    fields = {name: value for name, value in stage["$addFields"].items() if value != f"${name}" or "." in name}
    return {"$addFields": fields} if fields else None


def _includes(projection: Stage, keys: Any) -> bool:
    """Whether a projection passes all of the sort keys through as they are."""
    return all(projection.get(key) == 1 for key in keys)


class SortByIndexQuery(MongoQuery):
    def get_pipeline(self) -> list[Stage]:
        return sort_before_projecting(super().get_pipeline())


class SQLCompiler(compiler.SQLCompiler):
    query_class = SortByIndexQuery
