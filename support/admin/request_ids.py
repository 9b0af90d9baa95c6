"""Requests by the beginning of their ids, which customers and log lines often give alone."""

from typing import Any

from bson import ObjectId
from django.db.models import Q

from proxy.models import RefusedRequest, RequestLog
from support.admin.base import starts_with

FIRST = "req_"
"""What the ids of our requests begin with; those of the replaced system are 24 hex digits."""
LEAST_HEX_DIGITS = 6
"""Of an old id: fewer may as well be the name of an account."""
MOST_FOUND = 50


def clean_id(text: str) -> str:
    """A request id, or its beginning, as it is stored: without what pages and people put around it."""
    return text.strip().strip("….\"'`").strip()


def is_id_beginning(text: str) -> bool:
    """Whether a text can only be meant as the beginning of a request id of ours."""
    return clean_id(text).lower().startswith(FIRST)


def logs_beginning(text: str) -> list[str]:
    """The ids of at most `MOST_FOUND` logs that begin with a text, whose letters may be of any case."""
    beginning = clean_id(text).lower()
    if beginning.startswith(FIRST):
        return _first(RequestLog, starts_with("pk", beginning))
    lowest, highest = (beginning.ljust(24, digit) for digit in "0f")
    if len(beginning) < LEAST_HEX_DIGITS or not ObjectId.is_valid(lowest):
        return []
    return _first(RequestLog, Q(pk__gte=lowest, pk__lte=highest))


def refusals_beginning(text: str) -> list[str]:
    """The same of kept refusals."""
    return _first(RefusedRequest, starts_with("pk", clean_id(text).lower())) if is_id_beginning(text) else []


def _first(model: Any, condition: Q) -> list[str]:
    return list(model.objects.filter(condition).order_by("pk").values_list("pk", flat=True)[:MOST_FOUND])
