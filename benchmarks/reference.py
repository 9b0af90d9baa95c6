"""The same work done the plain way, to measure the gateway against on any machine: a WSGI application for gunicorn.

A Django view without middleware makes the three durable writes of a billed request through the driver's own calls and
forwards the body with `urllib3`. It checks next to nothing: no limits, no expiry, no exact money, no second try.
The goal for the gateway was set by such a prototype (docs/performance.md).
"""

import os
import uuid
from datetime import UTC, datetime
from functools import cache
from typing import Any

import django
import urllib3
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.servers import REFERENCE_ACCOUNTS

LOGS = "reference_logs"
HELD, COST = 0.01, 0.0001


@cache
def _database() -> "Database[dict[str, Any]]":
    client = MongoClient[dict[str, Any]](os.environ["DATABASE_URL"], w="majority", journal=True)
    return client.get_default_database()


@cache
def _upstream() -> urllib3.PoolManager:
    return urllib3.PoolManager(maxsize=500)


def chat_completions(request: HttpRequest) -> HttpResponse:
    """Hold, forward, record, settle."""
    request_id, api_key = uuid.uuid4().hex, request.headers["Authorization"].removeprefix("Bearer ")
    accounts, hold = _database()[REFERENCE_ACCOUNTS], f"holds.{request_id}"
    account = accounts.find_one_and_update(
        {"apiKey": api_key, "credits": {"$gte": HELD}},
        {"$inc": {"credits": -HELD}, "$set": {hold: HELD}},
        projection={"_id": 1},
    )
    if account is None:
        return JsonResponse({"error": "insufficient credits"}, status=402)
    answer = _upstream().request(
        "POST",
        f"{os.environ['OPENHANDS_BASE_URL']}/v1/chat/completions",
        body=request.body,
        headers={"Authorization": "Bearer mock", "Content-Type": "application/json"},
        retries=False,
    )
    usage = answer.json()["usage"]
    _database()[LOGS].insert_one(
        {
            "_id": request_id,
            "userId": account["_id"],
            "inputTokens": usage["prompt_tokens"],
            "outputTokens": usage["completion_tokens"],
            "cost": COST,
            "createdAt": datetime.now(UTC),
        }
    )
    accounts.update_one({"_id": account["_id"]}, {"$inc": {"credits": HELD - COST}, "$unset": {hold: ""}})
    return HttpResponse(answer.data, content_type="application/json")


urlpatterns = [path("v1/chat/completions", chat_completions)]

settings.configure(
    SECRET_KEY="unused",  # noqa: S106  (nothing is signed)
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=[],
)
django.setup()
application = get_wsgi_application()
