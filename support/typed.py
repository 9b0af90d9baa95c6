"""Dates, times and numbers as people type them: read in one way only, or refused with a sentence that shows how.

`2026-11-27` is always read; `27/11/2026` too, unless `DATE_ORDER` is `iso`; the American order never. A comma in a
number is refused, or with `DECIMAL_COMMA` divides the whole from its fraction. Nothing that was typed is left out.
"""

import re
from datetime import date, datetime, time
from decimal import Decimal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms.utils import from_current_timezone
from django.utils import timezone

from accounts.keys import mask_keys_in
from mongo.days import zone_name

DAY_EXAMPLE, CLOCK_EXAMPLE = "2026-11-27", "14:05"
MOMENT_EXAMPLE = f"{DAY_EXAMPLE} {CLOCK_EXAMPLE}"
LONGEST = 60
"""Characters of anything that is read; more are shown cut in sentences."""

_ISO_DAY = re.compile(r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})")
_DAY_FIRST = re.compile(r"(?P<day>[0-9]{1,2})(?P<sign>[/.-])(?P<month>[0-9]{1,2})(?P=sign)(?P<year>[0-9]{4})")
_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.(?P<part>[0-9]{1,6}))?)?")
_MOMENT = re.compile(r"(?P<day>[^\sT]+)(?:T|\s+)(?P<clock>[0-9:.]+)\s*(?P<zone>Z|UTC|[+-][0-9]{2}:?[0-9]{2})?")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_GROUPED = re.compile(r"-?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]+)?")
_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_WHOLE = re.compile(r"-?[0-9]{1,18}")


class NotUnderstood(ValueError):
    """What was typed cannot be read, or in two ways. Its text is a sentence that shows how to write it."""


def read_day(text: str) -> date:
    """The day that a text names. Raises `NotUnderstood`."""
    text = _plain(text, how_to_write_a_day())
    found = _ISO_DAY.fullmatch(text) or (_DAY_FIRST.fullmatch(text) if _reads_day_first() else None)
    if found is None:
        raise NotUnderstood(f"“{shorten(text)}” is not read as a date. {how_to_write_a_day()}")
    try:
        return date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        problem = f"there is no month {found['month']}" if not 1 <= int(found["month"]) <= 12 else "it has no such day"
        raise NotUnderstood(f"“{shorten(text)}” is no date: {problem}. {how_to_write_a_day()}") from None


def read_clock(text: str) -> time:
    """The time of day that a text names, on the 24-hour clock. Raises `NotUnderstood`."""
    text = _plain(text, f"Write {CLOCK_EXAMPLE}.")
    if found := _CLOCK.fullmatch(text):
        part = (found["part"] or "").ljust(6, "0")
        try:
            return time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0), int(part))
        except ValueError:
            pass
    raise NotUnderstood(f"“{shorten(text)}” is not read as a time of day. Write {CLOCK_EXAMPLE}, on the 24-hour clock.")


def read_moment(text: str) -> datetime:
    """The aware time that a text names, in the site's time zone unless it names its own. Raises `NotUnderstood`."""
    how = f"Write {MOMENT_EXAMPLE}: the date and the time."
    text = _plain(text, how)
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise NotUnderstood(f"“{shorten(text)}” is not read as a date and time. {how}")
    naive = datetime.combine(read_day(found["day"]), read_clock(found["clock"]))
    if found["zone"]:
        zone = "+00:00" if found["zone"] in ("Z", "UTC") else found["zone"]
        try:
            return datetime.fromisoformat(f"{naive.isoformat()}{zone}")
        except ValueError:
            raise NotUnderstood(f"“{shorten(text)}” has no time zone that is known. {how}") from None
    try:
        aware: datetime = from_current_timezone(naive)
    except ValidationError as error:  # The clocks were put forward or back.
        raise NotUnderstood(" ".join(error.messages)) from error
    return aware


def read_amount(text: str) -> Decimal:
    """The number that a text is, with any number of places. Raises `NotUnderstood`."""
    how = how_to_write_an_amount()
    text = _plain(text, how)
    has_comma = settings.DECIMAL_COMMA
    if re.search(r"[0-9][eE][+-]?[0-9]", text):
        raise NotUnderstood(f"“{shorten(text)}” has an exponent. Write all its digits. {how}")
    if has_comma and _GROUPED.fullmatch(text):
        if text.count(".") == 1 and "," not in text:
            raise NotUnderstood(f"“{shorten(text)}” can mean two numbers. {how}")
        number = text.replace(".", "").replace(",", ".")
    elif has_comma and _COMMA.fullmatch(text):
        number = text.replace(",", ".")
    elif _NUMBER.fullmatch(text):
        number = text
    elif "," in text:
        raise NotUnderstood(f"“{shorten(text)}” has a comma, which can mean two things. {how}")
    else:
        raise NotUnderstood(f"“{shorten(text)}” is not read as a number. Enter a number. {how}")
    amount = Decimal(number)
    return amount if amount else abs(amount)


def read_whole_number(text: str) -> int:
    """The whole number that a text is, of up to 18 digits. Raises `NotUnderstood`."""
    how = "Enter a whole number: 1500, without points, commas and spaces."
    text = _plain(text, how)
    if not _WHOLE.fullmatch(text):
        raise NotUnderstood(f"“{shorten(text)}” is not read as a whole number. {how}")
    return int(text)


def write_amount(amount: Decimal) -> str:
    """An amount as a form shows it and `read_amount` reads it: all its places, no needless zeros, no exponent."""
    text = f"{amount:f}"
    whole, point, places = text.partition(".")
    places = places.rstrip("0")
    text = f"{whole}.{places}" if point and places else whole
    return text.replace(".", ",") if settings.DECIMAL_COMMA else text


def write_moment(moment: datetime) -> str:
    """A moment as a form shows it and `read_moment` reads it, in the site's time zone; parts of a minute if any."""
    local = timezone.localtime(moment)
    part = f"{local:.%f}" if local.microsecond else ""
    return f"{local:%Y-%m-%d %H:%M}" + (f"{local::%S}{part}" if local.second or part else "")


def moment_in_words(moment: datetime) -> str:
    """A moment that nobody can misread: `Tuesday, 1 December 2026, 00:00 UTC`."""
    local = timezone.localtime(moment)
    return (
        f"{local:%A}, {local.day} {local:%B} {local.year}, {local:%H:%M}"
        + (f"{local::%S}" if local.second else "")
        + f" {zone_name()}"
    )


def how_to_write_a_day() -> str:
    """How a date is written, as a sentence."""
    return f"Write {DAY_EXAMPLE}, or 27/11/2026: day, month, year." if _reads_day_first() else f"Write {DAY_EXAMPLE}."


def how_to_write_an_amount() -> str:
    """How a number with a fraction is written, as a sentence."""
    one_and_a_half = "1,5" if settings.DECIMAL_COMMA else "1.5"
    return f"Write {one_and_a_half} for one and a half, and 1500 for fifteen hundred."


def shorten(text: str) -> str:
    """What was typed, as a sentence may repeat it: without keys, and not too long."""
    text = mask_keys_in(text)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _reads_day_first() -> bool:
    return bool(settings.DATE_ORDER == "dmy")


def _plain(text: str, how: str) -> str:
    """The text without the blanks around it. Raises `NotUnderstood` for what is too long, or not ASCII."""
    text = text.strip()
    if len(text) > LONGEST:
        raise NotUnderstood(f"“{shorten(text)}” is too long. {how}")
    if not text.isascii() or "_" in text:
        raise NotUnderstood(f"“{shorten(text)}” is not read. Use the digits 0 to 9. {how}")
    return text
