"""Every way a request can end, in both API formats, over real sockets: what the client gets, and what is billed.

After each, the reconciliation equation holds and no hold is left: `assert_reconciles`.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from development.fake_upstream.server import FakeUpstream
from proxy.models import RequestLog
from tests.factories import InsertUser
from tests.proxy.requests import CHAT, MESSAGES, assert_reconciles, chat, last_event, post
from tests.serving import Server

FREE = "free"
EXACT = "exact"
ESTIMATED = "estimated"


@dataclass(frozen=True)
class End:
    """One way to end: what the upstream does, what the client gets, how it is billed, how often it was asked."""

    directive: str
    status: int
    code: str | None
    billed: str
    outcome: str
    upstream_requests: int = 1


PLAIN = [
    End("", 200, None, EXACT, "ok"),
    End("status=400", 400, None, FREE, "upstream_refused"),
    End("status=400 broke", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=404", 404, None, FREE, "upstream_refused"),
    End("status=413", 413, None, FREE, "upstream_refused"),
    End("status=422", 422, None, FREE, "upstream_refused"),
    End("status=401", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=402", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=403", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=429 retry_after=7", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=302", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=500", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=502", 502, "upstream_error", FREE, "upstream_refused", upstream_requests=2),
    End("status=503", 502, "upstream_error", FREE, "upstream_refused", upstream_requests=2),
    End("status=529", 502, "upstream_error", FREE, "upstream_refused", upstream_requests=2),
    End("status=502 once", 200, None, EXACT, "ok", upstream_requests=2),
    End("status=503 once", 200, None, EXACT, "ok", upstream_requests=2),
    End("status=500 once", 502, "upstream_error", FREE, "upstream_refused"),
    End("refuse", 502, "upstream_error", FREE, "upstream_error"),
    End("delay=3", 504, "upstream_timeout", FREE, "upstream_timeout"),
    End("stall=1", 504, "upstream_timeout", FREE, "upstream_timeout"),
    End("cut=1", 502, "upstream_error", FREE, "upstream_error"),
    End("garbage", 502, "upstream_error", FREE, "upstream_error"),
    End("deep", 502, "upstream_error", FREE, "upstream_error"),
    End("usage=missing", 200, None, ESTIMATED, "ok"),
    End("usage=zero", 200, None, ESTIMATED, "ok"),
    End("usage=negative", 200, None, ESTIMATED, "ok"),
    End("usage=absurd", 200, None, ESTIMATED, "ok"),
    End("usage=fraction", 200, None, ESTIMATED, "ok"),
    End("usage=text", 200, None, ESTIMATED, "ok"),
    End("usage=null", 200, None, ESTIMATED, "ok"),
    End("usage=partial", 200, None, ESTIMATED, "ok"),
    End("gzip", 200, None, EXACT, "ok"),
    End("big=300000", 200, None, EXACT, "ok"),
]

STREAMED = [
    End("", 200, None, EXACT, "ok"),
    End("status=400", 400, None, FREE, "upstream_refused"),
    End("status=500", 502, "upstream_error", FREE, "upstream_refused"),
    End("status=529", 502, "upstream_error", FREE, "upstream_refused", upstream_requests=2),
    End("status=502 once", 200, None, EXACT, "ok", upstream_requests=2),
    End("status=503 once", 200, None, EXACT, "ok", upstream_requests=2),
    End("status=500 once", 502, "upstream_error", FREE, "upstream_refused"),
    End("refuse", 502, "upstream_error", FREE, "upstream_error"),
    End("delay=3", 504, "upstream_timeout", FREE, "upstream_timeout"),
    End("stall=3", 200, "upstream_timeout", ESTIMATED, "upstream_timeout"),
    End("cut=3", 200, "upstream_error", ESTIMATED, "upstream_error"),
    End("stream_error=3", 200, "upstream_error", ESTIMATED, "upstream_error"),
    End("stall=0", 200, "upstream_timeout", FREE, "upstream_timeout"),
    End("cut=0", 200, "upstream_error", FREE, "upstream_error"),
    End("stream_error=0", 200, "upstream_error", FREE, "upstream_error"),
    End("garbage", 502, "upstream_error", FREE, "upstream_error"),
    End("usage=missing", 200, None, ESTIMATED, "ok"),
    End("usage=zero", 200, None, ESTIMATED, "ok"),
    End("usage=negative", 200, None, ESTIMATED, "ok"),
    End("usage=absurd", 200, None, ESTIMATED, "ok"),
    End("usage=text", 200, None, ESTIMATED, "ok"),
    End("usage=null", 200, None, ESTIMATED, "ok"),
    End("usage=partial", 200, None, ESTIMATED, "ok"),
    End("gzip", 200, None, EXACT, "ok"),
    End("stray", 200, None, EXACT, "ok"),
    End("linger", 200, None, EXACT, "ok"),
    End("chunks=100", 200, None, EXACT, "ok"),
    End("big=300000", 200, None, EXACT, "ok"),
]

CASES = [(end, is_stream) for is_stream, ends in ((False, PLAIN), (True, STREAMED)) for end in ends]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    ("end", "is_stream"), CASES, ids=[f"{'stream' if s else 'plain'}-{e.directive or 'normal'}" for e, s in CASES]
)
def test_every_end_is_billed_right(
    request: pytest.FixtureRequest,
    upstream: FakeUpstream,
    insert_user: InsertUser,
    end: End,
    is_stream: bool,
    path: str,
) -> None:
    server: Server = request.getfixturevalue("impatient_server" if end.outcome == "upstream_timeout" else "server")
    insert_user("alice", creditsNew=1)

    response = post(server, chat(f"[[fake {end.directive}]] a few words", stream=is_stream), path=path)

    assert response.status == end.status
    if end.status != 200:
        error = response.json()["error"]
        assert error["message"]
        assert end.code is None or error["code"] == end.code
        assert response.headers["Content-Type"] == "application/json"
        if end.code == "upstream_error":
            assert "You were not charged" in error["message"]
            assert "credits" not in error["message"]
        if "retry_after" in end.directive:
            assert response.headers["Retry-After"] == "7"
    elif is_stream and end.code:
        assert last_event(response)["error"]["code"] == end.code

    assert len(upstream.requests) == end.upstream_requests
    log = RequestLog.objects.get()
    assert log.pk == response.headers["X-Request-Id"]
    assert (log.outcome, log.is_success) == (end.outcome, end.outcome == "ok")
    account = Account.objects.get(pk="alice")
    if end.billed == FREE:
        assert (log.cost, log.usage_source, account.credits_new) == (0, "none", 1)
    else:
        expected = (log.input_tokens * Decimal(1) + log.output_tokens * Decimal(5)) * Decimal("1.05") / 10**6
        assert log.cost == min(expected, log.hold)
        assert log.cost > 0
        assert log.usage_source == ("upstream" if end.billed == EXACT else "estimated")
        assert account.credits_new == 1 - log.cost
        assert bool(log.usage_problem) == (end.billed == ESTIMATED)
        assert log.output_tokens > 0
    assert_reconciles()


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_cost_beyond_the_hold_is_the_operators_loss(server: Server, insert_user: InsertUser, is_stream: bool) -> None:
    insert_user("alice", creditsNew=1)
    post(server, chat("[[fake completion_tokens=500]] x", max_tokens=10, stream=is_stream))
    log = RequestLog.objects.get()
    assert log.output_tokens == 500
    assert log.cost == log.hold
    assert log.uncollected == (log.input_tokens + 500 * 5) * Decimal("1.05") / 10**6 - log.hold
    assert Account.objects.get(pk="alice").credits_new == 1 - log.hold
    assert_reconciles()


def test_a_credit_that_goes_astray_is_seen(server: Server, usersnew: Any, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat()).status == 200
    usersnew.update_one({"_id": "alice"}, {"$inc": {"creditsNew": -0.00000001}})
    with pytest.raises(AssertionError):
        assert_reconciles()
