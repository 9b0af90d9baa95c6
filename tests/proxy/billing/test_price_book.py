"""Prices as data: aliases, a row per upstream, old rows, changes that apply to what starts after them."""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from django.db import connection
from django.test import override_settings

from accounts.models import Balance
from development.fake_upstream.server import FakeUpstream
from development.mongod import free_port
from proxy.billing.price_book import FAILURE_SECONDS, PriceBook
from proxy.billing.seed_prices import ROWS, seed_prices
from proxy.errors import ModelNotFound, ServiceUnavailable
from proxy.models import ModelPrice, RequestLog
from tests.factories import InsertUser, InThreads, ServeWith
from tests.proxy.requests import assert_reconciles, chat, post
from tests.serving import Server

CACHE_SECONDS = 0.3
"""A little more than the server's `PRICE_CACHE_SECONDS`."""


@pytest.fixture(autouse=True)
def _let_the_server_forget() -> Iterator[None]:
    """The next test must not be served by the prices of this one."""
    yield
    time.sleep(CACHE_SECONDS)


def test_seeding_adds_what_is_missing_and_changes_nothing(prices: None) -> None:
    ModelPrice.objects.filter(upstream="openhands", model_id__startswith="claude-haiku").update(input_price=Decimal(9))
    assert seed_prices() == 0
    assert ModelPrice.objects.count() == len(ROWS)
    assert PriceBook().find(Balance.OPENHANDS, "claude-haiku-4-5").charged.rates.input == 9


def test_names_and_aliases_find_the_row_of_their_upstream(prices: None) -> None:
    book = PriceBook()
    for name in ("claude-opus-4-5", "claude-opus-4-5-20251101"):
        assert book.find(Balance.OPENHANDS, name).charged.rates.output == 20
        assert book.find(Balance.OHMYGPT, name).charged.rates.output == 25
    with pytest.raises(ModelNotFound):
        book.find(Balance.OPENHANDS, "claude-opus")


