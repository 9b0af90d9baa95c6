"""Compressed bodies: read as what they say, within every bound of a body that is sent as it is."""

import gzip
import json
import random
import zlib
from pathlib import Path

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.api.content_encoding import decoder_of
from proxy.errors import InvalidRequest, RequestTooLarge, UnsupportedEncoding
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

MIB = 1024 * 1024
COUNT_TOKENS = f"{MESSAGES}/count_tokens"


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


FORMS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZIP", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflate),
    "listed with identity": ("identity, gzip", gzip.compress),
    "identity": ("identity", bytes),
}
EACH_FORM = pytest.mark.parametrize("form", FORMS)


def read_whole(encoding: str, body: bytes, *, piece: int, most: int, limit: int = MIB) -> bytes:
    """The body as it is read when it comes in pieces, and `most` bytes are asked for each time."""
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        start, position = position, position + min(size, piece)
        return body[start:position]

    decoder = decoder_of(encoding, read, limit=limit)
    assert decoder is not None
    parts = []
    while part := decoder.read(most):
        assert len(part) <= most
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("form", ["gzip", "deflate", "deflate without a header"])
@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize("most", [1, 1000, 100_000])
def test_it_is_read_however_it_comes(form: str, piece: int, most: int) -> None:
    encoding, compress = FORMS[form]
    for text in (b"{}", b"word " * 500, random.Random(1).randbytes(2000)):
        assert read_whole(encoding, compress(text), piece=piece, most=most) == text


@pytest.mark.parametrize("form", ["gzip", "deflate", "deflate without a header"])
def test_one_that_is_cut_anywhere_is_refused(form: str) -> None:
    encoding, compress = FORMS[form]
    whole = compress(random.Random(2).randbytes(300))
    for end in range(len(whole)):
        with pytest.raises(InvalidRequest):
            read_whole(encoding, whole[:end], piece=50, most=64)


@pytest.mark.parametrize("form", ["gzip", "deflate"])
def test_what_follows_it_or_is_none_is_refused(form: str) -> None:
    encoding, compress = FORMS[form]
    for body in (compress(b"{}") + b"x", compress(b"{}") * 2, b"{}", b"no compression at all"):
        with pytest.raises(InvalidRequest):
            read_whole(encoding, body, piece=5, most=64)


def test_compressed_bytes_have_a_bound_of_their_own() -> None:
    """Blocks that say nothing could go on for ever."""
    empty_blocks = b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * 10_000
    with pytest.raises(RequestTooLarge):
        read_whole("deflate", empty_blocks, piece=1000, most=64, limit=1000)


@pytest.mark.parametrize(
    "encoding", ["br", "zstd", "gzip, gzip", "deflate,gzip", "compress", "gzip;q=1", "x-deflate-2"]
)
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding):
        decoder_of(encoding, lambda most: b"", limit=MIB)


@EACH_FORM
@pytest.mark.parametrize("path", [CHAT, MESSAGES, COUNT_TOKENS])
def test_a_compressed_body_is_what_it_says(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, form: str, path: str
) -> None:
    insert_user("alice", creditsNew=5)
    encoding, compress = FORMS[form]
    for content in ("Hello", "word " * 100_000):
        body = json.dumps(chat(content)).encode()
        response = post(server, compress(body), path=path, headers={"Content-Encoding": encoding})
        assert response.status == 200, response.data
        assert upstream.requests[-1].body_bytes >= len(body)
        assert "content-encoding" not in upstream.requests[-1].headers
        assert json.loads(upstream.requests[-1].body[:100_000] if content == "Hello" else body)
    if path == CHAT:
        holds = [log.hold for log in RequestLog.objects.order_by("created_at")]
        for content, hold in zip(("Hello", "word " * 100_000), holds, strict=True):
            post(server, chat(content))
            assert RequestLog.objects.order_by("-created_at")[0].hold == hold
    assert_reconciles()


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", gzip.compress(json.dumps(chat()).encode())[:-9], 400, "invalid_request"),
        ("gzip", b"", 400, "invalid_request"),
        ("deflate", json.dumps(chat()).encode(), 400, "invalid_request"),
        ("br", json.dumps(chat()).encode(), 415, "unsupported_encoding"),
        ("gzip, gzip", gzip.compress(gzip.compress(json.dumps(chat()).encode())), 415, "unsupported_encoding"),
        ("gzip", gzip.compress(gzip.compress(json.dumps(chat()).encode())), 400, "invalid_request"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    server: Server,
    upstream: FakeUpstream,
    insert_user: InsertUser,
    path: str,
    encoding: str,
    body: bytes,
    status: int,
    code: str,
) -> None:
    insert_user("alice", creditsNew=5)
    response = post(server, body, path=path, headers={"Content-Encoding": encoding})
    assert (response.status, response.json()["error"]["code"]) == (status, code)
    assert (response.headers.get("Accept-Encoding") == "gzip, deflate") == (status == 415)
    assert not upstream.requests
    assert Account.objects.get().credits_new == 5


def test_a_small_body_that_says_much_is_inflated_only_for_who_can_pay(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    bomb = gzip.compress(bytes(20 * MIB))
    assert len(bomb) < 64 * 1024
    headers = {"Content-Encoding": "gzip"}
    assert post(server, bomb, headers=headers, username="nobody").status == 401
    assert post(server, bomb, headers=headers).status == 402


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_a_bomb_takes_no_memory(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    server = serve_with(GUNICORN_WORKERS="1", MAX_REQUEST_BYTES=str(2 * MIB))
    headers = {"Content-Encoding": "gzip"}
    assert post(server, gzip.compress(json.dumps(chat()).encode()), headers=headers).status == 200
    (pid,) = server.worker_pids()
    before = peak_kib(pid)
    bomb = gzip.compress(bytes(200 * MIB), compresslevel=1)
    for _ in range(3):
        response = post(server, bomb, headers=headers)
        assert (response.status, response.json()["error"]["code"]) == (413, "request_too_large")
    chunked = server.http.request(
        "POST",
        server.openhands + CHAT,
        body=iter([bomb[:50_000], bomb[50_000:]]),
        headers={**headers, "Authorization": f"Bearer {key_of('alice')}"},
        chunked=True,
        timeout=30,
    )
    assert chunked.status == 413
    assert peak_kib(pid) - before < 16 * 1024
    assert Account.objects.get().credits_new < 5
