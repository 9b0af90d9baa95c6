"""Events as people look for them: by what a customer or a bank statement says, in whatever spelling. Reads only.

No index knows a memo without its diacritics, or the end of a reference. What waits for staff is little, so all of it is
read and compared; of what does not wait any more, only what has the same amount.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property

from bson import ObjectId
from django.conf import settings
from django.utils import timezone

from payments.inbox.facts import sought_of
from payments.inbox.told import Told, tell
from payments.models import WAITING_FOR_STAFF, Payment, WebhookEvent
from payments.orders import codes
from payments.orders.codes import Code, CodeFinder
from payments.orders.search import is_suggested
from payments.providers import all_providers
from payments.providers.event_json import scan_members

MOST_SEARCHED = 1_000
"""So many of the events that wait are compared, the newest ones."""
MOST_OF_AN_AMOUNT = 200
"""So many events are compared that have an amount which was searched for, and do not wait."""
_MOST_PARTS = 12
_MOST_TEXT = 4_000
_LEAST_DIGITS = 4
"""Fewer digits stand in nearly every memo: they mean an amount or a whole reference."""
_MOST_ERRORS = 2
_CODE_LENGTHS = range(codes.CODE_LENGTH - _MOST_ERRORS, 30)
_SIGNS_OF_MONEY = re.compile(r"^(?:US)?[$€]|(?:\s*(?:vnd|vnđ|usd|eur|đ|₫|d|[$€]))$", re.I)
_THOUSANDS = re.compile(r"(?P<number>[0-9.,\s]+?)\s*(?P<unit>k|tr|m)$", re.I)
_UNITS = {"k": 1_000, "tr": 1_000_000, "m": 1_000_000}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_GROUPS = re.compile(r"[0-9]{1,3}(?:(?P<sign>[.,\s])[0-9]{3})(?:(?P=sign)[0-9]{3})*")
_DIGITS = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True)
class Found:
    """The keys of the events that a text means; `is_cut` if more wait than were compared."""

    keys: Sequence[ObjectId]
    is_cut: bool = False


def find_events(text: str) -> Found:
    """The events that a text means: all its words stand in one event, each as amount, memo, time, reference, or reason.

    Diacritics, capitals and blanks do not matter, amounts are read in every way in which people write them, and of an
    order code two characters may be wrong.
    """
    wanted = Wanted(text)
    if not wanted.parts:
        return Found([])
    waiting, is_cut = _waiting()
    candidates = {event.pk: event for event in (*waiting, *_of_amounts(wanted.amounts))}
    return Found([pk for pk, event in candidates.items() if wanted.is_in(Telling(event))], is_cut)


def events_for(order: Payment) -> list[WebhookEvent]:
    """The events that wait and whose money may be for an unpaid order, the newest first: as they would suggest it."""
    if order.status == Payment.Status.SUCCESS:
        return []
    waiting, _ = _waiting()
    return [event for event in waiting if (sought := sought_of(event)) and is_suggested(order, sought)]


def _waiting() -> tuple[list[WebhookEvent], bool]:
    """The newest events that wait for staff, and whether there are more."""
    found = WebhookEvent.objects.filter(status__in=WAITING_FOR_STAFF).order_by("-received_at")
    events = list(found[: MOST_SEARCHED + 1])
    return events[:MOST_SEARCHED], len(events) > MOST_SEARCHED


def _of_amounts(amounts: Iterable[Decimal]) -> Iterable[WebhookEvent]:
    """The newest events that reported one of these amounts, in any currency that is sold in."""
    providers = all_providers()
    currencies = {"VND", "USD", *(provider.rate().currency for provider in providers if provider.can_sell())}
    keys = [
        f"{provider.name}:{currency}:{amount.normalize():f}"[:60]
        for amount in amounts
        for provider in providers
        for currency in currencies
    ]
    return WebhookEvent.objects.filter(money_key__in=keys).order_by("-occurred_at")[:MOST_OF_AN_AMOUNT] if keys else ()


class Telling:
    """One event with all that is compared with a search."""

    def __init__(self, event: WebhookEvent) -> None:
        self.event = event

    @cached_property
    def told(self) -> Told:
        return tell(self.event)

    @cached_property
    def texts(self) -> list[str]:
        """Whatever stands in it as words, names and references; numbers only where they are names."""
        event, told = self.event, self.told
        body = scan_members(bytes(event.body or b"")).values()
        named = [text for text in body if not _DIGITS.fullmatch(text)]
        own = (event.error, event.assigned_to, event.event_id, event.provider, event.resolution)
        return [text for text in (told.memo, told.reference, told.currency, *own, *named) if text]

    @cached_property
    def plain(self) -> str:
        """The texts without diacritics, blanks and signs, each apart from the next."""
        return "|".join(codes.normalise(text) for text in self.texts)[:_MOST_TEXT]

    @cached_property
    def raw(self) -> str:
        """The texts as they stand there, and the times, for what has signs in it."""
        times = [time for time in (self.told.at, self.event.received_at) if time]
        return "\n".join([*self.texts, *(shown for time in times for shown in _shown(time))]).casefold()

    @cached_property
    def finder(self) -> CodeFinder:
        return CodeFinder.of(self.plain)

    @cached_property
    def amounts(self) -> set[Decimal]:
        return {amount for amount in (self.told.amount, self.told.value) if amount is not None}


class Wanted:
    """What was typed into a search, in every way in which it may be meant."""

    def __init__(self, text: str) -> None:
        self.whole = text.strip()
        self.parts = self.whole.split()[:_MOST_PARTS]
        self._meanings = [_Part(part) for part in self.parts]
        self._whole = _Part(self.whole)

    @property
    def amounts(self) -> set[Decimal]:
        """Every amount that may be meant."""
        return {amount for part in (self._whole, *self._meanings) for amount in part.amounts}

    def is_in(self, event: Telling) -> bool:
        """Whether an event has the whole text, or each of its words, somewhere."""
        return self._whole.is_in(event) or (
            len(self._meanings) > 1 and all(part.is_in(event) for part in self._meanings)
        )


class _Part:
    """One word of a search, or all of it."""

    def __init__(self, text: str) -> None:
        self.raw = text.casefold()
        self.plain = codes.normalise(text)
        self.amounts = amounts_of(text)
        self.is_code = len(self.plain) in _CODE_LENGTHS and self.plain.startswith((settings.ORDER_CODE_PREFIX, "TROLL"))

    def is_in(self, event: Telling) -> bool:
        tests: list[Callable[[], bool]] = [lambda: bool(self.amounts & event.amounts)]
        if self._has_words:
            tests.append(lambda: self.plain in event.plain)
        if any(sign in self.raw for sign in ":-/@.") and len(self.raw) >= _LEAST_DIGITS:
            tests.append(lambda: self.raw in event.raw)
        if self.plain and self.plain.isdigit():
            tests.append(lambda: self.plain in (codes.normalise(event.told.reference), event.event.event_id))
        if self.is_code:
            tests.append(lambda: event.finder.count_errors(Code.of(self.plain), most=_MOST_ERRORS) is not None)
        return any(test() for test in tests)

    @property
    def _has_words(self) -> bool:
        return bool(self.plain) and (len(self.plain) >= _LEAST_DIGITS or not self.plain.isdigit())


def amounts_of(text: str) -> set[Decimal]:
    """Every amount that people may mean by a text: 50000, 50.000, 50,000, 50k, 1.5tr, 50.000đ, $20. None for others.

    Where a point or a comma can mean two things, both are meant: this looks for money, and moves none.
    """
    bare = _SIGNS_OF_MONEY.sub("", _SIGNS_OF_MONEY.sub("", text.strip())).strip()
    if not bare.isascii() or len(bare) > 20:
        return set()
    factor = Decimal(1)
    if found := _THOUSANDS.fullmatch(bare):
        bare, factor = found["number"].strip(), Decimal(_UNITS[found["unit"].lower()])
    readings = {re.sub(r"[.,\s]", "", bare)} if _GROUPS.fullmatch(bare) else set()
    # The last sign divides the fraction, and what stands before it groups thousands.
    whole, sign, fraction = max(bare.rpartition("."), bare.rpartition(","), key=lambda parts: len(parts[0]))
    readings.add(f"{re.sub('[.,]', '', whole)}.{fraction}" if sign else bare)
    return {Decimal(one) * factor for one in readings if _NUMBER.fullmatch(one) and Decimal(one) > 0}


def _shown(time: datetime) -> list[str]:
    """A time as it may be written: in UTC, in the site's zone, and in that of the provider."""
    zones = (time, time.astimezone(UTC), timezone.localtime(time))
    return [
        f"{one:%Y-%m-%d %H:%M:%S} {one:%d/%m/%Y} {one.day}/{one.month}/{one.year} {one:%H}h{one:%M}" for one in zones
    ]
