"""What the clients call: mongod, the fake upstream, and gunicorn as it is shipped, with an account for each client."""

import contextlib
import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from development.fake_upstream.server import FakeUpstream
from development.mongod import HOST, Mongod, free_port, tied_to_parent
from development.processes import ROOT

DATABASE = "clients"
OPENING = Decimal(1000)
START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True)
class Platform:
    """Everything that runs."""

    upstream: FakeUpstream
    database: Any
    ports: dict[str, int]
    environment: dict[str, str]

    def base_url(self, balance: str) -> str:
        """Where the clients of a balance, `openhands` or `ohmygpt`, go; without `/v1`."""
        return f"http://{HOST}:{self.ports[f'{balance.upper()}_PORT']}"

    def insert_account(self, name: str) -> str:
        """Add an account with OPENING on each balance and return its key."""
        key = f"sk-trollllm-{secrets.token_hex(32)}"
        self.database["usersNew"].insert_one(
            {
                "_id": name,
                "apiKeyHash": hashlib.sha256(key.encode()).hexdigest(),
                "creditsNew": float(OPENING),
                "credits": float(OPENING),
                "requestsPerMinute": 100_000,
            }
        )
        return key

    def manage(self, *command: str) -> None:
        """Run a management command. Raises RuntimeError with what it printed if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def run_platform(directory: Path) -> Iterator[Platform]:
    """Start everything on free ports of 127.0.0.1, with prices; stop it in the end. Logs go to the directory."""
    upstream_key = secrets.token_urlsafe(16)
    with contextlib.ExitStack() as stack:
        mongod = stack.enter_context(Mongod(directory / "mongodb"))
        upstream = stack.enter_context(FakeUpstream(api_key=upstream_key))
        ports = {name: free_port() for name in ("SITE_PORT", "OPENHANDS_PORT", "OHMYGPT_PORT")}
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
        # Only what has no default: everything else runs as shipped, whatever the caller's environment sets.
        environment = kept | {name: str(port) for name, port in ports.items()}
        environment |= {
            "DJANGO_SETTINGS_MODULE": "billing_site.settings",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": mongod.url_of(DATABASE),
            "SERVE": "api",
            **{f"{name}_BASE_URL": upstream.url for name in ("OPENHANDS", "OHMYGPT")},
            **{f"{name}_API_KEY": upstream_key for name in ("OPENHANDS", "OHMYGPT")},
        }
        client = stack.enter_context(MongoClient[dict[str, Any]](mongod.url, tz_aware=True))
        platform = Platform(upstream, client[DATABASE], ports, environment)
        for command in ("migrate", "seed_prices"):
            platform.manage(command)
        stack.enter_context(_gunicorn(platform, directory / "gunicorn.log"))
        yield platform


@contextlib.contextmanager
def _gunicorn(platform: Platform, log_path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "gunicorn", "-c", "billing_site/gunicorn.conf.py", "billing_site.wsgi:application"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            tied_to_parent(command),
            cwd=ROOT,
            env=platform.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        for name in ("OPENHANDS_PORT", "OHMYGPT_PORT"):
            _wait_for(platform.ports[name], process, log_path)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), timeout=1).close()
            return
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError(f"nothing listens on port {port}:\n{log_path.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
