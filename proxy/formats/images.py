"""How many tokens an inline image is: by its pixels, which its first bytes tell. Pure."""

import base64
import binascii
import re
import struct

HEAD_CHARACTERS = 256 * 1024
"""Of the base64 text: the size of a JPEG stands behind its metadata, which may be long."""
PIXELS_A_TOKEN = 750
"""Anthropic's formula, https://platform.claude.com/docs/en/build-with-claude/vision#calculate-image-costs"""
MOST_TOKENS = 5000
"""More than any vendor that counts by pixels bills for one image, which is scaled down to about 4,800 at most."""
LEAST_TOKENS = 100

MOST_JPEG_SEGMENTS = 500
"""Before the one that has the size. Metadata of 256 kB, in the largest segments that there are, is five of them."""

_JPEG_PADDING = re.compile(rb"(?:\xff(?=\xff))*+")
_DATA_URL = re.compile(r"data:image/(?:png|jpeg|jpg|gif|webp);base64,", re.IGNORECASE)
_JPEG_SIZES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))


def data_of_url(url: str) -> str | None:
    """The base64 text of a `data:` address that says it is an image of a known kind; None for any other address."""
    found = _DATA_URL.match(url)
    return url[found.end() :] if found else None


def image_tokens(data: str) -> int | None:
    """A bound of the tokens of an image in base64; None for what does not begin like a PNG, JPEG, GIF or WebP.

    An image whose size cannot be read counts as the largest.
    """
    try:
        head = base64.b64decode(data[: len(data[:HEAD_CHARACTERS]) // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        return None
    size = _size_of(head)
    if size is None:
        return None
    width, height = size
    pixels = width * height
    return MOST_TOKENS if pixels <= 0 else max(LEAST_TOKENS, min(-(-pixels // PIXELS_A_TOKEN), MOST_TOKENS))


def _size_of(head: bytes) -> tuple[int, int] | None:
    """Width and height; (0, 0) for an image that does not tell them in its first bytes; None for no image."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack(">II", head[16:24]) if len(head) >= 24 else (0, 0)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack("<HH", head[6:10]) if len(head) >= 10 else (0, 0)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg_size(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp_size(head)
    return None


def _jpeg_size(head: bytes) -> tuple[int, int]:
    position = 2
    for _ in range(MOST_JPEG_SEGMENTS):
        position = _JPEG_PADDING.match(head, position).end()  # type: ignore[union-attr]  # It matches nothing, too.
        if position + 9 > len(head) or head[position] != 0xFF:
            break
        marker = head[position + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", head[position + 5 : position + 9])
            return width, height
        if 0xD0 <= marker <= 0xD9:  # Without a length.
            position += 2
        else:
            position += 2 + int(struct.unpack(">H", head[position + 2 : position + 4])[0])
    return 0, 0


def _webp_size(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if kind == b"VP8X" and len(head) >= 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return 0, 0
