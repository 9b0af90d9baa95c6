"""What runs periodically, and its outermost loop: `manage.py sweep` runs every job, again and again with `--loop`."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from accounts import expiry
from books import daily_figures
from mongo.each_item import SomeFailed
from payments import orders
from payments.inbox import process, pull
from payments.providers import all_providers
from proxy.billing import abandoned

logger = logging.getLogger(__name__)


def _pull_if_any_can() -> int | None:
    """None where no provider is set up for it: the database is not even asked then."""
    return pull.pull_due_payments() if any(provider.can_pull() for provider in all_providers()) else None


JOBS: dict[str, Callable[[], int | None]] = {
    "holds closed": abandoned.sweep_holds,
    "accounts expired": expiry.sweep_expired_accounts,
    "orders expired": orders.expire_pending,
    "missed payments pulled": _pull_if_any_can,
    "webhook events finished": process.process_due_events,
    "days counted": daily_figures.refresh_figures,
    "earlier days counted": daily_figures.count_earlier_days,
}
"""What a sweep does, in order, and how many things each did; None = it had nothing to look for. Each job is safe to run
beside itself, so any number of sweepers may run."""


@dataclass(frozen=True)
class Sweep:
    """How a run of all jobs went."""

    has_failed: bool
    """A job, or an item of one, failed."""
    is_hopeless: bool
    """Every job that had anything to look for failed altogether."""


def run_jobs(report: Callable[[str], object]) -> Sweep:
    """Run every job once, report each that did something, and return how it went.

    A job that fails is logged and does not keep the others from running.
    """
    has_failed, is_hopeless = False, True
    for name, job in JOBS.items():
        started = time.monotonic()
        try:
            count = job()
        except Exception as error:  # The outermost loop: whatever one job meets, the others run, and it runs again.
            logger.exception("sweep: %s failed", name)
            has_failed = True
            if isinstance(error, SomeFailed):  # It had its way through the others.
                is_hopeless = False
        else:
            if count is not None:
                is_hopeless = False
            if count:
                report(f"{name}: {count} ({time.monotonic() - started:.2f} s)")
    return Sweep(has_failed, is_hopeless)
