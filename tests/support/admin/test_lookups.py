"""Addresses filter by what the lists offer, and by nothing else: an address must not find out what no page shows."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import Model
from django.test import RequestFactory

from tests.conftest import key_of
from tests.factories import InsertUser, LogIn
from tests.support.conftest import ADMIN_MODELS


@pytest.mark.parametrize(
    "lookup",
    [
        "legacy_api_key__startswith=sk-trollllm-6",
        "api_key_hash__startswith=f",
        "api_key_hash=f",
        "password_hash__isnull=1",
        "username__regex=a.*b",
        "username__icontains=lic",
    ],
)
def test_no_address_finds_an_account_by_what_no_filter_offers(
    log_in: LogIn, insert_user: InsertUser, lookup: str
) -> None:
    insert_user("alice", apiKeyHash="f" * 64)
    assert log_in("Viewer", "v").get(f"/admin/accounts/account/?{lookup}").status_code == 400
    export = log_in("Support", "s").get(f"/admin/support/export/accounts/account/?{lookup}")
    assert (export.status_code, export["Location"]) == (302, "/admin/accounts/account/")


@pytest.mark.parametrize("model", ADMIN_MODELS, ids=lambda model: model.__name__)
def test_every_list_allows_the_lookups_of_its_filters_alone(model: type[Model], admin_user: Any) -> None:
    model_admin = admin.site.get_model_admin(model)
    request = RequestFactory().get("/")
    request.user = admin_user
    for field in model._meta.fields:
        for lookup in ("__startswith", "__regex", "__in", "__gte"):
            assert not model_admin.lookup_allowed(f"{field.name}{lookup}", "a", request)
    for declared in model_admin.get_list_filter(request):
        if isinstance(declared, str):
            assert get_fields_from_path(model, declared)
            assert model_admin.lookup_allowed(f"{declared}__exact", "a", request)


def test_the_search_for_a_key_tells_no_more_than_pages_show(log_in: LogIn, insert_user: InsertUser) -> None:
    insert_user("alice")
    shown = key_of("alice")[:16]
    client = log_in("Viewer")
    for guess in (shown, shown + key_of("alice")[16], shown + "x"):
        rows = client.get("/admin/accounts/account/", {"q": guess}).context["cl"].result_list
        assert [account.pk for account in rows] == ["alice"]
