"""Pages outside the admin."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def home(request: HttpRequest) -> HttpResponse:
    """What this site is, and where to go. Needs no database."""
    host = request.get_host().rpartition(":")[0] or request.get_host()
    scheme = request.scheme
    upstreams = [
        {"name": "OpenHands", "address": f"{scheme}://{host}:{settings.OPENHANDS_PORT}/v1", "prefix": "/openhands/v1"},
        {"name": "OhMyGPT", "address": f"{scheme}://{host}:{settings.OHMYGPT_PORT}/v1", "prefix": "/ohmygpt/v1"},
    ]
    context = {
        "upstreams": upstreams,
        "maintenance_text": "" if settings.HAS_PURCHASING else settings.MAINTENANCE_TEXT,
        "validity_days": settings.CREDIT_VALIDITY_DAYS,
    }
    return render(request, "home.html", context)
