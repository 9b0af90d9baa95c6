"""`Idempotency-Key`: the retry has the first answer and costs nothing, whoever sends it again and however often."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.billing import idempotency, metering
from proxy.billing.idempotency import Claim, StoredAnswer
from proxy.billing.pricing import Usage
from proxy.formats.api_format import UsageReport
from proxy.models import IdempotentRequest, RequestLog
from tests.conftest import key_of
from tests.factories import InsertUser, InThreads
from tests.faults.test_crash import make_reservation, open_request, sweep_later, wait_for
from tests.proxy.requests import CHAT, MESSAGES, RESPONSES, ask, assert_reconciles, chat, post
from tests.serving import Server

KEY = {"Idempotency-Key": "order-66"}


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_a_retry_has_the_stored_answer_and_is_not_billed(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, path: str
) -> None:
    insert_user("alice", creditsNew=1)
    first = post(server, ask(path), path=path, headers=KEY)
    balance = Account.objects.get(pk="alice").credits_new

    again = post(server, ask(path), path=path, headers=KEY)

    assert again.status == 200
    assert again.data == first.data
    assert again.headers["X-Request-Id"] == first.headers["X-Request-Id"]
    assert (again.headers["Idempotent-Replayed"], again.headers["X-Credits-Cost"]) == ("true", "0.00000000")
    assert again.headers["X-Credits-Balance"] == first.headers["X-Credits-Balance"] == f"{balance:.8f}"
    assert int(again.headers["X-RateLimit-Remaining"]) <= int(again.headers["X-RateLimit-Limit"])
    assert len(upstream.requests) == 1
    assert Account.objects.get(pk="alice").credits_new == balance
    assert RequestLog.objects.count() == 1
    assert_reconciles()


def test_many_at_once_are_one_request(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", creditsNew=1)
    body = chat("[[fake delay=0.5]] x")
    statuses = in_threads(10, lambda _: post(server, body, headers=KEY).status)
    assert set(statuses) <= {200, 409}
    assert len(upstream.requests) == 1
    assert post(server, body, headers=KEY).headers["Idempotent-Replayed"] == "true"
    assert_reconciles()


def test_another_body_or_endpoint_or_account_is_told_apart(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, credits=1)
    insert_user("bob", creditsNew=1)
    post(server, chat(), headers=KEY)
    other_body = post(server, chat("something else"), headers=KEY)
    assert (other_body.status, other_body.json()["error"]["code"]) == (409, "idempotency_conflict")
    for options in ({"username": "bob"}, {"base": server.ohmygpt}, {"path": MESSAGES}):
        response = post(server, chat(), headers=KEY, **options)
        assert (response.status, "Idempotent-Replayed" in response.headers) == (200, False)


@pytest.mark.parametrize("directive", ["status=500", "status=400", "garbage", "cut=1", "delay=3"])
def test_a_request_that_failed_can_be_tried_again(
    impatient_server: Server, insert_user: InsertUser, directive: str
) -> None:
    insert_user("alice", creditsNew=1)
    body = chat(f"[[fake {directive}]] x")
    assert post(impatient_server, body, headers=KEY).status != 200
    assert IdempotentRequest.objects.count() == 0
    assert post(impatient_server, body, headers=KEY).status != 409


def test_a_refusal_keeps_no_key(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    assert post(server, chat(), headers=KEY).status == 402
    assert IdempotentRequest.objects.count() == 0
    assert post(server, chat(), headers=KEY, username="nobody").status == 401


def test_a_stream_ignores_the_key(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    for _ in range(2):
        assert post(server, chat(stream=True), headers=KEY).status == 200
    assert RequestLog.objects.count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_bad_key_is_explained(server: Server, insert_user: InsertUser, key: str) -> None:
    insert_user("alice", creditsNew=1)
    response = post(server, chat(), headers={"Idempotency-Key": key})
    assert (response.status, response.json()["error"]["code"]) == (400, "invalid_request")


def test_a_claim_whose_process_died_is_free_again(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    post(server, chat(), headers=KEY)
    IdempotentRequest.objects.update(answer=None)
    assert post(server, chat(), headers=KEY).status == 409
    long_ago = timezone.now() - timedelta(seconds=settings.LONGEST_REQUEST_SECONDS + 1)
    IdempotentRequest.objects.update(created_at=long_ago)
    assert post(server, chat(), headers=KEY).status == 200


# --- A crash between any two steps, by doing only the steps before it ----------------------------------------------

BODY = b"the same body"


def claim(request_id: str) -> Claim | StoredAnswer:
    return idempotency.claim(
        api_key=key_of("alice"), endpoint="x", idempotency_key="order-66", body=BODY, request_id=request_id
    )


def begin(request_id: str = "req_first") -> tuple[Claim, dict[str, Any]]:
    """The first request with its key, up to its answer; returns its claim, and its bill that is not collected."""
    claimed = claim(request_id)
    assert isinstance(claimed, Claim)
    reservation = make_reservation(request_id)
    report = UsageReport(Usage(100, 20))
    return claimed, metering.make_bill(reservation, report=report, output_text_bytes=0)


@pytest.fixture
def alice(insert_user: InsertUser, prices: None) -> None:
    insert_user("alice", creditsNew=1)


def assert_paid_once() -> None:
    log = RequestLog.objects.get()
    assert (log.outcome, log.cost > 0) == ("ok", True)
    account = Account.objects.get(pk="alice")
    assert account.credits_new == 1 - log.cost
    assert not account.holds
    assert_reconciles()


def test_an_answer_that_is_stored_but_not_billed_is_billed_by_the_sweep(alice: None) -> None:
    claimed, bill = begin()
    claimed.store(b"{}", bill)
    assert sweep_later() == 1
    assert_paid_once()
    assert claim("req_retry") == StoredAnswer(b"{}", "req_first")


def test_an_answer_that_is_stored_but_not_billed_is_billed_before_a_retry_gets_it(
    alice: None, in_threads: InThreads
) -> None:
    claimed, bill = begin()
    claimed.store(b"{}", bill)
    answers = in_threads(8, lambda index: claim(f"req_retry_{index}") if index < 6 else sweep_later())
    assert answers[:6] == [StoredAnswer(b"{}", "req_first")] * 6
    assert_paid_once()


def test_an_answer_that_comes_after_its_request_was_given_up_is_not_kept(alice: None) -> None:
    claimed, bill = begin()
    assert sweep_later() == 1
    claimed.store(b"{}", bill)
    assert isinstance(claim("req_retry"), Claim)
    assert RequestLog.objects.get().outcome == "abandoned"
    assert_reconciles()


def test_an_answer_that_nobody_paid_for_is_not_given_away(alice: None) -> None:
    """It was stored after the sweep had looked for it, and before the sweep wrote that the request was given up."""
    claimed, bill = begin()
    IdempotentRequest.objects.update(request_id="hidden")
    assert sweep_later() == 1
    IdempotentRequest.objects.update(request_id="req_first")
    claimed.store(b"{}", bill)
    assert isinstance(claim("req_retry"), Claim), "the retry pays for an answer of its own"


def test_an_expired_answer_is_gone(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    post(server, chat(), headers=KEY)
    IdempotentRequest.objects.update(expires_at=timezone.now())
    assert "Idempotent-Replayed" not in post(server, chat(), headers=KEY).headers
    assert RequestLog.objects.count() == 2


def test_a_retry_counts_as_a_request(server: Server, upstream: FakeUpstream, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1, requestsPerMinute=2)
    assert [post(server, chat(), headers=KEY).headers["X-RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
    refused = post(server, chat(), headers=KEY)
    assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert len(upstream.requests) == 1


def test_an_answer_too_large_to_store_keeps_its_key_until_it_has_ended(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=50)
    body = chat("[[fake big=10000000]] x")
    with open_request(server, body, headers="Idempotency-Key: order-66\r\n") as first:
        assert b"200 OK" in first.recv(1000)
        assert post(server, body, headers=KEY).status == 409
        assert len(upstream.requests) == 1
    wait_for(lambda: IdempotentRequest.objects.count() == 0)
    assert_reconciles()
