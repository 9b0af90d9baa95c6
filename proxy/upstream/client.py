"""The two upstreams: pooled connections, time-outs, one retry before any byte, and our own errors for theirs."""

import logging
import time
from collections.abc import Mapping
from functools import cache

from django.conf import settings
from urllib3.util import parse_url

from accounts.models import Balance
from proxy.errors import UpstreamError, UpstreamTimeout
from proxy.upstream import http
from proxy.upstream.http import CannotConnect, NothingInTime, TransportError, UpstreamAnswer

logger = logging.getLogger(__name__)

RETRIED_STATUSES = {502, 503, 529}
"""Answers that say the request was not worked on; 529 is Anthropic's "overloaded"."""
RETRY_PAUSE_SECONDS = 0.2


class Upstream:
    """One upstream of this process. Connections are kept open and shared by all threads."""

    def __init__(self, balance: Balance, *, base_url: str, api_key: str) -> None:
        self.balance = balance
        base_url = base_url.rstrip("/").removesuffix("/v1")
        self.is_configured = bool(base_url)
        if not self.is_configured:
            return
        url = parse_url(base_url)
        self._path = url.path or ""
        self._server = http.UpstreamServer(url, most_idle=settings.UPSTREAM_POOL_SIZE)
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "dual-credit-billing",
        }

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> UpstreamAnswer:
        """Send a request and return its unread answer, whatever its status; the caller reads and releases it.

        Tried a second time only when the first was refused before any work. Everything that is read of the answer, its
        header and interim answers included, comes within `REQUEST_MAX_SECONDS`. Raises `UpstreamError`,
        `UpstreamTimeout`.
        """
        if not self.is_configured:
            raise UpstreamError(f"{self.balance.label} has no base URL: set {self.balance.name}_BASE_URL")
        deadline = time.monotonic() + settings.REQUEST_MAX_SECONDS
        try:
            response = self._send(path, body, headers, deadline)
            if response.status not in RETRIED_STATUSES:
                return response
            response.drain_conn()
        except CannotConnect as error:
            logger.warning("%s: %s; trying once more", self.balance.label, error)
        time.sleep(RETRY_PAUSE_SECONDS)
        try:
            return self._send(path, body, headers, deadline)
        except CannotConnect as error:
            raise UpstreamError(f"{self.balance.label} cannot be reached: {error}") from error

    def _send(self, path: str, body: bytes, headers: Mapping[str, str], deadline: float) -> UpstreamAnswer:
        try:
            return http.post(
                self._server,
                self._path + path,
                body,
                {**self._headers, **headers},
                connect_seconds=settings.UPSTREAM_CONNECT_TIMEOUT_SECONDS,
                read_seconds=settings.UPSTREAM_READ_TIMEOUT_SECONDS,
                deadline=deadline,
            )
        except CannotConnect:
            raise
        except NothingInTime as error:
            raise UpstreamTimeout(f"{self.balance.label} sent nothing in time: {error}") from error
        except TransportError as error:
            raise UpstreamError(f"{self.balance.label} broke off before its answer: {error}") from error


@cache
def get_upstream(balance: Balance) -> Upstream:
    """The upstream that `balance` pays for, made once per process."""
    return Upstream(balance, **settings.UPSTREAMS[balance.value])
