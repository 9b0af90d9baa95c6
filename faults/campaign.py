"""The campaign: rounds of episodes of faults under load; after each round quiet, and the audit.

All processes belong to the main thread, which watches them while anything else is done in the background.
"""

import contextlib
import heapq
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from pymongo.errors import PyMongoError

from faults.answers import exchange
from faults.audit import Audit
from faults.clients import CHAT, Cast, Clients
from faults.journal import Journal
from faults.processes import Supervised, send_signal
from faults.replica_set import Member, write_alone
from faults.schedule import Episode, Fault, Kind, Target, plan_episodes
from faults.system import System

Result = TypeVar("Result")

CLIENTS = 12
CLIENT_PAUSE_SECONDS = 0.8
"""About a dozen requests a second in all."""
WELL_SECONDS = 5.0
"""So soon after the processes run and the database takes writes, every endpoint works."""
GIVE_UP_SECONDS = 90.0
"""A platform that is not back, or not well, after these is not waited for any longer."""
QUIET_SECONDS = 100.0
"""After the faults, holds and idempotency keys of dead processes are free again within these."""
SWEPT_SECONDS = 30.0
"""A living sweeper expires what is due within these."""
ISOLATED_SECONDS = 2.5
"""A primary without the others writes alone for so long, which is less than it takes to notice."""
PROBES = 8


@dataclass(frozen=True)
class Options:
    """What to run. `longest_freeze` in seconds; `round_seconds` is how long faults go on before an audit.

    `only` names kinds of episodes; by default it is all of them.
    """

    seed: int
    minutes: float
    members: int
    has_short_times: bool
    longest_freeze: float
    round_seconds: float
    only: tuple[str, ...] = ()


