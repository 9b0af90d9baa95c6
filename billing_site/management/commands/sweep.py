"""`manage.py sweep`: what time brings. Stale holds, expired credits, unpaid orders, webhook events to try again."""

import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

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
        parser.add_argument(
            "--give-up-after",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="End a loop with an error when every job has failed for SECONDS (default 60). Whatever watches the"
            " sweeper starts a new process then, in case it is this one that cannot do them.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        if options["loop"]:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stopped.set())
            keep_beating()
        hopeless_since: float | None = None
        while True:
            started = time.monotonic()
            sweep = run_jobs(self.stdout.write)
            if not options["loop"]:
                break
            hopeless_since = (hopeless_since or started) if sweep.is_hopeless else None
            if hopeless_since is not None and time.monotonic() - hopeless_since >= options["give_up_after"]:
                raise CommandError("Every job keeps failing, the log says why. Start the sweeper again.")
            if stopped.wait(options["loop"]):
                return
        if sweep.has_failed:
            raise SystemExit(1)
