"""A list as CSV: what is filtered, row by row as it is read, and safe to open in a spreadsheet."""

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from money.amounts import from_bson

FORMULA_STARTS = frozenset("=+-@")
CELL_SEPARATORS = (";", "\t", "|")
"""Spreadsheets of some countries divide cells by these, unless the cells are in quotes."""


class _Echo:
    """A file that returns what is written to it."""

    def write(self, text: str) -> str:
        return text


def stream_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a CSV file. Starts with a byte-order mark, so that spreadsheets read it as UTF-8."""
    writer, quoting_writer = csv.writer(_Echo()), csv.writer(_Echo(), quoting=csv.QUOTE_ALL)
    yield "\ufeff" + writer.writerow(header)
    for row in rows:
        cells = [cell(value) for value in row]
        is_divided = any(separator in text for text in map(str, cells) for separator in CELL_SEPARATORS)
        yield (quoting_writer if is_divided else writer).writerow(cells)


def cell(value: Any) -> str | int:
    """One value: numbers as numbers, times in ISO form, and text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return value
    if isinstance(value, Decimal | float):
        return f"{from_bson(value):f}"
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if _is_formula(text) else text


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may run the text: it skips what is not seen before a sign, and reads wide signs too."""
    if text[:1] in ("\t", "\r", "\n"):
        return True
    seen = next((character for character in text if not _is_skipped(character)), "")
    return bool(FORMULA_STARTS & set(unicodedata.normalize("NFKC", seen))) or seen == "\u2212"  # The minus sign.


def _is_skipped(character: str) -> bool:
    """White space, quotes, and control and format characters."""
    return character.isspace() or character in "\"'" or unicodedata.category(character) in ("Cc", "Cf", "Zs")
