"""SePay: bank transfers in Vietnam, found by the order code in their memo.

https://developer.sepay.vn/en/sepay-webhooks
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.conf import settings

from payments.errors import InvalidSignature, MalformedEvent, StaleSignature
from payments.models import Payment
from payments.orders.codes import find_candidates, normalise
from payments.providers import sepay_api, vietqr
from payments.providers.base import (
    InstructionField,
    Instructions,
    Provider,
    Rate,
    as_bytes,
    is_one_of,
    is_within_window,
    read_iso_time,
)
from payments.providers.event_json import (
    guess_amount,
    parse_object,
    read_identifier,
    read_optional_text,
    read_text,
    read_whole_number,
    scan_members,
)
from payments.providers.events import BankTransfer, MoneyReceived, NoMoney, ProviderEvent

TIME_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
"""SePay writes local times without an offset."""

_WEBHOOK_NAMES = {
    "account": "accountNumber",
    "sub_account": "subAccount",
    "amount": "transferAmount",
    "reference": "referenceCode",
    "time": "transactionDate",
    "content": "content",
}
_LISTED_NAMES = {
    "account": "account_number",
    "sub_account": "va",
    "amount": "amount_in",
    "reference": "reference_number",
    "time": "transaction_date",
    "content": "transaction_content",
}

_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SePay(Provider):
    """Verifies by API key (`Authorization: Apikey …`) or by HMAC-SHA256, whichever the delivery carries."""

    name = "sepay"
    label = "SePay"
    sells = True
    instruction_fields = (
        InstructionField("qrCodeUrl", "An image of the code, at SePay.", is_url=True),
        InstructionField("bank"),
        InstructionField("accountNumber"),
        InstructionField("accountName"),
        InstructionField("memo", "What the transfer must say."),
        InstructionField("qrData", "The VietQR code's text."),
        InstructionField("qrImage", "The code as a data: URI, without a third party."),
    )
    stored_headers = ("X-SePay-Timestamp",)
    keeps_stale = True  # Whether SePay signs a retry anew is undocumented.

    def is_enabled(self) -> bool:
        return bool(settings.SEPAY_API_KEYS or settings.SEPAY_WEBHOOK_SECRETS)

    def verify(self, *, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        signature = headers.get("X-SePay-Signature")
        if signature is not None and settings.SEPAY_WEBHOOK_SECRETS:
            _verify_hmac(body, signature, headers.get("X-SePay-Timestamp", ""), now)
            return
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "apikey" or not is_one_of(as_bytes(key.strip()), settings.SEPAY_API_KEYS):
            raise InvalidSignature("The delivery carries no valid API key or signature of SePay.")

    def read(self, *, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        payload = parse_object(body)
        is_listed = "transferAmount" not in payload and "transaction_content" in payload
        return _read_listed(payload) if is_listed else _read_webhook(payload)

    def guess(self, *, body: bytes, headers: Mapping[str, str]) -> MoneyReceived | None:
        members = scan_members(body)
        is_listed = "amount_in" in members
        if not is_listed and members.get("transferType", "").lower() != "in":
            return None
        names = _LISTED_NAMES if is_listed else _WEBHOOK_NAMES
        found = {ours: members.get(theirs, "") for ours, theirs in names.items()}
        amount = guess_amount(found["amount"], has_decimals=False)
        occurred_at = read_iso_time(found["time"], default_zone=TIME_ZONE)
        if amount is None or occurred_at is None:
            return None
        return _Transfer(
            transaction_id=members.get("id", "")[:100] or f"unreadable:{hashlib.sha256(body).hexdigest()}",
            account=found["account"],
            sub_account=found["sub_account"],
            amount=amount,
            reference=found["reference"],
            occurred_at=occurred_at.astimezone(TIME_ZONE).replace(microsecond=0),
            content=found["content"],
            other_texts=(members.get("code", ""), members.get("description", "")),
        ).receipt()

    def can_sell(self) -> bool:
        return bool(settings.SEPAY_ACCOUNT_NUMBER and settings.SEPAY_BANK) and self.is_enabled()

    def rate(self) -> Rate:
        return Rate(Decimal(settings.ORDER_VND_PER_USD), "VND")

    def instructions(self, order: Payment) -> Instructions:
        """What to transfer, where, with which memo: as text, as a code made here, and as SePay's image of the code."""
        memo, account, bank = str(order.order_code), settings.SEPAY_ACCOUNT_NUMBER, settings.SEPAY_BANK
        query = {"acc": account, "bank": bank, "amount": int(order.amount), "des": memo}
        texts = {
            "qrCodeUrl": "https://qr.sepay.vn/img?" + urlencode(query),
            "bank": bank,
            "accountNumber": account,
            "accountName": settings.SEPAY_ACCOUNT_NAME,
            "memo": memo,
        }
        bank_bin = vietqr.find_bin(bank)
        if bank_bin:
            payload = vietqr.transfer_payload(
                bank_bin=bank_bin, account=account, amount_vnd=int(order.amount), memo=memo
            )
            texts |= {"qrData": payload, "qrImage": vietqr.image_uri(payload)}
        return Instructions(texts)

    def can_pull(self) -> bool:
        return bool(settings.SEPAY_API_TOKEN)

    def pull(self, *, since: datetime, until: datetime, open_sessions: Iterable[str]) -> Iterator[bytes]:
        return sepay_api.list_transfers(since=since.astimezone(TIME_ZONE), until=until.astimezone(TIME_ZONE))


