"""Health for load balancers: `/healthz` = this process answers, `/readyz` = it can also reach its database."""

from django.http import HttpRequest, JsonResponse
from pymongo.errors import PyMongoError

from mongo.collections import wrapper


def alive(request: HttpRequest) -> JsonResponse:
    """200 as long as the process serves requests."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """200 when a write could be taken now, else 503."""
    try:
        wrapper().database.client.admin.command("ping")
    except PyMongoError:
        return JsonResponse({"status": "unavailable", "reason": "the database cannot be reached"}, status=503)
    return JsonResponse({"status": "ok"})
