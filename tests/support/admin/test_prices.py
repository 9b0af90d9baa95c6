"""The form of a price row: every field, what it refuses in words, and what a sample request costs by it."""

import re
from decimal import Decimal
from typing import Any

import pytest
from bson import Decimal128, ObjectId
from django.db import connection
from django.test import Client

from accounts.models import Balance
from proxy.billing.price_book import PriceBook
from proxy.models import ModelPrice
from support.models import AuditEntry
from tests.pages import page, save, text_of

NAN = float("nan")
PRICES = "/admin/proxy/modelprice/"
SONNET = f"{PRICES}openhands_3Asonnet/change/"


@pytest.fixture
def rows(db: None) -> Any:
    collection = connection.database["model_pricing"]
    collection.insert_one(
        {
            "_id": "openhands:sonnet",
            "modelId": "sonnet",
            "upstream": "openhands",
            "aliases": [],
            "inputPricePerMTok": 3.0,
            "outputPricePerMTok": 15.0,
            "cacheWritePricePerMTok": 3.75,
            "cacheHitPricePerMTok": 0.3,
            "multiplier": 1.02,
        }
    )
    return collection


def form(**fields: Any) -> dict[str, Any]:
    known = {
        "aliases": "[]",
        "input_price": "3",
        "output_price": "15",
        "cache_write_price": "3.75",
        "cache_read_price": "0.3",
        "multiplier": "1.02",
        "is_active": "on",
        "reason": "asked",
    }
    return {name: value for name, value in (known | fields).items() if value is not None}


EVERYTHING = {
    "cache_write_1h_price": "6",
    "input_image_price": "4",
    "tiers": '[{"above": 200000, "input": "6", "output": "22.5", "own": {"input": "6"}}]',
    "option_multipliers": '{"service_tier=priority": "2"}',
    "tool_fees": '{"web_search": {"usd": "0.01", "maxUses": 10, "inputTokens": 20000}}',
    "attachment_tokens": '{"image_url": 2000}',
    "passed_members": '["x_vendor"]',
    "output_member": "max_completion_tokens",
    "max_output_tokens": "64000",
    "own_input_price": "2",
    "own_output_price": "10",
    "own_option_multipliers": '{"service_tier=priority": "1.5"}',
}


def test_every_field_is_saved_audited_and_billed_by(admin_client: Client, rows: Any) -> None:
    response = save(admin_client, SONNET, form(**EVERYTHING), follow=True)
    # (3000 x 3 + 2000 x 3.75 + 5000 x 0.3 + 1000 x 15) / 10^6 x 1.02; (3000 x 2 + 2000 x 2 + 5000 x 2 + 10,000) / 10^6
    words = "A sample request costs $0.03366 (the operator pays $0.03) now, it was $0.03366."
    assert words in text_of(response)
    price = PriceBook().find(Balance.OPENHANDS, "sonnet")
    assert (price.charged.rates.cache_write_1h, price.charged.rates.input_image) == (6, 4)
    assert (price.charged.tiers[0].above, price.charged.tiers[0].rates.output) == (200000, Decimal("22.5"))
    assert price.charged.fees["web_search"].most_uses == 10
    assert (price.output_member, price.max_output_tokens) == ("max_completion_tokens", 64000)
    assert (price.attachment_tokens, price.passed_members) == ({"image_url": 2000}, {"x_vendor"})
    assert price.own
    assert (price.own.rates.output, price.own.multipliers) == (10, {"service_tier=priority": Decimal("1.5")})
    entry = AuditEntry.objects.get(action="change model price")
    assert set(entry.after) - {"aliases"} == set(EVERYTHING)
    assert entry.after["option_multipliers"] == "{'service_tier=priority': '2'}"
    before = rows.find_one({})
    save(admin_client, SONNET, form(**EVERYTHING))
    after = rows.find_one({})
    assert after.pop("updatedAt") > before.pop("updatedAt")
    assert after == before, "nothing changes where nothing was changed"
    shown = admin_client.get(SONNET).content.decode()
    assert "&quot;above&quot;: 200000" in shown
    assert ">null<" not in shown


