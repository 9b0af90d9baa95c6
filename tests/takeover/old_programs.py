"""A stand-in for the replaced back end and proxy: what they do to a database, written from the facts about them.

Plain functions over pymongo. Their faults are theirs: stale reads, floats, timers that forget what was bought since.
"""

import re
import secrets
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import Decimal128, ObjectId

Database = Any
NUMBERS = (
    "credits",
    "creditsUsed",
    "creditsNew",
    "creditsNewUsed",
    "refCredits",
    "tokensUserNew",
    "totalInputTokens",
    "totalOutputTokens",
)
ORDER_CODE = re.compile(r"TROLL[0-9]{1,4}D[0-9]{13}[0-9A-Z]{0,4}")
VALIDITY = timedelta(days=7)


class Refused(Exception):
    """The old programs turn this customer away; the text says why."""


# --- The back end ------------------------------------------------------------------------------------------------


def log_in(db: Database, username: str, now: datetime) -> float:
    """A customer logs in, and is told their credits. Credits without a date in the future are set to 0 first."""
    account = db.usersNew.find_one({"_id": username})
    if account is None or not account.get("isActive"):
        raise Refused("no active account")
    fields: dict[str, Any] = {"lastLoginAt": now}
    expires_at = account.get("expiresAt")
    if expires_at is None or expires_at <= now:
        fields["credits"] = 0
    db.usersNew.update_one({"_id": username}, {"$set": fields})
    return float(db.usersNew.find_one({"_id": username}).get("credits") or 0)


@dataclass
class Timers:
    """The back end's memory of when credits expire: what it saw at its start, whatever is bought afterwards."""

    remembered: dict[str, datetime]

    @classmethod
    def start(cls, db: Database) -> "Timers":
        found = db.usersNew.find({"expiresAt": {"$type": "date"}}, {"expiresAt": 1})
        return cls({account["_id"]: account["expiresAt"] for account in found})

    def fire(self, db: Database, now: datetime) -> int:
        """Set the credits to 0 whose time has come by this memory; returns of how many accounts."""
        due = [username for username, at in self.remembered.items() if at <= now]
        db.usersNew.update_many({"_id": {"$in": due}}, {"$set": {"credits": 0}})
        return len(due)


def order(db: Database, username: str, credits: int, now: datetime) -> str:
    """A customer orders; returns the code for the memo."""
    code = f"TROLL{credits}D{int(now.timestamp() * 1000)}{secrets.token_hex(2).upper()}"
    payment = {"userId": username, "credits": credits, "amount": credits * 2500, "currency": "VND", "orderCode": code}
    db.payments.insert_one(payment | {"paymentMethod": "sepay", "status": "pending", "createdAt": now})
    return code


def receive_webhook(db: Database, memo: str, now: datetime, *, version: str = "single") -> bool:
    """The bank tells of money; answered 200 whatever comes. Returns whether anybody got credits for it.

    `single` credits `credits`, `dual` `creditsNew`, and `split` does so with dates of its own.
    """
    code = ORDER_CODE.search(memo)
    payment = db.payments.find_one({"orderCode": code[0], "status": "pending"}) if code else None
    if payment is None:
        return False
    balance = "credits" if version == "single" else "creditsNew"
    suffix = "New" if version == "split" else ""
    dates = {f"purchasedAt{suffix}": now, f"expiresAt{suffix}": now + VALIDITY}
    db.payments.update_one({"_id": payment["_id"]}, {"$set": {"status": "success", "completedAt": now}})
    db.usersNew.update_one({"_id": payment["userId"]}, {"$inc": {balance: payment["credits"]}, "$set": dates})
    return True


def replace_key(db: Database, username: str) -> str:
    """A customer asks for a new key: the old one stops, in both collections."""
    key = "sk-trollllm-" + secrets.token_hex(32)
    before = db.usersNew.find_one({"_id": username})
    db.usersNew.update_one({"_id": username}, {"$set": {"apiKey": key}})
    db.user_keys.update_one({"_id": before.get("apiKey")}, {"$set": {"isActive": False}})
    db.user_keys.insert_one({"_id": key, "name": username, "isActive": True, "tokensUsed": 0})
    return key


# --- The proxy ---------------------------------------------------------------------------------------------------


def authenticate(db: Database, key: str) -> dict[str, Any]:
    """The account that a key is billed to: by `user_keys` first, then by the account's own plain key."""
    entry = db.user_keys.find_one({"_id": key})
    if entry is not None and not entry.get("isActive"):
        raise Refused("the key is revoked")
    query = {"apiKey": key} if entry is None else {"_id": entry["name"]}
    account: dict[str, Any] | None = db.usersNew.find_one(query)
    if account is None:
        raise Refused("no such key")
    for name in NUMBERS:
        if isinstance(account.get(name), Decimal128 | str | bool | list | dict):
            raise Refused(f"{name} cannot be decoded as a float64")
    if isinstance(account.get("isActive"), str | list | dict):
        raise Refused("isActive cannot be decoded as a bool")
    if not account.get("isActive"):
        raise Refused("the account is inactive")
    if account.get("migration") is not True:
        raise Refused("the account has not been migrated")
    return account


@dataclass
class Proxy:
    """Bills what it has served in batches: by what it read before, from `credits` and then from `refCredits`."""

    db: Database
    waiting: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def serve(self, key: str, cost: float, now: datetime) -> None:
        """Serve one request and log it; raises `Refused` where the account has less than it costs."""
        account = authenticate(self.db, key)
        username = account["_id"]
        left = (account.get("credits") or 0) + (account.get("refCredits") or 0) - self.waiting[username]
        if left < cost:
            raise Refused("insufficient credits")
        self.waiting[username] += cost
        log = {"_id": ObjectId(), "userId": username, "userKeyId": key, "model": "claude-opus-4-5-20251101"}
        usage = {"inputTokens": 10, "outputTokens": 10, "tokensUsed": 20, "creditsCost": cost, "statusCode": 200}
        self.db.request_logs.insert_one(log | usage | {"isSuccess": True, "createdAt": now})

    def flush(self) -> None:
        """Write the batch: one subtraction for each account, split by a stale read."""
        for username, cost in self.waiting.items():
            there = self.db.usersNew.find_one({"_id": username}).get("credits") or 0
            own = min(cost, max(there, 0))
            taken = {"credits": -own, "creditsUsed": own}
            if cost > own:
                taken["refCredits"] = own - cost
            self.db.usersNew.update_one({"_id": username}, {"$inc": taken})
        self.waiting.clear()
