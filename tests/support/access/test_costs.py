"""What the operator pays, and the margin, is seen by owners: in pages, lists, previews, exports, history and audit."""

import re
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.utils import timezone

from books.daily_figures import refresh_figures
from proxy.models import ModelPrice
from support.access.costs import without_costs
from support.audit.trail import record
from support.models import AuditEntry
from tests.factories import LogIn
from tests.support.pages.test_exports import export

COST = "0.0731"
"""Of the operator, in every document of these tests: no part of any other number."""
SHOWN = re.compile(r"0\.0731|\$0\.07\b")


@pytest.fixture(autouse=True)
def _business(db: None) -> None:
    now = timezone.now()
    log = {"_id": "req_1", "userId": "alice", "creditType": "openhands", "model": "sonnet", "createdAt": now}
    connection.database["request_logs"].insert_one(log | {"creditsCost": 0.05, "ownCost": float(COST)})
    fields: dict[str, Any] = {"own_input_price": Decimal(COST), "own_output_price": Decimal(COST)}
    fields |= {"tiers": [{"above": 5, "input": "6", "own": {"input": COST}}]}
    fields |= {"tool_fees": {"web_search": {"usd": "0.01", "ownUsd": COST}}}
    price = ModelPrice.objects.create(
        id="openhands:sonnet", model_id="sonnet", upstream="openhands", input_price=3, output_price=9, **fields
    )
    after = {"own_input_price": COST, "input_price": "3", "tiers": [f"{{'own': {{'input': '{COST}'}}}}"]}
    record(
        actor="staff:o", action="change model price", target=str(price), before={"own_input_price": "1"}, after=after
    )
    LogEntry.objects.create(
        user=User.objects.create_user("o"),
        content_type=ContentType.objects.get_for_model(ModelPrice),
        object_id=price.pk,
        object_repr=str(price),
        action_flag=2,
        change_message=f"Own input: 1 → {COST}",
    )
    refresh_figures(now=now)


def pages(client: Client) -> dict[str, str]:
    entry = AuditEntry.objects.get(action="change model price")
    addresses = {
        "dashboard": "/admin/",
        "request": "/admin/proxy/requestlog/req_5F1/change/",
        "price": "/admin/proxy/modelprice/openhands_3Asonnet/change/",
        "history of the price": "/admin/proxy/modelprice/openhands_3Asonnet/history/",
        "audit": "/admin/support/auditentry/",
        "audit entry": f"/admin/support/auditentry/{entry.pk.replace(':', '_3A')}/change/",
    }
    return {name: client.get(address).content.decode() for name, address in addresses.items()}


def test_owners_see_the_cost_everywhere(log_in: LogIn) -> None:
    client = log_in("Owner")
    shown = pages(client)
    assert {name: bool(SHOWN.search(text)) for name, text in shown.items()} == dict.fromkeys(shown, True)
    assert "Margin of the last 30 days" in shown["dashboard"]
    assert "cost $0.07 on" in shown["dashboard"]
    header, row = export(client, "proxy/requestlog/")
    assert row[header.index("own_cost")] == "0.07310000"


@pytest.mark.parametrize("role", ["Viewer", "Support"])
def test_others_see_it_nowhere(log_in: LogIn, role: str) -> None:
    client = log_in(role)
    shown = pages(client)
    assert [name for name, text in shown.items() if SHOWN.search(text)] == []
    words = re.compile(r"Margin of|operator.s cost|operator pays|Own input|own_cost", re.IGNORECASE)
    assert {name: found for name, text in shown.items() if (found := words.findall(text))} == {}
    assert "web_search" in shown["price"]
    assert "a sample request costs" in shown["price"].lower()
    assert "input_price: None → 3" in shown["audit"]
    if role == "Support":
        header, *_ = export(client, "proxy/requestlog/")
        assert not [name for name in header if name.startswith("own")]


def test_who_sets_prices_sees_what_the_price_row_says_and_no_margin(log_in: LogIn) -> None:
    client = log_in("Billing admin")
    shown = pages(client)
    assert {name for name, text in shown.items() if SHOWN.search(text)} == {
        "price",
        "history of the price",
        "audit",
        "audit entry",
    }
    assert "Margin of" not in shown["dashboard"]
    assert "own_cost" not in export(client, "proxy/requestlog/")[0]


def test_costs_are_left_out_however_deep_they_are() -> None:
    before = {"own": 1, "owner": 2, "tiers": [{"own": {"input": "1"}, "input": "6"}], "note": "'ownUsd': 3", "n": 5}
    hidden = "not shown to your role"
    assert without_costs(before) == {"owner": 2, "tiers": [{"input": "6"}], "note": hidden, "n": 5}
