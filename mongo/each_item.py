"""How a sweep goes through its items: what one of them meets does not keep the others from their turn."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from pymongo.errors import ConnectionFailure

from mongo.errors import UnreadableDocument

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


class SomeFailed(Exception):
    """Some items failed, all others were handled. Each failure is in the log."""


def sum_one_by_one(items: Iterable[Item], handle: Callable[[Item], int], *, name: Callable[[Item], str]) -> int:
    """Handle every item and return the sum of what `handle` returned; `name` says in the log which item failed.

    Raises `SomeFailed` after the last one. A database that is not there raises at once, instead of being waited for
    once an item.
    """
    total, failed, count = 0, 0, 0
    for item in items:
        count += 1
        try:
            total += handle(item)
        except UnreadableDocument as error:  # Nothing failed: the document has to be repaired.
            logger.error("%s: %s", name(item), error)
            failed += 1
        except Exception as error:  # The outermost border of one item: whatever it meets, the next one has its turn.
            if isinstance(error, ConnectionFailure) or isinstance(error.__cause__, ConnectionFailure):
                raise
            logger.exception("%s failed", name(item))
            failed += 1
    if failed:
        raise SomeFailed(f"{failed} of {count} failed, see above; of the others: {total}")
    return total
