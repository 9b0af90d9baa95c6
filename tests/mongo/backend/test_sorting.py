"""Sorted queries are served by indexes, and sort the same as before."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from mongo.backend.compiler import sort_before_projecting
from proxy.models import RequestLog

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def logs(db: None) -> None:
    documents: list[dict[str, Any]] = [
        {
            "_id": f"req-{index:03}",
            "userId": "alice",
            "creditsCost": index % 3,
            "createdAt": NOW + timedelta(hours=index),
        }
        for index in range(40)
    ]
    connection.database["request_logs"].insert_many([*documents, {"_id": "undated"}])


def stages_of(queryset: Any) -> str:
    """The stages of the winning plan, as text."""
    explained = json.loads(queryset.explain())
    plan = explained.get("queryPlanner") or explained["stages"][0]["$cursor"]["queryPlanner"]
    return json.dumps(plan["winningPlan"])


def newest(count: int) -> list[str]:
    return [f"req-{index:03}" for index in range(39, 39 - count, -1)]


def test_a_sorted_list_is_read_from_the_index(logs: None) -> None:
    latest = RequestLog.objects.order_by("-created_at")
    for queryset in (
        latest[:5],
        latest[5:10],
        latest.only("id", "created_at")[:5],
        latest.filter(user_id="alice")[:5],
        RequestLog.objects.order_by("pk")[:5],
    ):
        plan = stages_of(queryset)
        assert "IXSCAN" in plan
        assert "COLLSCAN" not in plan
        assert '"SORT"' not in plan


def test_sorting_gives_the_same_rows_in_every_form(logs: None) -> None:
    latest = RequestLog.objects.order_by("-created_at")
    assert [log.pk for log in latest[:5]] == newest(5)
    assert [log.pk for log in latest[3:5]] == newest(5)[3:]
    assert [log.pk for log in latest][-1] == "undated"
    assert list(latest.values_list("pk", flat=True)[:5]) == newest(5)
    assert list(latest.values_list("user_id", flat=True)[:1]) == ["alice"]
    assert latest.all()[:5].count() == 5
    assert latest.first() == RequestLog.objects.get(pk="req-039")
    assert RequestLog.objects.order_by("created_at").first() == RequestLog.objects.get(pk="undated")
    assert RequestLog.objects.dates("created_at", "day").count() == 2
    assert [log.pk for log in RequestLog.objects.order_by("-cost", "-created_at")[:2]] == ["req-038", "req-035"]


def test_a_computed_sort_key_stays_before_the_sort() -> None:
    pipeline = [{"$addFields": {"a": "$a", "n": {"$size": "$list"}}}, {"$sort": {"n": 1}}, {"$limit": 2}]
    assert sort_before_projecting(pipeline) == [{"$addFields": {"n": {"$size": "$list"}}}, *pipeline[1:]]


def test_a_projection_that_renames_the_sort_key_stays_before_the_sort() -> None:
    pipeline = [{"$project": {"a": "$b"}}, {"$sort": {"a": 1}}, {"$skip": 1}, {"$limit": 2}]
    assert sort_before_projecting(pipeline) == pipeline


def test_a_projection_of_the_sort_key_moves_behind_the_sort() -> None:
    project, sort, limit = {"$project": {"_id": 1, "a": 1}}, {"$sort": {"a": 1}}, {"$limit": 2}
    assert sort_before_projecting([{"$match": {}}, project, sort, limit]) == [{"$match": {}}, sort, project, limit]
