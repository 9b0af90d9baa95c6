"""`make bench-compare TREE=…`: the gateways of two source trees, taking turns on one mongod and one mock upstream.

    python -m benchmarks.compare OTHER_TREE [--rounds N]

OTHER_TREE is a checkout of another commit, such as `git worktree add` makes. Both run on this tree's packages. Whatever
else the machine does hits both alike, so the ratios hold where the absolute figures do not.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.load import HOST, run_load
from benchmarks.measuring import CLIENTS, PLAIN, STREAM, Kind
from benchmarks.processes import cpu_seconds, with_children
from benchmarks.servers import (
    ROOT,
    Server,
    insert_accounts,
    manage,
    platform_environment,
    raise_file_limit,
    start_gunicorn,
    start_upstream,
)
from development.mongod import Mongod

CASES = [(PLAIN, clients) for clients in CLIENTS] + [(STREAM, max(CLIENTS))]
ROUNDS, SECONDS = 25, 0.8

Figures = tuple[float, float]
"""Requests a second, and CPU of all processes of the gateway in ms a request."""
Gateway = tuple[Server, list[str]]
"""A running gateway, and the API keys of its accounts."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Compare two trees' gateways.")
    parser.add_argument("other", type=Path, metavar="OTHER_TREE", help="the checkout to compare this one with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns that each takes a row (default {ROUNDS})")
    arguments = parser.parse_args()
    raise_file_limit()
    print("| request | clients | requests/s | of the other's | CPU ms a request | of the other's |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as directory, contextlib.ExitStack() as stack:
        mongod = stack.enter_context(Mongod(Path(directory) / "mongodb", cache_gb=0.5))
        upstream = start_upstream(stack, Path(directory))
        trees = {"this": ROOT, "other": arguments.other.resolve()}
        environment = platform_environment(mongod, upstream_url=f"http://{HOST}:{upstream.port}")
        gateways = []
        for name, tree in trees.items():
            own = environment | {"DATABASE_NAME": name}
            for command in ("migrate", "seed_prices"):
                manage(own, command, tree=tree)
            api_keys = insert_accounts(mongod, max(CLIENTS), database=name)
            server = start_gunicorn(stack, Path(directory), own, port="OPENHANDS_PORT", name=name, tree=tree)
            gateways.append((server, api_keys))
        for kind, clients in CASES:
            for gateway in gateways:
                _measure(*gateway, kind, clients)
            rounds = [_take_turns(gateways, kind, clients, index) for index in range(arguments.rounds)]
            print(_row(kind, clients, rounds), flush=True)
    return 0


def _take_turns(gateways: list[Gateway], kind: Kind, clients: int, index: int) -> list[Figures]:
    """The figures of both, this tree's first; who begins changes from round to round."""
    step = -1 if index % 2 else 1
    return [_measure(*gateway, kind, clients) for gateway in gateways[::step]][::step]


def _measure(gateway: Server, api_keys: list[str], kind: Kind, clients: int) -> Figures:
    pids = with_children(gateway.pid)
    before = cpu_seconds(pids)
    load = run_load(port=gateway.port, requests=kind.requests(clients, api_keys, gateway.port), seconds=SECONDS)
    return load.requests / load.seconds, 1000 * (cpu_seconds(pids) - before) / load.requests


def _row(kind: Kind, clients: int, rounds: list[list[Figures]]) -> str:
    """Medians over the rounds: of this tree's figures, and of their ratios to the other's in the same round."""
    speed, cpu = (median(this[index] for this, _ in rounds) for index in range(2))
    speeds, cpus = (median(this[index] / other[index] for this, other in rounds) for index in range(2))
    return f"| {kind.name} | {clients} | {speed:.0f} | {speeds:.2f} | {cpu:.2f} | {cpus:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