def _verify_hmac(body: bytes, signature: str, timestamp: str, now: datetime) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise InvalidSignature("X-SePay-Timestamp must be a Unix time in seconds.")
    message = timestamp.encode() + b"." + body
    expected = [
        "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        for secret in settings.SEPAY_WEBHOOK_SECRETS
    ]
    if not is_one_of(as_bytes(signature.strip()), expected):
        raise InvalidSignature("X-SePay-Signature does not match the body.")
    if not is_within_window(int(timestamp), now):
        raise StaleSignature("The signature is right, but its timestamp is too far from now.")


@dataclass(frozen=True)
class _Transfer:
    """A bank transfer, from a webhook or from the list."""

    transaction_id: str
    account: str
    sub_account: str
    amount: Decimal
    reference: str
    occurred_at: datetime
    content: str
    other_texts: tuple[str, ...]

    @property
    def order_codes(self) -> tuple[str, ...]:
        return find_candidates((self.content, *self.other_texts), settings.ORDER_CODE_PREFIX)

    @property
    def key(self) -> str:
        """What the transfer is, whichever id a report gives it: webhooks and the list do not share ids.

        The bank's reference alone is not unique (some have four digits), so the day, the account, the amount and the
        codes count too; without a reference, the second and the memo.
        """
        if self.reference:
            parts = [normalise(self.reference), f"{self.occurred_at:%Y-%m-%d}", ",".join(sorted(self.order_codes))]
        else:
            parts = [f"{self.occurred_at:%Y-%m-%d %H:%M:%S}", normalise(self.content)]
        text = "|".join([self.account, f"{self.amount.normalize():f}", *parts])
        return "sepay:" + hashlib.sha256(text.encode()).hexdigest()[:40]

    def receipt(self) -> MoneyReceived:
        if self.amount == 0:
            raise MalformedEvent("An incoming transfer must have an amount above 0.")
        accounts = frozenset(filter(None, map(_plain, (self.account, self.sub_account))))
        expected = _plain(settings.SEPAY_ACCOUNT_NUMBER)
        is_ours = not expected or expected in accounts
        return MoneyReceived(
            transaction_id=self.transaction_id,
            transfer_key=self.key,
            amount=self.amount,
            currency="VND",
            order_codes=self.order_codes,
            occurred_at=self.occurred_at,
            problem="" if is_ours else f"wrong account: the money came to {self.account}",
            transfer=BankTransfer(
                accounts=accounts,
                reference=_plain(self.reference),
                memo=normalise(self.content),
            ),
            memo=self.content,
            reference=self.reference,
        )


def _plain(number: str) -> str:
    """An account or reference as all reports of it can be compared: other programs drop zeros in front."""
    return normalise(number).lstrip("0")


def _read_webhook(payload: dict[str, Any]) -> ProviderEvent:
    direction = read_text(payload, "transferType").strip().lower()
    if direction not in ("in", "out"):
        raise MalformedEvent("'transferType' must be 'in' or 'out'.")
    transfer = _Transfer(
        transaction_id=read_identifier(payload, "id"),
        account=read_identifier(payload, "accountNumber"),
        sub_account=read_optional_text(payload, "subAccount"),
        amount=read_whole_number(payload, "transferAmount"),
        reference=read_optional_text(payload, "referenceCode"),
        occurred_at=_read_time(payload, "transactionDate"),
        content=read_text(payload, "content"),
        other_texts=(read_optional_text(payload, "code"), read_optional_text(payload, "description")),
    )
    if direction == "out":
        return ProviderEvent(transfer.transaction_id, NoMoney("outgoing transfer"), kind="transfer out")
    return ProviderEvent(transfer.transaction_id, transfer.receipt(), kind="transfer in")


def _read_listed(payload: dict[str, Any]) -> ProviderEvent:
    """A transaction of the list API, which has its own ids and field names."""
    transfer = _Transfer(
        transaction_id=read_identifier(payload, "id"),
        account=read_identifier(payload, "account_number"),
        sub_account=read_optional_text(payload, "va"),
        amount=read_whole_number(payload, "amount_in"),
        reference=read_optional_text(payload, "reference_number"),
        occurred_at=_read_time(payload, "transaction_date"),
        content=read_text(payload, "transaction_content"),
        other_texts=(read_optional_text(payload, "code"),),
    )
    event_id = f"listed:{transfer.transaction_id}"
    if transfer.amount == 0:
        return ProviderEvent(event_id, NoMoney("outgoing transfer"), kind="transfer out")
    return ProviderEvent(event_id, transfer.receipt(), kind="transfer in")


def _read_time(payload: dict[str, Any], name: str) -> datetime:
    """A time of the bank, in Vietnam's unless it says otherwise; the transfer's key counts on its day there."""
    moment = read_iso_time(read_text(payload, name), default_zone=TIME_ZONE)
    if moment is None:
        raise MalformedEvent(f"'{name}' must be a time like '2023-03-25 14:02:37'.")
    return moment.astimezone(TIME_ZONE).replace(microsecond=0)
