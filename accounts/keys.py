"""API keys: made, hashed, masked, and turned into the filter that finds their account."""

import hashlib
import re
import secrets

from accounts.errors import InvalidApiKey

KEY_PREFIX = "sk-trollllm-"
"""New keys keep the replaced system's form, `sk-trollllm-` and 64 hex digits, so that clients' checks still pass."""

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


def key_filter(key: str) -> dict[str, object]:
    """The MongoDB filter of the account with this key: by hash, or by the plain text that older documents hold.

    Raises `InvalidApiKey` for what cannot be a key at all.
    """
    check_key(key)
    return {"$or": [{"apiKeyHash": hash_key(key)}, {"apiKey": key}]}
