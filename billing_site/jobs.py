"""What runs periodically, and its outermost loop: `manage.py sweep` runs every job, again and again with `--loop`."""

import logging
import time
from collections.abc import Callable

from accounts import expiry
from books import daily_figures
from payments import orders
from payments.inbox import process, pull
from proxy.billing import abandoned

logger = logging.getLogger(__name__)

JOBS: dict[str, Callable[[], int]] = {
    "holds closed": abandoned.sweep_holds,
    "accounts expired": expiry.sweep_expired_accounts,
    "orders expired": orders.expire_pending,
    "missed payments pulled": pull.pull_due_payments,
    "webhook events finished": process.process_due_events,
    "days counted": daily_figures.refresh_figures,
}
"""What a sweep does, in order. Each job is safe to run beside itself, so any number of sweepers may run."""


def run_jobs(report: Callable[[str], object]) -> bool:
    """Run every job once, and report each that did something; returns whether any failed.

    A job that fails is logged and does not keep the others from running.
    """
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
                report(f"{name}: {count} ({time.monotonic() - started:.2f} s)")
    return has_failed
