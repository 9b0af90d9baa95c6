"""Without its database the payment API answers 503 and acknowledges nothing; with it again, redelivery credits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from development.mongod import Mongod
from tests.conftest import key_of
from tests.factories import StartSite
from tests.payments.conftest import transfer


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    with Mongod(tmp_path / "mongodb") as mongod:
        yield mongod


def test_an_outage_loses_nothing(mongod: Mongod, start_site: StartSite) -> None:
    url = mongod.url_of("outage")
    client: MongoClient[dict[str, Any]] = MongoClient(url)
    database = client["outage"]
    database["usersNew"].insert_one({"_id": "alice", "apiKey": key_of("alice")})
    # Longer than the half second after which the driver looks again for a database that was away.
    site = start_site(DATABASE_URL=url, DATABASE_TIMEOUT_MS="1500")
    checkout = {
        "url": f"{site.urls[0]}/api/payment/checkout",
        "headers": {"Authorization": f"Bearer {key_of('alice')}"},
    }
    order = requests.post(**checkout, json={"credits": 20}, timeout=30).json()
    body = json.dumps(transfer(order["orderCode"])).encode()

    mongod.stop()
    refused = site.deliver(body)
    assert (refused.status_code, refused.json()["success"]) == (503, False)
    unreadable = site.deliver(body[:-5])
    assert (unreadable.status_code, unreadable.json()["success"]) == (503, False)
    refused = requests.post(**checkout, json={"credits": 20}, timeout=30)
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")

    mongod.start()
    assert database["webhook_events"].count_documents({}) == 0
    assert site.deliver(body).status_code == 200
    assert database["usersNew"].find_one({"_id": "alice"}, {"creditsNew": 1}) == {"_id": "alice", "creditsNew": 20.0}
    client.close()
