"""What a searched text may mean."""

import pytest

from payments.orders import codes
from support.search import meanings
from tests.conftest import key_of


def test_an_order_code_is_read_however_it_is_typed() -> None:
    code = codes.generate_code("NAP")
    while "0" not in code or "1" not in code:
        code = codes.generate_code("NAP")
    typed = code.replace("0", "O").replace("1", "l").lower()
    for text in (code, code.lower(), f"{code[:3]}-{code[3:7]}-{code[7:]}", f" {typed[:5]} {typed[5:]} "):
        assert code in meanings.order_codes_in(meanings.clean(text)), text
    assert any(code.startswith(one) for one in meanings.beginnings_of_codes(typed[:8]))
    old = "TROLL20D1700000000000AB1"
    for text in (old.lower(), "TROLL 20 D 1700000000000 AB1", "troll2od17oooooooooooAB1"):
        assert old in meanings.order_codes_in(text), text
    assert meanings.beginnings_of_codes("NAP1") == []


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  req_12ab…", "req_12ab"),
        ('"alice"', "alice"),
        ("<@123456789012345678>", "123456789012345678"),
        ("Nguyễn  Văn\tA", "Nguyễn Văn A"),
        ("a\0lice", "alice"),
        ("…", ""),
    ],
)
def test_what_people_and_pages_put_around_it_is_left_out(text: str, clean: str) -> None:
    assert meanings.clean(text) == clean


def test_a_whole_key_is_known_wherever_it_stands() -> None:
    key = key_of("alice")
    for text in (key, f"Authorization: Bearer {key}", f"x-api-key: {key}.", f'"{key}"'):
        assert meanings.has_key(text)
        assert key in meanings.keys_in(text)
    assert key in meanings.keys_in(key.removeprefix("sk-trollllm-"))
    for text in (key[:16] + "…", "alice", "req_" + "1a2b3c4d" * 4, codes.generate_code("NAP")):
        assert not meanings.has_key(text)
