"""Digits are those of ASCII, and nothing else that Python takes for a number."""

import pytest

from border.digits import is_digits, read_whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_ascii_digits_are_a_number(text: str, number: int) -> None:
    assert is_digits(text)
    assert read_whole_number(text) == number


@pytest.mark.parametrize("text", ["", " 1", "1\n", "+1", "-1", "1_0", "1.0", "1e3", "0x1", "１", "١", "²", "१२", "1٢"])
def test_nothing_else_is(text: str) -> None:
    assert not is_digits(text)
    assert read_whole_number(text) is None


def test_more_than_any_count_is_no_number() -> None:
    assert read_whole_number("9" * 19) is None
    assert read_whole_number("9" * 100_000) is None
