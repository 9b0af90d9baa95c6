"""`manage.py drop_new_fields`: the clean-up after a roll-back for good, which destroys credits of customers."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.processes import find_living
from support.rollback.drop import KEY_FIELDS, OTHER_FIELDS, Removal
from support.rollback.serving import check_all_stopped, describe

REASON = "The dual credits are given up"


class Command(BaseCommand):
    help = (
        "Show which OpenHands credits would be destroyed, and with --yes remove creditsNew and tokensUserNew from "
        "every account: each balance with an adjustment in the ledger, so that the books close. Stop everything that "
        "serves requests first. Safe to stop and to repeat; nothing brings the credits back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="Do it. Without, nothing is written.")
        parser.add_argument(
            "--other-fields",
            action="store_true",
            help=f"Also remove {', '.join(OTHER_FIELDS)}; and beside a plain key {', '.join(KEY_FIELDS)}.",
        )
        parser.add_argument("--reason", default=REASON, help="Why. It is kept for good.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        is_applied = options["yes"]
        living = check_all_stopped() if is_applied else find_living(watches=False)
        reason = options["reason"].strip()[:500] or REASON
        report = Removal(is_applied=is_applied, drops_others=options["other_fields"], reason=reason).run()
        report.extra["serving"] = describe(living)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=1))
        else:
            for line in report.lines():
                self.stdout.write(line)
            for process in report.extra["serving"]:
                self.stdout.write(f"- still serving: {process}")
            self.stdout.write(
                "Done." if is_applied else "Nothing was written. What is listed here would be gone for good: --yes."
            )
        if report.failures:
            raise CommandError("Not all of it could be removed. Repair what is named above, and run it again.")
