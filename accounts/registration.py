"""New accounts, and new keys for old ones."""

import re
from datetime import datetime

from django.utils import timezone

from accounts import credits, user_keys
from accounts.authentication import adopt_key
from accounts.errors import AccountNotFound, InvalidApiKey, InvalidUsername
from accounts.key_changes import Keys, write_keys
from accounts.keys import HASHED_FROM, PLAIN_KEY, first_key_filter, first_key_hash, generate_key, hash_key, mask_key
from accounts.models import USERNAME_PATTERN, Account, Role
from mongo.collections import Document, collection_of, current_session
from mongo.transactions import run_in_transaction
from mongo.unreadable import id_of_text


def create_account(
    *,
    username: str,
    role: Role = Role.USER,
    discord_id: str | None = None,
    api_key: str | None = None,
    now: datetime | None = None,
) -> tuple[Account, str]:
    """Make an account with two empty balances and an open ledger; return it and its API key (shown only here).

    Raises `InvalidUsername`, and `UsernameTaken` on a second call.
    """
    if not re.fullmatch(USERNAME_PATTERN, username):
        raise InvalidUsername("A username has 3 to 50 characters of a-z, 0-9, _ and -.")
    now = now or timezone.now()
    key = api_key or generate_key()
    # What is not known is left out: a stored null would collide in the sparse unique indexes of the replaced system.
    document = {
        "_id": username,
        "isActive": True,
        "role": role.value,
        "migration": True,  # Its credits were never at the old price: the replaced programs refuse it otherwise.
        **({"discordId": discord_id} if discord_id else {}),
        "apiKeyHash": hash_key(key),
        "apiKeyPrefix": mask_key(key),
        "apiKeyCreatedAt": now,
        "createdAt": now,
    }
    credits.open_account(document=document, now=now)
    return Account.objects.get(pk=username), key


def rotate_key(
    *, username: str, current_key: str | None = None, new_key: str | None = None, now: datetime | None = None
) -> str:
    """Replace the account's first API key and return the new one (shown only here). The old one stops at once.

    Limits of the key hold for the new one, and so does what it has spent of its budget; it is not disabled any more.
    With `current_key` only if it is still the account's: of two rotations with the same key one succeeds.
    Raises `AccountNotFound`, `InvalidApiKey`. Every call makes another key, unless `new_key` says which.
    """
    key, now = new_key or generate_key(), now or timezone.now()

    def run() -> bool:
        query = {"_id": id_of_text(username), **(first_key_filter(current_key) if current_key else {})}
        document = collection_of(Account).find_one(query, session=current_session())
        if document is None:
            return False
        _replace(document, key, now=now)
        return True

    # The key of an old document may have no hash yet, which the filter asks for.
    if not (run_in_transaction(run) or (current_key and adopt_key(current_key) and run_in_transaction(run))):
        raise InvalidApiKey("the key was replaced meanwhile") if current_key else AccountNotFound(username)
    return key


def _replace(document: Document, key: str, *, now: datetime) -> None:
    """Write another first key of an account that was read in this transaction. Its entry goes on with the new key."""
    keys, hashed, old = Keys.of(document), hash_key(key), first_key_hash(document)
    is_changed = keys.move_first(hashed)
    if old is not None and old != hashed and user_keys.is_recorded(username=document["_id"], key_hash=old):
        keys.remember(old, now)
        is_changed = True
    own = {"apiKeyHash": hashed, "apiKeyPrefix": mask_key(key), "apiKeyCreatedAt": now}
    # Unset, not null: a stored null would collide in the old sparse unique index.
    write_keys(keys, own, gone=("apiKey", HASHED_FROM), is_changed=is_changed)


def hash_stored_key(*, username: str) -> bool:
    """Replace the plain key that an old document holds by its hash; whether this call did it. The key stays valid.

    In a transaction, so that the command need not name the key to be sure that it is still that one: the server logs
    slow commands. Raises `IntegrityError` if another account has the same key. Safe to repeat.
    """

    def run() -> bool:
        accounts, session = collection_of(Account), current_session()
        document = accounts.find_one({"_id": username, **PLAIN_KEY}, {"apiKey": 1}, session=session)
        if document is None:
            return False
        key = document["apiKey"]
        update = {
            "$set": {"apiKeyHash": hash_key(key), "apiKeyPrefix": mask_key(key)},
            "$unset": {"apiKey": "", HASHED_FROM: ""},
        }
        accounts.update_one({"_id": username}, update, session=session)
        return True

    return run_in_transaction(run)
