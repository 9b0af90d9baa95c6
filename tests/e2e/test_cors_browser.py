"""A page of another origin calls the API in a real browser, plain and streamed; one that is not allowed cannot."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser

from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat

CALL = """
async ({url, key, body}) => {
  const headers = {"Content-Type": "application/json", "Authorization": "Bearer " + key, "x-stainless-lang": "js"};
  try {
    const answer = await fetch(url, {method: "POST", headers, body: JSON.stringify(body)});
    const pieces = [], decoder = new TextDecoder(), reader = answer.body.getReader();
    for (let piece; !(piece = await reader.read()).done;) pieces.push(decoder.decode(piece.value, {stream: true}));
    const seen = Object.fromEntries(answer.headers.entries());
    return {status: answer.status, text: pieces.join(""), pieces: pieces.length, headers: seen};
  } catch (error) {
    return {error: String(error)};
  }
}
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>A chat</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def page_url() -> Iterator[str]:
    """The origin of a page that is none of ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_page_of_an_allowed_origin_uses_the_api(
    browser: Browser, serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser, page_url: str
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1", CORS_ORIGINS=page_url)
    page = browser.new_page()
    page.goto(page_url)

    def call(url: str, key: str = key_of("alice"), **body: Any) -> Any:
        return page.evaluate(CALL, {"url": url, "key": key, "body": chat(**body)})

    for url in (server.openhands + CHAT, f"{server.site}/openhands{MESSAGES}", f"{server.openhands}/messages/"):
        answer = call(url)
        assert answer.get("status") == 200, answer
        assert "Hello there" in answer["text"]
        assert answer["headers"]["x-request-id"] == answer["headers"]["request-id"]
        assert float(answer["headers"]["x-credits-cost"]) > 0
        assert "x-ratelimit-remaining-requests" in answer["headers"]
        streamed = call(url, content="[[fake chunk_delay=0.01]] one two three", stream=True)
        assert (streamed["status"], streamed["pieces"] > 3) == (200, True)
        assert "three" in streamed["text"]
    refused = call(server.openhands + CHAT, key="sk-wrong-key")
    assert (refused["status"], refused["headers"]["x-should-retry"]) == (401, "false")
    assert "invalid_api_key" in refused["text"]
    assert call(f"{server.openhands}/v1/files")["status"] == 404
    assert RequestLog.objects.count() == 6
    assert_reconciles()

    # Another origin: the browser asks, is told no, and sends nothing.
    upstream.clear()
    page.goto(page_url.replace("127.0.0.1", "localhost"))
    assert "error" in call(server.openhands + CHAT)
    assert not upstream.requests
    page.close()


def test_without_the_setting_no_page_can(
    browser: Browser, serve_with: ServeWith, upstream: FakeUpstream, insert_user: InsertUser, page_url: str
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1")
    page = browser.new_page()
    page.goto(page_url)
    answer = page.evaluate(CALL, {"url": server.openhands + CHAT, "key": key_of("alice"), "body": chat()})
    assert "error" in answer
    assert not upstream.requests
    page.close()
