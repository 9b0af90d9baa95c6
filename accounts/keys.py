"""API keys: made, hashed, masked, and turned into the filter that finds their account."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

from accounts.errors import InvalidApiKey

KEY_PREFIX = "sk-trollllm-"
"""New keys keep the replaced system's form, `sk-trollllm-` and 64 hex digits, so that clients' checks still pass."""

PLAIN_KEY: dict[str, Any] = {"apiKey": {"$gt": ""}}
"""The filter of accounts that hold their key as plain text: any text that is not empty. An index serves it."""
HASHED_FROM = "apiKeyHashedFrom"
"""Document field: the plain key that the hash beside it was made of, when an old document's key was first used."""
_KEY_IN_TEXT = re.compile(r"sk-[\w.-]{29,}+(?!…)|[0-9a-f]{40,}+", re.IGNORECASE)
"""A whole key, or the random part of one, anywhere in a text; request ids, which have 32 hex digits, are no keys."""

_SENDABLE_KEY = re.compile(r"[\x21-\x7e]{8,256}")


def generate_key() -> str:
    """A new random key (256 bits). Show it once; store only its hash and prefix."""
    return KEY_PREFIX + secrets.token_hex(32)


def hash_key(key: str) -> str:
    """SHA-256 in hex. A plain hash suffices for a 256-bit random secret, and lets one indexed look-up find it."""
    return hashlib.sha256(key.encode()).hexdigest()


def mask_key(key: str) -> str:
    """What pages and logs may show of a key: enough to recognise it, not to use or guess it."""
    return f"{key[:16]}…" if len(key) >= 32 else f"{key[:8]}…"


def mask_keys_in(text: str) -> str:
    """A text that people or clients wrote, such as a search or an address, with the keys in it masked."""
    return _KEY_IN_TEXT.sub(lambda found: mask_key(found.group()), text)


def check_key(key: str) -> None:
    """Raise `InvalidApiKey` for what cannot be a key at all: wrong length, spaces, control or non-ASCII characters."""
    if not _SENDABLE_KEY.fullmatch(key):
        raise InvalidApiKey("malformed API key")


def key_id(key_hash: str) -> str:
    """What a key is called in its account's document, in the API and in logs: the beginning of its hash."""
    return key_hash[:24]


def first_key_hash(document: Mapping[str, Any]) -> str | None:
    """The hash of the first key of a raw account, None if it has none. A plain key decides: see `first_key_filter`."""
    plain, hashed = document.get("apiKey"), document.get("apiKeyHash")
    if type(plain) is str and plain:
        return hash_key(plain)
    return hashed if type(hashed) is str and hashed else None


def key_filter(key: str) -> dict[str, Any]:
    """The MongoDB filter of the account with this key, by its hash alone: the server logs the filters of slow commands.

    It is the account's first key, or one of its further keys, which has an entry (`accounts/api_keys.py`). An index
    serves both. Whether the key may be used is judged by its entry: `accounts/key_limits.py`. Raises `InvalidApiKey`
    for what cannot be a key.
    """
    first, hashed = first_key_filter(key), hash_key(key)
    return {"$or": [first, {"keyHashes": hashed, f"keys.{key_id(hashed)}.hash": hashed}]}


def first_key_filter(key: str) -> dict[str, Any]:
    """The filter of the account whose first key this is.

    A plain key that stands in the document was written by the replaced programs after our hash, and decides: the hash
    counts only if it was made of that very key (`accounts.authentication.adopt_key`), which the server compares within
    the document. So a key that those programs replace stops here too. Raises `InvalidApiKey` for what cannot be a key.
    """
    check_key(key)
    is_only_hashed = {"apiKey": {"$not": PLAIN_KEY["apiKey"]}}
    is_hash_of_it = {"$expr": {"$eq": ["$apiKey", f"${HASHED_FROM}"]}}
    return {"apiKeyHash": hash_key(key), "$or": [is_only_hashed, is_hash_of_it]}
