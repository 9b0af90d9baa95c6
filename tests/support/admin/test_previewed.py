"""Forms of prices and promotions show what they would change, and save what was shown or nothing."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from payments.models import Promotion
from proxy.models import ModelPrice
from support.models import AuditEntry
from tests.factories import InThreads, LogIn
from tests.pages import page, save, text_of

SONNET = "/admin/proxy/modelprice/openhands_3Asonnet/change/"
NEW_PRICE = "/admin/proxy/modelprice/add/"
NEW_PROMOTION = "/admin/payments/promotion/add/"
PRICE = {"aliases": "[]", "input_price": "3", "output_price": "15", "multiplier": "1", "is_active": "on"}
PRICE |= {"own_input_price": "2", "own_output_price": "10", "reason": "asked"}
PROMOTION = {"name": "Tet", "percent": "20", "is_active": "on", "reason": "new year", "starts_at_1": "00:00"}
PROMOTION |= {"starts_at_0": "01/12/2099", "ends_at_0": "2099-12-31", "ends_at_1": "12:30"}


@pytest.fixture
def sonnet(db: None) -> Any:
    ModelPrice.objects.all().delete()
    row = {"id": "openhands:sonnet", "model_id": "sonnet", "upstream": "openhands", "input_price": Decimal(3)}
    row |= {"output_price": Decimal(15), "own_input_price": Decimal(2), "own_output_price": Decimal(10)}
    ModelPrice.objects.create(**row)
    return connection.database["model_pricing"]


def token_of(response: Any) -> str:
    return re.search(r'name="token" value="([^"]+)"', response.content.decode())[1]  # type: ignore[index]


def seen_of(response: Any) -> str:
    return re.search(r'name="seen" value="([^"]*)"', response.content.decode())[1]  # type: ignore[index]


def test_a_price_is_shown_before_it_is_saved(admin_client: Client, sonnet: Any) -> None:
    before = sonnet.find_one({})
    response = admin_client.post(SONNET, PRICE | {"input_price": "30", "cache_read_price": "0"})
    text = text_of(response)
    assert sonnet.find_one({}) == before
    assert "Change model price sonnet (OpenHands)" in text
    assert "Input 3 30" in text
    assert "Cache read – 0" in text
    # 1,000 x 3 + 500 x 15 = 10,500; 1,000 x 30 + 7,500 = 37,500; 1,000 x 2 + 500 x 10 = 7,000 millionths.
    assert "A usual request (1,000 input and 500 output tokens) costs $0.0105 $0.0375" in text
    assert "Its margin $0.0035 (the operator pays $0.007), 33.3 % of the price $0.0305" in text
    assert "Requests for it answered and billed answered and billed" in text
    assert "Reason: asked" in text
    assert not AuditEntry.objects.filter(action="change model price").exists()
    saved = admin_client.post(
        SONNET, PRICE | {"input_price": "30", "cache_read_price": "0", "token": token_of(response), "confirm": "1"}
    )
    assert saved.status_code == 302
    assert sonnet.find_one({})["inputPricePerMTok"] == 30
    after = AuditEntry.objects.get(action="change model price").after
    assert {name: after[name] for name in after if name != "aliases"} == {"input_price": "30", "cache_read_price": "0"}


def test_a_price_that_loses_money_and_one_that_stops_are_said(admin_client: Client, sonnet: Any) -> None:
    text = text_of(
        admin_client.post(
            SONNET,
            {name: v for name, v in PRICE.items() if name != "is_active"} | {"input_price": "0.1", "output_price": "1"},
        )
    )
    assert "a loss of $0.0064 (the operator pays $0.007)" in text
    assert "Active yes no" in text
    assert "answered and billed refused: the row is not active" in text
    free = text_of(admin_client.post(SONNET, PRICE | {"is_free": "on", "input_price": "", "output_price": "0"}))
    assert "$0.0105 nothing: it is free" in free


@pytest.mark.parametrize("has_preview", [False, True])
def test_what_was_not_shown_is_not_saved(admin_client: Client, sonnet: Any, has_preview: bool) -> None:
    token = token_of(admin_client.post(SONNET, PRICE | {"input_price": "4"})) if has_preview else "forged"
    before = sonnet.find_one({})
    response = admin_client.post(SONNET, PRICE | {"input_price": "40", "token": token, "confirm": "1"})
    words = "These are not the values of the preview." if has_preview else "This preview is too old."
    assert words in text_of(response)
    assert "Input 3 40" in text_of(response)
    assert sonnet.find_one({}) == before
    assert save_confirmed(admin_client, response, PRICE | {"input_price": "40"}).status_code == 302


def save_confirmed(client: Client, shown: Any, form: dict[str, str], address: str = SONNET) -> Any:
    return client.post(address, form | {"token": token_of(shown), "confirm": "1"})


def test_a_preview_of_somebody_else_confirms_nothing(log_in: LogIn, sonnet: Any) -> None:
    form = PRICE | {"input_price": "4"}
    shown = log_in("Billing admin", "boss").post(SONNET, form)
    assert "This preview is too old." in text_of(save_confirmed(log_in("Billing admin", "other"), shown, form))
    assert sonnet.find_one({})["inputPricePerMTok"] == 3


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(admin_client: Client, sonnet: Any) -> None:
    opened = admin_client.get(SONNET)
    form = PRICE | {"display_name": "Sonnet", "seen": seen_of(opened)}
    shown = admin_client.post(SONNET, form)
    ModelPrice.objects.update(output_price=Decimal(20))
    refused = save_confirmed(admin_client, shown, form)
    assert "Somebody else has changed this since you opened the form." in text_of(refused)
    assert 'name="confirm"' not in refused.content.decode()
    assert "Somebody else has changed this" in text_of(admin_client.post(SONNET, form)), "before the preview, too"
    assert sonnet.find_one({})["outputPricePerMTok"] == 20
    without = {name: value for name, value in form.items() if name != "seen"}
    shown = admin_client.post(SONNET, without)
    ModelPrice.objects.update(output_price=Decimal(21))
    assert "This has changed since the preview" in text_of(save_confirmed(admin_client, shown, without))
    assert sonnet.find_one({})["outputPricePerMTok"] == 21
    assert not AuditEntry.objects.filter(action="change model price").exists()


def test_of_two_confirmations_at_once_one_is_saved(log_in: LogIn, sonnet: Any, in_threads: InThreads) -> None:
    clients = [log_in("Billing admin", name) for name in ("boss", "other")]
    forms = [PRICE | {"input_price": price} for price in ("4", "5")]
    shown = [client.post(SONNET, form) for client, form in zip(clients, forms, strict=True)]

    def confirm(index: int) -> int:
        return int(save_confirmed(clients[index], shown[index], forms[index]).status_code)

    statuses = in_threads(2, confirm)
    assert sorted(statuses) == [200, 302]
    assert sonnet.find_one({})["inputPricePerMTok"] == (4 if statuses[0] == 302 else 5)
    assert AuditEntry.objects.filter(action="change model price", outcome="done").count() == 1


def test_back_keeps_what_was_typed(admin_client: Client, sonnet: Any) -> None:
    form = PRICE | {"input_price": "4.125", "display_name": "Sonnet, new"}
    again = admin_client.post(SONNET, form | {"back": "1"})
    content = again.content.decode()
    assert again.status_code == 200
    assert 'value="4.125"' in content
    assert 'value="Sonnet, new"' in content
    assert "Please correct the error" not in content
    assert sonnet.find_one({})["inputPricePerMTok"] == 3


def test_a_new_price_begins_empty_and_is_never_zero_in_silence(admin_client: Client, sonnet: Any) -> None:
    content = admin_client.get(NEW_PRICE).content.decode()
    for name in ("input_price", "output_price", "cache_read_price", "own_input_price"):
        found = re.search(rf'<input[^>]*name="{name}"[^>]*>', content)
        assert found
        assert "value=" not in found[0]
        assert 'type="text"' in found[0]
    assert "0E" not in content
    assert "Write a price above 0, or tick" in text_of(
        admin_client.post(NEW_PRICE, {**PRICE, "model_id": "new", "input_price": "0"})
    )
    ModelPrice.objects.update(cache_read_price=Decimal("0E-8"), input_price=Decimal("0.00000015"))
    content = admin_client.get(SONNET).content.decode()
    assert re.search(
        '<input[^>]*name="cache_read_price"[^>]*value="0"|<input[^>]*value="0"[^>]*name="cache_read_price"', content
    )
    assert 'value="0.00000015"' in content
    assert (
        "E-"
        not in re.sub(r'name="(token|csrfmiddlewaretoken|seen)" value="[^"]*"', "", content)
        .split("</head>")[1]
        .split("<script")[0]
    )


def test_a_new_row_is_added_once(admin_client: Client, sonnet: Any) -> None:
    form = PRICE | {"model_id": "new", "upstream": "openhands"}
    shown = admin_client.post(NEW_PRICE, form)
    assert "Add model price" in text_of(shown)
    assert "costs – $0.0105" in text_of(shown)
    assert sonnet.count_documents({}) == 1
    assert save_confirmed(admin_client, shown, form, NEW_PRICE).status_code == 302
    assert "There is a price row for new" in text_of(save_confirmed(admin_client, shown, form, NEW_PRICE))
    assert sonnet.count_documents({}) == 2


def test_a_comma_and_an_exponent_are_refused_where_prices_are_typed(admin_client: Client, sonnet: Any) -> None:
    for typed, words in (("1,5", "has a comma"), ("1e2", "has an exponent"), ("１", "Use the digits 0 to 9.")):
        response = admin_client.post(SONNET, PRICE | {"input_price": typed})
        assert words in text_of(response)
        assert f'value="{typed}"' in response.content.decode()


def test_a_promotion_says_when_it_runs_and_what_it_gives(admin_client: Client) -> None:
    response = admin_client.post(NEW_PROMOTION, PROMOTION)
    text = text_of(response)
    assert (
        "Runs – from Tuesday, 1 December 2099, 00:00 UTC until Thursday, 31 December 2099, 12:30 UTC: 30 days" in text
    )
    assert "An order of $20 in that time $20.00, no bonus $20.00 and a bonus of $4.00: $24.00" in text
    assert "An order of $100 in that time $100.00, no bonus $100.00 and a bonus of $20.00: $120.00" in text
    assert not Promotion.objects.exists()
    assert save_confirmed(admin_client, response, PROMOTION, NEW_PROMOTION).status_code == 302
    promotion = Promotion.objects.get()
    assert (promotion.starts_at, promotion.percent) == (datetime(2099, 12, 1, tzinfo=UTC), 20)
    again = save_confirmed(admin_client, response, PROMOTION, NEW_PROMOTION)
    assert again.status_code == 302
    assert Promotion.objects.count() == 1
    assert "This was done already" in page(admin_client, again["Location"])
    assert AuditEntry.objects.filter(action="add promotion").count() == 1


def test_a_promotion_in_the_american_order_is_refused(admin_client: Client) -> None:
    response = admin_client.post(NEW_PROMOTION, PROMOTION | {"starts_at_0": "12/31/2099"})
    assert "“12/31/2099” is no date: there is no month 31." in text_of(response)
    assert 'value="12/31/2099"' in response.content.decode()


def test_a_change_of_a_promotion_shows_both_and_its_neighbours(admin_client: Client) -> None:
    now = timezone.now()
    fields = {"starts_at": now - timedelta(days=1), "ends_at": now + timedelta(days=3, minutes=5)}
    promotion = Promotion.objects.create(name="Tet", percent=Decimal(20), **fields)
    Promotion.objects.create(name="Old", percent=Decimal(90), starts_at=now, ends_at=now + timedelta(days=1))
    Promotion.objects.create(
        name="Far", percent=Decimal(50), starts_at=now + timedelta(days=90), ends_at=now + timedelta(days=91)
    )
    address = f"/admin/payments/promotion/{promotion.pk}/change/"
    form = {"name": "Tet", "percent": "25", "reason": "asked", "starts_at_0": f"{fields['starts_at']:%Y-%m-%d}"}
    form |= {"starts_at_1": f"{fields['starts_at']:%H:%M:%S}", "ends_at_0": f"{fields['ends_at']:%Y-%m-%d}"}
    form |= {"ends_at_1": f"{fields['ends_at']:%H:%M:%S}"}
    text = text_of(admin_client.post(address, form | {"is_active": "on"}))
    assert "Percent 20 25" in text
    assert "$20.00 and a bonus of $4.00: $24.00 $20.00 and a bonus of $5.00: $25.00" in text
    assert "Now runs: it ends in 3 days" in text
    assert "At the same time: Old 90 %" in text
    assert "Far" not in text
    assert "off: it is not active" in text_of(admin_client.post(address, form))
    assert save(admin_client, address, form).status_code == 302
    assert Promotion.objects.get(pk=promotion.pk).is_active is False
