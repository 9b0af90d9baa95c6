"""Watches the commands that reach the server: only `accounts/credits` may write a balance.

`watch_balances` in conftest.py listens to the driver while the tests of a module run, and fails the module if code of
the project wrote a balance and no function of `accounts/credits` was on the way. What a test itself inserts is no
matter, and neither is the try-out's invented history.
"""

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pymongo import monitoring

ROOT = Path(__file__).resolve().parents[1]
CREDITS = ROOT / "accounts" / "credits"
NOT_WATCHED = (ROOT / "tests", ROOT / "development", ROOT / ".venv")
BALANCE_FIELDS = {"credits", "creditsNew", "creditsUsed", "creditsNewUsed", "holds", "heldSince"}
WRITES = {"insert": "documents", "update": "updates", "findAndModify": "update"}


class BalanceWatch(monitoring.CommandListener):
    """Collects the places that wrote a balance and must not."""

    def __init__(self) -> None:
        self.violations: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        part = WRITES.get(event.command_name)
        if part is None or event.command[event.command_name] != "usersNew":
            return
        fields = set(_fields(event.command.get(part))) & BALANCE_FIELDS
        if fields and (place := _place_outside_of_credits()):
            self.violations.append(f"{place} wrote {', '.join(sorted(fields))} by {event.command_name}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def _fields(part: Any) -> Iterator[str]:
    """The top-level fields that a document, an update, or a list of them names, operators and all."""
    for document in part if isinstance(part, list) else [part]:
        if not isinstance(document, Mapping):
            continue
        for name, value in document.items():
            if name == "u" or name.startswith("$"):
                yield from _fields(value)
                yield from (path.split(".")[0] for path in value if isinstance(path, str))
            else:
                yield name.split(".")[0]


def _place_outside_of_credits() -> str | None:
    """The innermost place of the project on the stack; None if `accounts/credits` is on it, or only tests are."""
    frames = [(Path(frame.f_code.co_filename), line) for frame, line in traceback.walk_stack(None)]
    ours = [
        (path, line)
        for path, line in frames
        if path.is_relative_to(ROOT) and not any(path.is_relative_to(other) for other in NOT_WATCHED)
    ]
    if not ours or any(path.is_relative_to(CREDITS) for path, _ in ours):
        return None
    # The wrappers of the driver are on the way of every write.
    path, line = next(((path, line) for path, line in ours if not path.is_relative_to(ROOT / "mongo")), ours[0])
    return f"{path.relative_to(ROOT)}:{line}"
