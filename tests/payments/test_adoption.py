"""`migrate` takes over the replaced system's payments: it changes no document and fails on none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from django.conf import settings
from pymongo import ASCENDING, MongoClient
from pymongo.database import Database

NAME = "adopted_payments"
CODE = "TROLL20D1736570000000AB3X"
OLD: list[dict[str, Any]] = [
    {"userId": "alice", "orderCode": CODE, "status": "success", "credits": 20, "amount": 50_000},
    {"userId": "bob", "orderCode": CODE, "status": "success", "credits": Int64(20), "amount": 50_000.0},
    {"userId": "carol", "orderCode": CODE, "status": "pending", "sepayTransactionId": "1"},
    {"userId": "dave", "orderCode": "", "status": "expired"},
    {"userId": "erin", "orderCode": "", "sepayTransactionId": "1", "credits": Decimal128("20")},
    {"userId": "frank", "orderCode": None, "createdAt": datetime(2025, 1, 11, tzinfo=UTC), "expiresAt": None},
    {"userId": "grace"},
    {},
    {"userId": 5, "status": None, "amount": "many", "unknown": {"kept": [1]}},
]


@pytest.fixture
def old_database() -> Iterator[Database[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(settings.DATABASE_URL, tz_aware=True)
    client.drop_database(NAME)
    yield client[NAME]
    client.drop_database(NAME)
    client.close()


def migrate() -> None:
    environment = os.environ | {"DATABASE_NAME": NAME}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, env=environment, cwd=settings.BASE_DIR, check=True, timeout=120)


def test_migrate_keeps_every_payment_as_it_is(old_database: Database[dict[str, Any]]) -> None:
    payments = old_database["payments"]
    documents = [{"_id": ObjectId(), **document} for document in OLD]
    payments.insert_many(documents)
    # As the replaced system indexed them.
    payments.create_index([("userId", ASCENDING)])
    payments.create_index([("orderCode", ASCENDING)], sparse=True)
    payments.create_index([("status", ASCENDING), ("expiresAt", ASCENDING)])

    migrate()
    migrate()

    assert list(payments.find().sort("_id")) == documents
    indexes = payments.index_information()
    assert indexes["payment_order_code_unique"]["unique"]
    assert {"payment_transfer_unique", "payment_provider_transaction_unique", "payment_time"} <= set(indexes)
