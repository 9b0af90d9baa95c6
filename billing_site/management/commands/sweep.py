"""`manage.py sweep`: what time brings. Stale holds, expired credits, unpaid orders, webhook events to try again."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts import expiry
from books import daily_figures
from payments import orders
from payments.inbox import pull
from payments.inbox import receive as inbox
from proxy.billing import metering

logger = logging.getLogger("billing.sweep")

JOBS: dict[str, Callable[[], int]] = {
    "holds closed": metering.sweep_holds,
    "accounts expired": expiry.sweep_expired_accounts,
    "orders expired": orders.expire_pending,
    "missed payments pulled": pull.pull_due_payments,
    "webhook events finished": inbox.process_due_events,
    "days counted": daily_figures.refresh_figures,
}
"""What a sweep does, in order. Each job is safe to run beside itself, so any number of sweepers may run."""


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
        has_failed = self._sweep_once()
        while options["loop"] and not stopped.wait(options["loop"]):
            self._sweep_once()
        if has_failed and not options["loop"]:
            raise SystemExit(1)

    def _sweep_once(self) -> bool:
        """Run every job; one that fails is logged and does not keep the others from running."""
        has_failed = False
        for name, job in JOBS.items():
            started = time.monotonic()
            try:
                count = job()
            except Exception:  # The outermost loop: whatever one job meets, the others run, and it runs again.
                logger.exception("sweep: %s failed", name)
                has_failed = True
            else:
                if count:
                    self.stdout.write(f"{name}: {count} ({time.monotonic() - started:.2f} s)")
        return has_failed
