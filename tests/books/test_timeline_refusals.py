"""Refusals in the timeline of an account: a kind of their own, which moves nothing."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import credits
from books.timeline import REFUSED, read_timeline
from tests.factories import InsertUser
from tests.pages import text_of
from tests.support.admin.test_refusals import refusal

URL = "/admin/support/accounts/alice/timeline/"
NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture
def refused(insert_user: InsertUser) -> Any:
    """A purchase, two refusals of one kind around it, one of another kind, and one of somebody else."""
    insert_user("alice", creditsNew=3)
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay", reason="Order", now=NOON)
    rows = [
        refusal("req_1", createdAt=NOON - timedelta(hours=1), message="The older one."),
        refusal("req_2", createdAt=NOON + timedelta(hours=1), message="The newer one."),
        refusal("req_3", createdAt=NOON + timedelta(hours=2), code="credits_expired", upstream="ohmygpt", model=None),
        refusal("req_4", createdAt=NOON, userId="bob"),
    ]
    collection = connection.database["refused_requests"]
    collection.insert_many(rows)
    return collection


def test_refusals_stand_by_day_model_and_code_and_move_nothing(refused: Any) -> None:
    rows = read_timeline(username="alice").rows
    assert [(row.kind, row.code, row.requests, row.amount, row.after) for row in rows if row.kind == REFUSED] == [
        (REFUSED, "credits_expired", 1, 0, None),
        (REFUSED, "insufficient_credits", 2, 0, None),
    ]
    assert rows[1].reason == "The newer one."
    (purchase,) = (row for row in rows if row.kind == "purchase")
    assert purchase.after == 23
    assert [row.kind for row in read_timeline(username="alice", kind=REFUSED).rows] == [REFUSED, REFUSED]


def test_the_page_leads_to_them(admin_client: Client, refused: Any) -> None:
    day = f"{NOON:%Y-%m-%d}"
    connection.database["refusal_counts"].insert_one({"_id": f"{day}:alice", "kept": 3, "notKept": 1234})
    response = admin_client.get(URL, {"kind": "refused"})
    text, body = text_of(response), response.content.decode()
    assert "2 refused, the newest: The newer one." in text
    assert text.count("At least 1,234 more of this day were only counted.") == 1
    assert "Purchase" not in text.split("Balance after")[1]
    assert 'href="/admin/proxy/refusedrequest/req_5F3/change/"' in body
    several = ("q=alice", "code=insufficient_credits", "upstream=openhands", "model=claude-haiku-4-5")
    assert "?" + "&amp;".join((*several, f"created_at_from={day}", f"created_at_to={day}")) in body


def test_an_older_page_is_there_for_refusals_alone(refused: Any) -> None:
    refused.insert_one(refusal("req_old", createdAt=NOON - timedelta(days=60)))
    page = read_timeline(username="alice")
    assert page.older_than is not None
    older = read_timeline(username="alice", before=page.older_than)
    assert [row.request_id for row in older.rows if row.kind == REFUSED] == ["req_old"]
