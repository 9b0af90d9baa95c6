"""Runs a client in a place of its own, and judges what came of it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from clients.books import check_bill
from clients.catalogue import TURNS, Client
from clients.packages import NODE, python_of
from clients.platform import OPENING, Platform
from development.fake_upstream.server import RecordedRequest
from development.mongod import tied_to_parent

CLIENT_SECONDS = 400
_LAST_CHARACTERS = 2000


@dataclass(frozen=True)
class Result:
    """What came of a client: what the upstream has seen, what was billed, and what is wrong."""

    client: Client
    version: str
    requests: int
    tool_turns: int
    cost: Decimal
    problems: list[str]


def run_client(client: Client, platform: Platform, directory: Path) -> Result:
    """Run a client with an account of its own, in a directory that is made for it and keeps its output."""
    key = platform.insert_account(client.account)
    home = directory / client.account
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    platform.upstream.clear()
    code, output = _execute(client, platform.base_url(client.balance), key, home)
    bill = check_bill(
        platform.database,
        account=client.account,
        balance=client.balance,
        opening=OPENING,
        seen=platform.upstream.requests,
    )
    seen = platform.upstream.requests
    problems = [*_judge_end(client, code, output), *_judge_dialogues(client, seen), *bill.problems]
    tool_turns = sum(request.is_tool_call for request in seen)
    return Result(client, _version(client), bill.requests, tool_turns, bill.cost, problems)


def _execute(client: Client, base_url: str, key: str, home: Path) -> tuple[int | None, str]:
    """The exit code, None after CLIENT_SECONDS, and what the client printed."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
        **{name: str(home) for name in ("HOME", "CODEX_HOME", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME")},
        "OPENAI_BASE_URL": f"{base_url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_AUTH_TOKEN" if client.program == "claude" else "ANTHROPIC_API_KEY": key,
        # Other hosts, as for telemetry, are asked for at a proxy where nobody listens.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **client.environment,
    }
    asked = {"model": client.model, "prompt": client.prompt, "turns": TURNS, "base_url": base_url, "api_key": key}
    (home / "asked.json").write_text(json.dumps(asked))
    log_path = home / "output.txt"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            tied_to_parent(client.command(base_url, home)),
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(CLIENT_SECONDS)
        finally:
            # Whatever it started and left behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, log_path.read_text(errors="replace")


def _judge_end(client: Client, code: int | None, output: str) -> list[str]:
    last = output.strip()[-_LAST_CHARACTERS:]
    if code is None:
        return [f"not ready after {CLIENT_SECONDS} s: {last}"]
    if client.sentence is not None:
        is_told = re.search(client.sentence, output) is not None
        return [] if code and is_told else [f"exit code {code}, and its user does not read {client.sentence!r}: {last}"]
    return [f"exit code {code}: {last}"] if code else []


def _judge_dialogues(client: Client, seen: list[RecordedRequest]) -> list[str]:
    """Each dialogue has all its tool calls, and an answer in the end: so the client sent every result."""
    used = Counter(request.path.partition("?")[0] for request in seen if request.counted is not None)
    calls = Counter(request.path.partition("?")[0] for request in seen if request.is_tool_call)
    problems = [f"{path} was used {used[path]} times" for path in used if path not in client.dialogues]
    problems += [f"{path} was not used" for path in client.dialogues if not used[path]]
    wanted = TURNS * sum(client.dialogues.values())
    if calls.total() != wanted:
        problems.append(f"{calls.total()} tool calls instead of {wanted}")
    return problems


def _version(client: Client) -> str:
    if client.requirements is None:
        manifest = NODE / "node_modules" / client.package / "package.json"
        return str(json.loads(manifest.read_text())["version"])
    program = f"import importlib.metadata; print(importlib.metadata.version({client.package!r}))"
    python = str(python_of(client.requirements))
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
