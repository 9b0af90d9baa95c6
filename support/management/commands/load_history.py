"""`manage.py load_history`: fills a try-out database with many accounts and requests, to see how pages do with them."""

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.models import Account, LedgerEntry
from billing_site.database import Document, collection_of
from payments.models import Payment
from proxy.models import RequestLog

BATCH = 10_000
MODELS = ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")


class Command(BaseCommand):
    help = "Insert accounts, each with a ledger entry and a payment, and a year of requests. Not for production."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--accounts", type=int, default=1_000_000)
        parser.add_argument("--requests", type=int, default=5_000_000)

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.ENVIRONMENT == "production":
            raise CommandError("This would fill a production database with invented accounts.")
        accounts, requests = options["accounts"], options["requests"]
        self._insert(Account, accounts, _accounts(accounts))
        self._insert(LedgerEntry, accounts, _entries(accounts))
        self._insert(Payment, accounts, _payments(accounts))
        self._insert(RequestLog, requests, _requests(requests, accounts))

    def _insert(self, model: Any, count: int, documents: Iterator[Document]) -> None:
        collection = collection_of(model)
        for _ in range(0, count, BATCH):  # `islice` takes the next batch each time.
            collection.insert_many(
                [document for document, _ in zip(documents, range(BATCH), strict=False)], ordered=False
            )
        self.stdout.write(f"{count} {model._meta.verbose_name_plural}")


def _name(index: int) -> str:
    return f"bench{index:07}"


def _accounts(count: int) -> Iterator[Document]:
    now = timezone.now()
    for index in range(count):
        yield {
            "_id": _name(index),
            "apiKeyHash": f"{index:064x}",
            "apiKeyPrefix": f"sk-trollllm-{index % 65536:04x}…",
            "creditsNew": random.randrange(10000) / 100,
            "credits": random.randrange(5000) / 100,
            "isActive": random.random() > 0.01,
            "expiresAt": None if index % 3 == 0 else now + timedelta(hours=random.uniform(-500, 168)),
            "createdAt": now - timedelta(days=random.randrange(700)),
            "discordId": f"{10**17 + index}",
        }


def _entries(count: int) -> Iterator[Document]:
    now = timezone.now()
    for index in range(count):
        yield {
            "account": _name(index),
            "balance": "openhands",
            "kind": random.choice(("purchase", "purchase", "adjustment", "expiry")),
            "amount": 20.0,
            "balanceAfter": 20.0,
            "actor": "bench",
            "reason": "",
            "operation": f"bench:{index}",
            "createdAt": now - timedelta(seconds=random.randrange(86400 * 365)),
        }


def _payments(count: int) -> Iterator[Document]:
    now = timezone.now()
    for index in range(count):
        at = now - timedelta(seconds=random.randrange(86400 * 365))
        yield {
            "userId": _name(index),
            "credits": 20,
            "amount": 50000,
            "currency": "VND",
            "orderCode": f"BENCH{index}",
            "paymentMethod": "sepay",
            "status": random.choice(("success", "success", "expired")),
            "sepayTransactionId": f"{index}",
            "createdAt": at,
            "completedAt": at,
        }


def _requests(count: int, accounts: int) -> Iterator[Document]:
    now = timezone.now()
    for index in range(count):
        balance = random.choice(("openhands", "ohmygpt"))
        is_success = random.random() > 0.02
        yield {
            "_id": f"bench-{index}",
            "userId": _name(random.randrange(accounts)),
            "creditType": balance,
            "model": random.choice(MODELS),
            "inputTokens": random.randrange(20000),
            "outputTokens": random.randrange(2000),
            "creditsCost": random.randrange(5_000_000) / 10**8,
            "hold": 0.2,
            "statusCode": 200 if is_success else 502,
            "isSuccess": is_success,
            "latencyMs": random.randrange(20000),
            "createdAt": now - timedelta(seconds=random.randrange(86400 * 365)),
        }
