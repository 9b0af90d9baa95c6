"""docs/configuration.md has every variable that is read from the environment, and no other."""

import ast
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
SET_BY_OTHERS = {"MAKELEVEL"}
"""Make tells its children that they are."""
ENVIRONMENTS = {"os.environ", "environment", "self._environment"}
"""What an environment is called. `environ` alone is the one of a WSGI request."""
READERS = {"_list", "os.getenv", "env.list", "env.str", "env.int", "env.bool", "env.float", "env.dict", "env"}


def modules() -> Iterator[Path]:
    yield ROOT / "manage.py"
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def names_read(path: Path) -> Iterator[str]:
    """The variables that a module reads; `*` stands for what is put in at run time."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args:
            function = ast.unparse(node.func)
            owner, _, method = function.rpartition(".")
            if function in READERS or (owner in ENVIRONMENTS and method in {"get", "setdefault", "pop"}):
                yield from _texts(node.args[0])
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ENVIRONMENTS:
            yield from _texts(node.slice)
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) in ENVIRONMENTS:
            yield from _texts(node.left)


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)


def documented() -> set[str]:
    text = PAGE.read_text()
    first_cells = "".join(re.findall(r"^\| (.+?) \|", text, re.MULTILINE))
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", first_cells)) | {"DJANGO_SETTINGS_MODULE"}


def read() -> set[str]:
    of_make = re.findall(r"^(\w+) \?=", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {name for path in modules() for name in names_read(path) if re.fullmatch(r"[A-Z0-9_*]+", name)}
    return named - SET_BY_OTHERS | set(of_make)


def test_every_variable_that_is_read_is_documented() -> None:
    known = documented()
    assert {name for name in read() if not any(fnmatchcase(row, name) for row in known)} == set()


def test_every_documented_variable_is_read() -> None:
    patterns = read()
    assert {row for row in documented() if not any(fnmatchcase(row, name) for name in patterns)} == set()


def test_the_environment_is_read_by_the_names_that_are_looked_for() -> None:
    """So that no read escapes the tests above."""
    for path in modules():
        text = path.read_text()
        assert not re.search(r"from os import .*\b(environ|getenv)\b|environ\.Env\(\)\(", text), path
        assert text.count("environ.Env()") == (path == ROOT / "billing_site" / "settings.py"), path


def test_reads_are_found(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(
        "env.str('A_B', default='')\n_list('C')\nos.environ['D']\nos.environ.get(f'E_{name}')\n"
        "environment.get('F') or 'G'\n'H' in os.environ\nenviron['I']\n"
    )
    assert set(names_read(source)) == {"A_B", "C", "D", "E_*", "F", "H"}
