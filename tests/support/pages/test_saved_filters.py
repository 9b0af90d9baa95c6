"""Filters that staff save: each their own."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from support.models import SavedFilter
from support.pages import saved_filters
from tests.conftest import key_of
from tests.factories import InsertUser, LogIn
from tests.pages import page, text_of

SAVE, DELETE = "/admin/support/filters/save/", "/admin/support/filters/delete/"
REQUESTS = "/admin/proxy/requestlog/"


def save(client: Client, name: str, query: str, list_name: str = "proxy.requestlog") -> str:
    response = client.post(SAVE, {"list": list_name, "name": name, "query": query}, follow=True)
    return text_of(response)


def test_filters_are_saved_listed_opened_and_deleted(log_in: LogIn) -> None:
    sam, kim = log_in("Support", "sam"), log_in("Viewer", "kim")
    assert "Save these filters" not in page(sam, REQUESTS)
    shown = sam.get(f"{REQUESTS}?result=failed&q=alice").content.decode()
    offered = re.search(r'name="query" value="([^"]*)"', shown)
    assert offered
    assert "Saved as “Failed of &lt;alice&gt;”." in save(sam, " Failed of  <alice> ", offered[1].replace("&amp;", "&"))
    saved = SavedFilter.objects.get()
    assert saved.query == "q=alice&result=failed"
    listed = sam.get(REQUESTS).content.decode()
    assert 'href="?q=alice&amp;result=failed"' in listed
    assert "Failed of &lt;alice&gt;" in listed
    assert "Save these filters" not in page(sam, f"{REQUESTS}?result=failed&q=alice")
    assert "Failed of" not in page(sam, "/admin/accounts/account/")

    # Others neither see nor delete it.
    assert "Failed of" not in page(kim, REQUESTS)
    assert kim.post(DELETE, {"filter": str(saved.pk)}).status_code == 404
    assert SavedFilter.objects.count() == 1
    save(sam, "Failed of <alice>", "result=ok")
    assert [one.query for one in SavedFilter.objects.all()] == ["result=ok"]
    for wrong in ("", "x", "0" * 24):
        assert sam.post(DELETE, {"filter": wrong}).status_code == 404
    assert sam.get(DELETE).status_code == 405
    response = sam.post(DELETE, {"filter": str(SavedFilter.objects.get().pk)})
    assert (response.status_code, response["Location"]) == (302, REQUESTS)
    assert SavedFilter.objects.count() == 0


def test_only_what_the_list_offers_is_saved(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = log_in("Support", "sam")
    for name, query in (("", "result=ok"), ("x", ""), ("x", "foo=bar&p=2"), ("x", "o=1"), ("x", "q=" + "y" * 2000)):
        assert "Nothing was saved" in save(sam, name, query), (name, query)
    for name, query in ((key_of("alice"), "result=ok"), ("x", f"q={key_of('alice')}")):
        assert "an API key must not be kept" in save(sam, name, query)
    save(sam, "some", "result=ok&api_key_hash__startswith=a&p=3&result=failed")
    assert SavedFilter.objects.get().query == "result=failed"
    for list_name in ("", "auth", "auth.permission", "no.model", "../x"):
        assert sam.post(SAVE, {"list": list_name, "name": "x", "query": "q=a"}).status_code == 404
    assert sam.post(SAVE, {"list": "auth.user", "name": "x", "query": "q=a"}).status_code == 403
    monkeypatch.setattr(saved_filters, "MOST", 1)
    assert "you have 1 saved filters" in save(sam, "another", "result=ok")
    assert "Saved as" in save(sam, "some", "result=ok")


def test_a_list_that_finds_nothing_leads_to_the_search_of_everything(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    connection.database["payments"].insert_one(
        {"orderCode": "TROLL20D1700000000000", "userId": "alice", "createdAt": timezone.now(), "amount": 1}
    )
    sam = log_in("Support", "sam")
    for address in (REQUESTS, "/admin/support/auditentry/", "/admin/proxy/refusedrequest/"):
        shown = sam.get(address, {"q": "troll20d 1700000000000"}).content.decode()
        button = re.search(r'<button[^>]*name="q" value="([^"]*)" formaction="([^"]*)"', shown)
        assert button, address
        assert sam.post(button[2], {"q": button[1]})["Location"].startswith("/admin/payments/payment/")
