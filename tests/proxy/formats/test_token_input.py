"""Input that is text or tokens: what counts, and what is refused."""

import json
from typing import Any

import pytest

from proxy.errors import InvalidRequest
from proxy.formats.members import Asked
from proxy.formats.token_input import MARKS, TextOrTokens, count_items


def read(value: Any) -> Asked:
    asked = Asked(path=["input"])
    TextOrTokens().read(value, asked)
    return asked


@pytest.mark.parametrize(
    ("value", "items", "tokens", "spelled"),
    [
        ("some text", 1, 0, ""),
        (["a", "bc"], 2, 0, ""),
        ([1, 22, 333], 1, 3, "1,22,333"),
        ([[1, 22], [333]], 2, 3, "1,22333"),
        (["text", [5, 6]], 2, 2, "5,6"),
        ([0, 2**31 - 1], 1, 2, "0,2147483647"),
    ],
)
def test_tokens_count_each_as_one_and_not_by_their_digits(value: Any, items: int, tokens: int, spelled: str) -> None:
    asked = read(value)
    assert count_items(value) == items
    assert (asked.input_tokens, asked.unlikely_tokens) == (tokens + items * MARKS, items * MARKS)
    assert asked.hidden_bytes == len(spelled) < len(json.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        *(5, True, {}, {"text": "x"}, [None], [{}], ["a", 5], [1, "a"], [1, True], [1.5], [1, 1.5]),
        *([-1], [2**31], [10**5000], [[]], [[[1]]], [[1], ["a"]], [True]),
    ],
)
def test_what_is_neither_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(value)
    assert caught.value.param == "input"