class Campaign:
    """One run. `run` returns when its time is over and the last audit is done; `journal` has what was found."""

    def __init__(self, options: Options, directory: Path, say: Callable[[str], None]) -> None:
        self.journal = Journal(directory)
        self.rounds = self.episodes = 0
        self._options = options
        self._say = say
        self.system = System(
            directory, members=options.members, has_short_times=options.has_short_times, journal=self.journal
        )
        self._plan = plan_episodes(
            seed=options.seed,
            members=options.members,
            longest_freeze=options.longest_freeze,
            only=options.only,
        )
        self._chance = random.Random(f"campaign {options.seed}")
        self._timeline: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._pool = ThreadPoolExecutor(4)
        self._is_over = threading.Event()

    def run(self) -> None:
        """All of it. Whatever happens, no process is left. Raises RuntimeError if the platform does not start."""
        try:
            self._clients = self._make_clients(self.system.start())
            self._clients.start(CLIENTS, pause_seconds=CLIENT_PAUSE_SECONDS)
            try:
                end = time.monotonic() + self._options.minutes * 60
                while time.monotonic() < end:
                    self._round(min(end, time.monotonic() + self._options.round_seconds))
            finally:
                self._clients.stop()
        finally:
            self._is_over.set()
            self.system.stop()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self.journal.close()

    def _make_clients(self, cast: Cast) -> Clients:
        return Clients(
            journal=self.journal,
            ports=self.system.ports,
            cast=cast,
            staff=self.system.staff,
            usersnew=self.system.database["usersNew"],
            webhook_secret=self.system.webhook_secret,
            seed=self._options.seed,
        )

    def _round(self, until: float) -> None:
        self.rounds += 1
        self._clients.resume()
        self._idle(1.0)
        while True:
            began = time.monotonic()
            self._play(next(self._plan))
            self._heal()
            self.journal.gap_seconds.append(self.journal.longest_gap(began))
            if time.monotonic() >= until:
                break
            self._idle(self._chance.uniform(0, 2))
        self._clients.pause()
        self._settle()
        self._in_background(Audit(self.journal, self.system.database, self.system.ports).run)
        self._check_books()
        found = sum(len(details) for details in self.journal.violations.values())
        requests = sum(len(account.requests) for account in self.journal.accounts)
        self._say(f"round {self.rounds}: {requests} requests so far, {found} violations so far")

    # --- The main thread's work -----------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start what has ended, and do what is due."""
        self.system.check()
        while self._timeline and self._timeline[0][0] <= time.monotonic():
            heapq.heappop(self._timeline)[2]()
        time.sleep(0.05)

    def _idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._pump()

    def _in_background(self, function: Callable[[], Result]) -> Result:
        """What the function returns; processes are watched meanwhile."""
        future = self._pool.submit(function)
        while not future.done():
            self._pump()
        return future.result()

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it in so many seconds."""
        self._count += 1
        heapq.heappush(self._timeline, (time.monotonic() + seconds, self._count, action))

    # --- Faults ---------------------------------------------------------------------------------------------------

    def _play(self, episode: Episode) -> None:
        self.episodes += 1
        self.journal.write("episode", number=self.episodes, faults=[str(fault) for fault in episode])
        for fault in episode:
            self._at(fault.at, partial(self._inject, fault))
        while self._timeline:
            self._pump()

    def _inject(self, fault: Fault) -> None:
        if fault.kind is Kind.STEP_DOWN:
            self._pool.submit(self._step_down)
        elif fault.kind is Kind.ROLL_BACK:
            self._isolate_primary(fault)
        elif fault.kind is Kind.FREEZE:
            for pid in self._pids(fault):
                if self.system.frozen.freeze(pid):
                    self._note(fault, pid)
                    self._at(fault.seconds, partial(self.system.frozen.thaw, pid))
        else:
            self._kill(fault)

    def _kill(self, fault: Fault) -> None:
        member = self._member(fault)
        if member is not None:
            member.stay_away(fault.seconds)
        for pid in self._pids(fault):
            if send_signal(pid, signal.SIGKILL):
                self._note(fault, pid)
        if fault.seconds:
            self._at(fault.seconds, lambda: None)  # The episode lasts until it may start again.

    def _step_down(self) -> None:
        if self.system.replica_set.step_down():
            self.journal.events["step down primary"] += 1
            self.journal.write("fault", kind="step down")

    def _isolate_primary(self, fault: Fault) -> None:
        """Kill the others, let the primary write alone, kill it; the others go on without what it wrote.

        (Others that are frozen would find what it wrote in the buffers of their connections.)
        """
        primary = self.system.replica_set.find_primary()
        if primary is None or primary.pid is None:
            return
        for member in self.system.replica_set.members:
            if member is not primary and member.pid is not None:
                member.stay_away(ISOLATED_SECONDS)
                send_signal(member.pid, signal.SIGKILL)
        self._note(fault, primary.pid)
        self._pool.submit(write_alone, primary)
        self._at(ISOLATED_SECONDS, partial(self._end_isolation, primary, fault.seconds))
        self._at(ISOLATED_SECONDS + fault.seconds, lambda: None)

    def _end_isolation(self, primary: Member, seconds: float) -> None:
        primary.stay_away(seconds)
        if primary.pid is not None:
            send_signal(primary.pid, signal.SIGKILL)

    def _note(self, fault: Fault, pid: int) -> None:
        target = Target.WORKER if fault.target is Target.ALL_WORKERS else fault.target
        self.journal.events[f"{fault.kind} {target}"] += 1
        self.journal.write("fault", kind=fault.kind, target=fault.target, pid=pid, seconds=round(fault.seconds, 1))

    def _member(self, fault: Fault) -> Member | None:
        """The mongod that a fault is meant for, None if it is meant for another process or there is none now."""
        members = self.system.replica_set.members
        if fault.target not in (Target.PRIMARY, Target.SECONDARY):
            return None
        if len(members) == 1:
            return members[0]
        primary = self.system.replica_set.find_primary()
        if fault.target is Target.PRIMARY:
            return primary
        return _choose([member for member in members if member is not primary], fault.pick)

    def _pids(self, fault: Fault) -> list[int]:
        """The processes that a fault is meant for."""
        processes: dict[Target, list[Supervised]] = {
            Target.MASTER: [*self.system.masters],
            Target.SWEEPER: [self.system.sweeper],
            Target.STAFF: [self.system.staff],
        }
        workers = [pid for master in self.system.masters for pid in master.children()]
        if fault.target is Target.ALL_WORKERS:
            return workers
        if fault.target is Target.WORKER:
            return [_choose(workers, fault.pick)] if workers else []
        member = self._member(fault)
        chosen = member or _choose(processes.get(fault.target, []), fault.pick)
        return [chosen.pid] if chosen is not None and chosen.pid is not None else []

    # --- Healing --------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """No more faults: how soon is everything well?"""
        self.system.frozen.thaw_all()
        for process in self.system.supervised:
            process.stay_away(0)
        ended, name = time.monotonic(), f"episode {self.episodes}"
        billed = self._pool.submit(partial(self._until, self._clients.probe))
        if self._in_background(partial(self._until, self._is_back)) is None:
            self.journal.violation("the platform is not back", name, f"{GIVE_UP_SECONDS} s after the faults")
            return
        back = time.monotonic()
        while not billed.done():
            self._pump()
        seconds = billed.result()
        if seconds is None:
            self.journal.violation("nothing is billed any more", name, f"{GIVE_UP_SECONDS} s after the faults")
        else:
            self.journal.first_billed_seconds.append(seconds)
        self._idle(back + WELL_SECONDS - time.monotonic())
        problems = self._in_background(self._find_problems)
        for kind, details in problems.items():
            self.journal.violation(f"not well {WELL_SECONDS:g} s after all is back", f"{name}: {kind}", details)
        if problems:
            waited = self._in_background(partial(self._until, lambda: not self._find_problems(), pause=1.0))
            after = "never" if waited is None else f"after {time.monotonic() - back:.0f} s"
            self.journal.write("well again", episode=self.episodes, when=after)
            if waited is None:
                self.journal.violation("never well again", name, "; ".join(problems))
                self._start_anew()
                return
        self.journal.well_seconds.append(time.monotonic() - ended)

    def _start_anew(self) -> None:
        """What an operator would do with a platform that does not recover; without it nothing more would be found."""
        for process in (self.system.sweeper, *self.system.masters):
            if process.pid is not None:
                send_signal(process.pid, signal.SIGKILL)
        self._in_background(partial(self._until, self._is_back))

    def _until(self, condition: Callable[[], bool], pause: float = 0.2) -> float | None:
        """Seconds until it was so; None if it never was. It is asked again after a pause."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > GIVE_UP_SECONDS or self._is_over.wait(pause):
                return None
        return time.monotonic() - started

    def _is_back(self) -> bool:
        """Whether all processes run and the database takes writes, asked apart from the platform."""
        try:
            self.system.client["faults_probe"]["probes"].insert_one({"at": datetime.now(UTC)})
        except PyMongoError:
            return False
        return self.system.is_up()

    def _find_problems(self) -> dict[str, str]:
        """What does not work now, by endpoint. Every probe is a new connection, so that each worker is asked."""
        ports, prober = self.system.ports, self._clients.cast.prober
        problems: dict[str, str] = {}
        asked = {"/readyz": ports.site, "/v1/balance": ports.openhands, "/api/payment/history": ports.site}
        for path, port in asked.items():
            answers = [exchange(port, "GET", path, headers=prober.headers, timeout=5) for _ in range(PROBES)]
            if bad := [answer for answer in answers if not answer.is_ok]:
                problems[path] = f"{len(bad)} of {PROBES}: {bad[0].status} {bad[0].broken} {bad[0].body[:150]!r}"
        if failed := sum(not self._clients.probe() for _ in range(PROBES)):
            problems[CHAT] = f"{failed} of {PROBES}"
        orders = [self._clients.buy_now(self._chance.choice(self._clients.cast.spenders)) for _ in range(PROBES // 2)]
        if bad_orders := [text for text in orders if text]:
            problems["checkout and webhook"] = f"{len(bad_orders)} of {len(orders)}: {bad_orders[0]}"
        if problems and "/readyz" not in problems:
            problems["/readyz says ready"] = ", ".join(problems)
        return problems

    # --- Quiet ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait for quiet: retries answered, holds closed, events processed, the sweeper at work."""
        started = time.monotonic()
        accounts = self.system.database["usersNew"]
        canary, due = f"canary-{self.rounds}", datetime.now(UTC) - timedelta(seconds=1)
        with self._told("the database fails in quiet"):
            accounts.insert_one({"_id": canary, "creditsNew": 1.0, "credits": 0.0, "expiresAt": due})
        while (waited := time.monotonic() - started) < QUIET_SECONDS:
            self._idle(1.0)
            if waited < SWEPT_SECONDS and not self._is_swept(canary):
                continue
            if self._clients.is_idle and not self._open_holds():
                break
        if not self._is_swept(canary):
            self.journal.violation("the sweeper does not work", canary, f"nothing was expired in {waited:.0f} s")
        self.journal.write("quiet", seconds=round(waited))
        for account in self.journal.accounts:
            for request in list(account.requests.values()):
                if request.idempotency_key and not request.answer:
                    last = request.attempts[-1].error if request.attempts else ("", "no attempt ended")
                    self.journal.violation("an idempotency key is blocked", request.name, f"{waited:.0f} s: {last}")
        for name, age in self._open_holds():
            self.journal.violation("a hold is still open", name, f"{waited:.0f} s after the faults, {age:.0f} s old")
        late = datetime.now(UTC) - timedelta(seconds=SWEPT_SECONDS)
        with self._told("the database fails in quiet"):
            for event in self.system.database["webhook_events"].find({"status": {"$nin": ["done", "ignored"]}}):
                next_at = event.get("nextAttemptAt")
                if event["status"] != "received" or (next_at and next_at.replace(tzinfo=UTC) < late):
                    detail = f"{event['status']}: {event.get('error', '')[:200]}"
                    self.journal.violation("an event is not processed", event["eventId"], detail)

    def _open_holds(self) -> list[tuple[str, float]]:
        """Every open hold, with its age in seconds."""
        holds = []
        with self._told("the database fails in quiet"):
            for account in self.system.database["usersNew"].find({"holds": {"$exists": True}}, {"holds": 1}):
                for name, hold in (account.get("holds") or {}).items():
                    age = datetime.now(UTC) - hold["at"].replace(tzinfo=UTC)
                    holds.append((f"{name} of {account['_id']}", age.total_seconds()))
        return holds

    def _is_swept(self, canary: str) -> bool:
        with contextlib.suppress(PyMongoError):
            found = self.system.database["usersNew"].find_one({"_id": canary})
            return found is not None and found["creditsNew"] == 0
        return False

    @contextlib.contextmanager
    def _told(self, kind: str) -> Iterator[None]:
        """A database error is a violation here."""
        try:
            yield
        except PyMongoError as error:
            self.journal.violation(kind, f"round {self.rounds}", str(error)[:200])

    def _check_books(self) -> None:
        """The platform's own check: balance + open holds = ledger - settled costs, for every account."""
        try:
            self._in_background(partial(self.system.manage, "reconcile"))
        except RuntimeError as error:
            self.journal.violation("accounts do not reconcile", f"round {self.rounds}", str(error)[-1500:])


def _choose(candidates: list[Result], pick: float) -> Result:
    return candidates[min(int(pick * len(candidates)), len(candidates) - 1)]
