"""`manage.py inspect`: says what is in an adopted database and what must be decided. Writes nothing."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from support.takeover.inspection import Finding, inspect_database
from support.takeover.progress import Progress


class Command(BaseCommand):
    help = (
        "Show what an adopted database holds, and what has to be decided before this platform serves it, with the "
        "options of take_over. Writes nothing. Exits with 1 while something must be decided."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")
        parser.add_argument(
            "--without-requests", action="store_true", help="Do not look through request_logs, the largest collection."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        progress = Progress(sys.stderr)
        accounts, findings = inspect_database(progress, with_requests=not options["without_requests"])
        progress.clear()
        undecided = [finding.name for finding in findings if finding.must_be_decided]
        if options["json"]:
            report = {
                "accounts": accounts,
                "must_be_decided": undecided,
                "findings": [asdict(finding) for finding in findings],
            }
            self.stdout.write(json.dumps(report, indent=1))
        else:
            self._print(accounts, findings)
        if undecided:
            raise CommandError(f"Something must be decided: {', '.join(undecided)}.")

    def _print(self, accounts: int, findings: list[Finding]) -> None:
        self.stdout.write(f"{accounts:,} accounts")
        for title, is_open in (("To be decided", True), ("To be known", False)):
            chosen = [finding for finding in findings if finding.must_be_decided is is_open]
            if chosen:
                self.stdout.write(f"\n{title}:")
            for finding in chosen:
                sums = "".join(f", {name} {amount}" for name, amount in finding.sums.items())
                self.stdout.write(f"  {finding.count:,} {finding.what}{sums}")
                if finding.examples:
                    self.stdout.write(f"      such as {', '.join(finding.examples)}")
                self.stdout.write(f"      {finding.advice}")
