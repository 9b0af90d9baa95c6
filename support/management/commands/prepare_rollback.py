"""`manage.py prepare_rollback`: makes what the replaced programs read true again, before they are started."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.administration import LONGEST_EXPIRY
from accounts.processes import find_living
from support.rollback.keys import NewKeyFile
from support.rollback.needs import REASON, Options
from support.rollback.prepare import Preparation
from support.rollback.serving import check_all_stopped, describe
from support.typed import read_whole_number


class Command(BaseCommand):
    help = (
        "Show what the replaced programs would not find as customers have it, and with --yes make it so: holds closed, "
        "numbers as doubles, flags, dates and keys as those programs read them. Credits move only with --transfer. "
        "Stop everything that serves requests first. Safe to stop and to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Do it. Without, nothing is written.")
        parser.add_argument("--transfer", action="store_true", help="Move OpenHands credits to OhMyGPT, by the ledger.")
        parser.add_argument(
            "--expires-in",
            type=read_whole_number,
            metavar="DAYS",
            help="Give credits without an expiry date one, in so many days.",
        )
        parser.add_argument(
            "--new-keys", type=Path, metavar="FILE", help="Make new keys for accounts whose key is only hashed."
        )
        parser.add_argument("--cancel-orders", action="store_true", help="Cancel open orders that were made here.")
        parser.add_argument("--reason", default=REASON, help="Why. It is kept for good.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        days, is_applied = options["expires_in"], options["yes"]
        if days is not None and not 1 <= days <= LONGEST_EXPIRY.days:
            raise CommandError(f"--expires-in must be from 1 to {LONGEST_EXPIRY.days} days.")
        allowed = Options(
            transfers=options["transfer"],
            expires_in=None if days is None else timedelta(days=days),
            gives_new_keys=options["new_keys"] is not None,
            cancels_orders=options["cancel_orders"],
            reason=options["reason"].strip()[:500] or REASON,
        )
        living = check_all_stopped() if is_applied else find_living(watches=False)
        key_file = _open(options["new_keys"]) if is_applied and options["new_keys"] else None
        try:
            report = Preparation(allowed, is_applied=is_applied, key_file=key_file).run()
        finally:
            if key_file:
                key_file.close()
        report.extra["serving"] = describe(living)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=1))
        else:
            for line in report.lines():
                self.stdout.write(line)
            for process in report.extra["serving"]:
                self.stdout.write(f"- still serving: {process}")
            self.stdout.write("Done." if is_applied else "Nothing was written: look at it, then add --yes.")
        if report.failures:
            raise CommandError("Not all of it could be done. Repair what is named above, and run it again.")


def _open(path: Path) -> NewKeyFile:
    try:
        return NewKeyFile(path)
    except OSError as error:
        raise CommandError(f"The file for new keys cannot be used: {error}") from error
