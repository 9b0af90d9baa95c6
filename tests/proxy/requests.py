"""Requests as API clients send them, for the tests of the proxy."""

import json
from typing import Any

import urllib3

from accounts.models import Account, LedgerEntry
from books.reconciliation import reconcile_account
from tests.conftest import key_of
from tests.serving import Server

MODEL = "claude-haiku-4-5"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"


def chat(content: str = "Hello there", **fields: Any) -> dict[str, Any]:
    """A request body that both API formats accept."""
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": content}], **fields}


def respond(content: Any = "Hello there", **fields: Any) -> dict[str, Any]:
    """A request body of the Responses format."""
    return {"model": MODEL, "max_output_tokens": 100, "input": content, **fields}


def ask(path: str, content: str = "Hello there", **fields: Any) -> dict[str, Any]:
    """A request body of the format that `path` is of."""
    return respond(content, **fields) if path == RESPONSES else chat(content, **fields)


def post(
    server: Server,
    body: object,
    *,
    base: str | None = None,
    username: str | None = "alice",
    path: str = CHAT,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> urllib3.BaseHTTPResponse:
    """Send a body to the OpenHands port (or `base`) with the account's key."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    authorization = {"Authorization": f"Bearer {key_of(username)}"} if username else {}
    all_headers = {"Content-Type": "application/json", **authorization, **(headers or {})}
    url = (base or server.openhands) + path
    return server.http.request("POST", url, body=data, headers=all_headers, **{"timeout": 30, **options})


def events(response: urllib3.BaseHTTPResponse) -> list[Any]:
    """The data of a stream's events, parsed."""
    lines = [line.removeprefix("data: ") for line in response.data.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def last_event(response: urllib3.BaseHTTPResponse) -> Any:
    """The data of a stream's last event, parsed, whatever came before it."""
    return json.loads(response.data.decode().rstrip().rpartition("\ndata: ")[2])


def assert_reconciles(username: str = "alice") -> None:
    """Every credit is explained, and no hold is left. The ledger must be open: drift would become its opening."""
    assert LedgerEntry.objects.filter(account_id=username, kind=LedgerEntry.Kind.OPENING).exists()
    assert [result.drift for result in reconcile_account(username)] == [0, 0]
    assert Account.objects.get(pk=username).holds == {}
