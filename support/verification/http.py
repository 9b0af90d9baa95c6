"""HTTP as a client of the running services sends it: one request, one whole answer, no redirects followed."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MOST_BYTES = 1024 * 1024
CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


@dataclass(frozen=True)
class Answer:
    """What came back. `body` is the JSON object in it, or an empty one."""

    status: int
    body: dict[str, Any]


class NoAnswer(Exception):
    """Nothing answered, or not with HTTP; the text says what happened."""


def ask(
    address: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_seconds: float,
) -> Answer:
    """Send one request to an `http` or `https` address. Raises `NoAnswer`. Every call is another request."""
    parts = urlsplit(address)
    try:
        connection = CONNECTIONS[parts.scheme](parts.netloc, timeout=timeout_seconds)
    except (KeyError, http.client.InvalidURL) as error:
        raise NoAnswer(f"{address} is no http or https address") from error
    try:
        connection.request(method, parts.path or "/", body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, _object(response.read(MOST_BYTES)))
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{address} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
