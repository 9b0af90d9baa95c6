"""`manage.py migrate` on the database of the replaced system: no document is changed, nothing fails."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from django.db import connection

from accounts.keys import key_filter
from tests.serving import ROOT

NAME = "test_adoption"
WHEN = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  (as the driver reads it)

DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    "usersNew": [
        {"_id": "bare"},
        {"_id": "Old Name ", "credits": 5, "creditsUsed": Int64(2), "apiKey": "sk-troll-" + "a" * 24},
        {"_id": "alice", "credits": 1.5, "creditsNew": Decimal128("2"), "expiresAt": None, "referralCode": ""},
        {"_id": "bob", "referralCode": "undefined", "apiKey": "sk-trollllm-" + "0" * 64, "extra": {"deep": [1]}},
    ],
    "payments": [
        {"_id": ObjectId(), "userId": "alice", "status": "success", "credits": 20, "orderCode": ""},
        {"_id": ObjectId(), "userId": "alice", "status": "pending", "credits": 20, "orderCode": ""},
        {"_id": ObjectId(), "userId": "bob", "status": "success", "orderCode": "TROLL20D1736570000000AB3X"},
        {"_id": ObjectId(), "userId": "bob", "status": "failed", "orderCode": "TROLL20D1736570000000AB3X"},
        {"_id": ObjectId(), "userId": "bob", "sepayTransactionId": 92704, "createdAt": WHEN},
        {"_id": ObjectId(), "userId": "bob", "orderCode": None},
    ],
    "request_logs": [
        {"_id": ObjectId(), "userId": "alice", "userKeyId": "sk-trollllm-x", "creditsCost": 0.1, "createdAt": WHEN},
        {"_id": ObjectId(), "creditType": "openhands"},
    ],
    "model_pricing": [
        {"_id": "opus", "modelId": "claude-opus-4-5-20251101", "inputPricePerMTok": 5, "outputPricePerMTok": 25.0},
    ],
}
# As Mongoose names and makes them.
INDEXES: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "usersNew": [("apiKey", {"unique": True, "sparse": True}), ("referralCode", {"sparse": True}), ("expiresAt", {})],
    "payments": [("userId", {}), ("orderCode", {"sparse": True}), ([("status", 1), ("expiresAt", 1)], {})],
    "request_logs": [
        ([("createdAt", -1)], {}),
        ([("userId", 1), ("createdAt", -1)], {}),
        ([("creditType", 1), ("createdAt", -1)], {}),
    ],
    "model_pricing": [("modelId", {"unique": True})],
}


@pytest.fixture
def old_database(db: None) -> Iterator[Any]:
    database = connection.database.client[NAME]
    database.client.drop_database(NAME)
    for collection, documents in DOCUMENTS.items():
        database[collection].insert_many(documents)
        for keys, options in INDEXES[collection]:
            database[collection].create_index(keys, **options)
    yield database
    database.client.drop_database(NAME)


def migrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "migrate", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_NAME": NAME},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_migrate_takes_a_live_database_over_without_touching_a_document(old_database: Any) -> None:
    before = {name: list(old_database[name].find().sort("_id")) for name in DOCUMENTS}

    result = migrate()

    assert result.returncode == 0, result.stderr
    assert {name: list(old_database[name].find().sort("_id")) for name in DOCUMENTS} == before
    names = {name: old_database[name].index_information() for name in DOCUMENTS}
    assert "apiKey_1" in names["usersNew"]
    assert "api_key_hash_lookup" in names["usersNew"]
    assert "payment_order_code_unique" in names["payments"]
    assert "modelId_1" not in names["model_pricing"]
    again = migrate()
    assert (again.returncode, "No migrations to apply" in again.stdout) == (0, True)


def test_every_lookup_of_the_hot_path_uses_an_index(db: None) -> None:
    users = connection.database["usersNew"]
    for query in (
        key_filter("sk-trollllm-x"),
        {"heldSince": {"$lte": WHEN}},
        {"expiresAt": {"$lte": WHEN}},
    ):
        plan = str(users.find(query).explain()["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in plan
        assert "COLLSCAN" not in plan
    for collection, field in (("auth_user", "username"), ("django_session", "session_key")):
        plan = str(connection.database[collection].find({field: "x"}).explain()["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in plan
