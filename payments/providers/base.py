"""What every payment provider must tell us; docs/payments.md shows how to add one."""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from payments.providers.events import ProviderEvent

EARLIEST_YEAR, LATEST_YEAR = 2000, 9000
"""Times outside these years are no times of payments, and some would overflow the arithmetic."""

SIGNATURE_WINDOW_SECONDS = 300
"""How old, or how far in the future, a signed timestamp may be."""


class Provider(ABC):
    """One provider: who signed a delivery, and what it says. No state, no database; reads the settings at each call."""

    name: ClassVar[str]
    """Stable: stored with every event and payment."""
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

    def can_pull(self) -> bool:
        """Whether the provider can be asked for what its webhooks missed, and is configured for it."""
        return False

    def pull(self, *, since: datetime, until: datetime, open_sessions: Sequence[str]) -> Iterator[bytes]:
        """The bodies of all events of the window, for the same `read`. Raises `ProviderUnavailable`.

        `open_sessions` are payment pages of orders that are not paid as far as we know.
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
