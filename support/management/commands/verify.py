"""`manage.py verify`: tries the running platform from a payment to the books, before and after a deployment."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Balance
from support.verification.checks import Addresses, Verification
from support.verification.scratch import PREFIX


class Command(BaseCommand):
    help = (
        "Try the running services on the live database with an account of their own: a payment, a request on each "
        "port, the refusal of an empty balance, the books. The upstreams are asked for two tiny answers. Exits with 1 "
        "if anything is not right."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", default=f"{PREFIX}scratch", help=f"Its name; it begins with {PREFIX}.")
        parser.add_argument("--site", metavar="ADDRESS", default=_local(settings.SITE_PORT), help="Site and webhooks.")
        parser.add_argument("--openhands", metavar="ADDRESS", default=_local(settings.OPENHANDS_PORT))
        parser.add_argument("--ohmygpt", metavar="ADDRESS", default=_local(settings.OHMYGPT_PORT))
        parser.add_argument("--model", metavar="NAME", help="Ask for this model; by default for the cheapest.")
        parser.add_argument(
            "--webhook", action="store_true", help="Pay by a signed webhook of SePay to the site, not in the database."
        )
        parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="Of each request.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        addresses = Addresses(*(options[name].rstrip("/") for name in ("site", "openhands", "ohmygpt")))
        verification = Verification(
            addresses,
            account=options["account"],
            models=dict.fromkeys(Balance, options["model"]) if options["model"] else {},
            sends_webhook=options["webhook"],
            timeout_seconds=options["timeout"],
        )
        checks = verification.run()
        failed = [check for check in checks if not check.is_ok]
        if options["json"]:
            listed = [
                {"name": check.name, "ok": check.is_ok, "detail": check.detail, "advice": check.advice}
                for check in checks
            ]
            self.stdout.write(json.dumps({"ok": not failed, "checks": listed}, indent=1))
        else:
            for check in checks:
                self.stdout.write(f"{'✓' if check.is_ok else '✗'} {check.name}: {check.detail}")
                if check.advice:
                    self.stdout.write(f"    What to do: {check.advice}")
        if failed:
            raise CommandError(f"{len(failed)} of {len(checks)} checks failed.")


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"
