"""Why requests were refused, kept for a while: one small document each, for staff and for the customer.

At most so many of an account are kept, a minute and a day, whatever it sends; the rest are only counted, so that a
client that retries for ever fills no disk. Nothing is written for a request that is accepted.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal

import pymongo
from django.conf import settings
from django.utils import timezone
from pymongo import ReturnDocument

from accounts.at_refusal import AccountAtRefusal, account_at_refusal
from accounts.authentication import find_document_by_key
from accounts.errors import BillingError, InvalidApiKey, KeyBudgetReached
from accounts.keys import hash_key, mask_key, mask_keys_in
from accounts.models import Balance
from accounts.throttle import LARGEST_TABLE
from money.amounts import ZERO, to_bson, usd_text
from mongo.collections import Document, collection_of
from mongo.days import day_of
from mongo.errors import DATABASE_FAILURES
from proxy.billing.metering import worst_case_of
from proxy.billing.pricing import Usage
from proxy.billing.terms import PricedCall
from proxy.errors import CannotAfford
from proxy.models import RefusalCount, RefusedRequest

logger = logging.getLogger(__name__)

KEEP_SECONDS = 1.0
"""How long the answer to a refused request waits for the record of it."""
MOST_HOLDS = 20
"""Of the requests that held credits then, the largest holds are kept."""
MINUTE_SECONDS = 60


class _Unseen:
    """Refusals that asked no database, by the hash of the key: they are added to what is counted next of the account.

    Of a process that ends, or a key that never comes back, they are lost: the counts say "at least".
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count
            self._counts.move_to_end(name)
            while len(self._counts) > LARGEST_TABLE:
                self._counts.popitem(last=False)

    def take(self, name: str) -> int:
        with self._lock:
            return self._counts.pop(name, 0)


_unseen = _Unseen()


def count_unseen(api_key: str) -> None:
    """Count a refusal for which the database is not asked. Every call counts. Never raises."""
    _unseen.add(hash_key(api_key))


def keep_refusal(
    error: BillingError,
    *,
    request_id: str,
    api_key: str,
    balance: Balance,
    endpoint: str,
    status: int,
    priced: PricedCall | None,
    now: datetime | None = None,
) -> None:
    """Keep why a request was refused, or count it where enough of its account were kept. USD.

    Two small writes for `KEEP_SECONDS` at most. `priced` is None where the body was not read. The request of a key that
    no account has is not kept. Never raises: a refusal is answered whether or not it can be kept. Each call counts.
    """
    now = now or timezone.now()
    try:
        with pymongo.timeout(KEEP_SECONDS):
            account = error.account_then or _account_of(api_key)
            if account is None or not _has_room(account.username, unseen=_unseen.take(hash_key(api_key)), now=now):
                return
            document = _document(error, account, balance, priced) | {
                "_id": request_id,
                "userId": account.username,
                "createdAt": now,
                "endpoint": _text(mask_keys_in(endpoint), 100),
                "statusCode": status,
                "apiKeyPrefix": mask_key(api_key),
                "expiresAt": now + timedelta(days=settings.REFUSALS_KEPT_DAYS),
            }
            collection_of(RefusedRequest).insert_one(document)
    except DATABASE_FAILURES as failure:
        logger.warning("request %s: its refusal is not kept: %s", request_id, failure)


def read_not_kept(username: str, *, first: date, last: date) -> dict[date, int]:
    """How many refusals of an account were only counted, by day from `first` to `last`; days with none are left
    out. At least so many: what a process counted for itself may be lost with it.
    """
    days = {_count_id(username, day): day for day in _days(first, last)}
    found = RefusalCount.objects.filter(pk__in=list(days), not_kept__gt=0)
    return {days[count.pk]: count.not_kept for count in found}


LONGEST_PERIOD = timedelta(days=400)


def _days(first: date, last: date) -> Iterable[date]:
    first = max(first, last - LONGEST_PERIOD)
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def _account_of(api_key: str) -> AccountAtRefusal | None:
    """The account with this key, which the refusal itself did not read."""
    try:
        document = find_document_by_key(api_key)
    except InvalidApiKey:
        return None
    return None if document is None else account_at_refusal(document)


