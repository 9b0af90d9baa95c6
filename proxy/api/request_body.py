"""Reads and parses the body of a request, within what a process has room for.

A small body is read at once. A larger one is read only for who may be served, and counts while it is kept: clients that
send many of them at once are refused by a 503, and no process grows beyond its room.
"""

import logging
from collections import Counter
from collections.abc import Callable
from threading import Condition
from typing import Protocol

from django.conf import settings
from django.http import HttpRequest

from accounts.errors import AccountDisabled, BillingError, InvalidApiKey
from border import strict_json
from border.digits import read_whole_number
from border.strict_json import InvalidJson
from proxy.api.content_encoding import decoder_of
from proxy.errors import Busy, InvalidRequest, RequestTooLarge
from proxy.formats.json_body import JsonObject, outline, parse_object

logger = logging.getLogger(__name__)

SMALL_BYTES = 64 * 1024
"""A body up to this size is read for anybody, and the hold finds its account. Parsed it takes 2 MB at most."""
PARSED_BYTES = 128 * 1024 * 1024
"""Of memory, for what larger bodies of one process are parsed into at the same time. It is freed within the second: of
the parsed form nothing stays that is large. A body that needs more than this is parsed while no other is."""
PARSE_PATIENCE_SECONDS = 10
LARGEST_SHARE = 2
"""One key gets no more than a half of the room, so that it leaves the others theirs."""
READ_BYTES = 256 * 1024
LARGEST_DRAIN_BYTES = 128 * 1024 * 1024
"""What is refused is read off and dropped up to this size, since many clients look for no answer before they have sent
all. Of who has no account, or a disabled one, only if it is announced to be no more than the next size."""
LARGEST_DRAIN_OF_A_STRANGER = 1024 * 1024


