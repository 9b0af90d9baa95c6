"""What a refusal says to people: most clients show its sentence and nothing else, so all that helps is in it."""

import re
from datetime import timedelta

import anthropic
import openai
import pytest
from django.utils import timezone

from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, chat, post
from tests.serving import Server

BUY, HELP = "https://shop.example/buy", "help@shop.example"
BEGINNING = "insufficient credits for request. Cost: $0.03, Balance: "
OWN_BALANCE = "This request is paid from your OpenHands balance; the OhMyGPT balance does not apply."


@pytest.fixture
def shop(serve_with: ServeWith, prices: None) -> Server:
    return serve_with(GUNICORN_WORKERS="1", PURCHASE_URL=BUY, SUPPORT_CONTACT=HELP, LOWER_MAX_TOKENS="false")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_one_sentence_has_all_that_helps(shop: Server, insert_user: InsertUser, path: str, is_stream: bool) -> None:
    insert_user("alice", creditsNew=0.001, credits=50)
    response = post(shop, chat(max_tokens=5000, stream=is_stream), path=path)
    error = response.json()["error"]
    assert response.status == 402
    shortest, hint = error["message"].split("$0.00. ", 1)
    assert shortest + "$0.00" == BEGINNING + "$0.00"
    assert re.match(
        r"The cost is the most that this request can come to: \d+ input tokens and 5,000 output tokens. ", hint
    )
    assert OWN_BALANCE in hint
    assert f"Set max_tokens to at most {error['affordable_max_tokens']}, or buy credits at {BUY}." in hint
    assert error["hint"] in hint


def test_credits_that_are_only_held_are_no_empty_balance(shop: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0, holds={"req_x": {"balance": "openhands", "amount": 1.0}})
    response = post(shop, chat(max_tokens=5000))
    error = response.json()["error"]
    assert error["message"].startswith(
        BEGINNING + "$1.00. Your running requests hold $1.00 of it, nothing is free. The cost is "
    )
    told = (
        f"Try again in {response.headers['Retry-After']} seconds, when your running requests may have finished, or buy"
    )
    assert told in error["message"]
    assert (error["balance"], error["held"]) == ("0.00000000", "1.00000000")


def test_what_holds_cannot_pay_for_is_not_worth_waiting_for(shop: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.001, holds={"req_x": {"balance": "openhands", "amount": 0.002}})
    response = post(shop, chat(max_tokens=5000))
    message = response.json()["error"]["message"]
    assert "Balance: $0.00. Your running requests hold $0.002 of it, $0.001 is free." in message
    assert "try again" not in message.lower()
    assert "Retry-After" not in response.headers


def test_several_answers_and_no_limit_are_told(shop: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=0.0001)
    message = post(shop, chat(max_tokens=5000, n=3)).json()["error"]["message"]
    assert "5,000 output tokens in each of 3 answers." in message
    no_limit = {name: value for name, value in chat().items() if name != "max_tokens"}
    message = post(shop, no_limit).json()["error"]["message"]
    assert "The cost is that of a short answer: " in message
    assert "256 output tokens." in message


def test_the_sdks_show_it(shop: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    key = key_of("alice")
    with pytest.raises(openai.APIStatusError) as refused:
        openai.OpenAI(api_key=key, base_url=f"{shop.openhands}/v1").chat.completions.create(**chat(max_tokens=5000))
    assert OWN_BALANCE in str(refused.value)
    with pytest.raises(anthropic.APIStatusError) as refused_too:
        anthropic.Anthropic(api_key=key, base_url=shop.openhands).messages.create(**chat(max_tokens=5000))
    assert OWN_BALANCE in str(refused_too.value)
    assert BUY in str(refused_too.value)


def test_where_to_buy_and_whom_to_ask(shop: Server, insert_user: InsertUser) -> None:
    insert_user("late", creditsNew=1, expiresAt=timezone.now() - timedelta(hours=1))
    insert_user("gone", creditsNew=1, isActive=False)
    insert_user("seen", creditsNew=1, reviewSince=timezone.now())
    told = {name: post(shop, chat(), username=name).json()["error"]["message"] for name in ("late", "gone", "seen")}
    assert told["late"].endswith(f": buy credits at {BUY} to continue.")
    assert told["gone"] == f"This account is disabled: contact support ({HELP}) to have it enabled."
    assert told["seen"].endswith(f"Your credits are kept: contact support ({HELP}).")
