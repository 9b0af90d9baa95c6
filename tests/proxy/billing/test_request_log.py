"""The request log's document: one builder, whose cost is never beyond the hold."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts.errors import BrokenInvariant
from accounts.models import Balance
from proxy.billing.pricing import Usage
from proxy.billing.request_log import log_document
from proxy.models import RequestLog

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def build(**fields: Any) -> dict[str, Any]:
    known = {"request_id": "req_1", "username": "alice", "balance": Balance.OPENHANDS, "created_at": NOW}
    return log_document(**{**known, "status": 200, "outcome": "ok", **fields})


def test_the_cost_beyond_the_hold_is_uncollected() -> None:
    document = build(full_cost=Decimal("0.5"), hold=Decimal("0.2"), usage=Usage(10, 20, 3, 4))
    assert (document["creditsCost"], document["uncollected"], document["hold"]) == (0.2, 0.3, 0.2)
    assert (document["inputTokens"], document["outputTokens"]) == (10, 20)
    assert (document["cacheWriteTokens"], document["cacheHitTokens"], document["tokensUsed"]) == (3, 4, 37)
    assert document["isSuccess"] is True


def test_a_free_request_has_no_hold_and_what_is_not_known_is_left_out() -> None:
    document = build(outcome="upstream_refused", status=400)
    assert (document["creditsCost"], document["isSuccess"]) == (0, False)
    assert document.keys().isdisjoint({"hold", "price", "model", "latencyMs", "usageProblem", "apiKeyPrefix"})


@pytest.mark.parametrize("fields", [{"full_cost": Decimal("-0.1"), "hold": Decimal(1)}, {"full_cost": Decimal("0.1")}])
def test_an_impossible_cost_is_refused(fields: dict[str, Decimal]) -> None:
    with pytest.raises(BrokenInvariant):
        build(**fields)


def test_kinds_that_few_requests_have_are_kept_where_there_are_any() -> None:
    few = {"cacheWrite1hTokens", "inputAudioTokens", "inputImageTokens", "outputAudioTokens", "outputImageTokens"}
    assert build(usage=Usage(10, 20)).keys().isdisjoint({*few, "toolUses", "ownCost", "ownCostSource"})
    usage = Usage(10, 20, 3, 4, 5, 6, 7, 8, 9, tool_uses=(("web_search", 2),))
    document = build(usage=usage, own_cost=Decimal("0.0123"), own_cost_source=RequestLog.OwnCostSource.TOLD)
    assert {name: document[name] for name in few} == {
        "cacheWrite1hTokens": 5,
        "inputAudioTokens": 6,
        "inputImageTokens": 7,
        "outputAudioTokens": 8,
        "outputImageTokens": 9,
    }
    assert (document["toolUses"], document["tokensUsed"]) == ({"web_search": 2}, 72)
    assert (document["ownCost"], document["ownCostSource"]) == (0.0123, "told")
