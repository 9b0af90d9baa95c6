"""`/v1/keys`: customers manage the keys of their account over HTTP."""

from typing import Any

import pytest
import urllib3

from accounts.api_keys import list_keys, update_key
from accounts.models import Account
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads
from tests.proxy.requests import MODEL, chat, post
from tests.serving import Server


def call(
    server: Server, method: str, path: str = "", body: Any = None, *, key: str | None = None, base: str | None = None
) -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {key or key_of('alice')}"}
    url = f"{base or server.openhands}/v1/keys{path}"
    if body is None:
        return server.http.request(method, url, headers=headers, timeout=20)
    return server.http.request(method, url, headers=headers, json=body, timeout=20)


def error_of(response: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    return response.status, response.json()["error"]["code"]


LIMITS = {
    "budget": {"amount": "5.00", "period": "day"},
    "models": [MODEL],
    "upstreams": ["openhands"],
    "expires_at": "2035-01-31T12:00:00+01:00",
}


def test_the_life_of_a_key(server: Server, insert_user: InsertUser, usersnew: Any) -> None:
    insert_user("alice", creditsNew=1)
    made = call(server, "POST", body={"name": "ci", **LIMITS})
    assert (made.status, made.headers["Cache-Control"]) == (200, "no-store")
    secret, key_id = made.json()["api_key"], made.json()["id"]
    assert post(server, chat(), username=None, headers={"Authorization": f"Bearer {secret}"}).status == 200

    listed = call(server, "GET", base=f"{server.site}/openhands")
    assert secret not in listed.data.decode()
    first, further = listed.json()["data"]
    assert (first["is_first"], first["budget"], further["is_first"], further["name"]) == (True, None, False, "ci")
    assert further["budget"].items() >= {"amount": "5.00000000", "period": "day"}.items()
    assert float(further["budget"]["spent"]) > 0
    assert further["last_used_at"] >= further["created_at"]
    assert (further["models"], further["upstreams"]) == ([MODEL], ["openhands"])
    assert further["expires_at"] == "2035-01-31T11:00:00Z"
    assert [one["id"] for one in call(server, "GET", key=secret).json()["data"]] == [key_id]

    changed = call(server, "PATCH", f"/{key_id}", {"name": "deploy", "models": None, "disabled": True}).json()
    assert (changed["name"], changed["models"], changed["disabled"]) == ("deploy", None, True)
    assert error_of(call(server, "GET", key=secret)) == (401, "key_disabled")
    assert call(server, "PATCH", f"/{key_id}", {"disabled": False}).json()["upstreams"] == ["openhands"]

    replaced = call(server, "POST", f"/{key_id}/rotate")
    assert (replaced.json()["id"], replaced.headers["Cache-Control"]) == (key_id, "no-store")
    assert error_of(call(server, "GET", key=secret)) == (401, "invalid_api_key")
    newest = call(server, "POST", "/rotate", key=replaced.json()["api_key"]).json()
    assert (newest["id"], newest["is_first"], newest["budget"]["amount"]) == (key_id, False, "5.00000000")

    assert call(server, "DELETE", f"/{key_id}").json() == {"object": "api_key", "id": key_id, "deleted": True}
    assert error_of(call(server, "DELETE", f"/{key_id}")) == (404, "key_not_found")
    assert error_of(call(server, "GET", key=newest["api_key"])) == (401, "invalid_api_key")
    assert not {"keys", "keyHashes"} & usersnew.find_one({"_id": "alice"}).keys()


def test_a_key_gives_nobody_more_rights_than_it_has(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    made = call(server, "POST", body={"name": "ci"}).json()
    secret, key_id = made["api_key"], made["id"]
    for method, path, body in (
        ("POST", "", {"name": "more"}),
        ("PATCH", f"/{key_id}", {"name": "mine"}),
        ("DELETE", f"/{key_id}", None),
    ):
        response = call(server, method, path, body, key=secret)
        assert error_of(response) == (403, "first_key_required")
        assert "first API key" in response.json()["error"]["message"]
    first = call(server, "GET").json()["data"][0]["id"]
    assert error_of(call(server, "POST", f"/{first}/rotate", key=secret)) == (403, "first_key_required")
    assert error_of(call(server, "PATCH", f"/{first}", {"disabled": True})) == (409, "first_key_stays")
    assert error_of(call(server, "DELETE", f"/{first}")) == (409, "first_key_stays")
    assert call(server, "PATCH", f"/{first}", {"name": "mine"}).json()["name"] == "mine"
    update_key(username="alice", wanted_id=first, upstreams=("openhands",))
    assert error_of(call(server, "POST", body={"name": "more"})) == (403, "first_key_required")
    assert len(list_keys(Account.objects.get(pk="alice"))) == 2


def test_keys_of_others_are_not_there(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    insert_user("bob")
    foreign = call(server, "POST", body={"name": "ci"}, key=key_of("bob")).json()["id"]
    for method, path, body in (("PATCH", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/rotate", None)):
        assert error_of(call(server, method, f"/{foreign}{path}", body)) == (404, "key_not_found")
    assert error_of(call(server, "GET", key=key_of("nobody"))) == (401, "invalid_api_key")
    assert len(list_keys(Account.objects.get(pk="bob"))) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "ci", "role": "admin"}, "role"),
        ({"name": "ci", "disabled": True}, "disabled"),
        ({"name": "ci", "budget": 5}, "budget"),
        ({"name": "ci", "budget": {"amount": "5"}}, "budget"),
        ({"name": "ci", "budget": {"amount": "-5", "period": "day"}}, "budget"),
        ({"name": "ci", "budget": {"amount": "0", "period": "day"}}, "budget"),
        ({"name": "ci", "budget": {"amount": True, "period": "day"}}, "budget"),
        ({"name": "ci", "budget": {"amount": "５", "period": "day"}}, "budget"),
        ({"name": "ci", "budget": {"amount": "1e3", "period": "day"}}, "budget"),
        ({"name": "ci", "budget": {"amount": 1e300, "period": "day"}}, "budget"),
        ({"name": "ci", "budget": {"amount": "5", "period": "year"}}, "budget"),
        ({"name": "ci", "budget": {"amount": "5", "period": ["day"]}}, "budget"),
        ({"name": "ci", "models": MODEL}, "models"),
        ({"name": "ci", "models": []}, "models"),
        ({"name": "ci", "models": [5]}, "models"),
        ({"name": "ci", "models": ["no-such-model"]}, "models"),
        ({"name": "ci", "upstreams": ["elsewhere"]}, "upstreams"),
        ({"name": "ci", "upstreams": []}, "upstreams"),
        ({"name": "ci", "expires_at": 5}, "expires_at"),
        ({"name": "ci", "expires_at": "tomorrow"}, "expires_at"),
        ({"name": "ci", "expires_at": "2035-01-31T12:00:00"}, "expires_at"),
        ({"name": "ci", "expires_at": "2020-01-31T12:00:00Z"}, "expires_at"),
        ({"name": "ci", "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"name": "ci", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
    ],
)
def test_what_is_asked_for_is_read_strictly(server: Server, insert_user: InsertUser, body: Any, param: str) -> None:
    insert_user("alice")
    response = call(server, "POST", body=body)
    assert (response.status, response.json()["error"]["param"]) == (400, param), response.data
    assert len(list_keys(Account.objects.get(pk="alice"))) == 1


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"name": "a", "name": "b"}', b"\xff", b'{"name": "\\ud800"}'])
def test_a_body_that_is_none_is_refused(server: Server, insert_user: InsertUser, data: bytes) -> None:
    insert_user("alice")
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    response = server.http.request("POST", f"{server.openhands}/v1/keys", headers=headers, body=data, timeout=20)
    assert response.status == 400, response.data


def test_a_large_body_and_other_methods_are_refused(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    assert error_of(call(server, "POST", body={"name": "x" * 100_000})) == (413, "request_too_large")
    refused = call(server, "PUT")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, POST")
    refused = call(server, "GET", "/abc")
    assert (refused.status, refused.headers["Allow"]) == (405, "PATCH, DELETE")


def test_no_more_keys_than_allowed_are_made_by_many_at_once(
    server: Server, insert_user: InsertUser, usersnew: Any, in_threads: InThreads
) -> None:
    entries = {f"{number:024x}": {"hash": f"{number:064x}", "name": "old"} for number in range(17)}
    insert_user("alice", keys=entries, keyHashes=[entry["hash"] for entry in entries.values()])
    results = in_threads(6, lambda _: call(server, "POST", body={"name": "ci"}).status)
    assert sorted(results) == [200] * 3 + [403] * 3
    assert error_of(call(server, "POST", body={"name": "ci"})) == (403, "too_many_keys")
    assert len(usersnew.find_one()["keys"]) == 20
