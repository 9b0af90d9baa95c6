"""Two hundred at once against one dollar: no overspend by construction, over HTTP through every worker."""

import json
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from proxy.models import RequestLog
from tests.factories import InsertUser, InThreads, ServeWith
from tests.proxy.requests import assert_reconciles, chat, post
from tests.serving import Server

WORST_CASE = Decimal("0.10")
OUTPUT_PRICE = Decimal("5.25") / 10**6
INPUT_PRICE = Decimal("1.3125") / 10**6


def body_that_holds(amount: Decimal) -> dict[str, Any]:
    """A request whose worst case is `amount` or a hair less."""
    body = chat("[[fake delay=0.3 completion_tokens=3000]] hi", max_tokens=10_000)
    input_bound = -(-len(json.dumps(body)) // 2) * INPUT_PRICE
    return body | {"max_tokens": int((amount - input_bound) / OUTPUT_PRICE)}


def test_200_requests_at_once_cannot_overspend(
    serve_with: ServeWith, insert_user: InsertUser, in_threads: InThreads
) -> None:
    server = serve_with()
    insert_user("alice", creditsNew=1.0, credits=50.0)
    body = body_that_holds(WORST_CASE)
    lowest: list[Decimal] = []

    def call(_: int) -> int:
        response = post(server, body)
        lowest.append(Account.objects.get(pk="alice").credits_new)
        if response.status == 402:
            assert response.json()["error"]["message"].startswith("insufficient credits for request. Cost: $0.10, ")
        return response.status

    statuses = in_threads(200, call)

    assert set(statuses) == {200, 402}
    assert min(lowest) >= 0
    logs = list(RequestLog.objects.all())
    assert len(logs) == statuses.count(200)
    assert all(Decimal("0.0999") < log.hold <= WORST_CASE for log in logs)
    spent = sum(log.cost for log in logs)
    account = Account.objects.get(pk="alice")
    assert account.credits_new == 1 - spent
    assert account.credits_new_used == spent
    assert account.credits == 50
    assert_reconciles()


@pytest.mark.parametrize("is_stream", [False, True])
def test_many_small_requests_add_up_to_the_eighth_place(
    server: Server, insert_user: InsertUser, in_threads: InThreads, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=1.0)
    statuses = in_threads(40, lambda index: post(server, chat("x" * index, stream=is_stream)).status)
    assert statuses == [200] * 40
    assert Account.objects.get(pk="alice").credits_new == 1 - sum(log.cost for log in RequestLog.objects.all())
    assert_reconciles()
