"""How much of the payment API one key, or one stranger, can use."""

from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from django.db import connection

from payments.errors import TooManyOpenOrders
from payments.inbox.bad_signatures import read_bad_signatures
from payments.models import Payment
from tests.factories import CallApi, Deliver, InsertUser, InThreads, MakeOrder
from tests.payments.conftest import transfer
from tests.payments.fakes import FakeStripe
from tests.payments.senders import send_stripe, session, stripe_event


def order(api: CallApi, **fields: Any) -> requests.Response:
    return api("POST", "checkout", user="alice", json={"credits": 20, **fields})


def operations() -> int:
    counters = connection.database.client.admin.command("serverStatus")["opcounters"]
    return sum(counters[name] for name in ("query", "insert", "update", "delete"))


def test_an_account_has_so_many_open_orders_at_a_time(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    insert_user("bob")
    assert [order(api).status_code for _ in range(7)] == [200] * 5 + [429] * 2
    refused = order(api)
    assert refused.json()["code"] == "too_many_open_orders"
    assert 14 * 60 < int(refused.headers["Retry-After"]) <= 15 * 60
    assert "5 unpaid orders" in refused.json()["error"]
    assert "15 minutes" in refused.json()["error"]
    assert Payment.objects.count() == 5
    assert api("POST", "checkout", user="bob", json={"credits": 20}).status_code == 200


def test_the_limit_holds_for_orders_at_once(api: CallApi, insert_user: InsertUser, in_threads: InThreads) -> None:
    insert_user("alice")
    answers = in_threads(25, lambda _: order(api))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 20
    assert Payment.objects.count() == 5


@pytest.mark.usefixtures("stripe")
def test_orders_by_any_method_count_together(api: CallApi, insert_user: InsertUser) -> None:
    insert_user("alice")
    methods = ["stripe", "sepay"] * 4
    assert [order(api, method=method).status_code for method in methods] == [200] * 5 + [429] * 3


def test_what_is_paid_or_over_or_failed_is_not_open(api: CallApi, deliver: Deliver, make_order: MakeOrder) -> None:
    for _ in range(3):
        make_order(minutes_ago=16)
    code = order(api).json()["orderCode"]
    for _ in range(4):
        assert order(api).status_code == 200
    assert order(api).status_code == 429
    assert deliver(transfer(code)).status_code == 200
    assert order(api).status_code == 200
    assert order(api).status_code == 429


def test_orders_that_the_provider_refused_are_not_open(
    api: CallApi, stripe: FakeStripe, insert_user: InsertUser
) -> None:
    insert_user("alice")
    stripe.is_down = True
    assert {order(api, method="stripe").status_code for _ in range(6)} == {502}


@pytest.mark.usefixtures("stripe")
def test_an_order_that_a_slow_bank_is_paying_is_not_open(api: CallApi, site: str, insert_user: InsertUser) -> None:
    insert_user("alice")
    code = order(api, method="stripe").json()["orderCode"]
    for _ in range(4):
        assert order(api, method="stripe").status_code == 200
    assert order(api).status_code == 429
    unpaid = session(code, "pi_1", payment_status="unpaid")
    assert send_stripe(site, stripe_event("checkout.session.completed", unpaid)).status_code == 200
    assert order(api).status_code == 200


def test_the_time_that_is_told_is_when_one_more_passes(make_order: MakeOrder, settings: Any) -> None:
    settings.OPEN_ORDERS_LIMIT = 2
    make_order(minutes_ago=10)
    make_order(minutes_ago=4)
    with pytest.raises(TooManyOpenOrders) as caught:
        make_order()
    assert caught.value.retry_seconds == pytest.approx(5 * 60, abs=5)
    settings.OPEN_ORDERS_LIMIT = 1
    with pytest.raises(TooManyOpenOrders) as caught:
        make_order()
    assert caught.value.retry_seconds == pytest.approx(11 * 60, abs=5)
    settings.OPEN_ORDERS_LIMIT = 0
    make_order()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "history", 200),
        ("GET", "history-paginated?limit=100", 200),
        ("GET", "user-stats", 200),
        ("GET", "000000000000000000000000/status", 404),
        ("POST", "checkout", 400),
    ],
)
def test_a_key_has_a_rate(
    api: CallApi, insert_user: InsertUser, settings: Any, method: str, path: str, status: int
) -> None:
    settings.FREE_REQUESTS_PER_MINUTE = 6
    username = f"rate{status}{len(path)}"
    insert_user(username)
    answers = [api(method, path, user=username) for _ in range(20)]
    assert [answer.status_code for answer in answers[:6]] == [status] * 6
    assert answers[-1].status_code == 429
    assert answers[-1].json()["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
    before = operations()
    for _ in range(10):
        api(method, path, user=username)
    assert operations() - before < 10


def test_unknown_keys_stop_asking_the_database(api: CallApi, settings: Any, db: None) -> None:
    settings.REFUSALS_PER_MINUTE = 6
    answers = [api("GET", "history", user="unknown-here") for _ in range(20)]
    assert [answer.status_code for answer in answers[:6]] == [401] * 6
    assert (answers[-1].status_code, answers[-1].json()["code"]) == (429, "rate_limit_exceeded")


def test_a_flood_of_bad_signatures_is_counted_in_few_writes(deliver: Deliver, settings: Any, db: None) -> None:
    settings.UNKNOWN_KEYS_PER_MINUTE = 10
    today = datetime.now(UTC).date()
    counted = read_bad_signatures(day=today).get("sepay", 0)
    before = operations()
    assert {deliver(transfer(), key="wrong").status_code for _ in range(60)} == {401}
    assert operations() - before < 50
    settings.UNKNOWN_KEYS_PER_MINUTE = 0
    assert deliver(transfer(), key="wrong").status_code == 401
    assert read_bad_signatures(day=today)["sepay"] - counted == 61
    assert deliver(transfer()).status_code == 200


def test_what_anybody_may_read_is_read_seldom_under_load(api: CallApi, settings: Any, db: None) -> None:
    settings.PUBLIC_READS_PER_MINUTE = 5
    before = operations()
    answers = [api("GET", "config") for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert operations() - before < 40


def test_the_document_is_made_seldom_for_one_address(site: str, settings: Any, db: None) -> None:
    settings.FREE_REQUESTS_PER_MINUTE = 20
    answers = [
        requests.get(f"{site}/api/schema", headers={"X-Forwarded-For": f"10.0.0.{number}"}, timeout=20)
        for number in range(5)
    ]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
