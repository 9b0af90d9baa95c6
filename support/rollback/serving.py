"""Whether anything still serves requests: what a roll-back must not run beside."""

from collections.abc import Iterable

from django.core.management.base import CommandError

from accounts.processes import find_living
from mongo.collections import Document


def check_all_stopped() -> list[Document]:
    """Raise `CommandError` while any process that holds credits lives; otherwise return an empty list.

    It may wait for a quarter of `PROCESS_SILENT_SECONDS`. Raises `PyMongoError`.
    """
    living = find_living(watches=True)
    if living:
        raise CommandError(
            "Requests are still served, or were a moment ago:\n  "
            + "\n  ".join(describe(living))
            + "\nStop gunicorn and the sweeper, wait until they have been silent for a minute, and run this again."
        )
    return living


def describe(processes: Iterable[Document]) -> list[str]:
    """One line for each process: where it runs, and when it was heard last."""
    return [
        f"process {process.get('pid')} on {process.get('host')}, heard {process['silentSeconds']:.0f} s ago"
        for process in processes
    ]
