"""Invented accounts and a year of what happens to them, as documents: see `manage.py load_history`."""

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from bson import ObjectId
from django.db.models import Model
from django.utils import timezone

from accounts.models import Account, Balance, LedgerEntry
from mongo.collections import Document
from payments.models import Payment, WebhookEvent
from proxy.models import RefusedRequest, RequestLog
from support.models import AuditEntry

HEAVY = "bench-heavy"
"""An account that is used a thousand times a day."""
HEAVY_REQUESTS, HEAVY_ENTRIES, HEAVY_TIME = 100_000, 3000, timedelta(days=100)
YEAR = timedelta(days=365)
KEPT_TIME = timedelta(days=30)
LEGACY_EVERY = 20
"""One document of so many is as the replaced system left it: without the fields that came later."""
REVIEW_EVERY = 2000
OPENHANDS_MODEL = "claude-opus-4-5-20251101"
"""Never used on OhMyGPT: the two filters together find nothing."""
MODELS = ("claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001", OPENHANDS_MODEL)
KINDS = (
    (Balance.OPENHANDS, LedgerEntry.Kind.PURCHASE, 20.0),
    (Balance.OPENHANDS, LedgerEntry.Kind.PURCHASE, 50.0),
    (Balance.OPENHANDS, LedgerEntry.Kind.BONUS, 4.0),
    (Balance.OHMYGPT, LedgerEntry.Kind.ADJUSTMENT, 5.0),
    (Balance.OHMYGPT, LedgerEntry.Kind.TRANSFER, 2.0),
    (Balance.OPENHANDS, LedgerEntry.Kind.TRANSFER, -2.0),
    (Balance.OHMYGPT, LedgerEntry.Kind.EXPIRY, -1.0),
    (Balance.OPENHANDS, LedgerEntry.Kind.REFUND, -20.0),
)


def name_of(index: int) -> str:
    """The name of an invented account."""
    return f"bench{index:07}"


