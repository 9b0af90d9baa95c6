"""Answers of any size pass with flat memory, the first byte as soon as it is there."""

import json
import time
from pathlib import Path

import pytest
import urllib3

from accounts.models import Account
from proxy.models import RequestLog
from tests.factories import InsertUser, ServeWith
from tests.faults.test_crash import open_request, wait_for
from tests.proxy.requests import CHAT, MESSAGES, RESPONSES, ask, assert_reconciles, chat, post
from tests.serving import Server

MEGABYTE = 1024 * 1024


def resident_bytes(server: Server) -> int:
    """Memory of all workers."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in server.worker_pids()]
    return sum(pages) * 4096


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_20_mb_answer_passes_whole_and_is_billed(serve_with: ServeWith, insert_user: InsertUser, path: str) -> None:
    insert_user("alice", creditsNew=5)
    server = serve_with(GUNICORN_WORKERS="1")
    post(server, ask(path, "[[fake big=2000000]] x"), path=path)
    before = resident_bytes(server)
    response = post(server, ask(path, "[[fake big=20000000]] x"), path=path, preload_content=False)
    received, tail = 0, b""
    while chunk := response.read(64 * 1024):
        received += len(chunk)
        tail = (tail + chunk)[-2000:]
    assert received > 20_000_000
    assert tail.rstrip().endswith(b"}")
    assert resident_bytes(server) - before < 8 * MEGABYTE
    log = wait_for(lambda: RequestLog.objects.filter(pk=response.headers["X-Request-Id"]).first())
    assert (log.usage_source, log.outcome) == ("upstream", "ok")
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_a_10000_chunk_stream_keeps_memory_flat(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=50)
    server = serve_with(GUNICORN_WORKERS="1")
    post(server, chat("[[fake chunks=100]] x", stream=True))
    before = resident_bytes(server)
    body = chat("[[fake chunks=10000 big=5000000]] x", stream=True, max_tokens=10_000)
    response = post(server, body, preload_content=False, timeout=60)
    seen = sum(chunk.count(b"data: ") for chunk in response.stream(64 * 1024))
    assert seen >= 10_000
    assert resident_bytes(server) - before < 4 * MEGABYTE
    assert RequestLog.objects.get(pk=response.headers["X-Request-Id"]).output_tokens == 10_000
    assert_reconciles()


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_large_answer_that_breaks_off_is_seen_as_broken_and_billed_by_what_came(
    server: Server, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=50)
    with pytest.raises(urllib3.exceptions.HTTPError):
        post(server, ask(path, "[[fake big=8000000 cut=1]] x"), path=path)
    log = wait_for(RequestLog.objects.first)
    assert (log.outcome, log.usage_source) == ("upstream_error", "estimated")
    assert 0 < log.cost <= log.hold
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_a_client_that_leaves_a_large_answer_pays_for_it(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=50)
    with open_request(server, chat("[[fake big=8000000]] x")) as client:
        assert b"200 OK" in client.recv(1000)
    log = wait_for(RequestLog.objects.first)
    assert (log.outcome, log.usage_source) == ("client_disconnected", "upstream")
    wait_for(lambda: not Account.objects.get(pk="alice").holds)
    assert_reconciles()


def test_the_first_byte_comes_as_soon_as_the_upstream_sends_it(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    started = time.monotonic()
    body = chat("[[fake chunks=20 chunk_delay=0.1]] x", stream=True)
    response = post(server, body, preload_content=False)
    chunks = response.stream(64 * 1024)
    assert next(chunks)
    assert time.monotonic() - started < 1
    rest = b"".join(chunks)
    assert time.monotonic() - started > 1.9
    assert b"[DONE]" in rest


def test_a_slow_reader_keeps_memory_flat(serve_with: ServeWith, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=50)
    server = serve_with(GUNICORN_WORKERS="1")
    body = chat("[[fake chunks=500 big=12000000]] x", stream=True, max_tokens=1000)
    clients = [open_request(server, body) for _ in range(4)]
    samples = []
    for _ in range(40):
        for client in clients:
            client.recv(200_000)
        time.sleep(0.05)
        samples.append(resident_bytes(server))
    assert max(samples) - samples[len(samples) // 4] < 2 * MEGABYTE, [size // MEGABYTE for size in samples]
    for client in clients:
        client.close()
    wait_for(lambda: not Account.objects.get(pk="alice").holds, seconds=60)
    assert {log.output_tokens for log in RequestLog.objects.filter(is_stream=True)} == {500}
    assert_reconciles()


def test_json_is_what_it_was(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=5)
    response = post(server, chat("[[fake big=3000000]] x"))
    assert len(json.loads(response.data)["choices"][0]["message"]["content"]) >= 2_900_000
