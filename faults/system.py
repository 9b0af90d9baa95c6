"""The whole platform in its own processes on free ports: mongods, fake upstream, gunicorn, sweeper, staff."""

import hashlib
import os
import secrets
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from development.mongod import free_port
from development.processes import ROOT
from faults.answers import exchange, is_listening
from faults.clients import MODEL, Cast, Ports
from faults.journal import Account, Journal, Price
from faults.processes import Frozen, Supervised
from faults.replica_set import ReplicaSet
from faults.staff import Staff

DATABASE = "faults"
WORKERS = 2
START_SECONDS = 60
OPENING = Decimal(1000)
SHORT_TIMES = {
    "REQUEST_MAX_SECONDS": "20",
    "UPSTREAM_READ_TIMEOUT_SECONDS": "10",
    "CLIENT_TIMEOUT_SECONDS": "5",
    "CLIENT_BYTES_PER_SECOND": "20000",
    "RECORD_PATIENCE_SECONDS": "5",
    "HOLD_MAX_AGE_SECONDS": "60",
}
"""Settings of time with which holds grow old within a round; the other setting is the shipped one."""
SHORT_SWEEP = ("3",)
"""Seconds between two sweeps, with them."""
GUNICORNS: dict[str, dict[str, str]] = {"site": {"SERVE": "site"}, "api": {"SERVE": "api"}}
"""The gunicorns that serve together, each with what its environment has of its own."""


class System:
    """Everything that runs. `start` and `check` are for the main thread alone; `stop` ends all of it."""

    def __init__(self, directory: Path, *, members: int, has_short_times: bool, journal: Journal) -> None:
        self._directory = directory
        self._journal = journal
        self.webhook_secret = "whsec_" + secrets.token_hex(24)
        self.frozen = Frozen()
        self.replica_set = ReplicaSet(directory, members)
        self.ports = Ports(free_port(), free_port(), free_port())
        upstream_port, api_key = free_port(), secrets.token_urlsafe(16)
        self._upstream_port = upstream_port
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
        self.environment = {
            **kept,
            "DJANGO_SETTINGS_MODULE": "billing_site.settings",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": self.replica_set.url(DATABASE),
            "SITE_PORT": str(self.ports.site),
            "OPENHANDS_PORT": str(self.ports.openhands),
            "OHMYGPT_PORT": str(self.ports.ohmygpt),
            "GUNICORN_WORKERS": str(WORKERS),
            "OPENHANDS_BASE_URL": f"http://127.0.0.1:{upstream_port}",
            "OHMYGPT_BASE_URL": f"http://127.0.0.1:{upstream_port}",
            "OPENHANDS_API_KEY": api_key,
            "OHMYGPT_API_KEY": api_key,
            "STANDARD_WEBHOOK_SECRETS": self.webhook_secret,
            "SEPAY_API_KEYS": secrets.token_urlsafe(16),
            "SEPAY_ACCOUNT_NUMBER": "0123499999",
            "SEPAY_BANK": "Vietcombank",
            "REQUESTS_PER_MINUTE": "100000",
            **(SHORT_TIMES if has_short_times else {}),
        }
        python = sys.executable
        gunicorn = [python, "-m", "gunicorn", "-c", "billing_site/gunicorn.conf.py", "billing_site.wsgi:application"]
        self.masters = [self._supervised(name, gunicorn, own) for name, own in GUNICORNS.items()]
        sweep = [python, "manage.py", "sweep", "--loop", *(SHORT_SWEEP if has_short_times else ())]
        self.sweeper = self._supervised("sweeper", sweep, {})
        self.staff = Staff(
            "staff", [python, "-m", "faults.staff"], environment=self.environment, log_path=directory / "staff.log"
        )
        upstream = ["-m", "development.fake_upstream.server", f"--port={upstream_port}", f"--api-key={api_key}"]
        self._upstream = self._supervised("upstream", [python, *upstream], {})
        self.client: MongoClient[dict[str, Any]] = MongoClient(
            self.replica_set.url(""), connect=False, w="majority", serverSelectionTimeoutMS=3000, socketTimeoutMS=5000
        )

    @property
    def database(self) -> Any:
        return self.client[DATABASE]

    @property
    def supervised(self) -> list[Supervised]:
        """Everything in the order of its start."""
        return [*self.replica_set.members, self._upstream, self.sweeper, self.staff, *self.masters]

    def _supervised(self, name: str, command: list[str], own: dict[str, str]) -> Supervised:
        log = self._directory / f"{name}.log"
        return Supervised(name, command, environment=self.environment | own, log_path=log)

    def start(self) -> Cast:
        """Start everything, with its accounts. Raises RuntimeError if something does not start."""
        self.replica_set.start()
        for command in ("migrate", "seed_prices"):
            self.manage(command)
        cast = self._insert_accounts()
        self.manage("reconcile")
        for process in self.supervised[len(self.replica_set.members) :]:
            process.start()
        deadline = time.monotonic() + START_SECONDS
        while not self.is_up():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the platform is not up after {START_SECONDS} s: see {self._directory}")
            time.sleep(0.2)
        return cast

    def check(self) -> None:
        """Start again what has ended."""
        for process in self.supervised:
            process.check()

    def is_up(self) -> bool:
        """Whether every process runs and every port answers. It does not ask the database."""
        if any(process.pid is None for process in self.supervised) or not is_listening(self._upstream_port):
            return False
        paths = {self.ports.site: "/healthz", self.ports.openhands: "/health", self.ports.ohmygpt: "/health"}
        return all(exchange(port, "GET", path, timeout=2).is_ok for port, path in paths.items())

    def manage(self, *command: str) -> str:
        """Run a management command and return what it printed. Raises RuntimeError if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """End every process, those that stand still too. Safe to call twice."""
        self.frozen.thaw_all()
        self.client.close()
        others = self.supervised[len(self.replica_set.members) :]
        for process in others:
            process.ask_to_stop()
        for process in others:
            process.end(2)
        for member in self.replica_set.members:
            member.ask_to_stop()
        for member in self.replica_set.members:
            member.end(10)

    def _insert_accounts(self) -> Cast:
        names = [f"spender-{number}" for number in range(8)]
        spenders = [
            self._insert_account(name, "ohmygpt" if number % 4 == 3 else "openhands")
            for number, name in enumerate(names)
        ]
        rotating = [self._insert_account(f"rotating-{number}", "openhands") for number in range(2)]
        expiring = [self._insert_account(f"expiring-{number}", "openhands") for number in range(2)]
        for account in expiring:
            account.may_expire = True
        cast = Cast(spenders, rotating, expiring, self._insert_account("prober", "openhands"))
        for row in self.database["model_pricing"].find({"modelId": MODEL}):
            price = (row["inputPricePerMTok"], row["outputPricePerMTok"], row["multiplier"])
            self._journal.prices[row["upstream"]] = Price(*(Decimal(str(value)) for value in price))
        return cast

    def _insert_account(self, name: str, upstream: str) -> Account:
        key = f"sk-trollllm-{secrets.token_hex(32)}"
        credits = {"creditsNew": float(OPENING), "credits": float(OPENING)}
        key_hash = hashlib.sha256(key.encode()).hexdigest()
        self.database["usersNew"].insert_one({"_id": name, "apiKeyHash": key_hash, **credits})
        account = Account(name, key, upstream, 2 * OPENING)
        self._journal.accounts.append(account)
        return account
