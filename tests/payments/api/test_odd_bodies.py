"""Bodies that are no JSON, or more of it than anybody sends: 4xx, and nothing is made."""

import json
import socket
from typing import Any

import pytest

from accounts.models import Account
from payments.models import Payment, WebhookEvent
from tests.conftest import key_of
from tests.factories import CallApi, Deliver, InsertUser, MakeOrder
from tests.payments.conftest import transfer
from tests.serving import HOST, Server

JSON = {"Content-Type": "application/json"}
ODD = {
    "3,000 brackets": b"[" * 3000,
    "3,000 levels": b"[" * 3000 + b"]" * 3000,
    "2,500 objects": b'{"a":' * 2500 + b"1" + b"}" * 2500,
    "a long integer": b'{"credits": ' + b"9" * 10_000 + b"}",
    "a huge number": b'{"credits": 1e999}',
    "not a number": b'{"credits": NaN}',
    "half a character": b'{"credits": 20, "method": "\\ud800"}',
    "half a name": b'{"credits": 20, "\\udfff": 1}',
    "half a Discord id": b'{"credits": 20, "discordId": "\\ud800"}',
    "a name twice": b'{"credits": 20, "credits": 100}',
    "no UTF-8": b'{"credits": 20, "method": "\xff"}',
    "a mark of order": b'\xef\xbb\xbf{"credits": 20}',
    "nothing": b"",
    "a list": b"[20]",
    "a text": b'"20"',
    "null": b"null",
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_an_odd_checkout_gets_400(api: CallApi, insert_user: InsertUser, body: bytes) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", data=body, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert Payment.objects.count() == 0


@pytest.mark.parametrize(
    "credits",
    ["２０", "٢٠", "2_0", "0x14", "20.5", "", "1" * 5000, True, False, 20.5, 10**400, -20, [20], {"a": 1}, None],
)
def test_odd_credits_get_400(api: CallApi, insert_user: InsertUser, credits: Any) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": credits})
    assert response.status_code == 400
    assert Payment.objects.count() == 0


@pytest.mark.parametrize("credits", ["20", 20, 20.0, " 20 ", "20.00"])
def test_credits_may_be_text(api: CallApi, insert_user: InsertUser, credits: Any) -> None:
    insert_user("alice")
    assert api("POST", "checkout", user="alice", json={"credits": credits, "method": "sepay"}).status_code == 200
    assert Payment.objects.get().credits == 20


@pytest.mark.parametrize("discord_id", ["１" * 18, "1" * 17 + "٢", "1" * 18 + "\x00", "1" * 16])
def test_a_discord_id_has_ascii_digits(api: CallApi, insert_user: InsertUser, discord_id: str) -> None:
    insert_user("alice")
    response = api("POST", "checkout", user="alice", json={"credits": 20, "discordId": discord_id})
    assert response.status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "page=١",
        "limit=１",
        "page=1_0",
        "page=%00",
        "page=%ED%A0%80",
        "page=" + "9" * 5000,
        "status=%ED%A0%80",
        "from=２０２６-０１-０１",
        "from=٢٠٢٦-٠١-٠١T٠٠:٠٠:٠٠Z",
        "to=%00",
        "to=9999-12-31T23:59:59-23:59",
        "from=0001-01-01",
    ],
)
def test_an_odd_page_of_the_history_is_the_first_page(api: CallApi, make_order: MakeOrder, query: str) -> None:
    make_order()
    response = api("GET", f"history-paginated?{query}", user="alice")
    assert (response.status_code, response.json()["total"], response.json()["page"]) == (200, 1, 1)


ODD_DELIVERIES = {
    **{name: body for name, body in ODD.items() if name not in {"nothing"}},
    "an amount twice": b'{"id": 1, "transferAmount": 50000, "transferAmount": 5}',
    "a time in other digits": json.dumps(transfer("x") | {"transactionDate": "٢٠٢٦-٠١-٠١ ٠٠:٠٠:٠٠"}).encode(),
}


