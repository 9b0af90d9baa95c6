"""An inline image counts by its pixels, whatever its kind; what does not begin like one is not an image."""

import base64
import struct
from collections.abc import Callable

import pytest

from proxy.formats.images import HEAD_CHARACTERS, LEAST_TOKENS, MOST_TOKENS, data_of_url, image_tokens


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(9)


def jpeg(width: int, height: int, *, metadata: int = 0, marker: int = 0xC0) -> bytes:
    segments = b""
    while metadata:
        size = min(metadata, 60_000)
        segments += b"\xff\xe1" + struct.pack(">H", size + 2) + bytes(size)
        metadata -= size
    frame = bytes([0xFF, marker]) + struct.pack(">HBHH", 17, 8, height, width) + bytes(9)
    return b"\xff\xd8" + b"\xff\xe0" + struct.pack(">H", 4) + bytes(2) + segments + b"\xff" + frame


def webp(kind: bytes, payload: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 30) + b"WEBP" + kind + struct.pack("<I", len(payload)) + payload + bytes(20)


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little"))


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


@pytest.mark.parametrize("make", [png, gif, jpeg, lossless, lossy, extended])
def test_an_image_counts_by_its_pixels(make: Callable[[int, int], bytes]) -> None:
    assert image_tokens(text(make(1000, 750))) == 1000
    assert image_tokens(text(make(751, 1000))) == 1002, "rounded up"
    assert image_tokens(text(make(1, 1))) == LEAST_TOKENS
    assert image_tokens(text(make(9000, 9000))) == MOST_TOKENS
    assert image_tokens(text(make(1000, 750) + bytes(1_000_000))) == 1000, "its bytes do not matter"


@pytest.mark.parametrize("marker", [0xC1, 0xC2, 0xCF])
def test_the_size_of_a_jpeg_stands_in_any_frame_and_behind_metadata(marker: int) -> None:
    assert image_tokens(text(jpeg(1000, 750, marker=marker))) == 1000
    assert image_tokens(text(jpeg(1000, 750, metadata=150_000))) == 1000
    assert image_tokens(text(jpeg(1000, 750, metadata=HEAD_CHARACTERS))) == MOST_TOKENS, "too far behind to be read"


@pytest.mark.parametrize(
    "data",
    [
        png(0, 10),
        png(1000, 750)[:20],
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\x00\x00" + bytes(40),
        b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        b"RIFF\x00\x00\x00\x00WEBPJUNK" + bytes(40),
    ],
)
def test_an_image_without_a_size_counts_as_the_largest(data: bytes) -> None:
    assert image_tokens(text(data)) == MOST_TOKENS


@pytest.mark.parametrize(
    "data",
    ["", "iVBO", "%%%%", "ü" * 40, text(b"just words, many of them"), text(b"%PDF-1.7 of many pages"), "\ud800" * 8],
)
def test_what_does_not_begin_like_an_image_is_none(data: str) -> None:
    assert image_tokens(data) is None


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("data:image/png;base64,AAAA", "AAAA"),
        ("DATA:IMAGE/JPEG;BASE64,AAAA", "AAAA"),
        ("data:image/svg+xml;base64,AAAA", None),
        ("data:image/png,AAAA", None),
        ("data:image/png;charset=x;base64,AAAA", None),
        ("data:text/plain;base64,AAAA", None),
        ("https://example.com/x.png", None),
    ],
)
def test_the_data_of_an_address(url: str, data: str | None) -> None:
    assert data_of_url(url) == data
