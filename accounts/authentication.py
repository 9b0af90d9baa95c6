"""Who is asking: the account behind an API key. (A metered request authenticates in `credits.hold`, in one trip.)"""

from accounts.errors import AccountDisabled, InvalidApiKey
from accounts.keys import key_filter
from accounts.models import Account
from mongo.collections import collection_of, current_session


def find_account_by_key(api_key: str) -> Account:
    """The active account with this key. Raises `InvalidApiKey`, `AccountDisabled`."""
    account = find_any_account_by_key(api_key)
    if not account.is_active:
        raise AccountDisabled(account.username)
    return account


def find_any_account_by_key(api_key: str) -> Account:
    """The account with this key, whether it is active or disabled. Raises `InvalidApiKey`."""
    found = collection_of(Account).find_one(key_filter(api_key), {"_id": 1}, session=current_session())
    account: Account | None = Account.objects.filter(pk=found["_id"]).first() if found else None
    if account is None:
        raise InvalidApiKey
    return account


def read_key(authorization: str | None, x_api_key: str | None) -> str:
    """The key a request carries: `Authorization: Bearer <key>` (OpenAI) or `x-api-key: <key>` (Anthropic).

    Raises `InvalidApiKey` when there is none, or another scheme than Bearer.
    """
    if x_api_key:
        return x_api_key.strip()
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise InvalidApiKey("no API key")
    return key.strip()