class History:
    """What `accounts` accounts did in a year with `requests` requests; old things first, as they are inserted in life.

    Amounts and times are random, keys are not: they tell which documents are invented.
    """

    def __init__(self, *, accounts: int, requests: int) -> None:
        self._accounts = accounts
        self._requests = requests
        self._heavy_entries = min(HEAVY_ENTRIES, accounts // 10)
        self._heavy_requests = min(HEAVY_REQUESTS, requests // 10)
        self._now = timezone.now()

    def collections(self) -> Iterator[tuple[type[Model], Iterator[Document]]]:
        """The documents of each collection."""
        yield Account, self._account_documents()
        yield LedgerEntry, self._entries()
        yield Payment, self._payments()
        yield WebhookEvent, self._events()
        yield AuditEntry, self._audit()
        yield RequestLog, self._logs()
        yield RefusedRequest, self._refusals()

    def _at(self, index: int, count: int, span: timedelta = YEAR) -> datetime:
        """When the `index`th of `count` things happened, evenly spread up to now."""
        return self._now - span * ((count - index) / count)

    def _account_documents(self) -> Iterator[Document]:
        yield {"_id": HEAVY, "creditsNew": 40.0, "credits": 25.0, "isActive": True, "createdAt": self._now - YEAR}
        for index in range(self._accounts):
            document = {
                "_id": name_of(index),
                "credits": random.randrange(5000) / 100,
                "createdAt": self._at(index, self._accounts),
            }
            if index % LEGACY_EVERY == 0:
                yield document | {"apiKey": f"sk-trollllm-{index:064x}"}
                continue
            yield document | {
                "apiKeyHash": f"{index:064x}",
                "apiKeyPrefix": f"sk-trollllm-{index % 65536:04x}",
                "creditsNew": 0.0 if index % 7 == 0 else random.randrange(10000) / 100,
                "isActive": index % 100 != 1,
                "expiresAt": None if index % 3 == 0 else self._now + timedelta(hours=random.uniform(-500, 168)),
                "discordId": f"{10**17 + index}",
            }

    def _entries(self) -> Iterator[Document]:
        for index in range(self._accounts):
            yield _entry(name_of(index), index, self._at(index, self._accounts))
        for index in range(self._heavy_entries):
            yield _entry(HEAVY, self._accounts + index, self._at(index, self._heavy_entries, HEAVY_TIME))

    def _payments(self) -> Iterator[Document]:
        for index in range(self._accounts):
            at = self._at(index, self._accounts)
            status = random.choice(("success", "success", "expired"))
            document = {
                "userId": name_of(index),
                "credits": 20,
                "amount": 50000,
                "orderCode": f"BENCH{index}",
                "status": status,
                "sepayTransactionId": f"{index}",
                "createdAt": at,
            }
            if index % LEGACY_EVERY == 0:
                yield document | {"paymentMethod": "sepay"}
                continue
            completed = {"completedAt": at, "credited": 20.0} if status == "success" else {}
            yield (
                document
                | completed
                | {
                    "currency": "VND",
                    "provider": "sepay",
                    "providerTransactionId": f"bench{index}",
                    "rate": 2500.0,
                    "discordId": f"{10**17 + index}",
                    "expiresAt": at + timedelta(minutes=15),
                }
            )

    def _events(self) -> Iterator[Document]:
        count = self._accounts // 2
        for index in range(count):
            at = self._at(index, count)
            waits = index % REVIEW_EVERY == 0
            transfer = {
                "id": index,
                "transactionDate": f"{at:%Y-%m-%d %H:%M:%S}",
                "accountNumber": "0123499999",
                "content": f"NGUYEN VAN A ck {'BNCH' if waits else 'BENCH'}{2 * index}",
                "transferType": "in",
                "transferAmount": 50000,
                "referenceCode": f"FT{index:09}",
            }
            body = json.dumps(transfer).encode()
            yield {
                "provider": "sepay",
                "eventId": f"bench{index}",
                "kind": "transfer",
                "source": "webhook",
                "transferKey": f"sepay:bench{index}",
                "moneyKey": "sepay:VND:50000",
                "occurredAt": at,
                "reference": f"FT{index:09}",
                "body": body,
                "bodySha256": hashlib.sha256(body).hexdigest(),
                "headers": {"Content-Type": "application/json"},
                "isVerified": True,
                "status": "review" if waits else "done",
                "attempts": 1,
                "deliveries": 1,
                "error": "No order has this code." if waits else "",
                "receivedAt": at,
                "processedAt": at,
            }

    def _audit(self) -> Iterator[Document]:
        count = self._accounts // 10
        for index in range(count):
            is_done = index % 10 != 0
            yield {
                "_id": f"bench:{index}",
                "at": self._at(index, count),
                "actor": f"staff:sam{index % 20}",
                "action": random.choice(("transfer", "adjust", "expiry", "disable")),
                "target": name_of(random.randrange(self._accounts)),
                "reason": "asked for it",
                "before": {"openhands": "5.00000000"},
                "after": {"openhands": "2.00000000"} if is_done else None,
                "outcome": "done" if is_done else "refused",
                "error": "" if is_done else "The balance is too low.",
            }

    def _logs(self) -> Iterator[Document]:
        for index in range(self._requests):
            yield _log(name_of(random.randrange(self._accounts)), index, self._at(index, self._requests))
        for index in range(self._heavy_requests):
            yield _log(HEAVY, self._requests + index, self._at(index, self._heavy_requests, HEAVY_TIME))

    def _refusals(self) -> Iterator[Document]:
        """One of fifty requests of the last month, half of them of the heavy account."""
        count = self._requests // 50
        for index in range(count):
            account = HEAVY if index % 2 else name_of(random.randrange(self._accounts))
            yield _refusal(account, index, self._at(index, count, KEPT_TIME))


def _entry(account: str, index: int, at: datetime) -> Document:
    balance, kind, amount = KINDS[index % len(KINDS)]
    return {
        "account": account,
        "balance": balance.value,
        "kind": kind.value,
        "amount": amount,
        "balanceAfter": 20.0,
        "actor": "bench",
        "reason": "",
        "operation": f"bench:{index}",
        "createdAt": at,
    }


def _log(account: str, index: int, at: datetime) -> Document:
    is_success = random.random() > 0.02
    document = {
        "userId": account,
        "model": MODELS[index % 2],
        "inputTokens": random.randrange(20000),
        "outputTokens": random.randrange(2000),
        "creditsCost": random.randrange(5_000_000) / 10**8,
        "statusCode": 200 if is_success else 502,
        "isSuccess": is_success,
        "latencyMs": random.randrange(20000),
        "createdAt": at,
    }
    if index % LEGACY_EVERY == 0:
        return document | {"_id": ObjectId()}
    is_openhands = random.random() < 0.5
    return document | {
        "_id": f"bench-{index:09}",
        "creditType": (Balance.OPENHANDS if is_openhands else Balance.OHMYGPT).value,
        "model": OPENHANDS_MODEL if is_openhands and index % 3 == 0 else MODELS[index % 2],
        "hold": 0.2,
    }


def _refusal(account: str, index: int, at: datetime) -> Document:
    is_limit = index % 5 == 0
    return {
        "_id": f"bench-refused-{index:09}",
        "userId": account,
        "createdAt": at,
        "upstream": (Balance.OHMYGPT if index % 3 else Balance.OPENHANDS).value,
        "endpoint": "/v1/messages",
        "model": MODELS[index % 2],
        "code": "rate_limit_exceeded" if is_limit else "insufficient_credits",
        "statusCode": 429 if is_limit else 402,
        "message": "insufficient credits for request. Cost: $0.20, Balance: $0.05.",
        "needed": 0.2,
        "available": 0.05,
        "held": 0.0,
        "balances": {"openhands": "0.05000000", "ohmygpt": "0.05000000"},
        "holds": [],
        "holdsCount": 0,
        "apiKeyPrefix": "sk-trollllm-0000",
        "expiresAt": at + KEPT_TIME * 2,
    }
