"""A filter that cannot be read shows no rows and says why; an empty list says what was searched."""

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from support.admin.display import list_url
from support.pages.exports import COLUMNS
from tests.factories import InsertUser
from tests.pages import text_of
from tests.support.conftest import ADMIN_MODELS


@pytest.fixture
def rows(insert_user: InsertUser) -> None:
    insert_user("alice", credits=5)
    log = {"_id": "r1", "userId": "alice", "model": "sonnet", "isSuccess": True, "createdAt": timezone.now()}
    connection.database["request_logs"].insert_one(log)


@pytest.mark.parametrize(
    ("address", "words", "typed"),
    [
        ("proxy/requestlog/?created_at_from=11/27/2026", "“11/27/2026” is no date: there is no month 27", True),
        ("proxy/requestlog/?created_at_from=garbage", "“garbage” is not read as a date. Write 2026-11-27", True),
        ("proxy/requestlog/?created_at_to=2026-13-01", "The filter “time, to” cannot be read", True),
        ("proxy/requestlog/?result=maybe", "The filter “result” cannot be “maybe”. Choose one of: Failed, Succ", False),
        ("proxy/requestlog/?upstream=x", "The filter “upstream” cannot be “x”.", False),
        ("proxy/requestlog/?unreadable=x", "The filter “unreadable” cannot be “x”.", False),
        ("proxy/requestlog/?created_at_from=2026-01-01&created_at_from=2027-01-01", "is given twice", False),
        ("accounts/account/?credits_from=1,5", "“1,5” has a comma, which can mean two things.", True),
        ("accounts/account/?credits_new_to=1e5", "“1e5” has an exponent.", True),
        ("accounts/account/?credits_to=NaN", "“NaN” is not read as a number.", True),
        ("accounts/account/?credits_to=99999999999", "is more than any account has", True),
        ("accounts/account/?expiry=soonish", "The filter “expiry” cannot be “soonish”.", False),
        (
            "accounts/ledgerentry/?balance__exact=x",
            "The filter “balance” cannot be “x”. Choose one of: OpenHands",
            False,
        ),
        ("accounts/ledgerentry/?kind__isnull=maybe", "The filter “kind” cannot be “maybe”. Choose yes or no.", False),
        ("payments/payment/?status__exact=PAID", "The filter “status” cannot be “PAID”. Choose one of: Waiting", False),
        ("auth/user/?is_active__exact=maybe", "The filter “active” cannot be “maybe”. Choose yes or no.", False),
        ("proxy/modelprice/?upstream__exact=x", "The filter “upstream” cannot be “x”.", False),
        ("support/auditentry/?outcome__exact=x", "The filter “outcome” cannot be “x”.", False),
    ],
)
def test_a_filter_that_cannot_be_read_shows_nothing_and_says_why(
    admin_client: Client, rows: None, address: str, words: str, typed: bool
) -> None:
    response = admin_client.get(f"/admin/{address}")
    text = text_of(response)
    assert response.status_code == 200
    assert len(response.context["cl"].result_list) == 0
    assert "Nothing is shown" in text
    assert any(one in text for one in words.split("|")), text[-2000:]
    assert "Clear the search and the filters" in text
    if typed:
        assert f'value="{address.rpartition("=")[2]}"' in response.content.decode()


