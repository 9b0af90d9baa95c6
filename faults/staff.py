"""A process of staff: it moves credits and replaces keys by the domain's functions, one line of JSON each.

    {"do": "transfer", "username": …, "source": …, "amount": …, "operation": …}
    {"do": "rotate", "username": …, "new_key": …}

It answers `{"ok": true}` or `{"ok": false, "error": …}`. The one who asks repeats what was not answered.
"""

import json
import os
import select
import subprocess
import sys
import threading
from decimal import Decimal
from typing import Any

from faults.processes import Supervised

ANSWER_SECONDS = 100.0


class Staff(Supervised):
    """The process, and how the clients' threads ask it: one question at a time."""

    _lock = threading.Lock()

    def spawn(self, command: list[str], log: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, or None if the process died or said nothing in time: it may have done it or not."""
        with self._lock:
            process = self.process
            if process is None or process.stdin is None or process.stdout is None:
                return None
            try:
                os.write(process.stdin.fileno(), json.dumps(question).encode() + b"\n")
                if not select.select([process.stdout], [], [], ANSWER_SECONDS)[0]:
                    process.kill()  # Its late answer must not be taken for the next question's.
                    return None
                line = process.stdout.readline()
                return dict(json.loads(line)) if line else None
            except (OSError, ValueError):
                return None


def main() -> None:
    import django

    django.setup()
    from accounts import credits
    from accounts.errors import BillingError
    from accounts.models import Balance
    from accounts.registration import rotate_key
    from mongo.errors import DATABASE_FAILURES

    for line in sys.stdin:
        question = json.loads(line)
        try:
            if question["do"] == "transfer":
                credits.transfer(
                    username=question["username"],
                    source=Balance(question["source"]),
                    amount=Decimal(question["amount"]),
                    operation=question["operation"],
                    actor="faults",
                    reason="moved by the campaign",
                )
            else:
                rotate_key(username=question["username"], new_key=question["new_key"])
            answer: dict[str, Any] = {"ok": True}
        except (BillingError, *DATABASE_FAILURES) as error:
            answer = {"ok": False, "error": repr(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
