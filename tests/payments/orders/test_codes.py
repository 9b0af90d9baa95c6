"""Order codes survive what banks and people do to them, and nothing else passes for one."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.orders.codes import (
    ALPHABET,
    CODE_LENGTH,
    check_character,
    find_candidates,
    generate_code,
    is_valid_prefix,
    normalise,
)

CODE = "NAP7K3M9QX" + check_character("7K3M9QX")
SUFFIXES = st.text(ALPHABET, min_size=7, max_size=7)

MEMOS = [
    "MBVCB.3278907687.{code}.CT tu 0123456789 NGUYEN VAN A toi 0123499999",
    "142035901733-{code}-CHUYEN TIEN-OQCH000Hk0hi-MOMO142035901733MOMO",
    "Qafmgq4306 SEPAY7974 1 108444155680-{code}-CHUYEN TIEN-OQCH00042LgQ-MOMO108444155680MOMO",
    "CUSTOMER MBCT {code} 1A2B3C4D/123456",
    "{code} CKN 458949 D2K5349G - NGUYEN VAN A",
    "{code}",
    "BankAPINotify {code}",
    "NAP NAP {code}",
    "Nguyễn Văn Đạt nạp tiền {code} cảm ơn",
    "99{code}99",
    "chuyenkhoan{code}naptien",
]


def variants(code: str) -> list[str]:
    return [
        code,
        code.lower(),
        f"{code[:3]}-{code[3:7]}-{code[7:]}",
        f"{code[:5]} {code[5:]}",
        f"{code[:3]}_{code[3:]}",
        code.replace("0", "O").replace("1", "l"),
        code.replace("0", "o").replace("1", "I"),
    ]


@pytest.mark.parametrize("memo", MEMOS)
def test_a_code_is_found_in_every_memo_shape(memo: str) -> None:
    for text in variants(CODE):
        assert CODE in find_candidates([memo.format(code=text)], "NAP")


@given(SUFFIXES, st.sampled_from(MEMOS), st.integers(0, 6), st.booleans())
def test_any_code_is_found_in_any_shape(suffix: str, memo: str, variant: int, is_decomposed: bool) -> None:
    code = "NAP" + suffix + check_character(suffix)
    text = memo.format(code=variants(code)[variant])
    assert code in find_candidates([unicodedata.normalize("NFD", text) if is_decomposed else text], "NAP")


@given(st.lists(st.text(max_size=300), max_size=4))
def test_any_text_is_read_without_an_error(texts: list[str]) -> None:
    for code in find_candidates(texts, "NAP"):
        assert len(code) == CODE_LENGTH or code.startswith("TROLL")


@pytest.mark.parametrize(
    "memo", ["IB NGUYEN VAN A chuyen khoan", "", "NAP", "NAP7K3M9Q", "chuyen tien mua iphone", "nap tien dien thoai"]
)
def test_a_memo_without_a_code_has_no_candidates(memo: str) -> None:
    assert find_candidates([memo], "NAP") == ()


@given(SUFFIXES, st.integers(0, 6), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(suffix: str, position: int, other: str) -> None:
    changed = suffix[:position] + other + suffix[position + 1 :]
    if changed != suffix:
        assert check_character(changed) != check_character(suffix)


@given(SUFFIXES, st.integers(0, 5))
def test_two_swapped_neighbours_are_noticed(suffix: str, position: int) -> None:
    changed = suffix[:position] + suffix[position + 1] + suffix[position] + suffix[position + 2 :]
    if changed != suffix:
        assert check_character(changed) != check_character(suffix)


def test_random_text_behind_the_prefix_rarely_passes() -> None:
    random.seed(7)
    texts = ["NAP" + "".join(random.choices(ALPHABET, k=8)) for _ in range(5000)]
    passed = sum(bool(find_candidates([text], "NAP")) for text in texts)
    assert passed < 5000 * 0.05


def test_two_codes_are_both_found_and_one_code_twice_is_one() -> None:
    other = "NAP0000000" + check_character("0000000")
    assert find_candidates([f"{CODE} {other}", CODE], "NAP") == (CODE, other)


def test_overlapping_prefixes_do_not_hide_a_code() -> None:
    assert CODE in find_candidates([f"NAPNAP{CODE[3:]} NA{CODE}"], "NAP")


def test_a_prefix_with_lookalike_letters_works() -> None:
    code = "LOI" + CODE[3:]
    assert find_candidates([code.lower()], "LOI") == (code,)


@pytest.mark.parametrize(
    ("memo", "code"),
    [
        ("MBVCB.327.TROLL20D1736570000000AB3X.CT tu 0123", "TROLL20D1736570000000AB3X"),
        ("troll20d1736570000000ab3x", "TROLL20D1736570000000AB3X"),
        ("TROLL100D1736570000000CKN458949", "TROLL100D1736570000000"),
        ("TROLL50D17365700000007 FT123", "TROLL50D17365700000007"),
        ("TROLL20-D1736570000000-AB3XCHUYENTIEN", "TROLL20D1736570000000AB3X"),
    ],
)
def test_old_codes_are_candidates_with_every_length_of_their_end(memo: str, code: str) -> None:
    assert code in find_candidates([memo], "NAP")


def test_old_codes_are_not_changed_by_lookalikes() -> None:
    assert "TROLL20D1736570000000OI0L" in find_candidates(["TROLL20D1736570000000OI0L"], "NAP")


def test_generated_codes_have_the_form_and_differ() -> None:
    codes = {generate_code("NAP") for _ in range(1000)}
    assert len(codes) == 1000
    assert all(find_candidates([code], "NAP") == (code,) for code in codes)


def test_normalise_keeps_letters_and_digits() -> None:
    assert normalise("Đặng Thị-Hồng_ 12.ß") == "DANGTHIHONG12SS"


@pytest.mark.parametrize(("prefix", "is_valid"), [("NAP", True), ("nap", False), ("NA1", False), ("NAPS", False)])
def test_prefix_is_three_capitals(prefix: str, is_valid: bool) -> None:
    assert is_valid_prefix(prefix) is is_valid
