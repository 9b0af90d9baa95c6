"""`stream_options` in every form that clients send: usage is asked for, billed, and shown to who asked for it."""

from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests.factories import InsertUser
from tests.proxy.requests import assert_reconciles, chat, events, post
from tests.serving import Server


@pytest.mark.parametrize(
    "options",
    [
        None,
        {},
        {"include_usage": False},
        {"include_usage": None},
        {"include_obfuscation": False},
        {"include_usage": None, "include_obfuscation": None, "continuous_usage_stats": None},
    ],
)
def test_usage_is_asked_for_and_hidden_from_who_did_not_ask(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, options: Any
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat(stream=True, stream_options=options))
    assert response.status == 200
    assert upstream.requests[-1].json()["stream_options"] == {**(options or {}), "include_usage": True}
    assert not any(event.get("usage") for event in events(response) if event != "[DONE]")
    assert RequestLog.objects.get().usage_source == RequestLog.UsageSource.UPSTREAM
    assert_reconciles()


@pytest.mark.parametrize("options", [{"include_usage": True}, {"include_usage": True, "include_obfuscation": True}])
def test_who_asks_for_usage_gets_it(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, options: Any
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat(stream=True, stream_options=options))
    assert [bool(event.get("usage")) for event in events(response) if event != "[DONE]"].count(True) == 1
    assert upstream.requests[-1].json()["stream_options"] == options
    assert_reconciles()


@pytest.mark.parametrize("is_stream", [True, False, None])
@pytest.mark.parametrize(
    ("options", "param"),
    [
        *(
            (value, "stream_options")
            for value in (True, False, 0, 1, "", "include_usage", [], [{"include_usage": True}])
        ),
        *(({"include_usage": value}, "stream_options.include_usage") for value in (0, 1, "true", "", [], {}, 1.5)),
        ({"include_obfuscation": "no"}, "stream_options.include_obfuscation"),
        ({"continuous_usage_stats": 1}, "stream_options.continuous_usage_stats"),
        ({"Include_Usage": False}, "stream_options.Include_Usage"),
        ({"include_usage ": True}, "stream_options.include_usage "),
        ({"shiny": None, "other": 1}, "stream_options.other"),
    ],
)
def test_any_other_form_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, options: Any, param: str, is_stream: bool | None
) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat(stream=is_stream, stream_options=options))
    assert (response.status, response.json()["error"]["param"]) == (400, param)
    assert not upstream.requests
    assert Account.objects.get().holds == {}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": True}, {"include_usage": False}])
def test_without_a_stream_they_pass_as_they_came(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, options: Any
) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(stream_options=options)).status == 200
    assert upstream.requests[-1].json()["stream_options"] == options
    assert RequestLog.objects.get().usage_source == RequestLog.UsageSource.UPSTREAM
    assert_reconciles()
