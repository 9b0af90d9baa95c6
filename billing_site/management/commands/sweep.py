"""`manage.py sweep`: what time brings. Stale holds, expired credits, unpaid orders, webhook events to try again."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.processes import keep_beating
from billing_site.jobs import run_jobs


class Command(BaseCommand):
    help = "Close stale holds, expire credits and orders, retry webhook events. Safe to run several at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--loop",
            nargs="?",
            type=float,
            const=10.0,
            metavar="SECONDS",
            help="Run again after every SECONDS (default 10) until stopped.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        if options["loop"]:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            keep_beating()
        has_failed = run_jobs(self.stdout.write)
        while options["loop"] and not stopped.wait(options["loop"]):
            run_jobs(self.stdout.write)
        if has_failed and not options["loop"]:
            raise SystemExit(1)
