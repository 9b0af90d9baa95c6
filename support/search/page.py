"""The search box and its page. A text is sent as a form, so that a whole API key stands in no address or log."""

from dataclasses import dataclass
from typing import cast

import pymongo
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from pymongo.errors import PyMongoError

from accounts.authentication import find_any_account_by_key
from accounts.errors import InvalidApiKey
from accounts.models import Account
from support.admin.base import is_timeout
from support.admin.display import account_url
from support.search import meanings
from support.search.look_ups import PLACES, Found, Hit, Place, Query

PLACE_SECONDS = 2.0
"""How long one collection may take; what was not found until then is said."""
TEXT, AFTER = "q", "after"


@dataclass(frozen=True)
class Group:
    """What one place holds of a search."""

    place: Place
    found: Found

    @property
    def is_empty(self) -> bool:
        return not self.found.hits


@sensitive_post_parameters(TEXT)
@require_http_methods(["GET", "HEAD", "POST"])
def search(request: HttpRequest) -> HttpResponse:
    """What is found of a text. One exact hit of a text that was sent leads to its page at once; a key always does.

    An address (GET) shows all that was found, so that one can come back to it.
    """
    user = cast(User, request.user)
    sent = request.POST if request.method == "POST" else request.GET
    raw = sent.get(TEXT, "").replace("\0", "").strip()
    places = [place for place in PLACES if any(user.has_perm(name) for name in place.permissions)]
    if address := address_of_key(raw, places):
        return HttpResponseRedirect(address)
    if meanings.has_key(raw):
        return _page(request, places, "", [], is_unknown_key=True)
    raw = raw[: meanings.LONGEST]
    seen = frozenset(place.model for place in places)
    query = Query(raw, meanings.clean(raw), seen, after=sent.get(AFTER, "")[: meanings.LONGEST])
    if request.method == "POST":
        return HttpResponseRedirect(
            address_of_hit(query, places) or f"{reverse('support:search')}?{urlencode({TEXT: raw})}"
        )
    return _page(request, places, raw, search_places(query, places) if query.text else [])


def address_of_key(text: str, places: list[Place]) -> str | None:
    """The page of the account that has a key of the text; None if nobody has one, or the user sees no accounts."""
    if all(place.model is not Account for place in places):
        return None
    for key in meanings.keys_in(text):
        try:
            return account_url(find_any_account_by_key(key).pk)
        except InvalidApiKey:
            continue
    return None


def address_of_hit(query: Query, places: list[Place]) -> str | None:
    """The page of the one thing that is exactly what was typed; None if there is none, or several.

    The events of a payment that is found too are about it, and count with it.
    """
    if not query.text:
        return None
    hits = [hit for place in places for hit in _ask(place, query, exact_only=True).hits]
    payments = {hit.key for hit in hits if hit.payment is not None and hit.key == hit.payment}
    counted = [hit for hit in hits if hit.payment not in payments or hit.key == hit.payment]
    return counted[0].address if len(counted) == 1 else None


def search_places(query: Query, places: list[Place]) -> list[Group]:
    """What each place holds. Where to go on with names, only the names are searched again."""
    asked = [place for place in places if place.model is Account] if query.after else places
    return [Group(place, _ask(place, query)) for place in asked]


def _ask(place: Place, query: Query, *, exact_only: bool = False) -> Found:
    hits: list[Hit] = []
    try:
        with pymongo.timeout(PLACE_SECONDS):
            hits = [] if query.after else place.exact(query)
            if exact_only:
                return Found(hits)
            found = place.like(query, hits)
    except (DatabaseError, PyMongoError) as error:
        if not (is_timeout(error) or (isinstance(error, PyMongoError) and error.timeout)):
            raise
        return Found(hits, note="This took too long: there may be more.")
    found.hits = [*hits, *found.hits]
    return found


def _page(
    request: HttpRequest, places: list[Place], text: str, groups: list[Group], *, is_unknown_key: bool = False
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": "Search",
        "searched_text": text,
        "groups": groups,
        "has_hits": any(not group.is_empty for group in groups),
        "places": places,
        "hidden_places": [place for place in PLACES if place not in places],
        "is_unknown_key": is_unknown_key,
        "sees_accounts": any(place.model is Account for place in places),
    }
    response = render(request, "support/search.html", context)
    response["Cache-Control"] = "private, no-cache"
    return response
