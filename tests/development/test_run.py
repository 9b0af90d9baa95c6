"""`make run` as its user meets it: the supervisor as a process, its printed lines in bash, its children killed."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from pymongo import MongoClient

from development.fake_upstream.server import FakeUpstream
from development.mongod import Mongod, free_port, is_port_free
from development.processes import Watched
from development.run import (
    PORTS,
    Child,
    StartError,
    describe_exit,
    load_secrets,
    log_tail,
    read_ports,
)
from development.welcome import without_password
from tests.factories import InsertUser
from tests.processes import stat_of, wait_for

ROOT = Path(__file__).resolve().parents[2]
OPENHANDS_KEY = "key-of-a-real-upstream"
START_SECONDS = 90


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Every process below one."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    parents = {child: int(values[1]) for child in pids if (values := stat_of(child)) is not None}
    found, level = [], {pid}
    while level := {child for child, parent in parents.items() if parent in level}:
        found += sorted(level)
    return found


class Installation:
    """A var directory and ports of its own, on which runs follow each other. OpenHands has a "real" upstream."""

    def __init__(self, directory: Path, upstream: FakeUpstream) -> None:
        self.var = directory / "var"
        self.ports = {name: str(free_port()) for name in PORTS}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
            **self.ports,
            "VAR_DIR": str(self.var),
            "OPENHANDS_BASE_URL": upstream.url,
            "OPENHANDS_API_KEY": OPENHANDS_KEY,
            "GRACEFUL_TIMEOUT_SECONDS": "3",
            "GUNICORN_WORKERS": "1",
        }
        self.upstream = upstream
        self._output = directory / "output"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def output(self) -> str:
        """What the run in progress, or the last one, has printed."""
        return self._output.read_text()

    def launch(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start the supervisor without waiting for anything."""
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "development.run"],
                cwd=ROOT,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def begin(self) -> None:
        """Start without waiting until it is ready."""
        self._process = self.launch()

    def start(self) -> None:
        """Start, unless it runs, and wait until it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        self.begin()
        deadline = time.monotonic() + START_SECONDS
        while "Ready." not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it as the terminal does, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def child(self, word: str) -> int:
        """The process id of the direct child whose command has this word."""
        found = [
            pid
            for pid in descendants(self.process.pid)
            if word in command_of(pid) and (stat_of(pid) or "..")[1] == str(self.process.pid)
        ]
        assert len(found) == 1, found
        return found[0]

    def line(self, comment: str) -> str:
        """The line for the shell that was printed below a comment."""
        lines = self.output.splitlines()
        return next(lines[index + 1] for index, text in enumerate(lines) if text.startswith(f"# {comment}"))

    def run_line(self, comment: str) -> Any:
        """Run a printed line as it is, and return the JSON that it printed."""
        through_proxy = os.environ | {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}  # as many networks set it
        done = subprocess.run(
            ["bash", "-c", self.line(comment)],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env=through_proxy,
        )
        return json.loads(done.stdout)

    def balances(self, comment: str) -> tuple[float, float]:
        """`creditsNew` and `credits` of the account that a comment names."""
        match = re.search(rf"^# {comment}.*?\b(alice|bob)\b", self.output, re.MULTILINE)
        url = re.search(r"^ +Database +(\S+)", self.output, re.MULTILINE)
        assert match is not None
        assert url is not None
        with MongoClient[dict[str, Any]](url[1]) as client:
            account = client.get_default_database()["usersNew"].find_one({"_id": match[1]})
        assert account is not None
        return account["creditsNew"], account["credits"]


@contextlib.contextmanager
def request_in_flight(run: Installation) -> Iterator[None]:
    """A request whose upstream, no child of the run, has it and does not answer."""
    received = len(run.upstream.requests)
    stalled = run.line("Spend on OpenHands").replace("Hello", "[[fake stall=1]] Hello")
    with subprocess.Popen(["bash", "-c", stalled], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as request:
        try:
            wait_for(lambda: len(run.upstream.requests) > received)
            yield
        finally:
            request.kill()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with FakeUpstream(api_key=OPENHANDS_KEY) as upstream:
        installation = Installation(tmp_path_factory.mktemp("development"), upstream)
        yield installation
        if installation.process.poll() is None:
            assert installation.stop(signal.SIGTERM) == 0, installation.output


@pytest.fixture
def run(installation: Installation) -> Installation:
    """The installation with a run that is ready."""
    installation.start()
    return installation


def test_printed_lines_pay_and_spend(run: Installation) -> None:
    credits_new, credits_old = run.balances("Pay")
    assert run.run_line("Pay")["success"] is True
    wait_for(lambda: run.balances("Pay")[0] >= credits_new + 20)
    assert run.balances("Pay")[1] == credits_old

    credits_new, credits_old = run.balances("Spend on OpenHands")
    received = len(run.upstream.requests)
    assert run.run_line("Spend on OpenHands")["choices"][0]["message"]["content"]
    wait_for(lambda: run.balances("Spend on OpenHands")[0] < credits_new)
    assert run.balances("Spend on OpenHands")[1] == credits_old
    assert len(run.upstream.requests) == received + 1

    credits_new, credits_old = run.balances("Spend on OhMyGPT")
    assert run.run_line("Spend on OhMyGPT")["choices"][0]["message"]["content"]
    wait_for(lambda: run.balances("Spend on OhMyGPT")[1] < credits_old)
    assert run.balances("Spend on OhMyGPT")[0] == credits_new
    assert len(run.upstream.requests) == received + 1


def test_the_lines_for_the_sdks_in_the_readme_run_as_they_are(run: Installation) -> None:
    lines = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    for name, port in PORTS.items():
        lines = lines.replace(f":{port}", f":{run.ports[name]}")
    answer = subprocess.run(
        [sys.executable, "-c", lines], cwd=run.var.parent, capture_output=True, text=True, check=False, timeout=120
    )
    assert (answer.returncode, len(answer.stdout.splitlines())) == (0, 2), answer.stderr


def test_says_where_requests_go_and_how_to_log_in(run: Installation) -> None:
    chosen = load_secrets(run.var / "development.env")
    assert f"http://127.0.0.1:{run.ports['SITE_PORT']}/admin/" in run.output
    assert f"admin / {chosen['ADMIN_PASSWORD']}" in run.output
    assert f"upstream: {run.upstream.url}" in run.output
    assert "upstream: FAKE" in run.output
    assert chosen["DEMO_API_KEY_ALICE"] in run.output


def test_second_run_on_the_same_directory_names_the_first(run: Installation, tmp_path: Path) -> None:
    second = Installation(tmp_path, run.upstream)
    process = second.launch(VAR_DIR=str(run.var))
    assert process.wait(20) == 1
    assert f"Another `make run` (pid {run.process.pid})" in second.output


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("Fake upstream", "fake_upstream"),
        ("Sweeper", "sweep"),
        ("Site", "--name=site"),
        ("API", "--name=api"),
        ("MongoDB", "mongod "),
    ],
)
def test_killed_child_is_named_and_started_again(run: Installation, name: str, word: str) -> None:
    before = run.output.count(f"{name} runs again.")
    database = run.balances("Spend on OhMyGPT")
    os.kill(run.child(word), signal.SIGKILL)
    wait_for(lambda: run.output.count(f"{name} runs again.") > before, 30)
    assert f"{name} was killed by SIGKILL. Starting it again in" in run.output

    def spends() -> bool:
        with contextlib.suppress(subprocess.CalledProcessError, ValueError):
            return "choices" in run.run_line("Spend on OhMyGPT")
        return False

    wait_for(spends, 30)
    wait_for(lambda: run.balances("Spend on OhMyGPT")[1] < database[1])


def test_the_site_and_the_api_have_processes_of_their_own(run: Installation) -> None:
    os.kill(run.child("--name=api"), signal.SIGSTOP)
    try:
        for pid in descendants(run.child("--name=api")):
            os.kill(pid, signal.SIGSTOP)
        with urlopen(f"http://127.0.0.1:{run.ports['SITE_PORT']}/healthz", timeout=5) as response:
            assert response.status == 200
        with pytest.raises(TimeoutError):
            urlopen(f"http://127.0.0.1:{run.ports['OPENHANDS_PORT']}/healthz", timeout=0.5)
    finally:
        for pid in (*descendants(run.child("--name=api")), run.child("--name=api")):
            os.kill(pid, signal.SIGCONT)


def test_killed_supervisor_leaves_no_orphan_and_the_next_run_works(run: Installation) -> None:
    children = descendants(run.process.pid)
    assert len(children) >= 5
    keys = re.findall("sk-trollllm-[0-9a-f]{64}", run.output)
    with request_in_flight(run):
        credits_new, credits_old = run.balances("Spend on OpenHands")
        run.process.kill()
        run.process.wait()

        run.start()  # at once, while the children of the killed run stop

    wait_for(lambda: not any(stat_of(pid) for pid in children))
    assert re.findall("sk-trollllm-[0-9a-f]{64}", run.output) == keys
    assert run.balances("Spend on OpenHands") == (credits_new, credits_old)
    assert run.run_line("Spend on OpenHands")["choices"]


def test_run_after_ctrl_c_goes_on_with_its_own_data_and_new_secrets(run: Installation) -> None:
    before = run.balances("Spend on OpenHands")
    old = load_secrets(run.var / "development.env")
    assert run.stop() == 0
    (run.var / "development.env").unlink()  # as the file itself advises

    run.start()

    new = load_secrets(run.var / "development.env")
    assert old["DEMO_API_KEY_ALICE"] not in run.output
    assert f"admin / {new['ADMIN_PASSWORD']}" in run.output
    assert run.balances("Spend on OpenHands") == before
    assert run.run_line("Spend on OpenHands")["choices"]
    assert "Note:" not in run.output


def test_second_ctrl_c_hurries_and_nothing_is_left(run: Installation) -> None:
    children = descendants(run.process.pid)
    with request_in_flight(run):
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert run.process.poll() is None, "the request in progress gets its time"
        assert run.stop() == 0
    assert "Stopped." in run.output
    wait_for(lambda: not any(stat_of(pid) for pid in children), 1)


def test_database_that_runs_elsewhere_is_used_and_its_customers_are_left_alone(
    tmp_path: Path, insert_user: InsertUser, usersnew: Any
) -> None:
    host = urlsplit(os.environ["DATABASE_URL"]).netloc
    # Several hosts, as a replica set's URL has them; the second is the same node under its other name.
    hosts = f"{host},{host.replace('127.0.0.1', 'localhost')}"
    insert_user("alice", creditsNew=1.5)
    customer = usersnew.find_one({"_id": "alice"})
    with FakeUpstream(api_key=OPENHANDS_KEY) as upstream:
        installation = Installation(tmp_path, upstream)
        installation.environment["DATABASE_URL"] = f"mongodb://{hosts}/{usersnew.database.name}?replicaSet=rs0"
        try:
            installation.start()
            assert not any("mongod " in command_of(pid) for pid in descendants(installation.process.pid))
            assert "Note: alice is an account that this database had before" in installation.output
            assert installation.run_line("Pay: bob")["success"] is True
            assert installation.run_line("Spend on OpenHands, from creditsNew of bob")["choices"]
            assert installation.run_line("Spend on OhMyGPT, from credits of bob")["choices"]
            assert usersnew.find_one({"_id": "alice"}) == customer
        finally:
            assert installation.stop() == 0


def test_what_is_killed_while_the_run_starts_is_started_again(tmp_path: Path) -> None:
    with FakeUpstream(api_key=OPENHANDS_KEY) as upstream:
        installation = Installation(tmp_path, upstream)

        def kill(word: str) -> None:
            def is_killed() -> bool:
                with contextlib.suppress(AssertionError):  # It is not there yet.
                    os.kill(installation.child(word), signal.SIGKILL)
                    return True
                return False

            wait_for(is_killed, 30)

        installation.begin()
        try:
            kill("mongod --replSet")
            wait_for(lambda: "manage.py migrate ..." in installation.output, 30)
            kill("mongod --replSet")
            kill("--name=api")
            kill("--name=site")
            wait_for(lambda: "Ready." in installation.output, 60)
            assert installation.run_line("Spend on OpenHands")["choices"]
        finally:
            assert installation.stop() == 0, installation.output


# What does not start says why; no process is left.


def test_port_taken_is_named_with_the_variable_to_change(tmp_path: Path) -> None:
    with FakeUpstream() as upstream, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        installation = Installation(tmp_path, upstream)
        assert installation.launch(OHMYGPT_PORT=str(port)).wait(20) == 1
    assert f"Port {port} is taken" in installation.output
    assert f"OHMYGPT_PORT={port + 1000} make run" in installation.output


def test_database_directory_in_use_names_the_pid(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        installation = Installation(tmp_path, upstream)
        with Mongod(installation.var / "mongodb", log_path=tmp_path / "log") as mongod:
            assert installation.launch().wait(30) == 1
            assert f"in use by another mongod (pid {mongod.pid})" in installation.output


def test_failing_step_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        installation = Installation(tmp_path, upstream)
        url = "mongodb://127.0.0.1:1/billing?serverSelectionTimeoutMS=500"
        assert installation.launch(DATABASE_URL=url).wait(60) == 1
    assert "manage.py migrate ended with code 1" in installation.output
    assert "Traceback" in installation.output or "Error" in installation.output


# The parts as functions.


def test_ports_are_the_defaults_or_from_the_environment() -> None:
    chosen = {name: str(free_port()) for name in (*PORTS, "MONGOD_PORT")}
    assert read_ports(chosen) == {name: int(port) for name, port in chosen.items()}
    del chosen["MONGOD_PORT"]
    assert read_ports(chosen) == {name: int(port) for name, port in chosen.items()}
    # Without a MongoDB of its own, its port is nobody's concern.
    elsewhere = {"DATABASE_URL": "mongodb://db.example/billing", "MONGOD_PORT": chosen["SITE_PORT"]}
    assert read_ports(chosen | elsewhere) == {name: int(port) for name, port in chosen.items()}


def test_taken_port_is_named_with_another_that_exists() -> None:
    chosen = {name: str(free_port()) for name in PORTS}
    port = next(port for port in range(64_900, 65_500) if is_port_free(port))
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StartError, match=f"Port {port} is taken") as refused:
        read_ports(chosen | {"MONGOD_PORT": str(port)})
    assert f"MONGOD_PORT={port - 1000} make run" in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SITE_PORT": "http"}, "SITE_PORT=http is no port number"),
        ({"OPENHANDS_PORT": "0"}, "OPENHANDS_PORT=0 is no port number"),
        ({"OHMYGPT_PORT": "70000"}, "OHMYGPT_PORT=70000 is no port number"),
        ({"SITE_PORT": "9999", "OHMYGPT_PORT": "9999"}, "OHMYGPT_PORT=9999 is the port of another part"),
        ({"MONGOD_PORT": "99999"}, "MONGOD_PORT=99999 is no port number"),
        ({"SITE_PORT": "9999", "MONGOD_PORT": "9999"}, "MONGOD_PORT=9999 is the port of another part"),
    ],
)
def test_wrong_port_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(StartError, match=message):
        read_ports(environment)


@pytest.mark.parametrize(("goal", "needs"), [("run", True), ("run DATABASE_URL=mongodb://db.example", False)])
def test_make_run_asks_for_the_libraries_of_mongodb_only_to_start_it(tmp_path: Path, goal: str, needs: bool) -> None:
    # A machine that lacks a library and whose user is not root; what is installed, and the run, are only named.
    programs = {
        "python": 'echo "started $2"',
        "id": "echo 1000",
        "ldconfig": "printf '\\tlib%s (libc6,x86-64) => somewhere\\n' ssl.so.3 lzma.so.5",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "installed").touch()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", *goal.split(), f"BIN={tmp_path}", f"INSTALLED={tmp_path / 'installed'}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("started development.run" in done.stdout) is not needs, done
    assert ("Missing on this system: libcurl4" in done.stderr) is needs, done


def test_secrets_are_chosen_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "development.env"
    chosen = load_secrets(path)
    assert load_secrets(path) == chosen
    assert path.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch("sk-trollllm-[0-9a-f]{64}", chosen["DEMO_API_KEY_ALICE"])


def test_secret_that_is_missing_is_added_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "development.env"
    path.write_text("# comment\nSECRET_KEY=kept=this\nOWN=value\n")
    chosen = load_secrets(path)
    assert (chosen["SECRET_KEY"], chosen["OWN"]) == ("kept=this", "value")
    assert load_secrets(path) == chosen


def test_stubborn_child_and_its_children_are_killed_after_the_grace_time(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    script = "trap '' TERM; sleep 60 & echo $!; while :; do sleep 60; done"
    child = Child(
        ["bash", "-c", script], environment=os.environ, log_path=tmp_path / "log", grace_seconds=0.2, lock=lock
    )
    child.start()
    wait_for(lambda: (tmp_path / "log").read_text() != "")
    grandchild = int((tmp_path / "log").read_text())
    child.stop()
    child.stop()
    os.close(lock)
    assert describe_exit(child.exit_code) == "was killed by SIGKILL"
    wait_for(lambda: stat_of(grandchild) is None)


def test_what_an_ended_child_left_is_killed_after_the_grace_time_before_the_next_start(tmp_path: Path) -> None:
    # As gunicorn's workers after `kill -9` of the master: they hold its ports until their requests end.
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    script = "(trap '' TERM; echo $BASHPID; exec sleep 60) &"
    child = Child(
        ["bash", "-c", script], environment=os.environ, log_path=tmp_path / "log", grace_seconds=0.2, lock=lock
    )
    child.start()
    wait_for(lambda: not child.is_running and (tmp_path / "log").read_text() != "")
    left = int((tmp_path / "log").read_text())
    assert stat_of(left) is not None

    child.start()

    wait_for(lambda: stat_of(left) is None, 1)
    child.stop()
    os.close(lock)


def watch(*watched: Watched, until: Callable[[], bool], seconds: float = 20) -> None:
    """What the supervisor does all the time, until something is so."""

    def look() -> bool:
        for one in watched:
            one.check()
        return until()

    wait_for(look, seconds)


def test_a_mongod_killed_again_and_again_is_back_at_once_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Mongod(tmp_path / "data") as mongod:
        watched = Watched("MongoDB", mongod)
        for _ in range(4):
            assert mongod.pid is not None
            os.kill(mongod.pid, signal.SIGKILL)
            wait_for(lambda: not mongod.is_running)
            watch(watched, until=lambda: mongod.is_running and watched.is_ready)
    assert re.findall("again in (.+?) s", capsys.readouterr().out) == ["0.5"] * 4


def test_what_keeps_ending_is_started_again_more_and_more_seldom_within_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    child = Child(["false"], environment=os.environ, log_path=tmp_path / "log", grace_seconds=1, lock=lock)
    child.start()
    watched = Watched("Child", child)
    watch(watched, until=lambda: watched.ends == 4)
    watched.ends = 20
    watch(watched, until=lambda: watched.ends == 21)
    os.close(lock)
    assert re.findall("again in (.+?) s", capsys.readouterr().out) == ["0.5", "1", "2", "4", "5"]


def test_what_is_left_of_one_service_keeps_no_other_waiting(tmp_path: Path) -> None:
    """As a request in flight does after `kill -9` of gunicorn's master, twice."""
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)

    def child(name: str, script: str) -> Watched:
        log_path = tmp_path / name
        command = ["bash", "-c", f"echo $$; {script}"]
        service = Child(command, environment=os.environ, log_path=log_path, grace_seconds=4, lock=lock)
        service.start()
        return Watched(name, service)

    def kill_leader(watched: Watched, *, times: int) -> None:
        log_path = watched.service.log_path
        wait_for(lambda: log_path.read_text().count("\n\n") == times)
        os.kill(int(log_path.read_text().split()[-1]), signal.SIGKILL)
        wait_for(lambda: not watched.service.is_running)

    stubborn = child("stubborn", "trap '' TERM; sleep 60 & echo; wait")
    other = child("other", "echo; exec sleep 60")
    try:
        for kills in (1, 2):
            kill_leader(stubborn, times=kills)
            kill_leader(other, times=kills)
            watch(stubborn, other, until=lambda: stubborn.is_ready or other.is_ready)
            assert other.is_ready
            assert not stubborn.is_ready, "what is left of it has its time first"
            watch(stubborn, other, until=lambda: stubborn.is_ready)
    finally:
        stubborn.service.stop()
        other.service.stop()
        os.close(lock)


def test_shown_url_has_no_password() -> None:
    url = "mongodb+srv://user:p%40ss@one.example,two.example/billing?replicaSet=rs0"
    assert without_password(url) == "mongodb+srv://one.example,two.example/billing?replicaSet=rs0"


def test_log_tail_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert log_tail(log).splitlines()[1:] == [f"  line {number}" for number in range(99_985, 100_000)]
    assert "missing" in log_tail(tmp_path / "none")
