"""The platform as it runs in production: gunicorn on its three ports, against the tests' own database."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from django.db import connection

from development.mongod import free_port

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
START_SECONDS = 30


@dataclass
class Server:
    """A running gunicorn. `site`, `openhands` and `ohmygpt` are base URLs without a path."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    log_path: Path
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=300, retries=False))

    @property
    def site(self) -> str:
        return f"http://{HOST}:{self.ports['SITE_PORT']}"

    @property
    def openhands(self) -> str:
        return f"http://{HOST}:{self.ports['OPENHANDS_PORT']}"

    @property
    def ohmygpt(self) -> str:
        return f"http://{HOST}:{self.ports['OHMYGPT_PORT']}"

    def worker_pids(self) -> list[int]:
        """The processes that serve requests: gunicorn's children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


@contextlib.contextmanager
def serve(tmp_path: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Start gunicorn with the shipped configuration, wait until every port answers, stop it in the end."""
    ports = {name: free_port() for name in ("SITE_PORT", "OPENHANDS_PORT", "OHMYGPT_PORT")}
    log_path = tmp_path / "gunicorn.log"
    env = {
        **os.environ,
        **{name: str(port) for name, port in ports.items()},
        "DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "GUNICORN_WORKERS": "2",
        "PRICE_CACHE_SECONDS": "0.2",
        **environment,
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "billing_site/gunicorn.conf.py", "billing_site.wsgi:application"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    server = Server(process, ports, log_path)
    try:
        _wait_until_up(server, env.get("SERVE", "all"))
        yield server
    finally:
        server.http.clear()
        # Nothing is under way any more; gunicorn's own stop would wait for connections that clients keep alive.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_up(server: Server, served: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    site, api = [f"{server.site}/healthz"], [f"{server.openhands}/health", f"{server.ohmygpt}/health"]
    for url in {"site": site, "api": api}.get(served, site + api):
        while True:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if server.http.request("GET", url, timeout=5).status == 200:
                    break
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise AssertionError(f"gunicorn does not answer {url}:\n{server.log()}")
            time.sleep(0.05)
