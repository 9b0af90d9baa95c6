"""Filters that staff save under a name: each sees, opens and deletes their own, beside the filters of the list."""

from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.views.main import ORDER_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect, QueryDict
from django.views.decorators.http import require_POST

from support.admin.display import list_url
from support.models import SavedFilter
from support.search.meanings import has_key

MOST = 30
"""Of one user for one list."""
LONGEST_NAME, LONGEST_QUERY = 60, 1000


@dataclass(frozen=True)
class SavedFilters:
    """What a list shows: the saved filters, which of them is shown now, and what could be saved."""

    list_name: str
    filters: list[SavedFilter]
    query: str
    is_saved: bool


def saved_filters_of(request: HttpRequest, changelist: Any) -> SavedFilters:
    """The user's own for this list. Reads only."""
    list_name = str(changelist.opts.label_lower)
    filters = list(SavedFilter.objects.filter(user_key=str(request.user.pk), list_name=list_name)[:MOST])
    query = "" if changelist.problems else _query_of(request, changelist.model_admin, request.GET)
    return SavedFilters(list_name, filters, query, any(one.query == query for one in filters))


@require_POST
def save_filter(request: HttpRequest) -> HttpResponseRedirect:
    """Keep a list's search and filters under a name; one of that name is replaced. Safe to repeat."""
    model_admin = _admin_of(request)
    query = _query_of(request, model_admin, QueryDict(request.POST.get("query", "")))
    name = " ".join(request.POST.get("name", "").replace("\0", "").split())[:LONGEST_NAME]
    own = SavedFilter.objects.filter(user_key=str(request.user.pk), list_name=model_admin.opts.label_lower)
    if not name or not query or len(query) > LONGEST_QUERY:
        messages.warning(request, "Nothing was saved: choose filters, and write a name.")
    elif has_key(name) or has_key(query):
        messages.warning(request, "Nothing was saved: an API key must not be kept.")
    elif own.exclude(name=name).count() >= MOST:
        messages.warning(request, f"Nothing was saved: you have {MOST} saved filters of this list. Delete one first.")
    else:
        SavedFilter.objects.update_or_create(
            user_key=str(request.user.pk),
            list_name=model_admin.opts.label_lower,
            name=name,
            defaults={"query": query},
        )
        messages.success(request, f"Saved as “{name}”.")
    return HttpResponseRedirect(f"{list_url(model_admin.model)}?{query}")


@require_POST
def delete_filter(request: HttpRequest) -> HttpResponseRedirect:
    """Delete one of the user's own. Safe to repeat; those of others are not found."""
    key = request.POST.get("filter", "")
    found = None
    if ObjectId.is_valid(key):
        found = SavedFilter.objects.filter(pk=key, user_key=str(request.user.pk)).first()
    if found is None:
        raise Http404
    found.delete()
    messages.success(request, f"“{found.name}” was deleted.")
    return HttpResponseRedirect(list_url(apps.get_model(found.list_name)))


def _admin_of(request: HttpRequest) -> Any:
    """The list that is named, if the user may see it. Raises `Http404`, `PermissionDenied`."""
    try:
        model_admin = admin.site.get_model_admin(apps.get_model(request.POST.get("list", "")))
    except (LookupError, ValueError, NotRegistered):
        raise Http404 from None
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    return model_admin


def _query_of(request: HttpRequest, model_admin: Any, given: QueryDict) -> str:
    """The search, order and filters of an address; what the list does not offer is left out."""
    kept = QueryDict(mutable=True)
    for name in sorted(given):
        values = [value for value in given.getlist(name) if value.strip()]
        is_known = name in (SEARCH_VAR, ORDER_VAR) or model_admin.lookup_allowed(name, "", request)
        if values and is_known:
            kept[name] = values[-1]
    return "" if set(kept) <= {ORDER_VAR} else kept.urlencode()
