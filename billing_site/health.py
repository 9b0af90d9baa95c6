"""Health for load balancers: `/healthz` = this process answers, `/readyz` = its requests can use the database."""

import pymongo
from django.http import HttpRequest, JsonResponse

from mongo.collections import Document, collection_of
from mongo.errors import DATABASE_FAILURES
from proxy.models import ModelPrice

READY_SECONDS = 3
"""A database that takes longer for a read and a write that find nothing cannot serve requests."""


def alive(request: HttpRequest) -> JsonResponse:
    """200 as long as the process serves requests."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when a request could be billed now, else 503, within `READY_SECONDS`."""
    if not is_database_usable():
        return JsonResponse({"status": "unavailable", "reason": "the database cannot be used"}, status=503)
    return JsonResponse({"status": "ok"})


def is_database_usable() -> bool:
    """Whether this thread reads and writes as requests do: by its own connection, from the process's pool.

    The write matches no document; it is acknowledged when a majority of the nodes has all that was written before it.
    """
    nothing: Document = {"_id": {"$in": []}}
    try:
        with pymongo.timeout(READY_SECONDS):
            ModelPrice.objects.exists()
            collection_of(ModelPrice).update_one(nothing, {"$set": {"isActive": False}})
    except DATABASE_FAILURES:
        return False
    return True
