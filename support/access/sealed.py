"""Secrets that are stored so that the database alone does not give them away: encrypted with a key of `SECRET_KEY`."""

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

MARK = "fernet:"


class Unreadable(Exception):
    """It was encrypted with a `SECRET_KEY` that is neither the present one nor a fallback."""


def seal(text: str) -> str:
    """Encrypt with the present `SECRET_KEY`. Every call gives another result."""
    return MARK + _keys()[0].encrypt(text.encode()).decode()


def unseal(stored: str) -> str:
    """What was sealed with `SECRET_KEY` or one of `SECRET_KEY_FALLBACKS`; older releases stored the text as it is.

    Raises `Unreadable`.
    """
    if not stored.startswith(MARK):
        return stored
    try:
        return MultiFernet(_keys()).decrypt(stored.removeprefix(MARK)).decode()
    except InvalidToken as error:
        raise Unreadable("sealed with another SECRET_KEY") from error


def _keys() -> list[Fernet]:
    return [_fernet(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)]


@lru_cache(maxsize=8)
def _fernet(secret: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"support.access.sealed").derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
