"""Private names stay at home: no code of ours uses another package's, or another module's of ours.

A name with one underscore in front is promised to nobody: any version may rename it. Where there is no other way, it
stands in `ALLOWED` with the reason.
"""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = (
    "accounts",
    "billing_site",
    "books",
    "border",
    "development",
    "money",
    "mongo",
    "payments",
    "proxy",
    "support",
)
PACKAGES = (*PRODUCT, "benchmarks", "faults", "tests")
DOCUMENTED = {"_meta", "_state", "_default_manager", "_replace", "_exit"}
"""Public in spite of the underscore: Django's of models, namedtuple's `_replace`, `os._exit`."""
BY_TEXT = {"getattr", "setattr", "hasattr", "delattr"}
"""Functions, and methods such as monkeypatch's, that take the name of an attribute as a text."""

SCHEMA_EDITOR = "no public way indexes the fields of a collection that is there; tests/mongo/backend fails without them"
DRIVER = "0.45 ms of CPU a request; mongo/writer.py does without in any other version of pymongo"
ALLOWED = {
    ("mongo/backend/base.py", "_create_model_indexes"): SCHEMA_EDITOR,
    ("mongo/backend/base.py", "_field_should_be_indexed"): SCHEMA_EDITOR,
    ("mongo/backend/base.py", "_field_should_have_unique"): SCHEMA_EDITOR,
    ("mongo/backend/base.py", "_add_field_index"): SCHEMA_EDITOR,
    ("mongo/backend/base.py", "_add_field_unique"): SCHEMA_EDITOR,
    ("mongo/fast_writes.py", "_check_command_response"): DRIVER,
    ("mongo/fast_writes.py", "_check_write_command_response"): DRIVER,
    ("mongo/fast_writes.py", "_COMMAND_LOGGER"): DRIVER,
    ("mongo/fast_writes.py", "_op_msg"): DRIVER,
    ("mongo/fast_writes.py", "_OpMsg"): DRIVER,
    ("mongo/fast_writes.py", "_ClientCheckout"): DRIVER,
    ("mongo/fast_writes.py", "_checkout"): DRIVER,
    ("mongo/fast_writes.py", "_get_topology"): DRIVER,
    ("mongo/fast_writes.py", "_perished"): DRIVER,
    ("mongo/fast_writes.py", "_raise_connection_failure"): DRIVER,
    ("tests/conftest.py", "_fixture_teardown"): "Django's flush has no public hook, and takes 0.25 s a test",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != "" and name not in DOCUMENTED


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    """Every file of ours, by its path, parsed. Migrations are generated."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in path.parts and "contrib" not in path.parts:
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def names_made_in(tree: ast.Module) -> set[str]:
    """What the file itself defines or assigns, at any depth."""
    made: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            made |= {node.attr} if is_own else set()
    return made


def foreign_private_names(tree: ast.Module) -> set[str]:
    """Private names that a file takes from elsewhere: imported, as an attribute, or as the text of one."""
    made, used = names_made_in(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            parts = [part for name in (*modules, *(alias.name for alias in node.names)) for part in name.split(".")]
            used |= {part for part in parts if is_private(part)}
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            used |= {node.attr} - made
        elif isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in BY_TEXT:
                texts = [part.value for part in node.args if isinstance(part, ast.Constant)]
                used |= {text for text in texts if isinstance(text, str) and is_private(text)}
    return used


def overridden_private_names(path: str, tree: ast.Module) -> set[str]:
    """Private methods and attributes of a class of ours that a base class from elsewhere has too."""
    written = {
        (node.name, name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in node.body
        for name in names_made_in(ast.Module([part], []))
        if is_private(name)
    }
    if not written:
        return set()
    module = importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    return {
        name
        for class_name, name in written
        for base in getattr(getattr(module, class_name, None), "__mro__", (None,))[1:]
        if name in vars(base) and base.__module__ != module.__name__
    }


def found() -> set[tuple[str, str]]:
    uses = {(path, name) for path, tree in sources(*PACKAGES) for name in foreign_private_names(tree)}
    return uses | {(path, name) for path, tree in sources(*PRODUCT) for name in overridden_private_names(path, tree)}


def test_private_names_of_others_are_used_only_where_the_list_says_why() -> None:
    assert found() == set(ALLOWED)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from pymongo.message import _op_msg", {"_op_msg"}),
        ("import urllib3._collections", {"_collections"}),
        ("from accounts.models import _hidden as shown", {"_hidden"}),
        ("pool._get_conn()", {"_get_conn"}),
        ("monkeypatch.setattr(credits, '_settle', None)", {"_settle"}),
        ("getattr(pool, '_put_conn')", {"_put_conn"}),
        ("class A:\n    def _mine(self): ...\n    def call(self): self._mine()", set()),
        ("class A:\n    def __init__(self): self._mine = 1\n    def other(self, b): return b._mine", set()),
        ("_MINE = 1\nprint(_MINE, model._meta, __name__, self.__class__)", set()),
        ("for _ in (): pass", set()),
    ],
)
def test_the_rule_sees_a_violation_and_nothing_else(code: str, names: set[str]) -> None:
    assert foreign_private_names(ast.parse(code)) == names


def test_the_rule_sees_an_overridden_method() -> None:
    code = "class DatabaseSchemaEditor:\n    def _add_field_index(self): ...\n    def _create_through(self): ..."
    assert overridden_private_names("mongo/backend/base.py", ast.parse(code)) == {"_add_field_index"}
