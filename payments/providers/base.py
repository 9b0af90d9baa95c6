"""What every payment provider tells us: who signed, what an event says, how orders are sold; see docs/payments.md."""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import ClassVar

from payments.errors import PaymentMethodUnavailable
from payments.models import Payment
from payments.providers.events import MoneyReceived, ProviderEvent

EARLIEST_YEAR, LATEST_YEAR = 2000, 9000
"""Times outside these years are no times of payments, and some would overflow the arithmetic."""

SIGNATURE_WINDOW_SECONDS = 300
"""How old, or how far in the future, a signed timestamp may be."""


@dataclass(frozen=True)
class Rate:
    """What one USD of credits costs now: `units` of `currency`, a code in capitals."""

    units: Decimal
    currency: str


@dataclass(frozen=True)
class InstructionField:
    """One text of the instructions, for the API's documentation."""

    name: str
    """As clients read it in the answer to a checkout, beside the order's own fields."""
    help_text: str = ""
    is_url: bool = False


@dataclass(frozen=True)
class Instructions:
    """How to pay one order."""

    texts: Mapping[str, str]
    """What a client shows, by the names of `Provider.instruction_fields`; a name may be left out."""
    session_id: str = ""
    """The payment page that was made for the order. The caller records it, and the pull asks for it."""


class Provider(ABC):
    """One provider: who signed a delivery, what it says, and how an order is paid through it.

    It has no state and no database, and reads the settings at each call.
    """

    name: ClassVar[str]
    """Stable, at most 20 characters: stored with every event and payment, and the `method` of a checkout."""
    label: ClassVar[str] = ""
    """What people call it; empty = its name."""
    max_body_bytes: ClassVar[int] = 64 * 1024
    stored_headers: ClassVar[tuple[str, ...]] = ()
    """Headers kept beside User-Agent and Content-Type; never a secret or a signature."""
    keeps_stale: ClassVar[bool] = False
    """Whether a rightly signed delivery outside the window is kept for review: retries may not be signed anew."""

    @abstractmethod
    def is_enabled(self) -> bool:
        """Whether a webhook secret is configured; without one the endpoint is off."""

    @abstractmethod
    def verify(self, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        """Raise `InvalidSignature` (or `StaleSignature`) unless one of the active secrets vouches for the raw body."""

    @abstractmethod
    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """What an event says, in our words. Pure, so that a stored event can be replayed. Raises `MalformedEvent`.

        `headers` are those that are stored: `stored_headers` under exactly these names.
        """

    def guess(self, *, body: bytes, headers: Mapping[str, str]) -> MoneyReceived | None:
        """What money a body that `read` refuses probably reports; None if nobody can tell.

        Never credited: it serves to recognise the money when it is reported again, or was before. Pure.
        """
        return None

    def resolve(self, event: ProviderEvent) -> ProviderEvent:
        """The event with what the provider must be asked for, when the payment that it reverses was not found.

        Called outside of transactions, perhaps several times. Raises `ProviderUnavailable`.
        """
        return event

    # --- Selling: a provider that only reports money leaves all of this as it is ---

    sells: ClassVar[bool] = False
    """Whether orders are paid through it, once it is configured; then it has `can_sell`, `rate` and `instructions`."""
    min_order_minutes: ClassVar[int] = 0
    """The shortest life of an order, if that is longer than ORDER_LIFETIME_MINUTES."""
    instruction_fields: ClassVar[tuple[InstructionField, ...]] = ()
    """Everything that `instructions` may tell a client, in the order of the answer."""

    def can_sell(self) -> bool:
        """Whether it is configured for selling, so that money paid through it would be noticed."""
        return False

    def rate(self) -> Rate:
        """The rate of new orders, configured or not. Raises `PaymentMethodUnavailable` if it sells nothing."""
        raise PaymentMethodUnavailable(self.name)

    def instructions(self, order: Payment) -> Instructions:
        """How to pay `order`, which is stored. Safe to repeat. Raises `ProviderUnavailable`: then nothing was charged.

        Raises `PaymentMethodUnavailable` if it sells nothing.
        """
        raise PaymentMethodUnavailable(self.name)

    # --- Pulling ---

    def can_pull(self) -> bool:
        """Whether the provider can be asked for what its webhooks missed, and is configured for it."""
        return False

    def pull(self, *, since: datetime, until: datetime, open_sessions: Iterable[str]) -> Iterator[bytes]:
        """The bodies of all events of the window, for the same `read`. Raises `ProviderUnavailable`.

        `open_sessions` are the payment pages of orders that are not paid, as far as is known when the first is read.
        """
        raise NotImplementedError(f"{self.name} cannot be asked for its events")


def as_bytes(header: str) -> bytes:
    """A header as it came: WSGI decodes its bytes as Latin-1, which this undoes, whatever they were."""
    return header.encode("latin-1", "replace")


def is_one_of(presented: bytes, secrets: Iterable[str]) -> bool:
    """Whether `presented` equals one of the secrets, in a time that tells nothing about them."""
    matches = [hmac.compare_digest(presented, secret.encode()) for secret in secrets]
    return any(matches)


def is_within_window(timestamp: int, now: datetime) -> bool:
    """Whether a signed Unix timestamp is near enough to `now`, in the past and in the future."""
    return abs(now.timestamp() - timestamp) <= SIGNATURE_WINDOW_SECONDS


def read_iso_time(text: str, *, default_zone: tzinfo | None = None) -> datetime | None:
    """A date and time in any form of ISO 8601, in its own offset or else in `default_zone`; None for what is none."""
    if not text.isascii():  # Digits are those of ASCII.
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=default_zone)
    has_time = len(text.strip()) > len("2026-11-22")  # A date alone says nothing of when.
    return moment if has_time and moment.tzinfo and EARLIEST_YEAR <= moment.year < LATEST_YEAR else None
