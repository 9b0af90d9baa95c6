"""Whatever stands in an address or a form of the admin: a page, a redirect or a 4xx, and never a fault of ours."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.db.models import Model
from django.test import Client

from accounts.models import Account, LedgerEntry
from tests.factories import InsertUser, LogIn
from tests.support.conftest import ADMIN_MODELS

ODD = ["a\0b", "٣", "1e999999999", "9" * 5000]
RAW = ["%ED%A0%80"]
"""Bytes that are no UTF-8, as an address has them."""


@pytest.fixture
def client(log_in: LogIn) -> Client:
    client = log_in(None)
    client.raise_request_exception = False
    return client


def _assert_no_fault(client: Client, address: str, **form: Any) -> None:
    response = client.post(address, form) if form else client.get(address)
    assert response.status_code < 500, (address[:200], form)


@pytest.mark.parametrize("model", ADMIN_MODELS, ids=lambda model: model.__name__)
def test_no_address_of_a_list_or_a_document_is_a_fault(
    client: Client, insert_user: InsertUser, model: type[Model]
) -> None:
    insert_user("alice", creditsNew=1)
    place = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    names = ["q", "p", "o"]
    for declared in admin.site.get_model_admin(model).list_filter:
        name = declared[0] if isinstance(declared, tuple) else getattr(declared, "parameter_name", declared)
        names += [str(name), f"{name}_from", f"{name}_to"]
    for value in [*(quote(value) for value in ODD), *RAW]:
        _assert_no_fault(client, f"{place}?{'&'.join(f'{name}={value}' for name in names)}")
    for value in ("a%00b", "%ED%A0%80", "_ED_A0_80"):
        _assert_no_fault(client, f"{place}{value}/change/")


def test_no_address_of_our_own_pages_is_a_fault(client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    for value in [*(quote(value[:500], safe="") for value in ODD), *RAW, "alice"]:
        for address in (
            f"do/account/{value}/transfer/",
            f"do/{value}/alice/transfer/",
            f"do/account/alice/{value}/",
            f"bulk/{value}/?ids={value}",
            f"bulk/disable/?ids={value}",
            f"export/accounts/account/?q={value}",
            f"export/{value}/{value}/",
            f"accounts/{value}/timeline/",
            f"accounts/alice/timeline/?before={value}&kind={value}",
            f"accounts/alice/timeline/requests/?from={value}&to={value}&before={value}&hour={value}&day={value}",
        ):
            _assert_no_fault(client, f"/admin/support/{address}")
        _assert_no_fault(client, f"/admin/?days={value}&balance={value}&next={value}")
        _assert_no_fault(client, f"/admin/login/?next={value}")


def test_no_text_in_a_form_is_a_fault(client: Client, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    for value in ODD:
        _assert_no_fault(client, "/admin/support/find-key/", key=value)
        names = ("amount", "source", "balance", "direction", "date", "choice", "reason", "token", "confirm", "is_all")
        for slug in ("transfer", "adjust", "expiry", "limits", "rotate-key"):
            _assert_no_fault(client, f"/admin/support/do/account/alice/{slug}/", **dict.fromkeys(names, value))
        _assert_no_fault(client, "/admin/support/bulk/disable/", ids=value, reason=value, token=value)
        _assert_no_fault(client, "/admin/accounts/account/add/", username=value, role=value, discord_id=value)
        _assert_no_fault(client, "/admin/accounts/account/alice/change/", role=value, discord_id=value, reason=value)
        prices = ("model_id", "aliases", "input_price", "tiers", "tool_fees", "multiplier", "upstream", "reason")
        _assert_no_fault(client, "/admin/proxy/modelprice/add/", **dict.fromkeys(prices, value))
        promotion = ("name", "percent", "starts_at_0", "starts_at_1", "ends_at_0", "ends_at_1", "reason")
        _assert_no_fault(client, "/admin/payments/promotion/add/", **dict.fromkeys(promotion, value))
        _assert_no_fault(client, "/admin/auth/user/add/", username=value, password1=value, password2=value)
        _assert_no_fault(client, "/admin/accounts/account/", action=value, _selected_action=value, index=value)
    assert Account.objects.get().credits_new == 1
    client.logout()
    for value in ODD:
        _assert_no_fault(client, "/admin/login/", username=value, password=value, code=value)


@pytest.mark.parametrize("amount", ["٠٫٥", "０.5", "1_0", "٣"])
def test_an_amount_is_written_in_ascii_digits(client: Client, insert_user: InsertUser, amount: str) -> None:
    insert_user("alice", creditsNew=50)
    address = "/admin/support/do/account/alice/transfer/"
    token = client.get(address).context["token"]
    form = {"source": "openhands", "amount": amount, "reason": "asked", "token": token}
    page = client.post(address, form).content.decode()
    assert "Use the digits 0 to 9." in page or "Enter a number." in page
    client.post(address, {**form, "confirm": "1"})
    assert not LedgerEntry.objects.filter(kind="transfer").exists()
    assert Account.objects.get().credits_new == 50
