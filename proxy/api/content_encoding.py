"""Bodies of requests that clients compressed: read as what they say, in pieces, so that no bomb takes memory."""

import zlib
from collections.abc import Callable

from proxy.errors import InvalidRequest, RequestTooLarge, UnsupportedEncoding

READ_BYTES = 64 * 1024
SUPPORTED = ("gzip", "deflate")
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""What zlib calls the three forms. Clients differ in what they send as `deflate`."""

Read = Callable[[int], bytes]
"""Reads up to so many bytes; none at the end."""


def decoder_of(content_encoding: str, read: Read, *, limit: int) -> "Inflating | None":
    """What reads a body with this header; None for one that is sent as it is. Raises `UnsupportedEncoding`.

    `limit` is how many compressed bytes are read at most.
    """
    names = [name for part in content_encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not names:
        return None
    name = names[0].removeprefix("x-")
    if len(names) > 1 or name not in SUPPORTED:
        raise UnsupportedEncoding(content_encoding, supported=SUPPORTED)
    return Inflating(read, limit=limit, is_gzip=name == "gzip")


class Inflating:
    """A compressed body as it is read: each call gives no more than is asked for, however much it was made of."""

    def __init__(self, read: Read, *, limit: int, is_gzip: bool) -> None:
        self._read = read
        self._limit = limit
        self._taken = 0
        self._rest = b""
        start = self._more() if is_gzip else self._more() + self._more(2)
        is_zlib = start[:1] and start[0] & 15 == 8 and int.from_bytes(start[:2]) % 31 == 0
        self._decoder = zlib.decompressobj(_GZIP if is_gzip else _ZLIB if is_zlib else _RAW)
        self._rest = start

    def read(self, most: int) -> bytes:
        """Up to `most` bytes of what the body says; none at its end.

        Raises `InvalidRequest` for what breaks off, goes on behind its end, or is not so compressed, and
        `RequestTooLarge`.
        """
        while not self._decoder.eof:
            data = self._rest or self._more()
            try:
                inflated = self._decoder.decompress(data, most)
            except zlib.error as error:
                raise InvalidRequest("The request body is not compressed as its Content-Encoding says.") from error
            self._rest = self._decoder.unconsumed_tail
            if inflated:
                return inflated
            if not data and not self._decoder.eof:
                raise InvalidRequest("The compressed request body breaks off.")
        if self._decoder.unused_data or self._more():
            raise InvalidRequest("Something follows the end of the compressed request body.")
        return b""

    def _more(self, most: int = READ_BYTES) -> bytes:
        data = self._read(most)
        self._taken += len(data)
        if self._taken > self._limit:
            raise RequestTooLarge(self._limit)
        return data
