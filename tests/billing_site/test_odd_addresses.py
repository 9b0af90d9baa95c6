"""Every address of the site with ids and queries that nobody has: an answer, never a failure."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.factories import LogIn

ODD_IDS = ("1", "abc%00")
ODD_QUERIES = (
    "o=abc&p=-1",
    "pk__in=1,2&_to_field=x&password__startswith=a",
    "q=%ED%A0%80",
    "_popup=1&_facets=1&all=",
    "e=1&nothing__like__it=1",
)


def addresses(resolver: Any, before: str = "") -> Iterator[str]:
    """Every pattern below a resolver, whole."""
    for pattern in resolver.url_patterns:
        whole = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, whole)
        elif isinstance(pattern, URLPattern) and "logout" not in whole:
            yield whole


def with_id(address: str, odd_id: str) -> str:
    return "/" + re.sub(r"<[^>]+>|\^?\(\?P<[^)]*\)", odd_id, address).replace("^", "").replace("$", "")


ADDRESSES = sorted(set(addresses(get_resolver())))


@pytest.fixture
def staff(log_in: LogIn) -> Client:
    browser = log_in(None)
    browser.raise_request_exception = False
    return browser


def test_no_address_fails_for_an_odd_id(staff: Client, usersnew: Any) -> None:
    usersnew.insert_one({"_id": "alice"})
    failed = []
    for address in ADDRESSES:
        for odd_id in ODD_IDS if "<" in address else ("",):
            path = with_id(address, odd_id)
            answers = [staff.get(path).status_code, staff.post(path).status_code]
            failed += [path] * any(status >= 500 and status != 503 for status in answers)
    assert failed == []


def test_no_list_fails_for_an_odd_query(staff: Client) -> None:
    lists = [address for address in ADDRESSES if re.fullmatch(r"admin/\w+/\w+/|admin/(autocomplete/)?", address)]
    assert len(lists) > 10
    failed = [
        f"/{path}?{query}"
        for path in lists
        for query in ODD_QUERIES
        if staff.get(f"/{path}?{query}").status_code >= 500
    ]
    assert failed == []


def test_the_way_to_an_object_by_its_content_type_is_closed(staff: Client, db: None) -> None:
    user = ContentType.objects.get(app_label="auth", model="user")
    for path in ("/admin/r/1/1/", f"/admin/r/{user.pk}/1/", f"/admin/r/{user.pk}/{'0' * 24}/"):
        assert staff.get(path).status_code == 404
    assert Client().get("/admin/r/1/1/").status_code == 302
