"""How near a code must stand in a text to be a reason: pure, over many random codes."""

import random

import pytest

from payments.orders.codes import ALPHABET, count_errors, generate_code

CODES = [generate_code("NAP") for _ in range(300)]


@pytest.mark.parametrize("errors", [0, 1, 2])
def test_every_code_with_few_errors_is_found(errors: int) -> None:
    random.seed(errors)
    for code in CODES:
        garbled = list(code)
        for place in random.sample(range(len(code)), errors):
            garbled[place] = random.choice(ALPHABET)
        found = count_errors(code, f"MBVCB1000CT{''.join(garbled)}TU0123456789", most=2)
        assert found is not None
        assert found <= errors


@pytest.mark.parametrize("place", range(11))
def test_a_lost_or_a_doubled_character_is_one_error(place: int) -> None:
    for code in CODES[:30]:
        lost, doubled = code[:place] + code[place + 1 :], code[: place + 1] + code[place:]
        assert all(count_errors(code, f"9{text}9", most=1) in (0, 1) for text in (lost, doubled))


def test_other_codes_are_not_near() -> None:
    memo = f"MBVCB1000CT{CODES[0]}TU0123456789NGUYENVANA"
    assert [code for code in CODES[1:] if count_errors(code, memo, most=2) is not None] == []


@pytest.mark.parametrize(("code", "text"), [("", "NAP"), ("NAP", ""), ("AB", "AB")])
def test_what_is_too_short_is_found_nowhere(code: str, text: str) -> None:
    assert count_errors(code, text, most=2) is None
