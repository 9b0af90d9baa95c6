"""Who is asking: the account behind an API key. (A metered request authenticates in `credits.hold`, in one trip.)

Keys are looked up by their hash. Documents of the replaced system hold theirs as plain text, and no migration touches
them: the first use of such a key looks it up as it is and stores its hash beside it (`adopt_key`). A key is sent as
plain text only if nobody has its hash, and only while accounts hold plain keys.
"""

from django.utils import timezone
from pymongo.errors import DuplicateKeyError

from accounts import user_keys
from accounts.errors import AccountDisabled, InvalidApiKey
from accounts.key_limits import moved_first_entry, unusable_key
from accounts.keys import HASHED_FROM, KEY_PREFIX, PLAIN_KEY, check_key, hash_key, key_filter
from accounts.models import Account
from accounts.needs_repair import check_account
from mongo.collections import Document, collection_of, current_session


def find_account_by_key(api_key: str) -> Account:
    """The active account with this key, which is used.

    Raises `InvalidApiKey`, `AccountNeedsRepair`, `KeyDisabled`, `KeyExpired`, `AccountDisabled`.
    """
    account = _find(key_filter(api_key))
    if account is None and adopt_key(api_key):
        account = _find(key_filter(api_key))
    if account is None:
        raise InvalidApiKey
    check_account(account)
    if unusable := unusable_key(account.username, account.keys, api_key, now=timezone.now()):
        raise unusable
    if not account.is_active:
        raise AccountDisabled(account.username)
    return account


def find_document_by_key(api_key: str) -> Document | None:
    """The raw account with this key, which is used; None where nobody has it. Raises what `adopt_key` raises."""
    accounts, key, session = collection_of(Account), key_filter(api_key), current_session()
    document = accounts.find_one(key, session=session)
    if document is None and adopt_key(api_key):
        document = accounts.find_one(key, session=session)
    return document


def find_any_account_by_key(api_key: str) -> Account:
    """The account with this key, whether it is active or disabled, for who only looks. Raises `InvalidApiKey`."""
    account = _find(key_filter(api_key))
    if account is None and _plain_keys_remain():
        account = _find({"apiKey": api_key})
    if account is None and (owner := user_keys.owner_of(api_key)):
        account = Account.objects.filter(pk=owner).first()
    if account is None:
        raise InvalidApiKey
    return account


def adopt_key(api_key: str) -> bool:
    """Store the hash of a key beside the plain text that an old document holds; whether any document holds it.

    For a key that was not found by its hash. The plain text stays, for the programs that a roll-back returns to. What
    `user_keys` says of a key comes first (`accounts/user_keys.py`). Raises `InvalidApiKey` for what cannot be a key,
    and what `user_keys.adopt_user_key` raises, such as `KeyDisabled`. Safe to repeat and to run in parallel.
    """
    check_key(api_key)
    if user_keys.adopt_user_key(api_key):
        return True
    accounts, session = collection_of(Account), current_session()
    if not _plain_keys_remain():
        return False
    hashed = hash_key(api_key)
    adoption = [{"$set": {"apiKeyHash": hashed, HASHED_FROM: "$apiKey", **moved_first_entry(hashed)}}]
    try:
        return bool(accounts.update_one({"apiKey": api_key}, adoption, session=session).matched_count)
    except DuplicateKeyError:
        # The replaced programs gave this account the key of another one, which had been adopted: that hash is stale.
        is_stale = {"$expr": {"$ne": ["$apiKey", f"${HASHED_FROM}"]}}
        stale = {"apiKeyHash": hashed, **PLAIN_KEY, **is_stale}
        accounts.update_one(stale, {"$unset": {"apiKeyHash": "", HASHED_FROM: ""}}, session=session)
        return bool(accounts.update_one({"apiKey": api_key}, adoption, session=session).matched_count)


def count_plain_keys() -> int:
    """How many accounts hold their key as plain text. Raises `PyMongoError`."""
    return collection_of(Account).count_documents(PLAIN_KEY)


def _plain_keys_remain() -> bool:
    return collection_of(Account).find_one(PLAIN_KEY, {"_id": 1}, session=current_session()) is not None


def _find(query: Document) -> Account | None:
    found = collection_of(Account).find_one(query, {"_id": 1}, session=current_session())
    return Account.objects.filter(pk=found["_id"]).first() if found else None


def read_keys(authorization: str | None, x_api_key: str | None, api_key: str | None = None) -> list[str]:
    """The keys that a request carries, each once, the likeliest first; mostly it is one.

    OpenAI's clients send `Authorization: Bearer <key>`, some the key alone; Anthropic's `x-api-key`; Azure's `api-key`.
    Who uses several services may send the key of another one beside ours: keys of our form go first, then that of
    `Authorization`. Raises `InvalidApiKey` when there is none.
    """
    scheme, _, rest = (authorization or "").strip().partition(" ")
    of_authorization = rest if scheme.lower() == "bearer" else "" if rest else scheme
    sent = (key.strip() for key in (of_authorization, x_api_key or "", api_key or ""))
    keys = list(dict.fromkeys(key for key in sent if key))
    if not keys:
        raise InvalidApiKey("no API key")
    return sorted(keys, key=lambda key: not key.startswith(KEY_PREFIX))


def is_known_key(api_key: str) -> bool:
    """Whether an account has this key, active or not."""
    try:
        find_any_account_by_key(api_key)
    except InvalidApiKey:
        return False
    return True
