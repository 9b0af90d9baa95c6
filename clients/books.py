"""What a client used, reckoned once more from what the upstream counted, against what the platform billed."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from development.fake_upstream.server import RecordedRequest

PLACES = Decimal("0.00000001")
FREE = "/v1/messages/count_tokens"
"""Forwarded, and recorded at no cost."""
BALANCES = {"openhands": "creditsNew", "ohmygpt": "credits"}
"""The member of an account for each balance."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Bill:
    """What was billed to an account, and everything in it that is not as it must be."""

    requests: int
    cost: Decimal
    problems: list[str]


def check_bill(
    database: Any,
    *,
    account: str,
    balance: str,
    opening: Decimal,
    seen: Iterable[RecordedRequest],
    patience: float = 30,
) -> Bill:
    """Compare an account that had `opening` USD on each balance, and used this one, with what the upstream has seen.

    Costs must agree to the 8th place, request by request. Waits `patience` seconds for what is still being settled.
    """
    rows = list(database["model_pricing"].find({"upstream": balance}))
    expected: Counter[str] = Counter()
    for request in seen:
        if request.counted is not None:
            expected[_line(request.path, _usage(request.path, request.counted), _cost(rows, request))] += 1
        elif request.path.startswith(FREE):
            expected[_line(request.path, (0, 0, 0, 0), Decimal(0))] += 1
    _wait_until_settled(database, account, expected.total(), patience)
    logs = list(database["request_logs"].find({"userId": account}))
    billed = Counter(_billed_line(log) for log in logs)
    problems = [f"not billed: {line}" for line in (expected - billed).elements()]
    problems += [f"billed, but not used: {line}" for line in (billed - expected).elements()]
    cost = sum((_amount(log.get("creditsCost")) for log in logs), Decimal(0))
    document = database["usersNew"].find_one({"_id": account})
    for name, member in BALANCES.items():
        should = opening - (cost if name == balance else 0)
        if _amount(document[member]) != should:
            problems.append(f"{member} is {_amount(document[member])} instead of {should}")
    if document.get("holds"):
        problems.append(f"still held: {document['holds']}")
    return Bill(len(logs), cost, problems)


def _usage(path: str, counted: dict[str, int]) -> tuple[int, int, int, int]:
    """Input, output, cache writes, cache reads: OpenAI's prompt includes what is cached, Anthropic's does not."""
    prompt, output = counted["prompt_tokens"], counted["completion_tokens"]
    written, read = counted["cache_creation_tokens"], counted["cached_tokens"]
    return prompt if "/messages" in path else prompt - written - read, output, written, read


def _cost(rows: list[Document], request: RecordedRequest) -> Decimal:
    """USD, by the price row of the model that the upstream was asked for."""
    row = next(row for row in rows if row["modelId"] == request.model)
    names = ("inputPricePerMTok", "outputPricePerMTok", "cacheWritePricePerMTok", "cacheHitPricePerMTok")
    tokens = _usage(request.path, request.counted or {})
    total = sum((count * Decimal(str(row[name])) for count, name in zip(tokens, names, strict=True)), Decimal(0))
    cost = total / 10**6 * Decimal(str(row["multiplier"]))
    return cost.quantize(PLACES, ROUND_HALF_UP)


def _billed_line(log: Document) -> str:
    names = ("inputTokens", "outputTokens", "cacheWriteTokens", "cacheHitTokens")
    line = _line(log["endpoint"], tuple(log.get(name) or 0 for name in names), _amount(log.get("creditsCost")))
    if log.get("outcome") != "ok" or log.get("usageSource") == "estimated" or _amount(log.get("uncollected")):
        line += f" [{log.get('outcome')}, usage {log.get('usageSource')}, uncollected {log.get('uncollected')}]"
    return line


def _line(path: str, tokens: tuple[int, ...], cost: Decimal) -> str:
    fresh, output, written, read = tokens
    return f"{path.partition('?')[0]}: {fresh} in, {output} out, {written} written, {read} read: ${cost:.8f}"


def _wait_until_settled(database: Any, account: str, requests: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        holds = database["usersNew"].find_one({"_id": account}).get("holds")
        if not holds and database["request_logs"].count_documents({"userId": account}) >= requests:
            return
        time.sleep(0.1)


def _amount(value: Any) -> Decimal:
    return Decimal(str(value or 0)).quantize(PLACES)
