"""A database as the replaced system left it, by a seed and a size: every kind of document that was seen there.

`old_database(seed=1, size=300).insert(connection.database)` stores it with plain pymongo. Each kind of account occurs
at least once, in order, before kinds are drawn at random; `kinds` says which account is of which kind.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import Decimal128, Int64, ObjectId

Document = dict[str, Any]

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
VALIDITY = timedelta(days=7)


@dataclass
class OldDatabase:
    """The documents by collection, the kind of each account by its name, and when all of it was left (`now`)."""

    now: datetime
    kinds: dict[str, str] = field(default_factory=dict)
    collections: dict[str, list[Document]] = field(default_factory=dict)

    def insert(self, database: Any) -> None:
        """Store all documents."""
        for name, documents in self.collections.items():
            if documents:
                database[name].insert_many([dict(document) for document in documents])

    def create_indexes(self, database: Any) -> None:
        """The indexes of the replaced system, under the names that it gave them."""
        accounts = database["usersNew"]
        accounts.create_index("apiKey", unique=True, sparse=True, name="apiKey_1")
        accounts.create_index("referralCode", unique=True, sparse=True, name="referralCode_1")
        payments = database["payments"]
        payments.create_index("userId", name="userId_1")
        payments.create_index("orderCode", sparse=True, name="orderCode_1")
        payments.create_index([("status", 1), ("expiresAt", 1)], name="status_1_expiresAt_1")
        logs = database["request_logs"]
        logs.create_index([("createdAt", 1)], name="createdAt_1")
        logs.create_index([("userId", 1), ("createdAt", 1)], name="userId_1_createdAt_1")
        logs.create_index([("creditType", 1), ("createdAt", 1)], name="creditType_1_createdAt_1")
        database["model_pricing"].create_index("modelId", unique=True, name="modelId_1")

    def accounts(self, *kinds: str) -> list[Document]:
        """The accounts of these kinds as they were inserted; all of them without any."""
        accounts = self.collections["usersNew"]
        return [document for document in accounts if not kinds or self.kinds[document["_id"]] in kinds]


@dataclass(frozen=True)
class Draw:
    """What the builder of one account draws from."""

    random: random.Random
    now: datetime
    index: int

    def usd(self, most: int = 100) -> float:
        """An amount in whole cents."""
        return self.random.randrange(1, most * 100) / 100

    def past(self, days: int = 60) -> datetime:
        """A whole millisecond before now."""
        return self.now - timedelta(milliseconds=self.random.randrange(60_000, days * 86_400_000))

    def future(self) -> datetime:
        """Within the days that a purchase is valid for."""
        return self.now + timedelta(milliseconds=self.random.randrange(3_600_000, 7 * 86_400_000))


def plain(draw: Draw) -> Document:
    """An account of the time of dual credits, all fields there, with credits on both balances."""
    expires_at = draw.future()
    return {
        "passwordHash": f"{draw.random.getrandbits(512):0128x}",
        "passwordSalt": f"{draw.random.getrandbits(128):032x}",
        "role": "user",
        "isActive": True,
        "apiKey": f"sk-trollllm-{draw.random.getrandbits(256):064x}",
        "apiKeyCreatedAt": draw.past(),
        "createdAt": draw.past(400),
        "lastLoginAt": draw.past(),
        "credits": draw.usd(),
        "creditsUsed": draw.usd(),
        "creditsNew": draw.usd(),
        "creditsNewUsed": draw.usd(),
        "tokensUserNew": draw.random.randrange(10**7),
        "totalInputTokens": draw.random.randrange(10**8),
        "totalOutputTokens": draw.random.randrange(10**7),
        "purchasedAt": expires_at - VALIDITY,
        "expiresAt": expires_at,
        "referralCode": f"REF{draw.index:06}",
        "referredBy": None,
        "refCredits": 0,
        "referralBonusAwarded": False,
        "discordId": f"{10**17 + draw.random.randrange(10**16) * 10 + 1}",
        "migration": True,
    }


def without(*fields: str, **values: Any) -> Callable[[Draw], Document]:
    """The plain account without these fields, and with other values in some."""

    def build(draw: Draw) -> Document:
        return {name: value for name, value in (plain(draw) | values).items() if name not in fields}

    return build


def changed(change: Callable[[Draw], Document]) -> Callable[[Draw], Document]:
    """The plain account with what `change` draws."""
    return lambda draw: plain(draw) | change(draw)


def _split(old: Callable[[Draw], datetime | None], new: Callable[[Draw], datetime]) -> Callable[[Draw], Document]:
    def change(draw: Draw) -> Document:
        expires_at_new = new(draw)
        dates = {"expiresAtNew": expires_at_new, "purchasedAtNew": expires_at_new - VALIDITY}
        return {"purchasedAt": None, "expiresAt": old(draw), **dates}

    return changed(change)


def _of_type(number: Callable[[Draw], Any]) -> Callable[[Draw], Document]:
    return changed(lambda draw: {"credits": number(draw), "creditsNew": number(draw), "creditsUsed": number(draw)})


def _before_dual_credits(draw: Draw) -> Document:
    late = {"creditsNew", "tokensUserNew", "creditsNewUsed", "discordId", "refCredits", "lastLoginAt"}
    return {name: value for name, value in plain(draw).items() if name not in late}


def _bare(draw: Draw) -> Document:
    return {"apiKey": plain(draw)["apiKey"], "credits": draw.usd()}


def _short_key(draw: Draw) -> Document:
    letters = "".join(draw.random.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=24))
    return plain(draw) | {"apiKey": f"sk-troll-{letters}"}


KINDS: dict[str, Callable[[Draw], Document]] = {
    "plain": plain,
    "before dual credits": _before_dual_credits,
    "bare": _bare,
    "int32": _of_type(lambda draw: draw.random.randrange(100)),
    "int64": _of_type(lambda draw: Int64(draw.random.randrange(100))),
    "decimal": _of_type(lambda draw: Decimal128(f"{draw.usd():.2f}")),
    "text number": changed(lambda draw: {"credits": f"{draw.usd():.2f}"}),
    "many places": changed(lambda draw: {"credits": draw.usd() / 3, "creditsNew": draw.usd() / 7}),
    "negative": changed(lambda draw: {"credits": -draw.usd(5)}),
    "null balances": without(credits=None, creditsNew=None),
    "never expires": without(expiresAt=None, purchasedAt=None),
    "without expiry": without("expiresAt", "purchasedAt"),
    "expired": changed(lambda draw: {"expiresAt": draw.past(), "purchasedAt": draw.past(90)}),
    "split, old past, new future": _split(Draw.past, Draw.future),
    "split, old null, new future": _split(lambda draw: None, Draw.future),
    "split, old null, new past": _split(lambda draw: None, Draw.past),
    "split, both past, new later": _split(lambda draw: draw.now - timedelta(days=90), Draw.past),
    "split, both future, new later": _split(lambda draw: draw.now + timedelta(minutes=30), Draw.future),
    "split, old later": _split(lambda draw: draw.now + timedelta(days=30), Draw.past),
    "split, new null": without(expiresAtNew=None, purchasedAtNew=None),
    "not migrated": changed(lambda draw: {"migration": False}),
    "not migrated, referral": changed(lambda draw: {"migration": False, "refCredits": draw.usd(10)}),
    "not migrated, expired": changed(lambda draw: {"migration": False, "expiresAt": draw.past()}),
    "without migration": without("migration"),
    "referral": changed(lambda draw: {"refCredits": draw.usd(10)}),
    "referral, expired": changed(lambda draw: {"refCredits": draw.usd(10), "expiresAt": draw.past()}),
    "referral as text": changed(lambda draw: {"refCredits": "5"}),
    "without isActive": without("isActive"),
    "isActive null": without(isActive=None),
    "isActive 0": without(isActive=0),
    "inactive": without(isActive=False),
    "isActive text": without(isActive="yes"),
    "admin": without(role="admin"),
    "priority": without(role="priority"),
    "capitals": plain,
    "spaces": plain,
    "Discord id as a number": changed(lambda draw: {"discordId": Int64(10**17 + draw.index)}),
    "odd Discord id": without(discordId="alice#1234"),
    "Discord id of two": without(discordId="100000000000000001"),
    "referral code undefined": without("referralCode"),
    "unknown field": without(note="called on Monday", tags=["vip"]),
    "short key": _short_key,
    "without a key": without("apiKey", "apiKeyCreatedAt"),
    "user key active": plain,
    "user key revoked": plain,
    "user key extra": plain,
    "user key extra, revoked": plain,
    "friend key": plain,
}
"""Builders of accounts, by the kind. The names of some kinds make further documents, below."""


def name_of(kind: str, index: int) -> str:
    """The `_id` of an account."""
    return {"capitals": f"Old.User{index:05}", "spaces": f" old user {index:05} "}.get(kind, f"old{index:05}")


def old_database(*, seed: int = 1, size: int = 300, now: datetime = NOW) -> OldDatabase:
    """Make one. The same seed, size and time make the same documents, but for the ObjectIds."""
    database, chance = OldDatabase(now=now), random.Random(seed)
    accounts: list[Document] = []
    for index in range(size):
        kind = list(KINDS)[index] if index < len(KINDS) else chance.choice(list(KINDS))
        document = {"_id": name_of(kind, index), **KINDS[kind](Draw(chance, now, index))}
        database.kinds[document["_id"]] = kind
        accounts.append(document)
    database.collections = {
        "usersNew": accounts,
        "user_keys": _user_keys(database.kinds, accounts, chance, now),
        "friend_keys": _friend_keys(database.kinds, accounts, now),
        "payments": _payments(accounts, chance, now),
        "request_logs": _request_logs(accounts, chance, now),
        "model_pricing": _prices(now),
    }
    return database


def _key(text: str) -> str:
    return f"sk-trollllm-{hashlib.sha256(text.encode()).hexdigest()}"


def _user_keys(kinds: dict[str, str], accounts: list[Document], chance: random.Random, now: datetime) -> list[Document]:
    found = []
    for account in accounts:
        kind, name = kinds[account["_id"]], account["_id"]
        own = {
            "name": name,
            "tier": "pro",
            "isActive": kind != "user key revoked",
            "tokensUsed": chance.randrange(10**6),
            "createdAt": now - timedelta(days=30),
            "expiresAt": None,
        }
        if kind.startswith("user key") and "apiKey" in account:
            found.append({"_id": account["apiKey"], **own})
        if "extra" in kind:
            found.append({"_id": _key(f"extra {name}"), **own, "isActive": "revoked" not in kind, "notes": "second"})
    stranger = {"name": "nobody-here", "isActive": True, "tokensUsed": 0, "expiresAt": None}
    return [*found, {"_id": _key("of an unknown account"), **stranger}]


def _friend_keys(kinds: dict[str, str], accounts: list[Document], now: datetime) -> list[Document]:
    owners = [account["_id"] for account in accounts if kinds[account["_id"]] == "friend key"]
    return [
        {"_id": _key(f"friend of {owner}"), "owner": owner, "isActive": True, "modelLimits": [], "createdAt": now}
        for owner in owners
    ]


def _payments(accounts: list[Document], chance: random.Random, now: datetime) -> list[Document]:
    found = []
    for index, account in enumerate(accounts[::3]):
        status = ("success", "pending", "expired", "failed")[index % 4]
        made = now - (timedelta(minutes=5) if status == "pending" else timedelta(days=chance.randrange(1, 60)))
        usd = chance.choice((20, 50, 100))
        done = {"completedAt": made + timedelta(minutes=2), "sepayTransactionId": f"{9000000 + index}"}
        found.append(
            {
                "_id": ObjectId(),
                "userId": account["_id"],
                "discordId": account.get("discordId"),
                "username": account["_id"],
                "credits": usd,
                "amount": usd * 2500,
                "currency": "VND",
                "orderCode": f"TROLL{usd}D{int(made.timestamp() * 1000)}{index:04X}"[:40],
                "paymentMethod": "sepay",
                "status": status,
                "createdAt": made,
                "expiresAt": made + timedelta(minutes=15),
                **(done if status == "success" else {}),
            }
        )
    return found


def _request_logs(accounts: list[Document], chance: random.Random, now: datetime) -> list[Document]:
    return [
        {
            "_id": ObjectId(),
            "userId": account["_id"],
            "userKeyId": account.get("apiKey", ""),
            "model": "claude-sonnet-4-5-20250929",
            "inputTokens": chance.randrange(10_000),
            "outputTokens": chance.randrange(4000),
            "cacheWriteTokens": 0,
            "cacheHitTokens": 0,
            "creditsCost": chance.randrange(1, 100_000) / 10**6,
            **({"creditType": chance.choice(("ohmygpt", "openhands"))} if chance.random() < 0.7 else {}),
            "tokensUsed": 1,
            "statusCode": 200,
            "latencyMs": chance.randrange(30_000),
            "isSuccess": True,
            "createdAt": now - timedelta(minutes=chance.randrange(1, 100_000)),
        }
        for account in accounts[::2]
        for _ in range(2)
    ]


def _prices(now: datetime) -> list[Document]:
    rows = (
        ("claude-opus-4-5-20251101", "Claude Opus 4.5", 5, 25, True),
        ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", 3, 15, True),
        ("claude-3-opus-20240229", "Claude 3 Opus", 1, 2, True),
        ("gpt-4o", "GPT-4o", 0.1, 0.2, True),
        ("gpt-3.5-turbo", "GPT-3.5", 0.5, 1.5, False),
    )
    return [
        {
            "_id": model,
            "modelId": model,
            "displayName": name,
            "inputPricePerMTok": price_in,
            "outputPricePerMTok": price_out,
            "isActive": is_active,
            "createdAt": now - timedelta(days=300),
            "updatedAt": now - timedelta(days=300),
        }
        for model, name, price_in, price_out, is_active in rows
    ]


PRICE_FILES: dict[str, Document] = {
    "openhands": {
        "port": 8004,
        "models": [
            {
                "id": "claude-opus-4-6",
                "name": "Claude Opus 4.6",
                "type": "anthropic",
                "input_price_per_mtok": 4,
                "output_price_per_mtok": 20,
                "cache_write_price_per_mtok": 6.25,
                "cache_hit_price_per_mtok": 0.5,
                "billing_multiplier": 1.02,
            },
            {
                "id": "claude-sonnet-4-5-20250929",
                "name": "Claude Sonnet 4.5",
                "type": "anthropic",
                "input_price_per_mtok": 3,
                "output_price_per_mtok": 14,
                "cache_write_price_per_mtok": 3.75,
                "cache_hit_price_per_mtok": 0.3,
                "billing_multiplier": 1.02,
            },
        ],
    },
    "ohmygpt": {
        "port": 8005,
        "models": [
            {
                "id": "claude-sonnet-4-5-20250929",
                "name": "Claude Sonnet 4.5",
                "type": "anthropic",
                "input_price_per_mtok": 3,
                "output_price_per_mtok": 15,
                "cache_write_price_per_mtok": 3.75,
                "cache_hit_price_per_mtok": 0.3,
                "billing_multiplier": 1.15,
            }
        ],
    },
}
"""The price files of the replaced proxies, by the upstream: what `model_pricing` does not say."""