@pytest.mark.parametrize("model", ADMIN_MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("query", ["created_at__gte=foo", "foo=bar", "at__lt=2026-01-01", "pk=1", "id__in=1,2"])
def test_no_list_answers_a_filter_that_it_has_not(admin_client: Client, model: type[Model], query: str) -> None:
    response = admin_client.get(f"{list_url(model)}?{query}")
    assert response.status_code == 400
    assert f"This list has no filter “{query.partition('=')[0]}”." in text_of(response)
    assert len(response.context["cl"].result_list) == 0


@pytest.mark.parametrize("model", ADMIN_MODELS, ids=lambda model: model.__name__)
def test_every_filter_of_every_list_refuses_nonsense(admin_client: Client, admin_user: Any, model: type[Model]) -> None:
    """No filter is forgotten: those that take any text find nothing by it."""
    for parameter in _parameters(admin.site.get_model_admin(model)):
        response = admin_client.get(list_url(model), {parameter: "nonsense"})
        assert response.status_code == 200, parameter
        assert len(response.context["cl"].result_list) == 0, parameter
        text = text_of(response)
        assert "“nonsense”" in text or ": nonsense" in text, parameter
        emptied = admin_client.get(list_url(model), {parameter: ""})
        assert emptied.context["cl"].problems == [], parameter
        if model in COLUMNS and "“nonsense”" in text:
            export = admin_client.get(
                f"/admin/support/export/{model._meta.app_label}/{model._meta.model_name}/", {parameter: "nonsense"}
            )
            assert (export.status_code, export["Location"]) == (302, f"{list_url(model)}?{parameter}=nonsense")
            assert "Nothing was exported. " in text_of(admin_client.get(export["Location"]))


def _parameters(model_admin: Any) -> list[str]:
    found = []
    for one in model_admin.list_filter:
        if isinstance(one, str):
            found += [f"{one}__exact", f"{one}__isnull"]
        elif isinstance(one, tuple):
            found += [f"{one[0]}_from", f"{one[0]}_to"]
        else:
            found.append(one.parameter_name)
    return [name for name in found if not name.startswith(("groups", "permissions"))]


def test_an_empty_list_says_what_was_searched_and_filtered(admin_client: Client, rows: None) -> None:
    address = "/admin/proxy/requestlog/"
    query = {"q": "zoe", "result": "failed", "model": "opus", "created_at_from": "01/12/2026"}
    response = admin_client.get(address, query)
    text = text_of(response)
    assert "No request logs found" in text
    assert "Searched for “zoe” in: Account name, request id or its beginning." in text
    assert "Filtered by model: opus; result: Failed; time: from 01/12/2026." in text
    assert 'href="?"' in response.content.decode()
    connection.database["request_logs"].delete_many({})
    text = text_of(admin_client.get(address))
    assert "There are no request logs yet" in text
    assert "Clear the search" not in text


def test_a_day_in_the_order_of_the_setting_filters(admin_client: Client, rows: None) -> None:
    now = timezone.now()
    for text, count in ((f"{now:%d/%m/%Y}", 1), (f"{now:%Y-%m-%d}", 1), ("01/12/2099", 0)):
        response = admin_client.get("/admin/proxy/requestlog/", {"created_at_from": text})
        assert len(response.context["cl"].result_list) == count


def test_a_page_that_is_not_there_keeps_the_filters(admin_client: Client, insert_user: InsertUser) -> None:
    connection.database["usersNew"].insert_many({"_id": f"user{index:03}"} for index in range(60))
    response = admin_client.get("/admin/accounts/account/?p=9&status=active")
    assert response.status_code == 200
    assert "This list has no page 9: it has fewer rows." in text_of(response)
    assert "Filtered by status: Active." in text_of(response)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("before=11/27/2026", "there is no month 27"),
        ("before=foo", "“foo” is not read as a date."),
        ("before=0001-01-01", "is no day that anything can have happened on"),
        ("kind=foo", "There is no kind “foo”."),
        ("balance=foo", "There is no balance “foo”."),
    ],
)
def test_a_timeline_that_is_asked_for_in_vain_says_why(
    admin_client: Client, insert_user: InsertUser, query: str, words: str
) -> None:
    insert_user("alice")
    response = admin_client.get(f"/admin/support/accounts/alice/timeline/?{query}")
    text = text_of(response)
    assert response.status_code == 200
    assert "Nothing is shown." in text
    assert words in text
    assert "Time (UTC)" not in text
    assert "Time (UTC)" in text_of(admin_client.get("/admin/support/accounts/alice/timeline/?before=27/11/2026"))
