"""How MongoDB found what the pages asked for, from its profiler: what reads or sorts a big collection is a problem."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.database import Database

BIG_COLLECTIONS = (
    "usersNew",
    "ledger_entries",
    "payments",
    "webhook_events",
    "audit_entries",
    "request_logs",
    "refused_requests",
)
PROFILE = "system.profile"
PROFILE_BYTES = 64 * 1024 * 1024
TIME_IS_OVER = 50
"""The error code of a query that was stopped: what a page waits for is bounded in time."""
SHOWN = ("filter", "query", "pipeline", "sort", "limit")


@dataclass(frozen=True)
class Query:
    """One query as MongoDB ran it."""

    collection: str
    plan: str
    documents: int
    keys: int
    sorts: bool
    was_stopped: bool
    is_count: bool
    """The count of a list's rows reads as many as there are, up to a limit, for a short time."""
    command: str

    def problem(self, most: int) -> str:
        """Why it must not be so when a page may read `most` documents; empty if it may."""
        if "COLLSCAN" in self.plan:
            return "reads the whole collection"
        if self.was_stopped or self.is_count:
            return ""
        if self.documents > most:
            return f"reads {self.documents:,} documents"
        if self.sorts and self.keys > most:
            return f"sorts {self.keys:,} keys"
        return ""

    def __str__(self) -> str:
        return f"{self.collection}: {self.plan}, {self.documents:,} documents, {self.keys:,} keys: {self.command}"


class Profiler:
    """Records what one database does. Switch it off before the server is used for anything else."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._database = database
        self._seen = datetime(2000, 1, 1)  # noqa: DTZ001  (as the driver reads times)

    def __enter__(self) -> "Profiler":
        self._database.command("profile", 0)
        self._database.drop_collection(PROFILE)
        self._database.create_collection(PROFILE, capped=True, size=PROFILE_BYTES)
        self._database.command("profile", 2)
        return self

    def __exit__(self, *error: object) -> None:
        self._database.command("profile", 0)

    def new_queries(self) -> list[Query]:
        """What big collections were asked since the last call. Reads the whole profile: once per page."""
        entries = list(self._database[PROFILE].find({"ts": {"$gt": self._seen}}))
        self._seen = max((entry["ts"] for entry in entries), default=self._seen)
        return list(_read(entries, self._database.name))


def _read(entries: Iterable[dict[str, Any]], database: str) -> Iterator[Query]:
    for entry in entries:
        collection = entry["ns"].removeprefix(f"{database}.")
        if collection not in BIG_COLLECTIONS or entry["op"] not in ("query", "command", "getmore"):
            continue
        command = entry.get("originatingCommand") or entry["command"]
        yield Query(
            collection=collection,
            plan=entry.get("planSummary", ""),
            documents=entry.get("docsExamined", 0),
            keys=entry.get("keysExamined", 0),
            sorts=entry.get("hasSortStage", False),
            was_stopped=entry.get("errCode") == TIME_IS_OVER,
            is_count="$facet" in str(command.get("pipeline")),
            command=_short({name: command[name] for name in SHOWN if name in command}),
        )


def _short(command: dict[str, Any]) -> str:
    text = str(command)
    return text if len(text) <= 600 else f"{text[:600]} …"
