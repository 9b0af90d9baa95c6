"""`Idempotency-Key` on plain requests: a retry gets the stored answer of the first one, and is not billed again.

The answer is stored before the request is billed. A crash between the two gives an answer away; it never bills twice.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from accounts.authentication import find_account_by_key
from proxy.errors import IdempotencyConflict, InvalidRequest
from proxy.models import IdempotentRequest

KEPT_HOURS = 24
LONGEST_KEY = 255


@dataclass(frozen=True)
class StoredAnswer:
    """The answer of an earlier request."""

    body: bytes
    request_id: str


@dataclass(frozen=True)
class Claim:
    """This request is the first with its key, and is to store its answer or give the key back."""

    key: str
    request_id: str

    def store(self, body: bytes) -> None:
        """Keep the answer for retries."""
        IdempotentRequest.objects.filter(pk=self.key, request_id=self.request_id).update(answer=body)

    def release(self) -> None:
        """Forget the key: the request failed and may be tried again. Safe to repeat."""
        IdempotentRequest.objects.filter(pk=self.key, request_id=self.request_id, answer=None).delete()


def claim(*, api_key: str, endpoint: str, idempotency_key: str, body: bytes, request_id: str) -> Claim | StoredAnswer:
    """Take the key for this request, or return the answer that it has already.

    The key belongs to the API key, the upstream and the endpoint. Raises `InvalidApiKey`, `AccountDisabled`,
    `InvalidRequest` for a key that is no key, `IdempotencyConflict` while the first request runs, or when it had
    another body. A claim whose process died is free again after the longest time that a request can take.
    """
    if not (1 <= len(idempotency_key) <= LONGEST_KEY and idempotency_key.isascii() and idempotency_key.isprintable()):
        raise InvalidRequest(f"An Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters.")
    find_account_by_key(api_key)
    now = timezone.now()
    key = hashlib.sha256("\n".join((api_key, endpoint, idempotency_key)).encode()).hexdigest()
    row = IdempotentRequest(
        id=key,
        body_sha256=hashlib.sha256(body).hexdigest(),
        request_id=request_id,
        created_at=now,
        expires_at=now + timedelta(hours=KEPT_HOURS),
    )
    abandoned = timedelta(seconds=settings.LONGEST_REQUEST_SECONDS)
    IdempotentRequest.objects.filter(pk=key, answer=None, created_at__lt=now - abandoned).delete()
    IdempotentRequest.objects.filter(pk=key, expires_at__lte=now).delete()
    try:
        row.save(force_insert=True)
    except IntegrityError:
        return _answer_of(IdempotentRequest.objects.filter(pk=key).first(), row.body_sha256)
    return Claim(key, request_id)


def _answer_of(known: IdempotentRequest | None, body_sha256: str) -> StoredAnswer:
    if known is not None and known.body_sha256 != body_sha256:
        raise IdempotencyConflict("This Idempotency-Key was used for a request with another body. Use a new key.")
    if known is None or known.answer is None:
        raise IdempotencyConflict("The first request with this Idempotency-Key still runs. Try again in a moment.")
    return StoredAnswer(bytes(known.answer), known.request_id)
