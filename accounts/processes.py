"""Processes that run requests, and their heart-beats: how a sweep knows within a minute that one of them has died.

A hold and a claim name the process that made them. Every few seconds a process tells the database that it lives, and
which requests it runs. A sweep closes what belongs to a process that has been silent for `PROCESS_SILENT_SECONDS`, or
to a request that its living process does not run any more.

Silence counts by the database's clock, and only while the database was there to hear: whoever beats also notes that it
answers. After a gap everybody has the whole time again, so an outage makes nobody look dead.
"""

import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import pymongo
from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone
from pymongo.collection import Collection
from pymongo.errors import InvalidOperation

from mongo.collections import Document, wrapper
from mongo.errors import DATABASE_FAILURES
from mongo.times import as_utc

logger = logging.getLogger(__name__)

COLLECTION = "serving_processes"
"""`{_id, host, pid, requests: [the ids that it runs], beatAt (by its own clock), heardAt (by the database's)}`, one for
each process, and one that says since when the database has been answering without a gap."""
_WATCH = "database"
"""The `_id` of the latter."""
BEAT_TIMEOUT_SECONDS = 5.0
SWEEP_SECONDS = 10
"""How soon a sweep comes by, as `manage.py sweep --loop` does by default."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""It goes on while the machine sleeps: a process that was stopped must know that it was."""


def _collection() -> "Collection[Document]":
    """The driver's own, which any thread may use."""
    return cast("Collection[Document]", wrapper().database[COLLECTION])


