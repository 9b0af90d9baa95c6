"""What a browser shows when a page cannot be: what happened, whether anything was changed, and a way back.

Below `/api/` the answer is JSON, as of every other error there. The proxy API has its own (proxy/api/responses.py).
"""

import sys
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone

from mongo.days import show_with_zone
from mongo.errors import DATABASE_FAILURES


@dataclass(frozen=True)
class Problem:
    """An error as a page shows it."""

    status: int
    code: str
    title: str
    explanation: str
    """What it means for the reader, and what to do."""


BAD_REQUEST = Problem(
    400, "invalid_request", "The request cannot be read", "Nothing was changed. Go back and try it again."
)
NOT_ALLOWED = Problem(
    403,
    "not_allowed",
    "You may not do this",
    "Your account has no permission for it. Nothing was changed. Ask an administrator, who can give you the role.",
)
STALE_FORM = Problem(
    403,
    "stale_form",
    "The form has to be opened again",
    "It was opened before you last logged in or out, or the browser sent no cookies. Nothing was changed. Go back, "
    "reload the page and send it again.",
)
NOT_FOUND = Problem(
    404, "not_found", "There is no such page", "The address may be mistyped, or what it showed has been deleted."
)
TOO_LARGE = Problem(
    413,
    "body_too_large",
    "This is too large",
    "The form or file has more bytes than a page takes. Nothing was changed.",
)
FAILED = Problem(
    500,
    "internal_error",
    "Something went wrong here",
    "The fault is ours and has been logged. Before you repeat a change, look whether it was made.",
)
DATABASE_AWAY = Problem(
    503,
    "database_unavailable",
    "The database cannot be reached",
    "Try again in a moment. Before you repeat a change, look whether it was made.",
)


def show(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The answer to a request that failed with a problem: a page, or JSON below `/api/`. Needs no database."""
    if request.path_info.startswith("/api/"):
        return JsonResponse(
            {"error": f"{problem.title}. {problem.explanation}", "code": problem.code}, status=problem.status
        )
    is_admin = request.path_info.startswith("/admin/")
    context = {"problem": problem, "is_admin": is_admin, "now": show_with_zone(timezone.now())}
    # Without the request: its context processors read the session, and so the database.
    return HttpResponse(render_to_string("error.html", context), status=problem.status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400` of the site."""
    return show(request, BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler403` of the site."""
    return show(request, NOT_ALLOWED)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """`CSRF_FAILURE_VIEW`: a form without the token that belongs to the reader's cookie."""
    return show(request, STALE_FORM)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler404` of the site."""
    return show(request, NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500` of the site: a fault of ours, or a database that is away."""
    return show(request, DATABASE_AWAY if isinstance(sys.exception(), DATABASE_FAILURES) else FAILED)
