"""`make bench`: what the gateway costs, beside the mock upstream alone and nginx, all measured in one run.

    python -m benchmarks [--quick]

Prints one Markdown table and writes it to `var/bench.md`. docs/performance.md tells how to read it.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import CLIENTS, Measuring
from benchmarks.report import render
from benchmarks.servers import ROOT, run_platform

ROUNDS, SECONDS = 3, 2.8
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.8


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the gateway's speed and memory.")
    parser.add_argument("--quick", action="store_true", help="under a minute, with less trustworthy figures")
    is_quick = parser.parse_args().quick
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if is_quick else (ROUNDS, SECONDS)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as directory:
        with run_platform(Path(directory), accounts=max(CLIENTS)) as running:
            measuring = Measuring(running)
            say("Warming up ...")
            measuring.warm_up()
            say(f"Measuring: {rounds} rounds of {seconds} s each ...")
            measurements = measuring.measure(rounds=rounds, seconds=seconds)
            say("Opening streams ...")
            memories = measuring.measure_memory()
            logged = running.logged_requests()
        if logged != measuring.sent:
            raise RuntimeError(f"{measuring.sent} requests were answered, but {logged} recorded")
    notes = [
        f"All {logged:,} requests through the gateway answered 200, are recorded and settled, and reconcile",
        f"{os.cpu_count()} cores for everything, Python {platform.python_version()}, "
        f"{rounds} x {seconds} s a row, {time.monotonic() - started:.0f} s in all",
    ]
    if running.nginx is None:
        notes.append("nginx is not installed, so there is no limit to compare with: apt-get install nginx-light")
    report = render(measurements, memories, notes=notes)
    path = ROOT / "var" / "bench.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(report)
    print(report)
    return 0


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
