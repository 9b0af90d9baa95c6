"""Small balances: a limit that a format demands is lowered to what is affordable, and requests share a balance."""

import json
from decimal import Decimal

import anthropic
import pytest

from accounts.models import Account, Balance
from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, post
from tests.serving import Server

NO_LIMIT = {name: value for name, value in chat().items() if name != "max_tokens"}
MUCH = 64_000  # 0.336 USD on this model: what LiteLLM, LangChain and others name.


def sent_to(upstream: FakeUpstream) -> dict[str, object]:
    body: dict[str, object] = json.loads(upstream.requests[-1].body)
    return body


@pytest.mark.parametrize("is_stream", [False, True])
def test_hi_needs_no_34_cents(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, *, is_stream: bool
) -> None:
    insert_user("alice", creditsNew=0.05)
    response = post(server, chat(max_tokens=MUCH, stream=is_stream), path=MESSAGES)
    assert response.status == 200
    lowered = int(response.headers["X-Max-Tokens-Lowered"])
    assert 256 <= lowered < MUCH
    assert sent_to(upstream)["max_tokens"] == lowered
    mapped = {"model": sent_to(upstream)["model"]}
    assert sent_to(upstream) == chat(max_tokens=lowered, stream=is_stream) | mapped
    request_id = response.headers["X-Request-Id"]
    headers = {"Authorization": f"Bearer {key_of('alice')}"}
    receipt = server.http.request("GET", f"{server.openhands}/v1/requests/{request_id}", headers=headers).json()
    assert receipt["max_tokens_lowered"] == lowered
    assert Decimal(receipt["hold"]) <= Decimal("0.025")
    assert_reconciles()


def test_what_the_balance_affords_is_left_as_it_is(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=0.34)
    response = post(server, chat(max_tokens=MUCH), path=MESSAGES)
    assert (response.status, "X-Max-Tokens-Lowered" in response.headers) == (200, False)
    assert sent_to(upstream)["max_tokens"] == MUCH
    assert RequestLog.objects.get().max_tokens_lowered is None


def test_an_output_that_is_of_no_use_is_refused(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=0.001)
    assert post(server, chat(max_tokens=MUCH), path=MESSAGES).status == 402
    assert not upstream.requests


def test_the_limit_stays_above_a_budget_for_thinking(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    insert_user("alice", creditsNew=0.009)  # Some 1,700 tokens.
    assert post(server, chat(max_tokens=MUCH, **thinking), path=MESSAGES).status == 402
    insert_user("bob", creditsNew=0.02)
    response = post(server, chat(max_tokens=MUCH, **thinking), path=MESSAGES, username="bob")
    assert response.status == 200, response.data
    assert sent_to(upstream)["max_tokens"] == int(response.headers["X-Max-Tokens-Lowered"])
    assert int(response.headers["X-Max-Tokens-Lowered"]) >= 2256


def test_a_limit_that_nobody_had_to_name_is_kept(server: Server, insert_user: InsertUser) -> None:
    """In the chat format it is what the client wants."""
    insert_user("alice", creditsNew=0.05)
    assert post(server, chat(max_tokens=MUCH), path=CHAT).status == 402


def test_it_is_a_setting(serve_with: ServeWith, prices: None, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.05)
    server = serve_with(GUNICORN_WORKERS="1", LOWER_MAX_TOKENS="false")
    assert post(server, chat(max_tokens=MUCH), path=MESSAGES).status == 402


def test_counting_tokens_changes_nothing(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice")
    client = anthropic.Anthropic(api_key=key_of("alice"), base_url=server.openhands)
    assert client.messages.count_tokens(model=chat()["model"], messages=chat()["messages"]).input_tokens > 0


@pytest.mark.parametrize(("path", "body"), [(CHAT, NO_LIMIT), (MESSAGES, chat(max_tokens=MUCH))])
def test_requests_at_once_share_a_balance(
    server: Server,
    upstream: FakeUpstream,
    insert_user: InsertUser,
    in_threads: InThreads,
    path: str,
    body: dict[str, object],
) -> None:
    """As a coding agent does: a title and an answer. The first took everything, the second was refused."""
    insert_user("alice", creditsNew=0.05)
    body = {**body, "messages": chat("[[fake delay=1.5]] Hello")["messages"]}
    statuses = in_threads(3, lambda _: post(server, body, path=path).status)
    assert statuses == [200] * 3
    holds = sorted(log.hold for log in RequestLog.objects.all())
    assert sum(holds) <= Decimal("0.05")
    assert Account.objects.get().held(Balance.OPENHANDS) == 0
    assert_reconciles()


def test_without_a_limit_nobody_takes_more_than_half(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.05)
    assert post(server, NO_LIMIT).status == 200
    assert RequestLog.objects.get().hold <= Decimal("0.025")


def test_the_last_credits_pay_for_the_least_that_is_useful(server: Server, insert_user: InsertUser) -> None:
    """Half of them would not."""
    insert_user("alice", creditsNew=0.0016)
    assert post(server, NO_LIMIT).status == 200
    assert RequestLog.objects.get().hold > Decimal("0.0008")
