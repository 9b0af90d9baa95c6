"""What a request costs the operator: as the upstream tells it, else reckoned by the price row, else unknown."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Account, Balance
from mongo.collections import collection_of
from proxy.api.statements import receipt, usage_statement
from proxy.billing import abandoned, metering
from proxy.billing.price_book import PriceBook
from proxy.billing.pricing import PLAIN, Terms, Usage
from proxy.billing.terms import PricedCall
from proxy.formats.api_format import UsageReport
from proxy.formats.openai_chat import OpenAiChat
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.proxy.requests import assert_reconciles, chat

ROW = {
    "_id": "own",
    "modelId": "gpt-own",
    "inputPricePerMTok": 3.0,
    "outputPricePerMTok": 15.0,
    "multiplier": 1.02,
    "tiers": [{"above": 1000, "input": "6", "own": {"input": "5"}}],
    "optionMultipliers": {"service_tier=priority": "2"},
    "toolFees": {"web_search": {"usd": "0.01", "maxUses": 2, "inputTokens": 1000, "ownUsd": "0.009"}},
}
OWN = {"ownInputPricePerMTok": 2.5, "ownOutputPricePerMTok": 12.5}
TERMS = Terms(options=("service_tier=priority",), tool_uses=(("web_search", 2),), has_1h_cache=True)


@pytest.fixture
def reserve(insert_user: Callable[..., str]) -> Callable[..., metering.Reservation]:
    insert_user("alice", creditsNew=1)

    def run(terms: Terms = PLAIN, **row: Any) -> metering.Reservation:
        connection.database["model_pricing"].insert_one(ROW | row)
        call = OpenAiChat().parse(chat(model="gpt-own"), 120)
        priced = PricedCall(call, PriceBook().find(Balance.OPENHANDS, "gpt-own"), terms, 2000)
        return metering.reserve(
            request_id="req_own", api_key=key_of("alice"), balance=Balance.OPENHANDS, endpoint="chat", priced=priced
        )

    return run


def charge(reservation: metering.Reservation, usage: Usage, told: Decimal | None = None) -> dict[str, Any]:
    bill = metering.make_bill(reservation, report=UsageReport(usage), output_text_bytes=0, told_cost=told)
    metering.collect(bill)
    log = collection_of(RequestLog).find_one({"_id": "req_own"})
    assert log
    return log


def test_it_is_reckoned_by_the_rows_own_prices(reserve: Callable[..., metering.Reservation]) -> None:
    log = charge(reserve(**OWN), Usage(100, 20))
    assert (log["ownCost"], log["ownCostSource"]) == (0.0005, "reckoned")


def test_without_own_prices_it_is_not_known(reserve: Callable[..., metering.Reservation]) -> None:
    assert charge(reserve(tiers=None), Usage(100, 20)).keys().isdisjoint({"ownCost", "ownCostSource"})


@pytest.mark.parametrize("told", [Decimal("0.000512345678"), Decimal(0)])
def test_what_the_upstream_tells_beats_the_row(reserve: Callable[..., metering.Reservation], told: Decimal) -> None:
    log = charge(reserve(**OWN), Usage(100, 20), told)
    assert (log["ownCost"], log["ownCostSource"]) == (float(round(told, 8)), "told")


@pytest.mark.parametrize("told", ["-1", "NaN", "sNaN", "Infinity", "1e9"])
def test_what_cannot_be_a_cost_is_not_believed(reserve: Callable[..., metering.Reservation], told: str) -> None:
    log = charge(reserve(**OWN), Usage(100, 20), Decimal(told))
    assert (log["ownCost"], log["ownCostSource"]) == (0.0005, "reckoned")


def test_nothing_is_noted_for_a_request_that_was_released(reserve: Callable[..., metering.Reservation]) -> None:
    metering.release(reserve(**OWN), status=502, outcome="upstream_error")
    assert "ownCost" not in (collection_of(RequestLog).find_one({"_id": "req_own"}) or {})


def test_a_receipt_names_what_applied_and_nothing_of_the_operators_cost(
    reserve: Callable[..., metering.Reservation],
) -> None:
    usage = Usage(1000, 20, cache_write_1h_tokens=500, tool_uses=(("web_search", 2),))
    log = charge(reserve(TERMS, **OWN), usage)
    # ((1000 x 6 + 20 x 15 + 500 x 12) / 10^6 x 2 + 2 x 0.01) x 1.02; ((5000 + 250 + 5000) / 10^6 x 2) + 2 x 0.009
    assert (log["creditsCost"], log["ownCost"]) == (0.045492, 0.0385)
    body = receipt(account=Account.objects.get(pk="alice"), request_id="req_own")
    assert body["tokens"] == {"input": 1000, "cache_write": 0, "cache_write_1h": 500, "cache_read": 0, "output": 20}
    assert body["tool_uses"] == {"web_search": 2}
    assert body["price"] == {
        "id": "own",
        "tier": 1000,
        "input": "6",
        "output": "15.00000000",
        "cacheWrite": "6",
        "cacheRead": "6",
        "cacheWrite1h": "12",
        "multiplier": "1.02000000",
        "options": {"service_tier=priority": "2"},
        "tools": {"web_search": "0.01"},
    }
    assert "own" not in str(body).replace("req_own", "").replace("gpt-own", "").replace("'id': 'own'", "")
    assert_reconciles()


def test_every_kind_of_token_is_in_the_sums_of_use(reserve: Callable[..., metering.Reservation]) -> None:
    usage = Usage(1, 2, 4, 8, 16, 32, 64, 128, 256)
    charge(reserve(**OWN), usage)
    account = Account.objects.get(pk="alice")
    (row,) = usage_statement(account=account, start=None, end=None, group=None)["data"]
    assert row["tokens"] == {"input": 97, "cache_write": 20, "cache_read": 8, "output": 386}
    assert (account.total_input_tokens, account.total_output_tokens) == (125, 386)


def test_the_sweeper_counts_the_same_tokens(
    reserve: Callable[..., metering.Reservation], monkeypatch: pytest.MonkeyPatch
) -> None:
    reservation = reserve(**OWN)
    usage = Usage(1, 2, 4, 8, 16, 32, 64, 128, 256)
    with monkeypatch.context() as patch:
        patch.setattr(metering.credits, "settle", _fail)
        with pytest.raises(_CutError):
            charge(reservation, usage)
    assert abandoned.sweep_holds(now=timezone.now() + timedelta(days=1)) == 1
    account = Account.objects.get(pk="alice")
    assert (account.total_input_tokens, account.total_output_tokens) == (125, 386)


class _CutError(BaseException):
    """A process that dies."""


def _fail(**kwargs: object) -> None:
    raise _CutError
