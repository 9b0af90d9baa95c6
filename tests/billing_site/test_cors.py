"""Who may read the APIs' answers in a browser, by the headers. tests/e2e/test_cors_browser.py asks a real one."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from billing_site.cors import ALLOWED_METHODS, EXPOSED_HEADERS
from billing_site.wsgi import application

PAGE = "https://chat.example.com"
EACH_PLACE = pytest.mark.parametrize(
    ("port", "path"),
    [
        ("8004", "/v1/chat/completions"),
        ("8005", "/nowhere"),
        ("8004", "/"),
        ("8000", "/openhands/v1/messages"),
        ("8000", "/ohmygpt/messages"),
        ("8000", "/api/payment/config"),
    ],
)


def call(method: str, port: str, path: str, origin: str | None = PAGE, **environ: Any) -> tuple[str, dict[str, str]]:
    """Call the application as a server does; returns status and headers."""
    started: list[Any] = []
    asked = {"REQUEST_METHOD": method, "SERVER_PORT": port, "SERVER_NAME": "localhost", "PATH_INFO": path}
    asked |= {"HTTP_ORIGIN": origin} if origin else {}
    asked |= {"wsgi.input": BytesIO(), "wsgi.url_scheme": "http", "HTTP_HOST": "localhost", **environ}
    body = application(asked, lambda status, headers: started.extend((status, dict(headers))))
    assert b"".join(body) == b"" or method != "OPTIONS" or not started[0].startswith("204")
    return started[0], started[1]


def preflight(port: str, path: str, origin: str = PAGE, asked: str = "authorization,x-stainless-lang") -> Any:
    return call(
        "OPTIONS",
        port,
        path,
        origin,
        HTTP_ACCESS_CONTROL_REQUEST_METHOD="POST",
        HTTP_ACCESS_CONTROL_REQUEST_HEADERS=asked,
    )


def cors_of(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("Access-Control-")}


@EACH_PLACE
@pytest.mark.parametrize("allowed", [PAGE, "*"])
def test_a_preflight_is_answered_without_key_or_database(port: str, path: str, allowed: str) -> None:
    with override_settings(CORS_ORIGINS=frozenset((allowed, "http://localhost:3000"))):
        status, headers = preflight(port, path)
    assert status == "204 No Content"
    assert headers["Access-Control-Allow-Origin"] == allowed
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-lang"
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in headers


@EACH_PLACE
def test_another_origin_is_allowed_nothing(port: str, path: str) -> None:
    for origin in ("https://evil.example.com", f"{PAGE}.evil.com", "null", "*", PAGE.upper()):
        with override_settings(CORS_ORIGINS=frozenset((PAGE,))):
            status, headers = preflight(port, path, origin)
        assert (status, cors_of(headers), headers["Vary"]) == ("204 No Content", set(), "Origin")


@pytest.mark.parametrize("asked", ["x\r\nSet-Cookie: a=b", "x y", "", ",", "x" * 101, ",".join(["x"] * 200)])
def test_what_is_no_list_of_headers_is_not_repeated(asked: str) -> None:
    with override_settings(CORS_ORIGINS=frozenset((PAGE,))):
        _, headers = preflight("8004", "/v1/messages", asked=asked)
    assert "Access-Control-Allow-Headers" not in headers


@pytest.mark.parametrize(("port", "path"), [("8004", "/v1/files"), ("8000", "/ohmygpt/v1/files"), ("8004", "/health")])
def test_an_answer_and_an_error_can_be_read_by_an_allowed_page(port: str, path: str) -> None:
    with override_settings(CORS_ORIGINS=frozenset((PAGE,))):
        _, headers = call("GET", port, path)
        assert headers["Access-Control-Allow-Origin"] == PAGE
        assert "X-Request-Id" in headers["Access-Control-Expose-Headers"]
        assert headers["Vary"] == "Origin"
        _, headers = call("GET", port, path, "https://evil.example.com")
        assert (cors_of(headers), headers["Vary"]) == (set(), "Origin")
        _, headers = call("GET", port, path, None)
        assert cors_of(headers) == set()


def test_nothing_is_said_where_it_is_off_and_on_pages() -> None:
    _, headers = call("GET", "8004", "/health")
    assert cors_of(headers) == set()
    assert "Vary" not in headers
    assert preflight("8004", "/v1/messages")[0].startswith("405")
    with override_settings(CORS_ORIGINS=frozenset(("*",))):
        _, headers = call("GET", "8000", "/healthz")
        assert cors_of(headers) == set()


def test_every_header_that_we_answer_can_be_read() -> None:
    """All names that the API writes; a page reads these by itself: https://fetch.spec.whatwg.org/#cors-safelisted."""
    root = Path(__file__).parents[2]
    files = [*root.glob("proxy/**/*.py"), root / "accounts" / "rate_limits.py"]
    text = "".join(path.read_text() for path in files)
    written = set(
        re.findall(r'"((?:X-|anthropic-ratelimit-)[A-Za-z-]+|Retry-After|Idempotent-Replayed|request-id)"', text)
    )
    assert {"X-Request-Id", "X-Credits-Cost", "Retry-After"} <= written
    not_for_pages = {"X-Accel-Buffering"}
    assert written - not_for_pages - set(EXPOSED_HEADERS) == set()


def test_a_page_may_use_every_method_of_the_api() -> None:
    source = (Path(__file__).parents[2] / "proxy" / "api" / "views.py").read_text()
    methods = {
        name for found in re.findall(r"@_endpoint\(([^\n]*)\)\n", source) for name in re.findall('"([A-Z]+)"', found)
    }
    assert {"GET", "POST", "PATCH", "DELETE"} <= methods
    assert methods <= set(ALLOWED_METHODS.split(", "))
