"""Pages outside the admin."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mongo.errors import DATABASE_FAILURES
from payments.orders.purchasing import read_purchasing


def home(request: HttpRequest) -> HttpResponse:
    """What this site is, and where to go. Shown without a database too."""
    host = request.get_host().rpartition(":")[0] or request.get_host()
    scheme = request.scheme
    upstreams = [
        {"name": "OpenHands", "address": f"{scheme}://{host}:{settings.OPENHANDS_PORT}/v1", "prefix": "/openhands/v1"},
        {"name": "OhMyGPT", "address": f"{scheme}://{host}:{settings.OHMYGPT_PORT}/v1", "prefix": "/ohmygpt/v1"},
    ]
    context = {
        "upstreams": upstreams,
        "maintenance_text": _maintenance_text(),
        "validity_days": settings.CREDIT_VALIDITY_DAYS,
    }
    return render(request, "home.html", context)


def _maintenance_text() -> str:
    """What customers read while purchasing is off; empty while it is on, or when nobody can say."""
    try:
        return read_purchasing().notice
    except DATABASE_FAILURES:
        return ""
