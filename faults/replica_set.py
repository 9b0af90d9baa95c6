"""One or three mongods on loopback, one replica set: each may be killed, frozen or made to step down."""

import contextlib
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from development.mongod import HOST, REPLICA_SET, free_port
from development.mongod_binary import find_mongod
from faults.processes import Supervised

ELECTION_TIMEOUT_MS = 5000
START_SECONDS = 60
ROLL_BACK_MARK = "Rollback summary"
"""What mongod writes to its log after a roll-back."""


class Member(Supervised):
    """One mongod, journaled as in production."""

    def __init__(self, directory: Path, number: int) -> None:
        self.port = free_port()
        data = directory / f"mongod-{number}"
        data.mkdir()
        command = [str(find_mongod()), "--replSet", REPLICA_SET, "--bind_ip", HOST, "--port", str(self.port)]
        command += ["--dbpath", str(data), "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", "--quiet"]
        parameters = {
            "diagnosticDataCollectionEnabled": "false",
            "shutdownTimeoutMillisForSignaledShutdown": "0",
            # As development/mongod.py: what a killed process had locked is free again soon.
            "transactionLifetimeLimitSeconds": "20",
        }
        for name, value in parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        super().__init__(f"mongod-{number}", command, environment={}, log_path=directory / f"mongod-{number}.log")

    @property
    def host(self) -> str:
        return f"{HOST}:{self.port}"


class ReplicaSet:
    """All members. `start` makes them one set; after that each is a process like others."""

    def __init__(self, directory: Path, members: int) -> None:
        self.members = [Member(directory, number) for number in range(members)]

    def url(self, database: str) -> str:
        """The connection string of a database, as a production's would be."""
        return f"mongodb://{','.join(member.host for member in self.members)}/{database}?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Start all members and wait for a primary. Raises RuntimeError if there is none in time."""
        for member in self.members:
            member.start()
        members = [{"_id": number, "host": member.host} for number, member in enumerate(self.members)]
        config = {"_id": REPLICA_SET, "members": members, "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT_MS}}
        deadline = time.monotonic() + START_SECONDS
        while self.find_primary() is None:
            with contextlib.suppress(PyMongoError):
                run_command(self.members[0], {"replSetInitiate": config})
            if time.monotonic() > deadline:
                raise RuntimeError(f"no primary after {START_SECONDS} s: see {self.members[0].log_path}")
            time.sleep(0.2)

    def find_primary(self) -> Member | None:
        """The running member that says it is the primary."""
        for member in self.members:
            if member.pid is None:
                continue
            with contextlib.suppress(PyMongoError):
                if run_command(member, {"hello": 1}, seconds=0.5).get("isWritablePrimary"):
                    return member
        return None

    def step_down(self) -> bool:
        """Ask the primary to give its place up for a while; returns whether it did."""
        primary = self.find_primary()
        if primary is None:
            return False
        try:
            run_command(primary, {"replSetStepDown": 20, "secondaryCatchUpPeriodSecs": 5, "force": True}, seconds=10)
        except PyMongoError:
            return False
        return True

    def roll_backs(self) -> int:
        """How many roll-backs the members have gone through."""
        return sum(member.log_path.read_text(errors="replace").count(ROLL_BACK_MARK) for member in self.members)


def run_command(member: Member, command: dict[str, Any], *, seconds: float = 5) -> dict[str, Any]:
    """Run a command of the database `admin` on this very member. Raises `PyMongoError`."""
    with _connect(member, seconds) as client:
        return dict(client.admin.command(command))


def write_alone(member: Member) -> None:
    """A write that only this member has, so that there is something to roll back. It may fail."""
    with contextlib.suppress(PyMongoError), _connect(member, 1.0) as client:
        client["faults_probe"].command({"insert": "alone", "documents": [{}], "writeConcern": {"w": 1}})


def _connect(member: Member, seconds: float) -> MongoClient[dict[str, Any]]:
    milliseconds = int(seconds * 1000)
    return MongoClient(
        HOST,
        member.port,
        directConnection=True,
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=milliseconds,
    )