class Room:
    """Bytes of memory that a process may use for one purpose at once, and how many of them each key uses."""

    def __init__(self, limit: int, *, share: int | None = None) -> None:
        self._limit = limit
        self._share = limit if share is None else share
        self._used: Counter[str] = Counter()
        self._total = 0
        self._changed = Condition()

    @property
    def used(self) -> int:
        """Bytes that are in use now."""
        return self._total

    def has(self, size: int, *, key: str) -> bool:
        """Whether `size` bytes could be taken now. More than there ever are can be while nothing is used."""
        fits = self._total + size <= self._limit or not self._total
        return fits and (self._used[key] + size <= self._share or not self._used[key])

    def take(self, size: int, *, key: str, wait_seconds: float = 0) -> None:
        """Use `size` bytes more, for who has `key`. Raises `Busy` if there is no room for so long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.has(size, key=key), wait_seconds):
                raise Busy(f"no room for {size:,} bytes beside {self._total:,}")
            self._used[key] += size
            self._total += size

    def give_back(self, size: int, *, key: str) -> None:
        """Use `size` bytes less."""
        with self._changed:
            self._used[key] -= size
            self._total -= size
            if not self._used[key]:
                del self._used[key]
            self._changed.notify_all()


BODIES = Room(settings.BODIES_IN_FLIGHT_BYTES, share=settings.BODIES_IN_FLIGHT_BYTES // LARGEST_SHARE)
PARSED = Room(PARSED_BYTES)


class RequestBody:
    """The body of a request, until it has been sent on; and what it says, until that has been read."""

    def __init__(self, *, key: str) -> None:
        self.data = b""
        self.parsed: JsonObject = {}
        self._key = key
        self._taken = self._taken_for_parsed = 0

    def count(self, size: int) -> None:
        """Count it as `size` bytes, which is no less than before. Raises `Busy`."""
        BODIES.take(size - self._taken, key=self._key)
        self._taken = size

    def parse(self) -> JsonObject:
        """What it says, in full. Raises `InvalidRequest`, and `Busy` if there is no room for it."""
        if len(self.data) > SMALL_BYTES:
            try:
                size = strict_json.parsed_size(self.data, strict_json.check_bounds(self.data))
            except InvalidJson as error:
                raise InvalidRequest(str(error)) from error
            PARSED.take(size, key=self._key, wait_seconds=PARSE_PATIENCE_SECONDS)
            self._taken_for_parsed = size
        self.parsed = parse_object(self.data, is_within_bounds=len(self.data) > SMALL_BYTES)
        return self.parsed

    def forget_contents(self, *, but_tools: bool) -> None:
        """Keep of what it says only what is needed to edit it; the list of tools too, where some are left out."""
        self.parsed = outline(self.parsed, has_tools=but_tools)
        if not but_tools:
            self._give_parsed_back()

    def edited(self, data: bytes) -> None:
        """It is sent on as `data`, and not as it came."""
        self.data, self.parsed = data, {}
        self._give_parsed_back()

    def close(self) -> None:
        """Let it go: it has been sent on, or never will be. Safe to repeat."""
        self.data, self.parsed = b"", {}
        if self._taken:
            BODIES.give_back(self._taken, key=self._key)
            self._taken = 0
        self._give_parsed_back()

    def _give_parsed_back(self) -> None:
        if self._taken_for_parsed:
            PARSED.give_back(self._taken_for_parsed, key=self._key)
            self._taken_for_parsed = 0


def read_body(request: HttpRequest, *, api_key: str, check_sender: Callable[[], object]) -> RequestBody:
    """The body, up to `MAX_REQUEST_BYTES`. Whoever calls this closes it, whatever happens.

    `check_sender` is called before a body is read that is not small, or may not be; it raises why the request will be
    refused whatever the body says. Raises that, `InvalidRequest`, `RequestTooLarge`, `UnsupportedEncoding`, and `Busy`.
    A compressed body is what it says, in each of its bounds. What is refused is read off and dropped, so that the
    client sees the answer.
    """
    announced = _announced_size(request)
    encoding = request.META.get("HTTP_CONTENT_ENCODING")
    # Django reads nothing of a chunked body, which announces no length; the server's own stream knows its end.
    is_chunked = not announced and request.META.get("wsgi.input_terminated")
    stream = request.META["wsgi.input"] if is_chunked else request
    body = RequestBody(key=api_key)
    try:
        if is_chunked or announced > min(SMALL_BYTES, settings.MAX_REQUEST_BYTES):
            check_sender()
            if announced > settings.MAX_REQUEST_BYTES:
                raise RequestTooLarge(settings.MAX_REQUEST_BYTES)
            if not BODIES.has(announced, key=api_key):
                raise Busy(f"no room for a body of {announced:,} bytes beside {BODIES.used:,}")
            body.data = _read_all(_decoded(stream, encoding) if encoding else stream, body)
        elif encoding:
            body.data = _read_all(_decoded(stream, encoding), body, check_sender)
        else:
            body.data = _read(stream, SMALL_BYTES)
    except BillingError as error:
        body.close()
        is_stranger = isinstance(error, InvalidApiKey | AccountDisabled)
        if not is_stranger or 0 < announced <= LARGEST_DRAIN_OF_A_STRANGER:
            _drain(stream)
        raise
    return body


class _Stream(Protocol):
    def read(self, most: int, /) -> bytes: ...


def _decoded(stream: _Stream, encoding: str) -> _Stream:
    """The stream as what it says, where it is compressed. Raises `UnsupportedEncoding`."""
    return decoder_of(encoding, lambda most: _read(stream, most), limit=settings.MAX_REQUEST_BYTES) or stream


def _read_all(stream: _Stream, body: RequestBody, check_sender: Callable[[], object] | None = None) -> bytes:
    """All that comes, counted as it comes once it is more than a small body: a sender may announce and not send.

    `check_sender` is called then, where it has not been: what was sent small can be large.
    """
    limit, size = settings.MAX_REQUEST_BYTES, 0
    pieces: list[bytes] = []
    while piece := _read(stream, SMALL_BYTES if not pieces else READ_BYTES):
        size += len(piece)
        if size > limit:
            raise RequestTooLarge(limit)
        if size > SMALL_BYTES:
            if check_sender:
                check_sender()
                check_sender = None
            body.count(size)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read(stream: _Stream, most: int) -> bytes:
    try:
        data: bytes = stream.read(most)
    except BillingError:
        raise  # Of what decodes it.
    except Exception as error:  # Every server has errors of its own for a body that breaks off or is malformed.
        logger.info("a request body could not be read: %s", type(error).__name__)
        raise InvalidRequest("The request body could not be read.") from error
    return data


def _drain(stream: _Stream) -> None:
    dropped = 0
    try:
        while dropped < LARGEST_DRAIN_BYTES and (piece := _read(stream, SMALL_BYTES)):
            dropped += len(piece)
    except InvalidRequest:
        pass  # The answer is another one already.


def _announced_size(request: HttpRequest) -> int:
    size = read_whole_number(request.META.get("CONTENT_LENGTH") or "0")
    if size is None:
        raise InvalidRequest("The Content-Length is no number.")
    return size
