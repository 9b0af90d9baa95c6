"""Whether the directory of a run is its user's, and not in part another one's, as after a run of root."""

import contextlib
import os
import pwd
from pathlib import Path


def why_not_ours(var: Path) -> str | None:
    """Make the directory; a sentence with what to type if this user may not change all of it, else None."""
    try:
        var.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{var} cannot be made: {error.strerror}. VAR_DIR names another directory."
    for directory, directories, files in os.walk(var):
        for path in (Path(directory, name) for name in (".", *directories, *files)):
            with contextlib.suppress(FileNotFoundError):
                owner = path.lstat().st_uid
                if not os.access(path, os.R_OK | os.W_OK):
                    user = _name_of(os.getuid())
                    return f"{path} belongs to {_name_of(owner)}. As root: chown -R {user} {var}"
    return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
