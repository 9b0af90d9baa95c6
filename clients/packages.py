"""Where the clients come from: the packages of npm and pip that are named beside the programs, below `var/clients`."""

import shutil
import subprocess
import sys
from pathlib import Path

from development.processes import ROOT

SOURCES = Path(__file__).resolve().parent
DIRECTORY = ROOT / "var" / "clients"
NODE = DIRECTORY / "node"
INSTALL_SECONDS = 1200


class NotInstalledError(Exception):
    """Why a kind of clients cannot run here, in a sentence."""


def install_node() -> None:
    """Install what `node/package.json` names. Does nothing when that is there. Raises NotInstalledError."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalledError("there is no node and npm on this machine: install Node.js 20 or newer")
    wanted = SOURCES / "node" / "package.json"
    stamp = NODE / ".installed"
    if not _is_current(stamp, wanted):
        stamp.unlink(missing_ok=True)
        NODE.mkdir(parents=True, exist_ok=True)
        shutil.copy(wanted, NODE)
        _run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], NODE)
        shutil.copy(wanted, stamp)
    # Modules are looked for beside the program, so the programs go where the packages are.
    for program in (SOURCES / "node").glob("*.mjs"):
        shutil.copy(program, NODE)


def install_python(requirements: str) -> None:
    """Install what a file of requirements names, in an environment of its own. Does nothing when that is there.

    Raises NotInstalledError.
    """
    wanted, directory = SOURCES / "python" / requirements, python_of(requirements).parents[1]
    stamp = directory / ".installed"
    if _is_current(stamp, wanted):
        return
    stamp.unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(directory)], ROOT)
    pip = [str(python_of(requirements)), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    _run([*pip, "-r", str(wanted)], ROOT)
    shutil.copy(wanted, stamp)


def python_of(requirements: str) -> Path:
    """The Python of the environment with these requirements."""
    return DIRECTORY / Path(requirements).stem / "bin" / "python"


def _is_current(stamp: Path, wanted: Path) -> bool:
    return stamp.exists() and stamp.read_bytes() == wanted.read_bytes()


def _run(command: list[str], directory: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{command[0]} was not ready after {INSTALL_SECONDS} s") from None
    if done.returncode:
        raise NotInstalledError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