def test_an_old_row_without_an_upstream_holds_for_both(prices: None) -> None:
    connection.database["model_pricing"].insert_many(
        [
            {"_id": "old", "modelId": "gpt-old", "inputPricePerMTok": 2, "outputPricePerMTok": 8.0},
            {"_id": "older", "modelId": "claude-haiku-4-5-20251001", "inputPricePerMTok": 99, "outputPricePerMTok": 99},
            {"_id": "off", "modelId": "gpt-off", "inputPricePerMTok": 1, "outputPricePerMTok": 1, "isActive": False},
        ]
    )
    book = PriceBook()
    for upstream in Balance:
        row = book.find(upstream, "gpt-old")
        assert (row.charged.rates.input, row.charged.rates.output, row.multiplier, row.max_output_tokens) == (
            2,
            8,
            1,
            8192,
        )
        assert (row.charged.rates.cache_write, row.charged.rates.cache_read) == (2, 2)
        assert book.find(upstream, "claude-haiku-4-5-20251001").charged.rates.input == 1
        with pytest.raises(ModelNotFound):
            book.find(upstream, "gpt-off")
        assert [name for name, _ in book.list_models(upstream)].count("claude-haiku-4-5-20251001") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputPricePerMTok": None},
        {"outputPricePerMTok": None},
        {"outputPricePerMTok": "5"},
        {"inputPricePerMTok": float("nan")},
        {"inputPricePerMTok": -1},
        {"outputPricePerMTok": -0.5},
        {"cacheHitPricePerMTok": -1},
        {"multiplier": -1},
        {"tiers": "none"},
        {"toolFees": {"web_search": 1}},
        {"aliases": {"a": 1}},
        {"modelId": 5},
        {"maxOutputTokens": "many"},
        {"upstream": "elsewhere"},
    ],
)
def test_a_row_that_cannot_be_read_is_not_used_and_the_log_says_so_once(
    db: None, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    row = {"_id": "odd", "modelId": "gpt-odd", "inputPricePerMTok": 2, "outputPricePerMTok": 8.0}
    connection.database["model_pricing"].insert_many([row | wrong, row | {"_id": "good", "modelId": "gpt-good"}])
    book = PriceBook()
    with override_settings(PRICE_CACHE_SECONDS=0):
        for _ in range(2):
            with pytest.raises(ModelNotFound):
                book.find(Balance.OPENHANDS, "gpt-odd")
    assert [name for name, _ in book.list_models(Balance.OPENHANDS)] == ["gpt-good"]
    told = [record.getMessage() for record in caplog.records if "price row odd" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"price row odd is not used: {next(iter(wrong))}: ")


@pytest.mark.parametrize(
    ("odd", "not_sold"),
    [
        ({"upstream": "openhands", "outputPricePerMTok": "5"}, {"openhands"}),
        ({"upstream": "ohmygpt", "multiplier": -1}, {"ohmygpt"}),
        ({"upstream": "ohmygpt", "isActive": "no"}, {"ohmygpt"}),
        ({"upstream": 5}, {"openhands", "ohmygpt"}),
        ({"upstream": "ohmygpt", "modelId": 5, "aliases": ["gpt-short"]}, set()),
        ({"upstream": "ohmygpt", "isActive": False, "multiplier": -1}, set()),
    ],
)
def test_a_row_that_cannot_be_read_is_not_replaced_by_a_more_general_one(
    db: None, odd: dict[str, Any], not_sold: set[str]
) -> None:
    rows = connection.database["model_pricing"]
    row = {"modelId": "gpt-two", "aliases": ["gpt-short"], "inputPricePerMTok": 2, "outputPricePerMTok": 8.0}
    rows.insert_many([row | {"_id": "both"}, row | {"_id": "other", "modelId": "gpt-other", "aliases": ["gpt-o"]}])
    rows.insert_one(row | {"_id": "odd", "aliases": []} | odd)
    book = PriceBook()
    for upstream in Balance:
        assert book.find(upstream, "gpt-o").model_id == "gpt-other"
        if upstream.value in not_sold:
            with pytest.raises(ModelNotFound):
                book.find(upstream, "gpt-two")
        else:
            assert book.find(upstream, "gpt-two").model_id == "gpt-two"
    if odd.get("aliases"):
        assert book.find(Balance.OPENHANDS, "gpt-short").model_id == "gpt-two"
        with pytest.raises(ModelNotFound):
            book.find(Balance.OHMYGPT, "gpt-short")


def test_a_general_row_that_cannot_be_read_leaves_the_specific_one(db: None) -> None:
    row = {"modelId": "gpt-two", "inputPricePerMTok": 2, "outputPricePerMTok": 8.0}
    rows = connection.database["model_pricing"]
    rows.insert_many([row | {"_id": "both", "tiers": 5}, row | {"_id": "one", "upstream": "openhands"}])
    assert PriceBook().find(Balance.OPENHANDS, "gpt-two").price_id == "one"
    with pytest.raises(ModelNotFound):
        PriceBook().find(Balance.OHMYGPT, "gpt-two")


def test_a_time_or_a_text_that_cannot_be_decoded_keeps_no_row_from_being_read(db: None) -> None:
    row = {"_id": "old", "modelId": "gpt-old", "inputPricePerMTok": 2, "outputPricePerMTok": 8.0}
    far = {"createdAt": DatetimeMS(2**60), "updatedAt": DatetimeMS(-(2**60))}
    text = RawBSONDocument(bson.encode({**row, **far, "displayName": "XXXX"}).replace(b"XXXX", b"\xff\xfeXX"))
    connection.database["model_pricing"].insert_one(text)
    assert PriceBook().find(Balance.OPENHANDS, "gpt-old").charged.rates.input == 2


def test_what_a_row_lacks_beside_its_price_is_never_free(db: None) -> None:
    row = {"_id": "old", "modelId": "gpt-old", "inputPricePerMTok": 2, "outputPricePerMTok": 0}
    texts = {"cacheWritePricePerMTok": "1", "cacheHitPricePerMTok": "1", "multiplier": "2"}
    connection.database["model_pricing"].insert_one(row | texts)
    price = PriceBook().find(Balance.OPENHANDS, "gpt-old")
    rates = price.charged.rates
    assert (rates.output, rates.cache_write, rates.cache_read, price.multiplier) == (0, 2, 2, 1)
    assert rates.cache_write_1h == 4, "twice the input price"


def test_a_model_without_a_price_is_never_forwarded(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    connection.database["model_pricing"].update_many({}, {"$unset": {"outputPricePerMTok": ""}})
    time.sleep(CACHE_SECONDS)
    assert post(server, chat()).status == 404
    assert not upstream.requests


def test_a_change_applies_to_requests_that_start_after_it(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    before = post(server, chat()).headers["X-Request-Id"]
    row = ModelPrice.objects.filter(upstream="openhands", model_id__startswith="claude-haiku")
    row.update(output_price=Decimal(50))
    time.sleep(CACHE_SECONDS)
    after = post(server, chat()).headers["X-Request-Id"]
    old, new = RequestLog.objects.get(pk=before), RequestLog.objects.get(pk=after)
    assert (old.price["output"], new.price["output"]) == ("5.00000000", "50.00000000")
    assert new.cost == (new.input_tokens + new.output_tokens * 50) * Decimal("1.05") / 10**6
    row.update(is_active=False)
    time.sleep(CACHE_SECONDS)
    refused = post(server, chat())
    assert (refused.status, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert_reconciles()


def test_the_upstreams_own_name_of_a_model_is_sent(
    server: Server, upstream: FakeUpstream, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    row = ModelPrice.objects.filter(upstream="openhands", model_id__startswith="claude-haiku")
    row.update(upstream_model_id="claude-opus-4-5-20251101")
    time.sleep(CACHE_SECONDS)
    for path in ("/v1/chat/completions", "/v1/messages"):
        assert post(server, chat(), path=path).status == 200
        assert upstream.requests[-1].json()["model"] == "claude-opus-4-5-20251101"


@pytest.fixture
def break_prices(db: None) -> Iterator[Callable[[], None]]:
    """Make every read of the prices fail, until the test ends: a view that divides by zero stands in their place."""
    database = connection.database

    def break_them() -> None:
        database["model_pricing"].rename("model_pricing_kept")
        failing = [{"$set": {"broken": {"$divide": [1, 0]}}}]
        database.command("create", "model_pricing", viewOn="model_pricing_kept", pipeline=failing)

    yield break_them
    if "model_pricing_kept" in database.list_collection_names():
        database["model_pricing"].drop()
        database["model_pricing_kept"].rename("model_pricing")


def test_known_prices_serve_for_a_while_when_they_cannot_be_read(
    serve_with: ServeWith,
    insert_user: InsertUser,
    break_prices: Callable[[], None],
    in_threads: InThreads,
) -> None:
    insert_user("alice", creditsNew=1)
    server = serve_with(GUNICORN_WORKERS="1")  # One that knows the prices, and no other.
    assert post(server, chat()).status == 200
    break_prices()
    time.sleep(CACHE_SECONDS)
    assert in_threads(12, lambda _: post(server, chat()).status) == [200] * 12
    assert "the prices cannot be read" in server.log()
    assert_reconciles()


def test_prices_that_were_never_read_are_an_error_until_they_can_be(
    prices: None, break_prices: Callable[[], None], in_threads: InThreads
) -> None:
    book = PriceBook()
    break_prices()

    def find(_: int) -> str:
        try:
            return book.find(Balance.OPENHANDS, "claude-haiku-4-5").model_id
        except ServiceUnavailable as error:
            return error.code

    assert in_threads(8, find) == ["service_unavailable"] * 8
    database = connection.database
    database["model_pricing"].drop()
    database["model_pricing_kept"].rename("model_pricing")
    assert find(0) == "service_unavailable", "a failure is remembered for a second"
    time.sleep(FAILURE_SECONDS)
    assert find(0) == "claude-haiku-4-5-20251001"


def test_many_requests_without_a_database_wait_for_one_time_out_together(
    serve_with: ServeWith, insert_user: InsertUser, in_threads: InThreads
) -> None:
    insert_user("alice", creditsNew=1)
    url = f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0"
    server = serve_with(GUNICORN_WORKERS="1", DATABASE_URL=url, DATABASE_TIMEOUT_MS="500")
    started = time.monotonic()
    assert in_threads(16, lambda _: post(server, chat()).status) == [503] * 16
    assert time.monotonic() - started < 16 * 0.5, "one after the other"


def test_a_free_model_is_metered_too(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice")
    ModelPrice.objects.filter(upstream="openhands", model_id__startswith="claude-haiku").update(multiplier=Decimal(0))
    time.sleep(CACHE_SECONDS)
    assert post(server, chat()).status == 200
    log = RequestLog.objects.get()
    assert (log.cost, log.hold) == (0, 0)
    assert log.output_tokens > 0
    assert_reconciles()


@pytest.mark.parametrize("choices", [1, 4])
def test_every_choice_is_in_the_worst_case(server: Server, insert_user: InsertUser, choices: int) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(n=choices, max_tokens=1000)).status == 200
    hold = RequestLog.objects.get().hold
    output = choices * 1000 * Decimal("5.25") / 10**6
    assert output < hold < output + Decimal("0.0003")


def test_the_larger_of_the_two_output_limits_is_held(server: Server, insert_user: InsertUser) -> None:
    insert_user("alice", creditsNew=1)
    assert post(server, chat(max_tokens=10, max_completion_tokens=2000)).status == 200
    assert RequestLog.objects.get().hold > 2000 * Decimal("5.25") / 10**6