@pytest.mark.parametrize("body", ODD_DELIVERIES.values(), ids=ODD_DELIVERIES)
def test_an_odd_delivery_is_kept_for_staff(deliver: Deliver, make_order: MakeOrder, body: bytes) -> None:
    make_order()
    response = deliver(body)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_event")
    event = WebhookEvent.objects.get()
    assert (event.status, bytes(event.body)) == (WebhookEvent.Status.REVIEW, body)
    assert Account.objects.get().credits_new == 0


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "hex", "utf-8; charset=hex", "x; CHARSET*=utf-8''hex"])
def test_what_is_sent_is_utf8_whatever_it_names(server: Server, insert_user: InsertUser, charset: str) -> None:
    insert_user("alice")
    key = {"Authorization": f"Bearer {key_of('alice')}"}

    def ask(url: str, method: str = "GET", kind: str = "text/plain", body: bytes = b"") -> int:
        headers = {**key, "Content-Type": f"{kind}; charset={charset}"}
        return server.http.request(method, url, headers=headers, body=body, timeout=20).status

    odd = r"\ud800"
    assert ask(f"{server.site}/api/payment/history-paginated?status={odd}") == 200
    assert ask(f"{server.site}/api/payment/history-paginated?page=1") == 200
    assert ask(f"{server.openhands}/v1/usage?from={odd}") == 400
    assert ask(f"{server.openhands}/v1/usage?from=2026-01-01") == 200
    assert ask(f"{server.openhands}/v1/models") == 200
    assert ask(f"{server.site}/api/payment/checkout", "POST", "application/json", b'{"credits": 1}') == 400
    form = b"username=\\ud800&password=x&csrfmiddlewaretoken=x"
    assert ask(f"{server.site}/admin/login/", "POST", "application/x-www-form-urlencoded", form) == 403


# --- In chunks, over a socket -----------------------------------------------------------------------------------------


def _send(server: Server, port: str, path: str, headers: str, body: bytes) -> int:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Transfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((HOST, server.ports[port]), timeout=20) as client:
        client.sendall(head + body)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
    return int(answer.split(b" ", 2)[1]) if answer else 0


CHUNKS = {
    "no size": b"zz\r\n",
    "a negative size": b"-1\r\n{}\r\n0\r\n\r\n",
    "a huge size": b"fffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "digits of another script": "٢\r\n{}\r\n0\r\n\r\n".encode(),
    "an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "too short": b"9\r\n{}\r\n0\r\n\r\n",
    "too long": b"1\r\n{}\r\n0\r\n\r\n",
    "no end": b"2\r\n{}\r\n",
    "no end of the size": b"2" * 5000,
    "an extension": b"2;a=b\r\n{}\r\n0\r\n\r\n",
    "a trailer": b"2\r\n{}\r\n0\r\nX-Trailer: yes\r\n\r\n",
    "a bad trailer": b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
    "a trailer that is no text": b"2\r\n{}\r\n0\r\n\xff\xfe: \x00\r\n\r\n",
    "a forbidden trailer": b"2\r\n{}\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an endless trailer": b"2\r\n{}\r\n0\r\nX: " + b"x" * 100_000,
    "many trailers": b"2\r\n{}\r\n0\r\n" + b"X-Y: z\r\n" * 2000 + b"\r\n",
    "nothing": b"",
}
SIGNED = "Authorization: Apikey sepay-test-key\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_odd_chunks_are_the_senders_fault(server: Server, insert_user: InsertUser, chunks: bytes) -> None:
    insert_user("alice", creditsNew=1)
    key = f"Authorization: Bearer {key_of('alice')}\r\nContent-Type: application/json\r\n"
    paths = [
        ("SITE_PORT", "/api/payment/webhook", SIGNED),
        ("SITE_PORT", "/api/payment/checkout", key),
        ("SITE_PORT", "/admin/login/", "Content-Type: application/x-www-form-urlencoded\r\n"),
        ("OPENHANDS_PORT", "/v1/chat/completions", key),
        ("OPENHANDS_PORT", "/v1/messages", key),
        ("OPENHANDS_PORT", "/v1/keys/rotate", f"Authorization: Bearer {key_of('nobody')}\r\n"),
    ]
    for port, path, headers in paths:
        status = _send(server, port, path, headers, chunks)
        assert 400 <= status < 500, (path, status)
    assert Account.objects.get().credits_new == 1
