"""`make clients`: real clients, in dialogues of 20 tool calls, against the platform, and every bill reckoned anew.

    python -m clients [--only NAME]

Prints a table; exit code 1 if anything failed or could not run. docs/clients.md tells how each client is set up.
"""

import argparse
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from clients.catalogue import CLIENTS, TURNS, Client
from clients.packages import DIRECTORY, NotInstalledError, install_node, install_python
from clients.platform import Platform, run_platform
from clients.running import Result, run_client


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m clients", description="Run real clients against the platform.")
    parser.add_argument("--only", action="append", metavar="TEXT", help="clients with this in their name")
    asked = parser.parse_args().only or [""]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [client for client in CLIENTS if any(text.lower() in client.name.lower() for text in asked)]
    able, missing = _install(chosen)
    directory = DIRECTORY / "run"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    say("Starting the platform ...")
    with run_platform(directory) as platform:
        results = [_run(client, platform, directory) for client in able]
        platform.manage("reconcile")
        say("The books of all accounts reconcile.")
    say("\n" + render(results))
    for result in results:
        for problem in result.problems:
            say(f"\n{result.client.name}: {problem}")
    for sentence in missing:
        say(f"\nNot run: {sentence}")
    return 1 if missing or not results or any(result.problems for result in results) else 0


def _install(chosen: list[Client]) -> tuple[list[Client], list[str]]:
    """The clients that can run here, and why the others cannot."""
    able: list[Client] = []
    missing: list[str] = []
    for requirements in sorted({client.requirements or "" for client in chosen}, key=bool):
        kind = [client for client in chosen if (client.requirements or "") == requirements]
        install: Callable[[], None] = partial(install_python, requirements) if requirements else install_node
        say(f"Installing {', '.join(client.name for client in kind)} ...")
        try:
            install()
        except NotInstalledError as error:
            missing.append(f"{', '.join(client.name for client in kind)}, since {error}")
        else:
            able += kind
    return able, missing


def _run(client: Client, platform: Platform, directory: Path) -> Result:
    say(f"{client.name} ...")
    result = run_client(client, platform, directory)
    say(f"  {result.requests} requests, ${result.cost:.8f}, {'not ok' if result.problems else 'ok'}")
    return result


def render(results: list[Result]) -> str:
    """The table, in Markdown."""
    lines = [
        f"| client | version | billed requests | tool turns ({TURNS} a dialogue) | cost, reckoned anew | ok |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        told = "no" if result.problems else "yes" if result.client.sentence is None else "yes: told what to change"
        cells = (result.client.name, result.version, result.requests, result.tool_turns, f"${result.cost:.8f}", told)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
