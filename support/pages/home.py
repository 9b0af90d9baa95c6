"""Pages outside the admin."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.models import Balance
from mongo.errors import DATABASE_FAILURES
from payments.orders.purchasing import read_purchasing
from proxy.api.addresses import port_of, prefix_of, public_address_of


def home(request: HttpRequest) -> HttpResponse:
    """What this site is, and where to go. Shown without a database too."""
    host = request.get_host().rpartition(":")[0] or request.get_host()
    upstreams = [
        {
            "name": balance.label,
            "address": f"{public_address_of(balance) or f'{request.scheme}://{host}:{port_of(balance)}'}/v1",
            "path": f"{prefix_of(balance)}/v1",
        }
        for balance in Balance
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
