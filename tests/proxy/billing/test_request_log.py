"""The request log's document: one builder, whose cost is never beyond the hold."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts.errors import BrokenInvariant
from accounts.models import Balance
from proxy.billing.pricing import Usage
from proxy.billing.request_log import log_document

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
