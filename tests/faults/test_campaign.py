"""`make faults` in small: it finds nothing where nothing is wrong, sees what is wrong, and leaves nothing behind."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from faults.answers import Answer
from faults.audit import Audit
from faults.clients import Ports
from faults.journal import Account, Journal, Order, Price, Request, Transfer
from faults.processes import Supervised
from faults.schedule import Kind, Target, plan_episodes
from tests.processes import stat_of, wait_for

ROOT = Path(__file__).resolve().parents[2]
PRICE = Price(Decimal(1), Decimal(5), Decimal("1.05"))
CHAT = "/v1/chat/completions"


def start_campaign(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "faults", "--only=gentle", "--times=short", f"--directory={directory}", *arguments]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "VIRTUAL_ENV")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )


def processes_of(directory: Path) -> list[str]:
    """Command lines of everything that was started in this directory, or by what was."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in line + environment and stat_of(int(path.name)):
            found.append(line.decode().replace("\0", " "))
    return found


# --- The whole of it ----------------------------------------------------------------------------------------------


def test_a_gentle_round_finds_nothing_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "campaign"
    process = start_campaign(directory, "--seed=1", "--minutes=5", "--round=1")
    assert process.stdout is not None
    stop_late = threading.Timer(400, process.kill)
    stop_late.start()
    lines = list(itertools.takewhile(lambda line: not line.startswith("round 1:"), process.stdout))
    assert lines[0].startswith("make faults SEED=1 MEMBERS=1")
    assert processes_of(directory)

    process.send_signal(signal.SIGINT)

    output, _ = process.communicate(timeout=240)
    stop_late.cancel()
    assert process.returncode == 0, output
    assert "Interrupted" in output
    assert "no violation" in output
    for event in ("kill -9 primary", "kill -9 sweeper", "kill -9 staff", "freeze worker", "freeze primary"):
        assert f"1 x {event}" in output
    assert "lost: 0, doubled: 0, given away: 0" in output
    assert (directory / "report.txt").read_text().strip() in output
    assert processes_of(directory) == []


# --- The plan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [1, 3])
def test_the_same_seed_makes_the_same_plan(members: int) -> None:
    def plan(seed: int) -> list[Any]:
        return list(itertools.islice(plan_episodes(seed=seed, members=members, longest_freeze=70), 50))

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    faults = [fault for episode in plan(1) for fault in episode]
    assert max(fault.seconds for fault in faults) <= 70
    kinds, targets = {fault.kind for fault in faults}, {fault.target for fault in faults}
    assert kinds == (set(Kind) if members == 3 else {Kind.KILL, Kind.FREEZE})
    assert targets == (set(Target) if members == 3 else set(Target) - {Target.SECONDARY})


def test_what_ended_is_started_again_and_its_children_end_before(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 60 & wait"]
    supervised = Supervised("sleeper", command, environment=dict(os.environ), log_path=tmp_path / "log")
    supervised.start()
    try:
        (child,) = wait_for(supervised.children)
        first = supervised.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: supervised.pid is None)
        wait_for(lambda: (supervised.check(), supervised.pid)[1])
        assert supervised.pid != first
        assert stat_of(child) is None
        assert supervised.starts == 2
    finally:
        supervised.end(0)


# --- The audit sees what is wrong ---------------------------------------------------------------------------------


class Books:
    """A journal and a database that agree, to be disturbed."""

    def __init__(self, directory: Path, database: Any) -> None:
        self.journal = Journal(directory)
        self.database = database
        self.account = Account("alice", "sk-trollllm-alice", "openhands", Decimal(10))
        self.journal.accounts.append(self.account)
        self.journal.prices["openhands"] = PRICE
        database["usersNew"].insert_one({"_id": "alice", "creditsNew": 10.0, "credits": 0.0})

    def ask(self, *answers: Answer, key: str | None = "k") -> Request:
        request = self.journal.new_request(self.account, path=CHAT, is_stream=False, output_tokens=20, key=key)
        for answer in answers:
            self.journal.add_attempt(request, answer)
        return request

    def log(self, name: str, request: Request, *, outcome: str = "ok", cost: Decimal | None = None) -> None:
        cost = request.cost if cost is None else cost
        self.database["request_logs"].insert_one(
            {
                "_id": name,
                "userId": "alice",
                "inputTokens": request.serial if outcome == "ok" else 0,
                "creditsCost": float(cost),
                "outcome": outcome,
                "hold": 1.0,
            }
        )
        self.database["usersNew"].update_one({"_id": "alice"}, {"$inc": {"creditsNew": -float(cost)}})

    def order(self, *, entries: int, is_acknowledged: bool = True) -> Order:
        order = Order(self.account, "NAP1", Decimal(20), 50_000, "evt-1")
        order.acknowledged_at = time.time() if is_acknowledged else None
        self.journal.orders.append(order)
        self.database["payments"].insert_one({"_id": "p1", "userId": "alice", "orderCode": "NAP1", "method": 1})
        for number in range(entries):
            self.entry("payment:p1", 20.0, number)
            self.database["usersNew"].update_one({"_id": "alice"}, {"$inc": {"creditsNew": 20.0}})
        return order

    def entry(self, operation: str, amount: float, number: int = 0) -> None:
        document = {"operation": operation, "amount": amount, "kind": f"purchase{number}", "balance": "openhands"}
        self.database["ledger_entries"].insert_one(document)

    def found(self) -> set[str]:
        Audit(self.journal, self.database, Ports(1, 1, 1)).run()
        return set(self.journal.violations)


