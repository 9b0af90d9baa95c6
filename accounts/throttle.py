"""How often one process does what no credits pay for: refusals, and endpoints that cost nothing.

A billed request is counted in the database, with its hold (`accounts/rate_limits.py`). What is counted here must cost
less than what it protects from: a look-up in a table of this process, so the limits are those of one process. What was
refused in the database is refused here from then on, until the key, or the client's address, has waited.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, TypeVar

from django.conf import settings

from accounts.authentication import find_account_by_key, is_known_key
from accounts.errors import BillingError, InvalidApiKey, RequestThrottled
from accounts.keys import hash_key
from accounts.models import Account
from accounts.rate_limits import MINUTE_SECONDS, RateLimit

Value = TypeVar("Value")
LARGEST_TABLE = 20_000
"""Names that a table remembers; the one that was seen longest ago is forgotten first."""


class Throttle:
    """A token bucket for each name: a burst, then an even rate of the setting's number a minute; 0 = no limit.

    Each bucket is one number, the time at which it will be full again, as in `accounts/rate_limits.py`.
    """

    def __init__(self, setting: str, sentence: str, *, burst_seconds: float = MINUTE_SECONDS) -> None:
        self._setting = setting
        self._sentence = sentence
        self._burst_seconds = burst_seconds
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, name: str) -> None:
        """Raise `RequestThrottled` if `name` has to wait. Counts nothing."""
        with self._lock:
            self._refuse_if_over(name, time.monotonic())

    def take(self, name: str) -> None:
        """Count one for `name`, or raise `RequestThrottled` if it has to wait; then nothing is counted."""
        with self._lock:
            now = time.monotonic()
            self._refuse_if_over(name, now)
            self._add(name, 1, now)

    def count(self, name: str, weight: float = 1) -> None:
        """Count what has happened, whether or not it was within the limit: the next one waits for no more than this."""
        with self._lock:
            self._add(name, weight, time.monotonic())

    def forgive(self, name: str) -> None:
        """Take one off what was counted."""
        with self._lock:
            if name in self._full_at:
                self._add(name, -1, time.monotonic())

    def _interval(self) -> float:
        """Seconds for one; 0 where there is no limit."""
        limit = int(getattr(settings, self._setting))
        return MINUTE_SECONDS / limit if limit > 0 else 0.0

    def _refuse_if_over(self, name: str, now: float) -> None:
        full_at, interval = self._full_at.get(name), self._interval()
        if full_at is None or not interval:
            return
        burst_seconds = max(self._burst_seconds, interval)
        wait = full_at + interval - burst_seconds - now
        if wait <= 1e-9:
            return
        limit = int(getattr(settings, self._setting))
        rate = RateLimit(limit, 0, math.ceil(full_at - now))
        raise RequestThrottled(self._sentence.format(limit=limit), rate=rate, retry_seconds=math.ceil(wait))

    def _add(self, name: str, weight: float, now: float) -> None:
        interval = self._interval()
        if not interval:
            return
        full_at = max(self._full_at.get(name, 0.0), now) + weight * interval
        latest = now + max(self._burst_seconds, interval) + max(weight - 1, 0) * interval
        self._full_at[name] = min(full_at, latest)
        self._full_at.move_to_end(name)
        if full_at <= now:
            del self._full_at[name]
        while len(self._full_at) > LARGEST_TABLE:
            self._full_at.popitem(last=False)


FREE_REQUESTS = Throttle("FREE_REQUESTS_PER_MINUTE", "You may make {limit} requests a minute that cost nothing.")
"""By key: endpoints that are not billed. By address: those without a key."""
REFUSALS = Throttle(
    "REFUSALS_PER_MINUTE",
    "Too many of your requests were refused: {limit} a minute are looked at. Read what the answers before this say.",
)
"""By key: requests that were refused. One that is accepted takes one off, so that it takes many in a row."""
UNKNOWN_KEYS = Throttle("UNKNOWN_KEYS_PER_MINUTE", "Too many invalid API keys came from your address.")
"""By address: keys that no account has. Keys that this process has seen accepted are not asked about it."""

KEY_ROTATIONS = Throttle("KEY_ROTATIONS_PER_MINUTE", "You may replace your key {limit} times a minute.")
"""By account."""

STATEMENTS = Throttle("STATEMENTS_PER_MINUTE", "Your statements keep the database too busy.", burst_seconds=10)
"""By account: statements over many requests."""
DATABASE_SECOND = 5
"""What a second of the database's work counts as, in statements."""

PUBLIC_READS = Throttle("PUBLIC_READS_PER_MINUTE", "")
"""What anybody may read, without a key: how often the database is asked for all of them together."""


class Shared(Generic[Value]):
    """What everybody reads alike: read anew each time, but under load the one that was read last serves many."""

    def __init__(self, read: Callable[[], Value], *, limit: Throttle) -> None:
        self._read = read
        self._limit = limit
        self._last: Value | None = None

    def read(self) -> Value:
        """The value, at most as old as the limit makes two readings lie apart. Raises what the reading raises."""
        try:
            self._limit.take(str(id(self)))
        except RequestThrottled:
            if self._last is not None:
                return self._last
        self._last = self._read()
        return self._last


class _AcceptedKeys:
    """The hashes of the keys that were accepted of late: their owners do not suffer for others at their address."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        with self._lock:
            self._names[name] = None
            self._names.move_to_end(name)
            while len(self._names) > LARGEST_TABLE:
                self._names.popitem(last=False)

    def discard(self, name: str) -> None:
        with self._lock:
            self._names.pop(name, None)


_accepted = _AcceptedKeys()


def admit(api_key: str, address: str) -> None:
    """Raise `RequestThrottled` where this key, or unknown keys from this address, were refused too often of late.

    Call it before the database is asked about a key. Counts nothing.
    """
    name = hash_key(api_key)
    REFUSALS.check(name)
    if name not in _accepted:
        UNKNOWN_KEYS.check(_network_of(address))


def choose_key(keys: Sequence[str], address: str) -> str:
    """Which of the keys that one request carries is meant: the first that an account has, or the last.

    Asks the database only where there are several, and this process has not seen the first one accepted. Raises
    `RequestThrottled` where it must not be asked.
    """
    *others, last = keys
    for key in others:
        if hash_key(key) in _accepted:
            return key
        admit(key, address)
        if is_known_key(key):
            return key
    return last


def note_accepted(api_key: str) -> None:
    """The database knows this key, and did what was asked with it."""
    name = hash_key(api_key)
    _accepted.add(name)
    REFUSALS.forgive(name)


def note_refused(api_key: str, address: str, error: BillingError) -> None:
    """Count a request that was refused, unless it was refused here, where it cost nothing."""
    if isinstance(error, RequestThrottled):
        return
    name = hash_key(api_key)
    REFUSALS.count(name)
    if isinstance(error, InvalidApiKey):
        _accepted.discard(name)
        UNKNOWN_KEYS.count(_network_of(address))


def find_free_caller(api_key: str) -> Account:
    """The account that asks for what costs nothing, with a key that was admitted. Counts the request.

    Raises `RequestThrottled`, `InvalidApiKey`, `AccountDisabled`.
    """
    FREE_REQUESTS.take(hash_key(api_key))
    account = find_account_by_key(api_key)
    note_accepted(api_key)
    return account


def _network_of(address: str) -> str:
    """Who has one IPv6 address has a network of them; a socket without an address is one client."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
