"""VietQR: the standard's own example, and an image without a third party."""

import base64
from typing import Any
from urllib.parse import unquote

import pytest

from payments.providers.vietqr import find_bin, image_uri, transfer_payload
from tests.factories import CallApi, InsertUser

VECTOR = (
    "00020101021238530010A0000007270123000697041601092576788590208QRIBFTTA"
    "53037045405100005802VN62150811Chuyen tien630453E6"
)


def test_the_published_vector_is_reproduced() -> None:
    payload = transfer_payload(bank_bin="970416", account="257678859", amount_vnd=10_000, memo="Chuyen tien")
    assert payload == VECTOR


@pytest.mark.parametrize(
    ("bank", "found"),
    [("Vietcombank", "970436"), ("mb bank", "970422"), ("970416", "970416"), ("Nobank", None), ("", None)],
)
def test_a_bank_is_known_by_name_or_number(bank: str, found: str | None) -> None:
    assert find_bin(bank) == found


def test_the_image_is_data_and_asks_nobody() -> None:
    uri = image_uri(VECTOR)
    header, _, content = uri.partition(",")
    assert header.startswith("data:image/svg+xml")
    svg = base64.b64decode(content).decode() if "base64" in header else unquote(content)
    assert svg.startswith("<svg")


def test_checkout_gives_the_transfer_as_text_and_as_a_local_code(
    api: CallApi, insert_user: InsertUser, settings: Any
) -> None:
    settings.SEPAY_ACCOUNT_NAME = "NGUYEN VAN A"
    insert_user("alice")
    answer = api("POST", "checkout", user="alice", json={"credits": 20}).json()
    assert (answer["bank"], answer["accountNumber"], answer["accountName"]) == (
        "Vietcombank",
        "0123499999",
        "NGUYEN VAN A",
    )
    assert answer["memo"] == answer["orderCode"]
    assert answer["qrData"] == transfer_payload(
        bank_bin="970436", account="0123499999", amount_vnd=50_000, memo=answer["orderCode"]
    )
    assert answer["qrImage"].startswith("data:image/svg+xml")
    settings.SEPAY_BANK = "Some other bank"
    answer = api("POST", "checkout", user="alice", json={"credits": 20}).json()
    assert "qrImage" not in answer
    assert answer["qrCodeUrl"].startswith("https://qr.sepay.vn/img?")
