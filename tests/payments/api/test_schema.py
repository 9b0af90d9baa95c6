"""Every answer of the payment API is as the OpenAPI document that the site serves describes it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import requests
import yaml
from django.db import connection

from payments.errors import InvalidDecision
from payments.models import Payment, Promotion
from payments.orders import purchasing
from payments.providers.base import Instructions
from tests.factories import CallApi, Deliver, InsertUser, MakeOrder
from tests.payments.acme import Acme
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeStripe

Schema = dict[str, Any]

FORMATS = jsonschema.FormatChecker(formats=())
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FORMATS.checks("date-time")(lambda value: not isinstance(value, str) or bool(TIME.fullmatch(value)))
FORMATS.checks("uri")(lambda value: not isinstance(value, str) or value.startswith("https://"))


def as_json_schema(node: Any) -> Any:
    """An OpenAPI 3.0 schema as JSON Schema: `nullable` spelled out, and no field that is not described."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {name: as_json_schema(value) for name, value in node.items() if name != "nullable"}
    if "properties" in schema:
        schema["additionalProperties"] = False
    return {"anyOf": [schema, {"type": "null"}]} if node.get("nullable") is True else schema


@pytest.fixture
def call(api: CallApi, site: str) -> CallApi:
    """CallApi the API and compare the answer, whatever its status, with the document as it is served then."""

    def run(method: str, path: str, **kwargs: Any) -> requests.Response:
        document = yaml.safe_load(requests.get(f"{site}/api/schema", timeout=10).text)
        response = api(method, path, **kwargs)
        name = re.sub(r"^[^/?]+/status", "{payment_id}/status", path).partition("?")[0]
        answers = document["paths"][f"/api/payment/{name}"][method.lower()]["responses"]
        assert str(response.status_code) in answers, (response.status_code, response.text)
        schema: Schema = answers[str(response.status_code)]["content"]["application/json"]["schema"]
        whole = as_json_schema({**schema, "components": document["components"]})
        jsonschema.validate(response.json(), whole, jsonschema.Draft202012Validator, format_checker=FORMATS)
        return response

    return run


def test_the_check_sees_an_answer_that_is_not_as_described(call: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    connection.database["payments"].insert_one({"userId": "alice", "status": "odd"})
    with pytest.raises(jsonschema.ValidationError, match="'odd' is not one of"):
        call("GET", "history", user="alice")


def test_config(call: CallApi, db: None) -> None:
    assert call("GET", "config").status_code == 200
    now = datetime.now(UTC)
    Promotion.objects.create(name="Tet", percent=Decimal("12.5"), starts_at=now, ends_at=now + timedelta(hours=1))
    purchasing.switch_purchasing(is_on=False, actor="staff", reason="bank")
    assert call("GET", "config").json()["promotion"]["percent"] == 12.5


@pytest.mark.usefixtures("acme")
def test_checkout_through_every_provider(call: CallApi, stripe: FakeStripe, insert_user: InsertUser) -> None:
    insert_user("alice")
    methods = call("GET", "config").json()["methods"]
    assert methods == ["sepay", "stripe", "acme"]
    for method in methods:
        assert call("POST", "checkout", user="alice", json={"credits": 33, "method": method}).status_code == 200


def test_payments_of_every_kind(call: CallApi, deliver: Deliver, make_order: MakeOrder, stripe: FakeStripe) -> None:
    orders = [make_order(), make_order(), make_order(minutes_ago=16), make_order(method="stripe")]
    Payment.objects.filter(pk=orders[0].pk).update(bonus_percent=Decimal("12.5"))
    deliver(transfer(orders[0].order_code, 60_001))
    Payment.objects.filter(pk=orders[3].pk).update(status="failed")
    old: list[dict[str, Any]] = [
        {"userId": "alice", "status": "success", "credits": 20, "amount": 50_000, "orderCode": "TROLL20D1"},
        {"userId": "alice", "status": None, "amount": "odd", "createdAt": None, "currency": None},
        {"userId": "alice"},
    ]
    connection.database["payments"].insert_many(old)
    keys = [order.pk for order in orders] + [document["_id"] for document in old]
    statuses = [call("GET", f"{key}/status", user="alice").json()["status"] for key in keys]
    assert statuses == ["success", "pending", "expired", "failed", "success", "pending", "pending"]
    assert len(call("GET", "history", user="alice").json()["payments"]) == 7
    assert call("GET", "history-paginated?limit=3", user="alice").json()["totalPages"] == 3
    assert call("GET", "user-stats", user="alice").json()["successfulPayments"] == 2


def test_an_account_without_payments(call: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    for path in ("history", "history-paginated", "user-stats"):
        assert call("GET", path, user="alice").status_code == 200


@pytest.mark.parametrize("path", ["history", "history-paginated", "user-stats", "6b06b637eb8769850a4b7218/status"])
def test_refusals_of_every_endpoint_with_a_key(call: CallApi, insert_user: InsertUser, path: str) -> None:
    insert_user("off", isActive=False)
    assert call("GET", path).status_code == 401
    assert call("GET", path, user="off").status_code == 403
    assert call("GET", path, user="off", data="x" * 20_000).status_code == 413


def test_refusals_of_a_look_up(call: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    assert call("GET", "6b06b637eb8769850a4b7218/status", user="alice").status_code == 404
    assert call("GET", "history-paginated?page=x&from=today", user="alice").status_code == 200


def test_refusals_of_a_checkout(call: CallApi, stripe: FakeStripe, insert_user: InsertUser, settings: Any) -> None:
    insert_user("alice")
    insert_user("off", isActive=False)
    order = {"credits": 20, "method": "stripe"}
    assert call("POST", "checkout", json=order).status_code == 401
    assert call("POST", "checkout", user="off", json=order).status_code == 403
    assert call("POST", "checkout", user="alice", json={"credits": 1}).status_code == 400
    assert call("POST", "checkout", user="alice", json={"credits": [], "method": {}}).status_code == 400
    assert call("POST", "checkout", user="alice", json={"padding": "x" * 20_000}).status_code == 413
    assert call("POST", "checkout", user="alice", data={"credits": 20}).status_code == 415
    stripe.is_down = True
    assert call("POST", "checkout", user="alice", json=order).status_code == 502
    settings.STRIPE_SECRET_KEY = ""
    assert call("POST", "checkout", user="alice", json=order).status_code == 503
    settings.HAS_PURCHASING = False
    assert call("POST", "checkout", user="alice", json={"credits": 20}).status_code == 503


class Unlucky(Acme):
    """Meets what the API does not expect."""

    def instructions(self, order: Payment) -> Instructions:
        raise InvalidDecision("an operator's text")


def test_a_mistake_of_ours(call: CallApi, insert_user: InsertUser, use_providers: Callable[..., None]) -> None:
    use_providers(f"{__name__}.Unlucky")
    insert_user("alice")
    assert call("POST", "checkout", user="alice", json={"credits": 20}).status_code == 500
