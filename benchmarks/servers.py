"""What is measured, each in its own processes: the mock upstream, mongod, gunicorn as shipped, and what it is compared
with: nginx as the limit, and the same work done the plain way (benchmarks/reference.py)."""

import contextlib
import os
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from development.mongod import HOST, Mongod, free_port, tied_to_parent

ROOT = Path(__file__).resolve().parents[1]
DATABASE = "benchmark"
REFERENCE_ACCOUNTS = "reference_accounts"
REFERENCE = ("--worker-class", "gthread", "benchmarks.reference:application")
START_SECONDS = 30
STOP_SECONDS = 30

_NGINX_CONFIG = """\
daemon off;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    scgi_temp_path {directory};
    uwsgi_temp_path {directory};
    keepalive_requests 1000000;
    upstream mock {{ server {host}:{upstream}; keepalive 200; keepalive_requests 1000000; }}
    server {{
        listen {host}:{port} backlog=2048 reuseport;
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A running server: its port, and the process that started its others, if any."""

    port: int
    pid: int


@dataclass(frozen=True)
class Platform:
    """Everything that runs. `nginx` is None where it is not installed."""

    upstream: Server
    mongod: Mongod
    gateway: Server
    reference: Server
    nginx: Server | None
    api_keys: list[str]

    def logged_requests(self) -> int:
        """How many requests were recorded, and so billed."""
        with MongoClient[dict[str, Any]](self.mongod.url) as client:
            return client[DATABASE]["request_logs"].count_documents({})


@contextlib.contextmanager
def run_platform(directory: Path, *, accounts: int) -> Iterator[Platform]:
    """Start everything on free ports of 127.0.0.1, with that many funded accounts; stop it in the end.

    The accounts' credits are reconciled before and after: a fast answer that was billed wrong raises.
    """
    raise_file_limit()
    with contextlib.ExitStack() as stack:
        mongod = stack.enter_context(Mongod(directory / "mongodb", cache_gb=0.5))
        upstream = start_upstream(stack, directory)
        environment = platform_environment(mongod, upstream_url=f"http://{HOST}:{upstream.port}")
        for command in ("migrate", "seed_prices"):
            manage(environment, command)
        api_keys = insert_accounts(mongod, accounts)
        manage(environment, "reconcile")
        gateway = start_gunicorn(stack, directory, environment, port="OPENHANDS_PORT")
        reference = start_gunicorn(
            stack, directory, environment, port="OPENHANDS_PORT", name="reference", arguments=REFERENCE
        )
        nginx = _start_nginx(stack, directory, upstream)
        yield Platform(upstream, mongod, gateway, reference, nginx, api_keys)
        manage(environment, "reconcile")


def platform_environment(mongod: Mongod, *, upstream_url: str) -> dict[str, str]:
    """Only what has no default: everything else runs as shipped, whatever the caller's environment sets."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "billing_site.settings",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DATABASE_URL": mongod.url_of(DATABASE),
        "OPENHANDS_BASE_URL": upstream_url,
        "OPENHANDS_API_KEY": "mock",
    }


def manage(environment: dict[str, str], *command: str, tree: Path = ROOT) -> None:
    """Run a management command of a source tree; raises RuntimeError with its output if it fails."""
    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"manage.py {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def insert_accounts(mongod: Mongod, count: int, *, database: str = DATABASE) -> list[str]:
    """Accounts with credits and limits for any load, for the gateway and for the reference; returns their keys."""
    api_keys = [f"sk-trollllm-{secrets.token_hex(32)}" for _ in range(count)]
    plenty = {"creditsNew": 1_000_000.0, "requestsPerMinute": 1_000_000, "concurrentRequests": 1000}
    with MongoClient[dict[str, Any]](mongod.url) as client:
        client[database]["usersNew"].insert_many(
            {"_id": f"bench-{index}", "apiKey": key, **plenty} for index, key in enumerate(api_keys)
        )
        reference = client[database][REFERENCE_ACCOUNTS]
        reference.create_index("apiKey")
        reference.insert_many({"apiKey": key, "credits": 1_000_000.0} for key in api_keys)
    return api_keys


def start_gunicorn(
    stack: contextlib.ExitStack,
    directory: Path,
    environment: dict[str, str],
    *,
    port: str,
    name: str = "gunicorn",
    arguments: Sequence[str] = ("billing_site.wsgi:application",),
    tree: Path = ROOT,
) -> Server:
    """gunicorn as a source tree ships it; `port` names the setting of the port that will be asked."""
    ports = {name: str(free_port()) for name in ("SITE_PORT", "OPENHANDS_PORT", "OHMYGPT_PORT")}
    environment = environment | {"SERVE": "site" if port == "SITE_PORT" else "api"}
    command = [sys.executable, "-m", "gunicorn", "-c", "billing_site/gunicorn.conf.py", *arguments]
    pid = _spawn(stack, directory, name, command, environment | ports, tree=tree)
    _wait_for(int(ports[port]), directory / f"{name}.log")
    return Server(int(ports[port]), pid)


def _start_nginx(stack: contextlib.ExitStack, directory: Path, upstream: Server) -> Server | None:
    binary = shutil.which("nginx")
    if binary is None:
        return None
    port, config = free_port(), directory / "nginx.conf"
    config.write_text(_NGINX_CONFIG.format(directory=directory, host=HOST, port=port, upstream=upstream.port))
    pid = _spawn(stack, directory, "nginx", [binary, "-c", str(config)], dict(os.environ))
    _wait_for(port, directory / "nginx.log")
    return Server(port, pid)


def start_upstream(stack: contextlib.ExitStack, directory: Path) -> Server:
    """The mock upstream."""
    port = free_port()
    command = [sys.executable, "-m", "development.fake_upstream.server", "--port", str(port)]
    pid = _spawn(stack, directory, "upstream", command, dict(os.environ))
    _wait_for(port, directory / "upstream.log")
    return Server(port, pid)


def _spawn(
    stack: contextlib.ExitStack,
    directory: Path,
    name: str,
    command: list[str],
    environment: dict[str, str],
    *,
    tree: Path = ROOT,
) -> int:
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            tied_to_parent(command), cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    stack.callback(_stop, process)
    return process.pid


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(port: int, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, port), timeout=1).close()
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing listens on port {port}:\n{log_path.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def raise_file_limit() -> None:
    """As many open files as the system lets us have: 500 streams need 1500 in all, and the children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
