"""Input that is text or tokens: `input` of embeddings and `prompt` of completions."""

from typing import Any

from proxy.errors import InvalidRequest
from proxy.formats.members import Asked, Rule

LARGEST_TOKEN = 2**31 - 1
MARKS = 4
"""Tokens that models put around each text of a list, which are not in the body: its beginning, its end."""


class TextOrTokens(Rule):
    """A text, a list of texts, tokens, or a list of lists of tokens.

    Texts count by their bytes, like all of a body. Tokens count each as one: that is exact, and not by their digits.
    """

    def read(self, value: Any, asked: Asked) -> None:
        for item in _items(value):
            asked.input_tokens += MARKS
            asked.unlikely_tokens += MARKS
            if isinstance(item, list):
                asked.input_tokens += len(item)
                asked.hidden_bytes += _spelled_bytes(item, asked.name())
            elif not isinstance(item, str):
                raise InvalidRequest(f"{asked.name()!r} must be text, a list of texts, or tokens.", param=asked.name())


def count_items(value: object) -> int:
    """How many texts, or lists of tokens, a value has that was read: each is answered by itself."""
    return len(_items(value))


def _items(value: object) -> list[Any]:
    """The texts and lists of tokens in a value; a list that begins with a number is one list of tokens."""
    if isinstance(value, list):
        return [value] if value and isinstance(value[0], int) else value
    return [value]


def _spelled_bytes(tokens: list[Any], name: str) -> int:
    """The least bytes that the body has for these tokens: their digits, and a comma between each two."""
    if not tokens or not all(type(token) is int and 0 <= token <= LARGEST_TOKEN for token in tokens):
        raise InvalidRequest(f"A list of tokens in {name!r} must have whole numbers, and nothing else.", param=name)
    return sum(map(len, map(str, tokens))) + len(tokens) - 1
