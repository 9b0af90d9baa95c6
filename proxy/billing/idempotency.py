"""`Idempotency-Key` on plain requests: a retry gets the stored answer of the first one, and is not billed again.

The answer is stored together with its bill, the request's log as it is to be, before the request is billed. If the
process dies between the two, whoever comes first bills by that: the sweep, or the retry before it gets the answer. So
an answer is paid for exactly once. An answer whose request was given up at cost 0 is not handed out: the retry is a new
request.
"""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import Binary
from django.conf import settings
from django.utils import timezone
from pymongo.errors import DuplicateKeyError

from accounts.authentication import find_account_by_key
from accounts.models import Account
from accounts.processes import process_id, take_census
from mongo.collections import Document, collection_of, find_one_and_update
from mongo.errors import DATABASE_FAILURES
from mongo.patience import keep_trying
from mongo.times import as_utc
from proxy.billing.abandoned import close_abandoned
from proxy.billing.closing import ABANDONED, close
from proxy.errors import IdempotencyConflict, InvalidRequest
from proxy.models import IdempotentRequest, RequestLog

logger = logging.getLogger(__name__)

KEPT_HOURS = 24
LONGEST_KEY = 255
STILL_RUNS_RETRY_SECONDS = 2
CLAIM_ATTEMPTS = 5
"""Each lost one means that somebody else took the key or gave it back in between."""


@dataclass(frozen=True)
class StoredAnswer:
    """The answer of an earlier request."""

    body: bytes
    request_id: str


@dataclass
class Claim:
    """This request is the first with its key, and is to store its answer or give the key back."""

    key: str
    request_id: str
    is_kept: bool = False
    """Whether the key stays taken: its answer is stored, or may be."""

    def store(self, body: bytes, bill: Document) -> None:
        """Keep the answer for retries, and in the same write the log by which it is billed.

        Tried for `RECORD_PATIENCE_SECONDS`. Raises `PyMongoError` after that: it may still arrive. Safe to repeat.
        """
        self.is_kept = True
        query = {"_id": self.key, "requestId": self.request_id}
        update: list[Document] = [{"$set": {"answer": {"$literal": Binary(body)}, "bill": {"$literal": bill}}}]
        keep_trying(
            lambda: find_one_and_update(IdempotentRequest, query, update, fields=("requestId",)),
            seconds=settings.RECORD_PATIENCE_SECONDS,
            name=f"the answer of request {self.request_id}",
        )

    def release(self) -> None:
        """Forget the key unless it is to be kept: the request failed and may be tried again. Safe to repeat.

        Without a database the key stays taken until a retry finds that the request does not run any more.
        """
        if self.is_kept:
            return
        try:
            IdempotentRequest.objects.filter(pk=self.key, request_id=self.request_id, answer=None).delete()
        except DATABASE_FAILURES as error:
            logger.error("request %s could not give its idempotency key back: %s", self.request_id, error)


def claim(*, api_key: str, endpoint: str, idempotency_key: str, body: bytes, request_id: str) -> Claim | StoredAnswer:
    """Take the key for this request, or return the answer that it has already.

    The key belongs to the API key, the upstream and the endpoint. Raises `InvalidApiKey`, `AccountDisabled`,
    `InvalidRequest` for a key that is no key, `IdempotencyConflict` while the first request runs, or when it had
    another body. A key whose process died is free again as soon as that is known.
    """
    if not (1 <= len(idempotency_key) <= LONGEST_KEY and idempotency_key.isascii() and idempotency_key.isprintable()):
        raise InvalidRequest(f"An Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters.")
    account, now = find_account_by_key(api_key), timezone.now()
    wanted: Document = {
        "_id": _document_id(api_key, endpoint, idempotency_key),
        "bodySha256": hashlib.sha256(body).hexdigest(),
        "requestId": request_id,
        "process": process_id(),
        "answer": None,
        "createdAt": now,
        "expiresAt": now + timedelta(hours=KEPT_HOURS),
    }
    claims = collection_of(IdempotentRequest)
    for _ in range(CLAIM_ATTEMPTS):
        try:
            claims.insert_one(wanted)
        except DuplicateKeyError:
            known = claims.find_one({"_id": wanted["_id"]})
        else:
            return Claim(wanted["_id"], request_id)
        if known is None:
            continue
        if known["requestId"] == request_id:  # Our own, which had arrived at the first try.
            return Claim(wanted["_id"], request_id)
        if answer := _answer_of(known, account=account, body_sha256=wanted["bodySha256"], now=now):
            return answer
        claims.delete_one({"_id": known["_id"], "requestId": known["requestId"]})
    raise IdempotencyConflict(
        "Other requests with this Idempotency-Key came first. Try again.", retry_seconds=STILL_RUNS_RETRY_SECONDS
    )


def is_answered(*, api_key: str, endpoint: str, idempotency_key: str) -> bool:
    """Whether a retry with this key may get a stored answer, if its body is the same. One read."""
    key = _document_id(api_key, endpoint, idempotency_key)
    return IdempotentRequest.objects.filter(pk=key, expires_at__gt=timezone.now()).exclude(answer=None).exists()


def _document_id(api_key: str, endpoint: str, idempotency_key: str) -> str:
    return hashlib.sha256("\n".join((api_key, endpoint, idempotency_key)).encode()).hexdigest()


def _answer_of(known: Document, *, account: Account, body_sha256: str, now: datetime) -> StoredAnswer | None:
    """What the earlier request with a key has for its retry; None if the key is free again.

    Raises `IdempotencyConflict`. An answer that is not billed yet is billed first.
    """
    if as_utc(known["expiresAt"]) <= now:
        return None
    if known["bodySha256"] != body_sha256:
        raise IdempotencyConflict("This Idempotency-Key was used for a request with another body. Use a new key.")
    if known["answer"] is None:
        _wait_unless_over(known, account=account, now=now)
        return None
    outcome = _outcome_of(known)
    return None if outcome == ABANDONED else StoredAnswer(bytes(known["answer"]), known["requestId"])


def _outcome_of(known: Document) -> str | None:
    """How a request ended whose answer is stored; it is billed here if that had not happened."""
    log = collection_of(RequestLog).find_one({"_id": known["requestId"]}, projection={"outcome": 1})
    if log is None and "bill" in known:  # Without one an older version stored it, after its log or for free.
        log = close(known["bill"]).log
    return None if log is None else log.get("outcome")


def _wait_unless_over(known: Document, *, account: Account, now: datetime) -> None:
    """Raise `IdempotencyConflict` while the request may still end well; close it if nobody works for it any more."""
    request_id, since, process = known["requestId"], as_utc(known["createdAt"]), known.get("process")
    census = take_census()
    if not census.is_over(process=process, request_id=request_id, since=since):
        if since > now - timedelta(seconds=settings.LONGEST_REQUEST_SECONDS):
            seconds = census.seconds_until_closed({request_id: {"process": process, "at": since}})[request_id]
            raise IdempotencyConflict(
                "The first request with this Idempotency-Key still runs. Try again in a moment.",
                retry_seconds=seconds or STILL_RUNS_RETRY_SECONDS,
            )
    elif request_id in account.holds:
        close_abandoned(account.pk, request_id, account.holds[request_id])
