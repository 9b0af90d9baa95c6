"""The WSGI callable itself, called as a server calls it."""

import json
from io import BytesIO
from typing import Any

import pytest

from billing_site.wsgi import application


def call(**environ: Any) -> tuple[str, dict[str, str], bytes]:
    """Call it as a server does; returns status, headers and body."""
    started: list[Any] = []
    body = application(environ, lambda status, headers: started.extend((status, dict(headers))))
    return started[0], started[1], b"".join(body)


@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_what_fails_before_the_view_is_told_as_json(method: str, caplog: pytest.LogCaptureFixture) -> None:
    environ = {"REQUEST_METHOD": method, "SERVER_PORT": "8004", "PATH_INFO": "/v1/chat/completions"}
    status, headers, body = call(**environ)  # There is no `wsgi.input`, which no server omits.
    assert status == "500 Internal Server Error"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Request-Id"] in caplog.text
    assert "KeyError" in caplog.text
    if method == "HEAD":
        assert body == b""
    else:
        assert json.loads(body)["error"]["code"] == "internal_error"
        assert b"KeyError" not in body


@pytest.mark.parametrize(("port", "path"), [("8004", "/health"), ("8000", "/openhands/health")])
def test_the_port_of_an_upstream_is_its_prefix_on_the_site(port: str, path: str) -> None:
    status, _, body = call(**{"REQUEST_METHOD": "GET", "SERVER_PORT": port, "PATH_INFO": path, "wsgi.input": BytesIO()})
    assert (status, json.loads(body)["upstream"]) == ("200 OK", "openhands")


def test_an_address_is_logged_without_the_key_in_it(caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-trollllm-" + 32 * "ab"
    call(REQUEST_METHOD="GET", SERVER_PORT="8004", PATH_INFO=f"/v1/requests/{key}")
    assert f"/v1/requests/{key[:16]}" in caplog.text
    assert key[:24] not in caplog.text
