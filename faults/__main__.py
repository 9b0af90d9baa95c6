"""`make faults`: break the platform on purpose, and see that it holds.

    python -m faults [--minutes 5] [--seed N] [--members 1|3] [--times shipped|short]

Prints a report; exit code 1 if anything was found that must not be. docs/reliability.md tells how to read it.
"""

import argparse
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path

from development.processes import ROOT
from faults.campaign import Campaign, Options
from faults.report import command, render
from faults.schedule import EPISODES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults", description="Kill and freeze the platform under load.")
    parser.add_argument("--minutes", type=float, default=5, help="how long new rounds begin")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the faults and of the load")
    parser.add_argument("--members", type=int, choices=(1, 3), default=1, help="mongods in the replica set")
    parser.add_argument("--times", choices=("shipped", "short"), default="shipped", help="the platform's time-outs")
    parser.add_argument("--freeze", type=float, default=70, help="the longest that a process stands still, in seconds")
    parser.add_argument("--round", type=float, default=90, help="seconds of faults before each audit")
    parser.add_argument("--only", action="append", choices=EPISODES, help="these kinds of episodes alone")
    parser.add_argument("--directory", type=Path, help="for logs and data; var/faults/<seed> by default")
    asked = parser.parse_args()
    options = Options(
        seed=asked.seed,
        minutes=asked.minutes,
        members=asked.members,
        has_short_times=asked.times == "short",
        longest_freeze=asked.freeze,
        round_seconds=asked.round,
        only=tuple(asked.only or ()),
    )
    directory: Path = asked.directory or ROOT / "var" / "faults" / str(options.seed)
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(command(options))
    started = time.monotonic()
    campaign = Campaign(options, directory, say)
    try:
        campaign.run()
    except KeyboardInterrupt:
        say("Interrupted: this is what was found up to the last audit.")
    seconds = time.monotonic() - started
    report = render(campaign, options, seconds=seconds, directory=str(directory))
    (directory / "report.txt").write_text(report + "\n")
    say(report)
    return 1 if campaign.journal.violations else 0


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
