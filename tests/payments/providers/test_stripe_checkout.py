"""Paying by Stripe from the order to the credits, against a fake Stripe over HTTP."""

from typing import Any

import pytest

from accounts.models import Account
from payments.models import Payment
from payments.providers import stripe_api
from tests.factories import CallApi, InsertUser, MakeOrder
from tests.payments.fakes import FakeStripe


def test_checkout_gives_a_page_and_its_payment_credits(
    api: CallApi, site: str, stripe: FakeStripe, insert_user: InsertUser
) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 25, "method": "stripe"})
    assert response.status_code == 200
    answer = response.json()
    assert answer["checkoutUrl"].startswith("https://checkout.stripe.test/")
    assert (answer["amount"], answer["currency"], answer["credits"]) == (25, "USD", 25)
    order = Payment.objects.get()
    asked = stripe.parameters[str(order.session_id)]
    assert asked["mode"] == "payment"
    assert asked["line_items[0][price_data][unit_amount]"] == "2500"
    assert asked["metadata[order]"] == asked["payment_intent_data[metadata][order]"] == order.order_code
    assert asked["adaptive_pricing[enabled]"] == "false"

    assert stripe.deliver(site, stripe.pay(str(order.session_id))).status_code == 200
    assert Account.objects.get().credits_new == 25


def test_the_page_of_an_order_is_made_once(stripe: FakeStripe, make_order: MakeOrder) -> None:
    order = make_order(method="stripe")
    assert stripe_api.create_session(order) == stripe_api.create_session(order)
    assert len(stripe.sessions) == 1


@pytest.mark.parametrize("failure", ["down", "key"])
def test_when_stripe_does_not_answer_the_order_fails_with_502(
    api: CallApi, stripe: FakeStripe, insert_user: InsertUser, settings: Any, failure: str
) -> None:
    insert_user("alice")
    stripe.is_down = failure == "down"
    if failure == "key":
        settings.STRIPE_SECRET_KEY = "sk_wrong"
    response = api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"})
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert "sk_" not in response.text
    assert Payment.objects.get().status == "failed"


def test_without_configuration_stripe_is_not_offered(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"})
    assert (response.status_code, response.json()["code"]) == (503, "payment_method_unavailable")


@pytest.mark.parametrize(
    ("currency", "units", "price", "asked"),
    [
        ("isk", "138.57", 2771, "277100"),
        ("UGX", "3700.4", 74008, "7400800"),
        ("kwd", "0.30725", 6.15, "6150"),
        ("BHD", "0.37699", 7.54, "7540"),
        ("tnd", "3.1234", 62.47, "62470"),
        ("jpy", "150.123", 3002, "3002"),
        ("clp", "900.57", 18011, "18011"),
        ("eur", "0.9251", 18.5, "1850"),
        ("usd", "1", 20, "2000"),
    ],
)
def test_prices_are_asked_for_as_stripe_wants_them(
    api: CallApi,
    site: str,
    stripe: FakeStripe,
    insert_user: InsertUser,
    settings: Any,
    currency: str,
    units: str,
    price: float,
    asked: str,
) -> None:
    settings.STRIPE_CURRENCY, settings.STRIPE_UNITS_PER_USD = currency, units
    insert_user("alice")
    answer = api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"})
    assert (answer.json()["amount"], answer.json()["currency"]) == (price, currency.upper())
    order = Payment.objects.get()
    assert stripe.parameters[str(order.session_id)]["line_items[0][price_data][unit_amount]"] == asked
    assert stripe.deliver(site, stripe.pay(str(order.session_id))).status_code == 200
    order.refresh_from_db()
    assert (order.flags, Account.objects.get().credits_new) == ([], 20)


def test_what_would_cost_nothing_is_not_sold(
    api: CallApi, stripe: FakeStripe, insert_user: InsertUser, settings: Any
) -> None:
    settings.STRIPE_CURRENCY, settings.STRIPE_UNITS_PER_USD = "jpy", "0.001"
    insert_user("alice")
    answer = api("POST", "checkout", user="alice", json={"credits": 20, "method": "stripe"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_order")
    assert stripe.sessions == {}
