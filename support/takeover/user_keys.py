"""The keys of the replaced system that stand in a collection of their own: what they are, without showing one."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from accounts.keys import mask_key
from accounts.models import Account
from mongo.collections import collection_of, wrapper

USER_KEYS, FRIEND_KEYS = "user_keys", "friend_keys"
BATCH = 1000
EXAMPLES = 5


@dataclass
class UserKeys:
    """How many there are. `revoked` are not active; `extra` are active and not the key in their account's document.

    `unknown` belong to no account; `examples` are masked.
    """

    active: int = 0
    revoked: int = 0
    extra: int = 0
    unknown: int = 0
    examples: list[str] = field(default_factory=list)


def count_user_keys() -> UserKeys:
    """Count them, a batch at a time beside the accounts that they name. Raises `PyMongoError`."""
    counts: Counter[str] = Counter()
    examples: list[str] = []
    documents = wrapper().get_collection(USER_KEYS).find({}, {"name": 1, "isActive": 1}).batch_size(BATCH)
    while batch := list(islice(documents, BATCH)):
        names = [document["name"] for document in batch if isinstance(document.get("name"), str)]
        accounts = collection_of(Account).find({"_id": {"$in": names}}, {"apiKey": 1})
        own = {account["_id"]: account.get("apiKey") for account in accounts}
        for document in batch:
            kind = _kind(document, own)
            counts[kind] += 1
            if kind in ("revoked", "extra") and len(examples) < EXAMPLES:
                examples.append(f"{mask_key(str(document['_id']))} of {str(document.get('name'))[:50]} ({kind})")
    return UserKeys(
        active=counts["active"],
        revoked=counts["revoked"],
        extra=counts["extra"],
        unknown=counts["unknown"],
        examples=examples,
    )


def _kind(document: dict[str, Any], own: dict[str, Any]) -> str:
    name = document.get("name")
    if not isinstance(name, str) or name not in own:
        return "unknown"
    if document.get("isActive") is not True:
        return "revoked"
    return "active" if own[name] == document["_id"] else "extra"


def count_friend_keys() -> int:
    """How many friend keys there are: they are refused here. Raises `PyMongoError`."""
    return int(wrapper().get_collection(FRIEND_KEYS).count_documents({}))
