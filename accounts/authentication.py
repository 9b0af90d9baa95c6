"""Who is asking: the account behind an API key. (A metered request authenticates in `credits.hold`, in one trip.)"""

from django.db.models import Q

from accounts.errors import AccountDisabled, InvalidApiKey
from accounts.keys import check_key, hash_key
from accounts.models import Account


def find_account_by_key(api_key: str) -> Account:
    """The active account with this key. Raises `InvalidApiKey`, `AccountDisabled`."""
    check_key(api_key)
    account: Account | None = Account.objects.filter(
        Q(api_key_hash=hash_key(api_key)) | Q(legacy_api_key=api_key)
    ).first()
    if account is None:
        raise InvalidApiKey
    if not account.is_active:
        raise AccountDisabled(account.username)
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
