"""The body of an answer on its way to the client: metered while it passes, billed however it ends."""

import logging
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

from django.conf import settings

from accounts.errors import BillingError
from proxy.billing import metering
from proxy.billing.metering import Reservation
from proxy.errors import InternalError, OutcomeUnknown, UpstreamError, UpstreamTimeout
from proxy.formats.api_format import ApiFormat, StreamReader
from proxy.relay.upstream_errors import mask, passing_error
from proxy.upstream.http import NothingInTime, TransportError, UpstreamAnswer

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
LAST_READ_SECONDS = 0.05
"""For the end of an answer after its last event, when the client has everything."""
BROKE_OFF = "The model's provider broke off this answer. You pay for what you received."


class MeteredStream:
    """The body of an answer that is passed on as it comes. Bills exactly once: at its end, or in `close` when the
    client has gone. `begun` is what of it has been read: the reader has seen it. Without a format to tell an error in,
    an answer that breaks off is cut, so that the client sees it is not whole. `at_end` is called when all is done.
    """

    def __init__(
        self,
        response: UpstreamAnswer,
        reader: StreamReader,
        reservation: Reservation,
        *,
        begun: bytes,
        input_text_bytes: int,
        at_end: Callable[[], None],
        told_cost: Decimal | None = None,
        error_format: ApiFormat | None = None,
    ) -> None:
        self._response = response
        self._reader = reader
        self._reservation = reservation
        self._begun = begun
        self._input_text_bytes = input_text_bytes
        self._told_cost = told_cost
        self._error_format = error_format
        self._at_end = at_end
        self._deadline = reservation.started + settings.REQUEST_MAX_SECONDS
        self._is_billed = False
        self._passed_last = b""

    def __iter__(self) -> Iterator[bytes]:
        outcome, last, failure = "ok", b"", None
        try:
            for data in self._read():
                # The format's last event is held back until the request is settled: who has it sees the new balance.
                if self._reader.is_finished:
                    last += data
                elif data:
                    self._passed_last = (self._passed_last + data)[-4:]
                    yield data
        except BillingError as error:
            logger.error("request %s: %s", self._reservation.request_id, error)
            outcome, failure = error.code, error
        self._bill(outcome, has_failed=failure is not None)
        if failure and self._error_format is None:
            raise ConnectionAbortedError(f"request {self._reservation.request_id} broke off") from failure
        if failure and self._error_format:
            # An answer that was whole for all that could be seen, but has said nothing, has its end replaced.
            last = self._error_event(failure, self._error_format)
        if last:
            yield last

    def close(self) -> None:
        """Called by the server when the response ends in any way. A client that left early still pays what it used."""
        try:
            if not self._is_billed:
                self._read_on_and_bill()
        finally:
            self._let_go()
            self._at_end()

    def _read_on_and_bill(self) -> None:
        outcome, has_failed = "client_disconnected", False
        try:
            for _ in self._read():
                pass
        except BillingError as error:
            outcome, has_failed = f"{outcome}, {error.code}", True
        self._bill(outcome, has_failed=has_failed)

    def _read(self) -> Iterator[bytes]:
        """Read the upstream to its last event, or to its end. Raises our error for what it breaks off with."""
        reader = self._reader
        try:
            if self._begun:
                data, self._begun = self._begun, b""
                # In pieces: a client that takes a large one slowly would keep the request longer than a hold lives.
                for start in range(0, len(data), READ_BYTES):
                    yield data[start : start + READ_BYTES]
                    self._check_time()
            while not (reader.is_finished or reader.error) and (chunk := self._response.read1(READ_BYTES)):
                yield reader.feed(chunk)
                self._check_time()
            if not reader.error:
                yield reader.flush()
        except BillingError:
            raise
        except NothingInTime as error:
            raise UpstreamTimeout(f"the stream stopped: {error}") from error
        except TransportError as error:
            raise UpstreamError(f"the stream broke off: {error}") from error
        except Exception as error:  # Whatever it is: what has been sent must be billed, what was held be released.
            logger.exception("request %s: its stream cannot be read", self._reservation.request_id)
            raise InternalError(f"the stream cannot be read: {error!r}") from error
        if reader.error:
            raise UpstreamError(f"the stream reported an error: {mask(str(reader.error)[:500])}")
        if not reader.is_finished:
            raise UpstreamError("the stream ended without its last event")
        if reader.says_nothing():
            raise UpstreamError("the stream ended without an answer in it")

    def _check_time(self) -> None:
        if not self._reader.is_finished and time.monotonic() > self._deadline:
            raise UpstreamTimeout("the stream took longer than a request may")

    def _bill(self, outcome: str, *, has_failed: bool) -> None:
        """Charge, or release where the upstream failed before any output: it sent no text and reported no output."""
        self._is_billed = True
        report = self._reader.report()
        if has_failed and not self._reader.text_bytes and not (report.usage and report.is_exact):
            metering.release(self._reservation, status=502, outcome=outcome)
            return
        bill = metering.make_bill(
            self._reservation,
            report=report,
            output_text_bytes=self._reader.text_bytes,
            input_text_bytes=self._input_text_bytes,
            outcome=outcome,
            told_cost=self._told_cost,
            answered_model=self._reader.answered_model,
        )
        try:
            metering.collect(bill, is_sent=True)
        except OutcomeUnknown as error:  # The client has its answer: that it ends in an error would help nobody.
            logger.error("request %s: %s", self._reservation.request_id, error)

    def _error_event(self, failure: BillingError, error_format: ApiFormat) -> bytes:
        """Why the stream ends, as an event of its own: an event that was begun is ended first."""
        reported = passing_error(self._reader.error) if self._reader.error else None
        if reported is None:
            body = error_format.error_body(status=502, code=failure.code, message=BROKE_OFF, details={})
        else:
            code, details = reported.code or "invalid_request", {"param": reported.param} if reported.param else {}
            body = error_format.error_body(status=400, code=code, message=reported.message, details=details)
        ends = (b"\n\n", b"\n\r\n")
        gap = b"" if not self._passed_last or self._passed_last.endswith(ends) else b"\n\n"
        return gap + error_format.error_event(body, self._reader)

    def _let_go(self) -> None:
        """Give the upstream's connection back if the answer has ended, or does so at once; otherwise close it."""
        if self._reader.is_finished:
            self._response.finish_within(LAST_READ_SECONDS)
        else:
            self._response.close()
