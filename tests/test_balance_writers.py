"""Only `accounts/credits` writes a balance. `watch_balances` (conftest.py) holds it during the tests of every module;
here is shown that it sees what it watches for.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts import credits
from tests.balance_watch import ROOT, BalanceWatch
from tests.factories import InsertUser

CULPRIT = ROOT / "payments" / "rules" / "culprit.py"
WRITES = {
    "update": "update_one({'_id': 'alice'}, {'$inc': {'creditsNew': 1}})",
    "pipeline": "update_one({'_id': 'alice'}, [{'$set': {'note': 1}}, {'$set': {'credits': 5}}])",
    "unset": "update_many({}, [{'$unset': ['holds.req_1', 'creditsUsed']}])",
    "find and modify": "find_one_and_update({'_id': 'alice'}, {'$set': {'holds.req_1': {}}})",
    "replace": "replace_one({'_id': 'alice'}, {'creditsNewUsed': 2})",
    "insert": "insert_one({'_id': 'mallory', 'credits': 5})",
}


def run_as_product_code(statement: str, usersnew: Any) -> None:
    """Run a statement as if it stood in a module of the product."""
    exec(compile(f"usersnew.{statement}", str(CULPRIT), "exec"), {"usersnew": usersnew})  # noqa: S102


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES.keys())
def test_the_watch_sees_a_write_of_a_balance_by_other_code(
    insert_user: InsertUser, usersnew: Any, watch_balances: BalanceWatch, statement: str
) -> None:
    insert_user("alice", credits=1)
    run_as_product_code(statement, usersnew)
    (violation,) = watch_balances.violations
    watch_balances.violations.clear()
    assert violation.startswith("payments/rules/culprit.py:1 wrote ")


def test_the_watch_passes_credits_themselves_and_other_fields(
    insert_user: InsertUser, usersnew: Any, watch_balances: BalanceWatch
) -> None:
    insert_user("alice", credits=1)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    credits.top_up(username="alice", amount=Decimal(20), operation="payment:1", actor="sepay", now=now)
    run_as_product_code("update_one({'_id': 'alice'}, {'$set': {'discordId': '1'}, '$unset': {'role': ''}})", usersnew)
    assert usersnew.find_one({"_id": "alice"})["creditsNew"] == 20
    assert watch_balances.violations == []