def _count_id(username: str, day: date) -> str:
    return f"{day.isoformat()}:{username}"


def _has_room(username: str, *, unseen: int, now: datetime) -> bool:
    """Whether one more refusal of the account is kept; counted in the same step, by all processes together."""
    minute = int(now.timestamp()) // MINUTE_SECONDS
    in_minute: Document = {"$cond": [{"$eq": ["$minute", minute]}, {"$ifNull": ["$inMinute", 0]}, 0]}
    kept, not_kept = ({"$ifNull": [f"${name}", 0]} for name in ("kept", "notKept"))
    has_room = {
        "$and": [
            {"$lt": [in_minute, settings.REFUSALS_KEPT_PER_MINUTE]},
            {"$lt": [kept, settings.REFUSALS_KEPT_PER_DAY]},
        ]
    }
    update: list[Document] = [
        {"$set": {"isKept": has_room, "inMinute": in_minute, "minute": minute}},
        {
            "$set": {
                "inMinute": {"$add": ["$inMinute", {"$cond": ["$isKept", 1, 0]}]},
                "kept": {"$add": [kept, {"$cond": ["$isKept", 1, 0]}]},
                "notKept": {"$add": [not_kept, {"$cond": ["$isKept", 0, 1]}, unseen]},
                "expiresAt": now + timedelta(days=settings.REFUSALS_KEPT_DAYS),
            }
        },
    ]
    day = day_of(now)
    after = collection_of(RefusalCount).find_one_and_update(
        {"_id": _count_id(username, day)},
        update,
        projection={"isKept": 1},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return bool(after and after["isKept"])


def _document(error: BillingError, account: AccountAtRefusal, balance: Balance, priced: PricedCall | None) -> Document:
    """What a record says of the money: what was needed and why, what there was, and what held the rest."""
    needed, available, held = _amounts(error, account, balance, priced)
    holding = [one for one in account.holds if one.balance == balance.value]
    return {
        "upstream": balance.value,
        "model": None if priced is None else priced.price.model_id,
        "code": error.code,
        "message": _text(error.customer_message, 2000),
        "needed": None if needed is None else to_bson(needed),
        "available": None if available is None else to_bson(available),
        "held": to_bson(held),
        "worstCase": None if priced is None else _worst_case(priced),
        "balances": {one.value: None if usd is None else usd_text(usd) for one, usd in account.available.items()},
        "holds": [
            {
                "id": _text(one.request_id, 60),
                "amount": usd_text(one.amount),
                "since": None if one.since is None else one.since.isoformat(),
            }
            for one in holding[:MOST_HOLDS]
        ],
        "holdsCount": len(holding),
    }


def _amounts(
    error: BillingError, account: AccountAtRefusal, balance: Balance, priced: PricedCall | None
) -> tuple[Decimal | None, Decimal | None, Decimal]:
    """What was needed, what was available of it, and what running requests held. USD.

    Of a key's budget where that was too small, else of the balance.
    """
    if isinstance(error, CannotAfford):
        return error.required, error.available, error.held
    if isinstance(error, KeyBudgetReached):
        return error.required, error.left, error.held
    needed = None
    if priced is not None:
        worst = worst_case_of(priced)
        needed = priced.price.worst_case(worst.input_tokens, worst.output_tokens * worst.choices, priced.terms)
    held = sum((one.amount for one in account.holds if one.balance == balance.value), ZERO)
    return needed, account.available.get(balance), held


def _worst_case(priced: PricedCall) -> Document:
    worst = worst_case_of(priced)
    return {
        "input": worst.input_tokens,
        "output": worst.output_tokens,
        "choices": worst.choices,
        "isLimited": worst.is_limited,
        "text": str(worst),
        "limit": priced.call.max_output_tokens,
        "price": priced.price.snapshot(Usage()),
    }


def _text(text: str, longest: int) -> str:
    """A text as the database can keep it: a client's may hold what UTF-8 cannot encode."""
    return text.encode("utf-8", "backslashreplace").decode()[:longest]
