"""Writes that must not be given up at the first failure of the database, and are safe to repeat."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pymongo.errors import DuplicateKeyError, PyMongoError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 2.0


def keep_trying(write: Callable[[], Result], *, seconds: float, name: str) -> Result:
    """Call `write` until it succeeds, over a change of the primary or an outage; `name` says in the log what it is.

    Once `seconds` have passed the last failure is raised: a `PyMongoError`, after which the write may still arrive. A
    duplicate key is an answer, and raised at once.
    """
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE_SECONDS
    while True:
        try:
            return write()
        except DuplicateKeyError:
            raise
        except PyMongoError as error:
            logger.error("%s is not written yet: %s", name, error)
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
