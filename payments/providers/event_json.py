"""The JSON of deliveries, read strictly: every surprise is a `MalformedEvent` that names the field."""

import json
import re
from decimal import Decimal
from typing import Any

from border import strict_json
from border.strict_json import InvalidJson
from payments.errors import MalformedEvent

MAX_MONEY = Decimal(10) ** 13
"""No payment is larger, in any currency's units; keeps every number far inside a double."""

MAX_NUMBER_AS_TEXT = Decimal(10) ** 40
"""A larger number is no account, reference or code: its digits need not be written out."""

_CURRENCY = re.compile(r"[A-Z]{3}")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def parse_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; numbers with a point or exponent become `Decimal`, never float.

    Raises `MalformedEvent`, also for a name that occurs twice: which amount was meant is for staff to say.
    """
    try:
        value = strict_json.parse(body, parse_float=Decimal)
    except InvalidJson as error:
        raise MalformedEvent(str(error)) from error
    if not isinstance(value, dict):
        raise MalformedEvent("The body must be a JSON object.")
    return value


def read_object(source: dict[str, Any], name: str) -> dict[str, Any]:
    """A field that holds an object."""
    value = source.get(name)
    if not isinstance(value, dict):
        raise MalformedEvent(f"'{name}' must be an object.")
    return value


def read_text(source: dict[str, Any], name: str) -> str:
    """A field of text; absent and null are ''."""
    value = source.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedEvent(f"'{name}' must be a string.")
    return value


def read_optional_text(source: dict[str, Any], name: str) -> str:
    """A field of text on which nothing depends alone: a number is read as its digits, anything else as ''."""
    value = source.get(name)
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | Decimal):
        number = Decimal(value)
        if number.is_finite() and number == number.to_integral_value() and abs(number) <= MAX_NUMBER_AS_TEXT:
            return f"{number:.0f}"  # 3079.0 is what other programs make of 3079.
        return str(value)[:100]
    return value if isinstance(value, str) else ""


def read_identifier(source: dict[str, Any], name: str, *, max_length: int = 100) -> str:
    """A field that names something: a whole number, or printable ASCII. Required."""
    value = source.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise MalformedEvent(f"'{name}' must not be negative.")
        value = str(value)
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value.strip()) or len(value) > max_length:
        raise MalformedEvent(f"'{name}' is required: a number or a short text.")
    return value.strip()


def read_whole_number(source: dict[str, Any], name: str) -> Decimal:
    """A field with a whole number of at least 0 and at most `MAX_MONEY`. Required."""
    value = read_amount(source, name)
    if value != value.to_integral_value():
        raise MalformedEvent(f"'{name}' must be a whole number.")
    return value.to_integral_value()  # 50000.0 is 50000, also where its digits count.


def read_amount(source: dict[str, Any], name: str) -> Decimal:
    """A field with a finite number of at least 0 and at most `MAX_MONEY`, 8 decimal places at most. Required."""
    value = source.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise MalformedEvent(f"'{name}' is required: a number.")
    amount = Decimal(value)
    if not 0 <= amount <= MAX_MONEY:
        raise MalformedEvent(f"'{name}' must be between 0 and {MAX_MONEY:f}.")
    if amount != round(amount, 8):
        raise MalformedEvent(f"'{name}' has too many decimal places.")
    return amount


def read_currency(source: dict[str, Any], name: str) -> str:
    """A field with an ISO 4217 code, in capitals. Required."""
    value = read_text(source, name).upper()
    if not _CURRENCY.fullmatch(value):
        raise MalformedEvent(f"'{name}' must be a currency code of three letters.")
    return value


_MEMBER = re.compile(r'"(\w+)"\s*:\s*("(?:[^"\\]|\\.)*"|[^\s,}\]\[{"]+)')
_GROUPED = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{3})+")


def scan_members(body: bytes) -> dict[str, str]:
    """The texts and numbers by name that stand in a body, though it be no JSON: cut off, or with odd numbers.

    Of two with one name the first counts. Only for a guess at what it was.
    """
    found: dict[str, str] = {}
    for name, value in _MEMBER.findall(body.decode(errors="replace")):
        try:
            text = json.loads(value) if value.startswith('"') else value
        except ValueError:
            text = value
        if text != "null":
            found.setdefault(name, str(text).strip())
    return found


def guess_amount(text: str, *, has_decimals: bool) -> Decimal | None:
    """The amount that a text probably means, above 0; None if it cannot be told.

    Without decimals, as in VND, 50.000 and 50,000 are 50000.
    """
    if not has_decimals and _GROUPED.fullmatch(text):
        text = re.sub("[.,]", "", text)
    try:
        amount = Decimal(text)
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and 0 < amount <= MAX_MONEY else None
