"""What the browser is told to refuse, on every answer, whoever gives it."""

import socket

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.factories import ServeWith
from tests.serving import HOST, Server

EVERYWHERE = ("x-content-type-options: nosniff", "x-frame-options: DENY", "referrer-policy: same-origin")


def test_every_page_forbids_other_sites(client: Client, admin_client: Client) -> None:
    for response in (client.get("/"), admin_client.get("/admin/"), client.get("/nothing-here")):
        policy = response["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def answer_to(server: Server, port: str, request: bytes) -> str:
    """The head of an answer, names of headers in lower case."""
    with socket.create_connection((HOST, server.ports[port]), timeout=10) as client:
        client.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (data := client.recv(65536)):
            answer += data
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return "\n".join(
        [lines[0], *(f"{name.lower()}:{value}" for name, _, value in (line.partition(":") for line in lines[1:]))]
    )


def get(path: str, host: str = "127.0.0.1") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


ANSWERS = {
    "page": ("SITE_PORT", get("/"), 200),
    "health": ("SITE_PORT", get("/healthz"), 200),
    "health-of-the-api": ("OPENHANDS_PORT", get("/healthz"), 200),
    "static": ("SITE_PORT", get("/static/admin/css/base.css"), 200),
    "redirect": ("SITE_PORT", get("/admin/"), 302),
    "no-page": ("SITE_PORT", get("/nothing"), 404),
    "wrong-host": ("SITE_PORT", get("/", host="elsewhere.example"), 400),
    "payment-api": ("SITE_PORT", get("/api/payment/history"), 401),
    "webhook": ("SITE_PORT", get("/api/payment/webhook"), 405),
    "api": ("OPENHANDS_PORT", get("/health"), 200),
    "api-refusal": ("OHMYGPT_PORT", get("/v1/models"), 401),
    "api-below-the-site": ("SITE_PORT", get("/openhands/v1/models"), 401),
    "no-http": ("SITE_PORT", b"nonsense\r\n\r\n", 400),
    "no-http-on-the-api": ("OPENHANDS_PORT", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "line-too-long": ("OPENHANDS_PORT", get("/" + "x" * 9000), 414),
    "header-too-long": ("OHMYGPT_PORT", get("/").replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 9000 + b"\r\n\r\n"), 431),
    "coding": ("SITE_PORT", b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rot13\r\n\r\n", 501),
    "expectation": ("SITE_PORT", b"POST / HTTP/1.1\r\nHost: x\r\nExpect: money\r\n\r\n", 417),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_has_the_security_headers(server: Server, name: str) -> None:
    port, request, status = ANSWERS[name]
    answer = answer_to(server, port, request)
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert [line for line in EVERYWHERE if f"\n{line}" not in answer] == []
    assert answer.count("\ncontent-security-policy: ") == 1
    assert "strict-transport-security" not in answer
    if "http" in name or status in (414, 431, 501, 417):
        assert "\ncontent-type: application/json" in answer


def test_browsers_are_told_to_come_by_https_where_it_is_set(serve_with: ServeWith) -> None:
    server = serve_with(HSTS_SECONDS="3600", GUNICORN_WORKERS="1")
    for name in ("page", "static", "api", "api-refusal", "no-http"):
        port, request, _ = ANSWERS[name]
        assert answer_to(server, port, request).count("\nstrict-transport-security: max-age=3600") == 1


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/accounts/account/", "/api/payment/checkout", "/nothing"])
def test_no_page_takes_a_large_body(client: Client, db: None, path: str) -> None:
    """Files too: nothing of it is read, let alone written to the disk."""
    upload = SimpleUploadedFile("x", b"x" * 1024 * 1024)
    response = client.post(path, {"username": "x", "file": upload})
    assert response.status_code == 413
    assert response.headers["Content-Security-Policy"]
    assert client.post(path, {"username": "x" * 1000}).status_code in {200, 302, 401, 403, 404, 415}