@pytest.fixture
def books(db: None, tmp_path: Path) -> Iterator[Books]:
    made = Books(tmp_path, connection.database)
    yield made
    made.journal.close()


def answer(status: int | None = 200, name: str = "req_1", **more: Any) -> Answer:
    body = more.pop("body", b"{}")
    return Answer(time.time(), more.pop("seconds", 0.1), status, {"x-request-id": name, **more}, body)


def error(status: int, text: str, name: str = "req_1") -> Answer:
    return answer(status, name, body=b'{"error": {"code": "service_unavailable", "message": "%s"}}' % text.encode())


def test_books_that_agree_have_no_violation(books: Books) -> None:
    books.log("req_1", books.ask(error(503, "You were not charged; try again.", "req_0"), answer()))
    books.log("req_2", books.ask(answer(None, "")))
    books.ask(answer(None, ""))
    books.order(entries=1)
    assert books.found() == set()


def test_a_request_billed_twice_is_seen(books: Books) -> None:
    request = books.ask(answer(None, ""), answer())
    books.log("req_0", request)
    books.log("req_1", request)
    assert books.found() == {"billed twice"}


@pytest.mark.parametrize(("headers", "kind"), [({}, "fresh"), ({"idempotent-replayed": "true"}, "replayed")])
def test_an_answer_given_away_is_seen(books: Books, headers: dict[str, str], kind: str) -> None:
    books.ask(answer(**headers))
    assert books.found() == {f"an answer given away ({kind})"}


def test_an_answer_of_a_process_that_stood_still_is_counted_apart(books: Books) -> None:
    books.log("req_1", books.ask(answer(seconds=70.0)), outcome="abandoned", cost=Decimal(0))
    assert books.found() == set()
    assert sum(books.journal.uncollected.values()) == 1


def test_a_wrong_cost_is_seen(books: Books) -> None:
    request = books.ask(answer())
    books.log("req_1", request, cost=request.cost + Decimal("0.00000001"))
    assert books.found() == {"a wrong cost"}


def test_a_lie_about_the_bill_is_seen(books: Books) -> None:
    books.log("req_1", books.ask(error(503, "You were not charged; try again."), key=None))
    assert books.found() == {"told 'not charged', and billed"}


def test_an_error_that_says_that_the_bill_is_not_known_is_no_lie_but_its_receipt_must_be_there(books: Books) -> None:
    books.log("req_1", books.ask(error(503, "Whether this was billed is not known yet."), key=None))
    assert books.found() == {"a receipt that is not true"}, "nobody answers on the port"


def test_what_nobody_asked_for_is_seen(books: Books) -> None:
    request = Request(books.account, CHAT, False, 77, Decimal("0.5"))
    books.log("req_1", request)
    assert books.found() == {"billed without a request"}


@pytest.mark.parametrize(
    ("entries", "kind"),
    [(0, "an acknowledged payment is lost"), (2, "a payment credited otherwise than once")],
)
def test_a_payment_lost_or_doubled_is_seen(books: Books, entries: int, kind: str) -> None:
    books.order(entries=entries)
    assert books.found() == {kind}


def test_half_a_transfer_is_seen(books: Books) -> None:
    books.journal.transfers.append(Transfer(books.account, "faults:1", {}, is_done=True))
    books.entry("faults:1", -1.0)
    assert books.found() == {"a transfer is not whole"}


def test_credits_that_went_astray_are_seen(books: Books) -> None:
    books.database["usersNew"].update_one({"_id": "alice"}, {"$inc": {"creditsNew": 0.01}})
    assert books.found() == {"a balance is not what the campaign's books say"}


def test_credits_of_an_open_hold_are_still_the_accounts(books: Books) -> None:
    hold = {"balance": "openhands", "amount": 4.0, "at": datetime.now(UTC)}
    books.database["usersNew"].update_one({"_id": "alice"}, {"$set": {"creditsNew": 6.0, "holds": {"req_9": hold}}})
    assert books.found() == set()
