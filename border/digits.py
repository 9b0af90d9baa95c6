"""Whole numbers in ASCII digits. Python takes every script's digits for numbers; other programs do not."""

import re

_WHOLE = re.compile(r"[0-9]{1,18}")


def is_digits(text: str) -> bool:
    """Whether a text is ASCII digits and nothing else, and at least one."""
    return text.isascii() and text.isdecimal()


def read_whole_number(text: str) -> int | None:
    """The number that up to 18 ASCII digits say; None for any other text."""
    return int(text) if _WHOLE.fullmatch(text) else None
