"""Mistakes in the payment settings are said before they cost money; a new provider needs one file and one setting."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import yaml
from django.test import Client

from accounts.models import Account
from payments import orders
from payments.checks import check_payment_settings
from payments.errors import PaymentMethodUnavailable
from payments.inbox import review
from payments.models import Payment, WebhookEvent
from tests.factories import CallApi, InsertUser, MakeOrder
from tests.pages import page
from tests.payments.acme import send_acme


def ids() -> set[str | None]:
    return {message.id for message in check_payment_settings(None)}


def test_the_defaults_are_right() -> None:
    assert ids() == set()


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("ORDER_CODE_PREFIX", "nap", "payments.E001"),
        ("ORDER_VND_PER_USD", 0, "payments.E002"),
        ("STRIPE_UNITS_PER_USD", "one", "payments.E002"),
        ("STRIPE_UNITS_PER_USD", "-1", "payments.E002"),
        ("STRIPE_UNITS_PER_USD", "NaN", "payments.E002"),
        ("ORDER_MIN_CREDITS", 101, "payments.E003"),
        ("EXPIRY_RENEWAL_MIN_PERCENT", 101, "payments.E006"),
        ("EXPIRY_RENEWAL_MIN_PERCENT", -1, "payments.E006"),
        ("WEBHOOK_SILENCE_MINUTES", 0, "payments.E007"),
        ("STANDARD_WEBHOOK_SECRETS", ["whsec_short"], "payments.E004"),
        ("STANDARD_WEBHOOK_SECRETS", ["schlüssel"], "payments.E004"),
        ("PAYMENT_PROVIDERS", ["payments.providers.nobody.Nobody"], "payments.E005"),
        ("PAYMENT_PROVIDERS", ["payments.models.Payment"], "payments.E005"),
    ],
)
def test_a_mistake_is_found(settings: Any, name: str, value: object, found: str) -> None:
    setattr(settings, name, value)
    assert ids() == {found}


@pytest.mark.usefixtures("acme")
def test_a_fourth_provider_is_one_class_and_one_setting(site: str, make_order: MakeOrder) -> None:
    payload = {"id": "a1", "amount": 50_000, "currency": "vnd", "memo": make_order().order_code}
    assert send_acme(site, payload, signature="guess").status_code == 401
    assert send_acme(site, payload).status_code == 200
    assert Account.objects.get().credits_new == 20


@pytest.mark.usefixtures("acme")
def test_a_fourth_provider_sells_too(site: str, api: CallApi, insert_user: InsertUser, admin_client: Client) -> None:
    insert_user("alice")
    assert api("GET", "config").json()["methods"] == ["sepay", "acme"]
    answer = api("POST", "checkout", user="alice", json={"credits": 25, "method": "acme"}).json()
    order = Payment.objects.get()
    assert (answer["amount"], answer["currency"], answer["credits"]) == (22.5, "EUR", 25)
    assert list(answer)[6:] == ["voucher", "kiosksUrl"]
    assert (answer["voucher"], answer["kiosksUrl"]) == (f"V-{order.order_code}", "https://acme.test/kiosks")
    assert (order.payment_method, order.session_id) == ("acme", f"acme-session-{order.order_code}")
    assert order.created_at is not None
    assert order.expires_at == order.created_at + timedelta(minutes=60)

    paid = {"id": "a1", "amount": 22.5, "currency": "EUR", "memo": order.order_code}
    assert send_acme(site, paid).status_code == 200
    assert api("GET", f"{order.pk}/status", user="alice").json()["credits"] == 25
    assert Account.objects.get().credits_new == 25
    assert Payment.objects.get().flags == []
    for address in ("/admin/payments/payment/", f"/admin/payments/payment/{order.pk}/change/"):
        assert "Acme Kiosks" in page(admin_client, address)


@pytest.mark.usefixtures("acme")
def test_money_that_a_fourth_provider_brings_without_an_order_has_a_worth(site: str, db: None) -> None:
    send_acme(site, {"id": "a1", "amount": 9, "currency": "EUR", "memo": "none"})
    money = review.read_money(WebhookEvent.objects.get(status="review"))
    assert money is not None
    assert money.value == 10


@pytest.mark.usefixtures("acme")
def test_a_fourth_provider_is_in_the_openapi_document(site: str, db: None) -> None:
    schemas = yaml.safe_load(requests.get(f"{site}/api/schema", timeout=10).text)["components"]["schemas"]
    method = schemas["CheckoutRequest"]["properties"]["method"]
    reference = method["allOf"][0]["$ref"].rpartition("/")[2]
    assert (schemas[reference]["enum"], method["default"]) == (["sepay", "stripe", "acme"], "sepay")
    texts = schemas["CheckoutResponse"]["properties"]
    assert texts["voucher"]["description"] == "The number to say at the kiosk."
    assert texts["kiosksUrl"]["format"] == "uri"
    assert "voucher" not in schemas["CheckoutResponse"]["required"]


def test_without_a_fourth_provider_nothing_knows_it(site: str, api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    assert api("POST", "checkout", user="alice", json={"credits": 25, "method": "acme"}).status_code == 400
    assert send_acme(site, {"id": "a1"}).status_code == 404


@pytest.mark.parametrize("method", ["standard", "nobody"])
def test_what_sells_nothing_takes_no_orders(api: CallApi, insert_user: InsertUser, method: str) -> None:
    account = Account.objects.get(pk=insert_user("alice"))
    with pytest.raises(PaymentMethodUnavailable):
        orders.create_order(account=account, credits=20, method=method)
    assert api("POST", "checkout", user="alice", json={"credits": 20, "method": method}).status_code == 400
    assert not Payment.objects.exists()


def test_a_site_that_sells_nothing_says_so(
    api: CallApi, insert_user: InsertUser, use_providers: Callable[..., None]
) -> None:
    insert_user("alice")
    use_providers("payments.providers.standard.StandardWebhooks")
    assert api("GET", "config").json()["methods"] == []
    response = api("POST", "checkout", user="alice", json={"credits": 20})
    assert (response.status_code, response.json()["code"]) == (503, "payment_method_unavailable")


def test_an_unusable_secret_verifies_nothing(site: str, settings: Any, db: None) -> None:
    settings.STANDARD_WEBHOOK_SECRETS = ["not base64!"]
    headers = {
        "webhook-id": "1",
        "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
        "webhook-signature": "v1,",
    }
    response = requests.post(f"{site}/api/payment/webhook/standard", data=b"{}", headers=headers, timeout=10)
    assert response.status_code == 401