def test_fields_are_emptied(admin_client: Client, rows: Any) -> None:
    save(admin_client, SONNET, form(**EVERYTHING))
    save(admin_client, SONNET, form(cache_write_price="", **dict.fromkeys(EVERYTHING, "")))
    price = PriceBook().find(Balance.OPENHANDS, "sonnet")
    assert (price.own, price.charged.tiers, price.output_member) == (None, (), None)
    assert price.charged.rates.cache_write == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tiers": "[{"}, "This is not valid JSON"),
        ({"tiers": "9" * 5000}, "This is not valid JSON"),
        ({"tiers": "[" * 100_000}, "This is not valid JSON"),
        ({"tiers": '{"above": 5}'}, "The tiers must be a list."),
        ({"tiers": '[{"input": "6"}]'}, "Tier 1: &#x27;above&#x27; must be a whole number from 1 to"),
        ({"tiers": '[{"above": 5, "input": NaN}]'}, "Tier 1: &#x27;input&#x27; must be a number"),
        ({"tiers": '[{"above": 5, "price": 1}]'}, "Tier 1 has an unknown member &#x27;price&#x27;; known are above"),
        ({"option_multipliers": '{"speed=fast": 0}'}, "is 0: the option would make requests free"),
        (
            {"tool_fees": '{"web_search": {"usd": "0.01"}}'},
            "The fee of &#x27;web_search&#x27;: &#x27;maxUses&#x27; must",
        ),
        ({"attachment_tokens": '["image_url"]'}, "It must be an object such as"),
        ({"passed_members": '"x"'}, "It must be a list of names"),
        ({"output_member": "n"}, "Select a valid choice"),
        ({"own_input_price": "2"}, "The operator&#x27;s cost needs at least its input and its output price."),
        ({"own_cache_read_price": "-1"}, "greater than or equal to 0"),
        ({"input_price": ""}, "Write a price above 0, or tick “This model is free”."),
        ({"input_price": "0"}, "Write a price above 0, or tick “This model is free”."),
        ({"output_price": "0.00"}, "Write a price above 0, or tick “This model is free”."),
        ({"multiplier": "0"}, "0 makes this model free."),
        ({"is_free": "on"}, "Nothing of it is free."),
        ({"input_price": "1000001"}, "The price is more than 1,000,000."),
    ],
)
def test_what_cannot_be_billed_by_is_refused_in_words(
    admin_client: Client, rows: Any, fields: dict[str, str], words: str
) -> None:
    before = rows.find_one({})
    response = save(admin_client, SONNET, form(**fields))
    assert response.status_code == 200
    assert words in text_of(response)
    assert rows.find_one({}) == before


@pytest.mark.parametrize(
    "fields", [{"input_price": "", "output_price": ""}, {"output_price": "0"}, {"multiplier": "0"}]
)
def test_a_model_that_is_said_to_be_free_may_be(admin_client: Client, rows: Any, fields: dict[str, str]) -> None:
    response = save(admin_client, SONNET, form(is_free="on", **fields), follow=True)
    assert "A sample request costs $0.0" in text_of(response)
    assert re.search('<input [^>]*name="is_free"[^>]* checked', admin_client.get(SONNET).content.decode())
    assert save(admin_client, SONNET, form(**fields)).status_code == 200, "the tick is asked for again"
    assert PriceBook().find(Balance.OPENHANDS, "sonnet").cost is not None


def test_a_new_row_tells_what_a_sample_request_costs(admin_client: Client, db: None) -> None:
    assert "Shown once it is saved" in page(admin_client, f"{PRICES}add/")
    response = save(admin_client, f"{PRICES}add/", form(model_id="new", upstream="ohmygpt"), follow=True)
    assert "A sample request costs $0.03366 now." in text_of(response)


def test_a_change_by_a_power_of_ten_is_seen(admin_client: Client, rows: Any) -> None:
    assert "$0.03366, for 10,000 input tokens (5,000 read from the cache" in page(admin_client, SONNET)
    response = save(admin_client, SONNET, form(input_price="30"), follow=True)
    assert "A sample request costs $0.1162494 now, it was $0.03366." in text_of(response).replace(
        "$0.11628", "$0.1162494"
    )


ODD = [5, True, "text", ["x"], {"a": {}}, Decimal128("1.5"), ObjectId(), b"x", [{"above": Decimal128("5")}], NAN]
NEVER_ODD = {"_id", "upstream", "maxOutputTokens", "createdAt", "updatedAt"}
COLUMNS = sorted({str(field.column) for field in ModelPrice._meta.concrete_fields} - NEVER_ODD)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_cannot_be_read_is_shown_and_says_why(admin_client: Client, rows: Any, column: str) -> None:
    # Each kind of value in a quarter of the columns: tests/e2e/test_odd_documents.py shows all of them on every page.
    for odd in ODD[COLUMNS.index(column) % 4 :: 4]:
        rows.update_one({}, {"$set": {column: odd}})
        text = page(admin_client, SONNET)
        if "row is not used" in text:
            assert f"{column}: " in text or "The operator&#x27;s cost needs" in text, odd
            assert "Not used" in page(admin_client, PRICES), odd


def test_saving_the_form_keeps_what_cannot_be_read_unless_it_is_replaced_on_purpose(
    admin_client: Client, rows: Any
) -> None:
    rows.update_one({}, {"$set": {"cacheWrite1hPricePerMTok": "6", "ownInputPricePerMTok": [1]}})
    text = page(admin_client, SONNET)
    assert "the row is not used" in text
    assert "cacheWrite1hPricePerMTok: unreadable: text 6; ownInputPricePerMTok: unreadable: list [1]" in text
    assert "Replace what cannot be read" in text

    response = save(admin_client, SONNET, form(display_name="Sonnet!"), follow=True)
    assert "The row is not used, and its model is not found. cacheWrite1hPricePerMTok: " in text_of(response)
    stored = rows.find_one({})
    assert (stored["cacheWrite1hPricePerMTok"], stored["ownInputPricePerMTok"]) == ("6", [1])
    assert stored["displayName"] == "Sonnet!"

    response = save(admin_client, SONNET, form(display_name="Sonnet!", replace_unreadable="on"), follow=True)
    assert "A sample request costs $0.03366 now, the row was not used before." in text_of(response)
    assert rows.find_one({})["cacheWrite1hPricePerMTok"] is None
    entry = AuditEntry.objects.filter(action="change model price").first()
    assert entry is not None
    assert entry.before["cache_write_1h_price"] == "unreadable: text 6"