class _Heart:
    """What one process tells of itself. Its thread starts at the first request, so that a fork has one of its own."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """As a new process, which a fork is."""
        self._requests: set[str] = set()
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._id = ""
        self._beat_at = -math.inf

    def begin(self, request_id: str) -> None:
        self._requests.add(request_id)

    def end(self, request_id: str) -> None:
        self._requests.discard(request_id)

    def known_as(self) -> str:
        """Its name, if it has one; begins no beats."""
        return self._id

    def process_id(self) -> str:
        if self._is_fresh():
            return self._id
        with self._changed:
            self._processes = _collection()
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat_for_ever, name="heart-beat", daemon=True)
                self._thread.start()
            self._wake.set()
            if not self._changed.wait_for(self._is_fresh, timeout=BEAT_TIMEOUT_SECONDS):
                raise DatabaseError("this process could not tell the database that it lives")
            return self._id

    def _is_fresh(self) -> bool:
        """Nobody can take this process for dead yet, so a hold in its name is safe."""
        return bool(time.clock_gettime(_CLOCK) - self._beat_at < settings.PROCESS_SILENT_SECONDS / 2)

    def _beat_for_ever(self) -> None:
        while True:
            self._wake.clear()
            try:
                self._beat(self._processes)
            except InvalidOperation:
                pass  # Its client was closed: who needs its name next brings the new one.
            except Exception as error:  # The outermost loop of this thread: it must go on, whatever a beat meets.
                logger.warning("the database did not hear a heart-beat: %s", error)
            self._wake.wait(settings.PROCESS_SILENT_SECONDS / 12)

    def _beat(self, processes: "Collection[Document]") -> None:
        began, name = time.clock_gettime(_CLOCK), self._id
        with pymongo.timeout(BEAT_TIMEOUT_SECONDS):
            _note_that_the_database_answers(processes)
            # The time first: what was held before it is in the list that is read after it, or has ended.
            told: Document = {"beatAt": timezone.now(), "requests": list(self._requests)}
            if not (name and processes.update_one({"_id": name}, _heard(told)).matched_count):
                # New, or taken for dead while it stood still: what it held is closed, so it needs another name.
                self._beat_at, name = -math.inf, uuid.uuid4().hex
                told |= {"host": socket.gethostname()[:100], "pid": os.getpid()}
                processes.update_one({"_id": name}, _heard(told), upsert=True)
        with self._changed:
            self._id, self._beat_at = name, began
            self._changed.notify_all()


def _heard(told: Document) -> list[Document]:
    """The update of a beat; what is told is no expression."""
    return [{"$set": {"heardAt": "$$NOW", **{name: {"$literal": value} for name, value in told.items()}}}]


_heart = _Heart()
os.register_at_fork(after_in_child=_heart.begin_anew)


def process_id() -> str:
    """The name of this process in holds and claims. Begins its heart-beats if need be.

    After a standstill it waits for the next beat, since the process may have been taken for dead and been given another
    name. Raises `DatabaseError` if the database does not hear it in time.
    """
    return _heart.process_id()


def begin_request(request_id: str) -> None:
    """This process runs a request from now on. Call it before anything is held for it. Safe to repeat."""
    _heart.begin(request_id)


def end_request(request_id: str) -> None:
    """This process does nothing more for a request: a sweep may close what it left open. Safe to repeat."""
    _heart.end(request_id)


def keep_beating() -> None:
    """Begin the heart-beats of a process that runs no requests, such as a sweeper: it watches the database too."""
    try:
        process_id()
    except DATABASE_FAILURES as error:
        logger.warning("%s", error)  # Its thread goes on trying.


def _note_that_the_database_answers(processes: "Collection[Document]") -> None:
    """Count the time in which somebody could beat. Raises `PyMongoError`. Safe to repeat, and from many at once."""
    gap_ms = settings.PROCESS_SILENT_SECONDS / 3 * 1000
    since_last = {"$abs": {"$subtract": ["$$NOW", "$seenAt"]}}
    is_steady = {"$lte": [{"$ifNull": [since_last, gap_ms + 1]}, gap_ms]}
    steady_since = {"$cond": [is_steady, "$steadySince", "$$NOW"]}
    update: list[Document] = [{"$set": {"steadySince": steady_since, "seenAt": "$$NOW"}}]
    processes.update_one({"_id": _WATCH}, update, upsert=True)


def forget_silent_processes() -> int:
    """Remove the processes that have been silent too long while the database answered; returns how many.

    Decided by a time of the database's own that is read first, so a command that arrives late removes nobody else.
    Raises `PyMongoError`. Safe to repeat, and to run beside itself.
    """
    processes = _collection()
    now_and_watch = processes.aggregate([{"$match": {"_id": _WATCH}}, {"$set": {"now": "$$NOW"}}])
    watch = next(iter(now_and_watch), None)
    silent = timedelta(seconds=settings.PROCESS_SILENT_SECONDS)
    if watch is None or watch["now"] - watch["steadySince"] < silent or watch["now"] - watch["seenAt"] > silent / 3:
        return 0
    return processes.delete_many({"heardAt": {"$lte": watch["now"] - silent}}).deleted_count


def find_living(*, watches: bool) -> list[Document]:
    """The other processes that live: those that were heard within `PROCESS_SILENT_SECONDS`. For what needs all stopped.

    After an outage of the database the living have been silent, too. So with `watches`, where any process is
    remembered, it waits for three of their beats before it believes that they are dead, and then forgets them: one that
    only stood still must take another name. Raises `PyMongoError`.
    """
    told = _others()
    if watches and told and not any(map(_is_living, told)):
        time.sleep(settings.PROCESS_SILENT_SECONDS / 4)
        told = _others()
        if not any(map(_is_living, told)):
            for process in told:
                _collection().delete_one({"_id": process["_id"], "heardAt": process["heardAt"]})
    return [process for process in told if _is_living(process)]


def _is_living(process: Document) -> bool:
    return bool(process["silentSeconds"] < settings.PROCESS_SILENT_SECONDS)


def _others() -> list[Document]:
    own = _heart.known_as()
    return [process for name, process in take_census().processes.items() if name != own]


@dataclass(frozen=True)
class Census:
    """The processes that live, as they told last. Read it after the holds and claims that it is asked about."""

    processes: dict[str, Document]

    def is_over(self, *, process: object, request_id: str, since: object) -> bool:
        """Whether nobody works for a request any more that began at `since`. Who does not know either, cannot tell: no.

        Both as a raw document has them.
        """
        if not isinstance(process, str) or not isinstance(since, datetime):
            return False
        told = self.processes.get(process)
        if told is None:
            return True
        if request_id in told["requests"]:
            return False
        # One that began after the last beat is not in its list. The margin is for a clock that is set back.
        return as_utc(since) < as_utc(told["beatAt"]) - timedelta(seconds=settings.PROCESS_SILENT_SECONDS / 4)

    def seconds_until_closed(self, holds: Mapping[str, Document]) -> dict[str, int | None]:
        """By request: in how many seconds a sweep will have closed it, or None if its process still works for it."""
        return {request_id: self._seconds_until_closed(request_id, hold) for request_id, hold in holds.items()}

    def _seconds_until_closed(self, request_id: str, hold: Document) -> int | None:
        process, silent = hold.get("process"), settings.PROCESS_SILENT_SECONDS
        told = self.processes.get(process) if isinstance(process, str) else None
        if told is not None and told["silentSeconds"] >= silent / 4:
            return int(max(math.ceil(silent - told["silentSeconds"]), 0)) + SWEEP_SECONDS
        return SWEEP_SECONDS if self.is_over(process=process, request_id=request_id, since=hold.get("at")) else None


def take_census() -> Census:
    """Who lives now. One read. Raises `PyMongoError`."""
    silent_seconds = {"$divide": [{"$subtract": ["$$NOW", "$heardAt"]}, 1000]}
    told = _collection().aggregate([{"$match": {"_id": {"$ne": _WATCH}}}, {"$set": {"silentSeconds": silent_seconds}}])
    return Census({process["_id"]: process for process in told})
