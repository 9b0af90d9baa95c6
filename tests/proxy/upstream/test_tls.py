"""Upstreams over TLS: only who has a trusted certificate for the host that was asked for gets a request."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from accounts.models import Balance
from proxy.errors import UpstreamError
from proxy.upstream.client import Upstream

CERTIFICATE = Path(__file__).with_name("localhost.pem")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


class TlsPeer:
    """Shows the certificate to everyone, and answers each request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATE)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # It was closed.
            with connection:
                connection.settimeout(5)
                try:
                    with self._context.wrap_socket(connection, server_side=True) as channel:
                        if request := channel.recv(65536):
                            self.requests.append(request)
                            channel.sendall(ANSWER)
                except OSError:
                    pass  # The client trusts us not.

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def peer() -> Iterator[TlsPeer]:
    running = TlsPeer()
    yield running
    running.close()


def post_to(host: str, peer: TlsPeer) -> bytes:
    upstream = Upstream(Balance.OPENHANDS, base_url=f"https://{host}:{peer.port}/v1", api_key="secret")
    answer = upstream.post("/v1/chat/completions", b"{}", {})
    try:
        return answer.read(1000)
    finally:
        answer.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(peer: TlsPeer) -> None:
    with pytest.raises(UpstreamError, match="certificate verify failed"):
        post_to("localhost", peer)
    assert peer.requests == [], "the key was not shown to a stranger"


def test_a_trusted_certificate_is_taken_for_its_host_only(peer: TlsPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))  # OpenSSL's own variable: whom this machine trusts.
    assert post_to("localhost", peer) == b"hello"
    with pytest.raises(UpstreamError, match="IP address mismatch"):
        post_to("127.0.0.1", peer)
    assert len(peer.requests) == 1
