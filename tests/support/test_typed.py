"""What people type is read in one way, or refused with a sentence that shows how to write it."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from billing_site.checks import check_date_order
from support.actions.dialogs import KINDS
from support.forms import TYPED_FIELDS
from support.typed import (
    NotUnderstood,
    read_amount,
    read_clock,
    read_day,
    read_moment,
    read_whole_number,
    write_amount,
    write_moment,
)
from tests.support.conftest import ADMIN_MODELS

DECEMBER = date(2026, 12, 1)


@pytest.mark.parametrize(
    "text", ["2026-12-01", "01/12/2026", "1/12/2026", "1.12.2026", "01-12-2026", "\u00a0 2026-12-01\u2009"]
)
def test_a_day_is_never_read_in_the_american_order(text: str) -> None:
    assert read_day(text) == DECEMBER


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("11/27/2026", "there is no month 27"),
        ("12/13/2026", "there is no month 13"),
        ("31/11/2026", "it has no such day"),
        ("2026-02-29", "it has no such day"),
        ("01/12/26", "is not read as a date"),
        ("2026/12/01", "is not read as a date"),
        ("1.12-2026", "is not read as a date"),
        ("20261201", "is not read as a date"),
        ("2026-W48-5", "is not read as a date"),
        ("Dec 1, 2026", "is not read as a date"),
        ("tomorrow", "is not read as a date"),
        ("2026-12-01 10:00", "is not read as a date"),
        ("２０２６-12-01", "Use the digits 0 to 9."),
        ("٠١/١٢/٢٠٢٦", "Use the digits 0 to 9."),
        ("x" * 1000, "is too long"),
        ("", "is not read as a date"),
    ],
)
def test_any_other_day_is_refused_with_an_example(text: str, words: str) -> None:
    with pytest.raises(NotUnderstood, match=words) as refused:
        read_day(text)
    assert "Write 2026-11-27, or 27/11/2026: day, month, year." in str(refused.value)
    assert len(str(refused.value)) < 300


def test_the_second_form_of_a_day_is_read_only_if_the_setting_says_so(settings: Any) -> None:
    settings.DATE_ORDER = "iso"
    assert read_day("2026-12-01") == DECEMBER
    with pytest.raises(NotUnderstood, match=r"Write 2026-11-27\."):
        read_day("01/12/2026")
    assert check_date_order() == []
    settings.DATE_ORDER = "mdy"
    assert [one.id for one in check_date_order()] == ["billing.E021"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27 14:05", datetime(2026, 11, 27, 14, 5, tzinfo=UTC)),
        ("2026-11-27T14:05", datetime(2026, 11, 27, 14, 5, tzinfo=UTC)),
        ("27/11/2026  9:05:07", datetime(2026, 11, 27, 9, 5, 7, tzinfo=UTC)),
        ("2026-11-27T14:05:00+07:00", datetime(2026, 11, 27, 7, 5, tzinfo=UTC)),
        ("2026-11-27T14:05:00.250Z", datetime(2026, 11, 27, 14, 5, 0, 250_000, tzinfo=UTC)),
        ("2026-11-27 14:05 UTC", datetime(2026, 11, 27, 14, 5, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_day_and_a_time(text: str, expected: datetime) -> None:
    assert read_moment(text) == expected
    assert read_moment(write_moment(expected.replace(microsecond=0))) == expected.replace(microsecond=0)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-27",
        "14:05",
        "11/27/2026 14:05",
        "2026-11-27 2:05 PM",
        "2026-11-27 24:00",
        "2026-11-27 14.05",
        "now",
        "2026-11-27 14:05 +99:00",
        "2026-11-27 14:05 ICT",
        "2026-11-27 14:60",
    ],
)
def test_half_a_moment_is_refused(text: str) -> None:
    with pytest.raises(NotUnderstood, match="Write "):
        read_moment(text)


def test_a_moment_is_of_the_sites_time_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Ho_Chi_Minh"
    moment = read_moment("2026-11-27 14:05")
    assert moment == datetime(2026, 11, 27, 7, 5, tzinfo=UTC)
    assert write_moment(moment) == "2026-11-27 14:05"
    settings.TIME_ZONE = "Europe/Paris"
    with pytest.raises(NotUnderstood, match="may be ambiguous or it may not exist"):
        read_moment("2026-03-29 02:30")


@pytest.mark.parametrize(("text", "expected"), [("14:05", time(14, 5)), (" 9:05:07 ", time(9, 5, 7))])
def test_a_time_of_day_is_read(text: str, expected: time) -> None:
    assert read_clock(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.50", "1.5"), ("1500", "1500"), (".5", "0.5"), ("-2", "-2"), ("\u00a01.5\u202f", "1.5"), ("-0", "0")],
)
def test_an_amount_is_read_as_it_stands(text: str, expected: str) -> None:
    assert str(read_amount(text).normalize()) == str(Decimal(expected).normalize())


NO_NUMBERS = [
    "NaN",
    "Infinity",
    "-inf",
    "1e3",
    "1E-8",
    "0x10",
    "1 500",
    "1'500",
    "$5",
    "5 USD",
    "1.",
    "+1",
    "--1",
    "1.2.3",
]
NO_NUMBERS += ["1_0", "１５", "٠٫٥", "½", "9" * 61, "−5", ""]  # A minus sign that is no hyphen.


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1,5", "1,500", "1.234,50", "1,234.50"])
def test_any_other_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(NotUnderstood, match=r"Write 1\.5 for one and a half, and 1500 for fifteen hundred\."):
        read_amount(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,5", "1.5"),
        ("1,500", "1.5"),
        ("1.5", "1.5"),
        ("1.234,50", "1234.5"),
        ("1.234.567", "1234567"),
        ("0.300", "0.3"),
    ],
)
def test_a_decimal_comma_is_read_by_the_setting(settings: Any, text: str, expected: str) -> None:
    settings.DECIMAL_COMMA = True
    assert read_amount(text) == Decimal(expected)


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1.500", "-25.000", "1,234,567", "1,234.50", "1.23,5"])
def test_what_a_decimal_comma_leaves_open_is_refused(settings: Any, text: str) -> None:
    settings.DECIMAL_COMMA = True
    with pytest.raises(NotUnderstood, match=r"Write 1,5 for one and a half"):
        read_amount(text)


@pytest.mark.parametrize("text", ["1.000", "1,000", "1.0", "1e3", "٣", "1_0", "x", "9" * 19])
def test_a_whole_number_has_nothing_but_digits(text: str) -> None:
    with pytest.raises(NotUnderstood):
        read_whole_number(text)
    assert read_whole_number(" -15 ") == -15


@pytest.mark.parametrize("has_comma", [False, True])
def test_a_form_reads_what_it_shows(settings: Any, has_comma: bool) -> None:
    settings.DECIMAL_COMMA = has_comma

    @given(st.decimals(min_value=-1_000_000, max_value=1_000_000, places=8))
    def check(amount: Decimal) -> None:
        shown = write_amount(amount)
        assert read_amount(shown) == amount
        assert "E" not in shown

    check()
    assert write_amount(Decimal("0E-8")) == "0"


def test_every_form_of_staff_reads_numbers_and_times_in_the_same_way(admin_user: Any) -> None:
    found: list[tuple[str, forms.Field]] = []
    for kind in KINDS.values():
        for action in kind.actions.values():
            found += [(action.slug, field) for field in action.form_class.base_fields.values()]
    request = RequestFactory().get("/")
    request.user = admin_user
    for model in ADMIN_MODELS:
        model_admin = admin.site.get_model_admin(model)
        for shown in (None, model()):
            form = model_admin.get_form(request, shown, change=shown is not None)
            found += [(model.__name__, field) for field in form.base_fields.values()]
    own_way = (forms.IntegerField, forms.DateField, forms.DateTimeField, forms.TimeField, forms.SplitDateTimeField)
    odd = [
        (name, field.label)
        for name, field in found
        if isinstance(field, own_way) and not isinstance(field, TYPED_FIELDS)
    ]
    assert odd == []
    inputs = [(name, field.label) for name, field in found if getattr(field.widget, "input_type", "") in BROWSERS_OWN]
    assert inputs == []
    assert sum(isinstance(field, TYPED_FIELDS) for _, field in found) > 30


BROWSERS_OWN = ("number", "date", "time", "datetime-local")
"""Inputs that browsers read by themselves: they drop a comma, or show the order of their language."""
