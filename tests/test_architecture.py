"""Rules that hold for the whole code base, checked on its source."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
APPS = ("accounts", "billing_site", "books", "development", "money", "mongo", "payments", "proxy", "support")
BALANCE_FIELDS = {"credits", "creditsNew", "creditsUsed", "creditsNewUsed", "credits_new", "credits_used", "holds"}
UPDATE_OPERATORS = {"$set", "$inc", "$unset", "$mul", "$min", "$max", "$rename", "$setOnInsert"}
WRITES = {"update", "update_one", "update_many", "find_one_and_update", "replace_one", "bulk_write", "bulk_update"}


def _sources() -> list[Path]:
    return [
        path
        for app in APPS
        for path in sorted((ROOT / app).rglob("*.py"))
        if "migrations" not in path.parts and ROOT / "accounts" / "credits" not in path.parents
    ]


def _balance_writes(tree: ast.AST) -> list[int]:
    """Lines that hand a balance field to an update operator, or an ORM update of an account."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in UPDATE_OPERATORS:
                    lines += [
                        inner.lineno
                        for inner in ast.walk(value)
                        if isinstance(inner, ast.Constant) and str(inner.value).split(".")[0] in BALANCE_FIELDS
                    ]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
            names = {keyword.arg for keyword in node.keywords}
            if "Account.objects" in ast.unparse(node.func) and names & BALANCE_FIELDS:
                lines.append(node.lineno)
    return lines


def test_only_credits_py_writes_a_balance() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in _sources()
        for line in _balance_writes(ast.parse(path.read_text()))
    }
    assert found == set()


def test_the_rule_sees_a_violation() -> None:
    bad = "c.update_one({}, {'$inc': {'creditsNew': 1}})\nAccount.objects.filter(pk=1).update(credits=5)"
    assert sorted(_balance_writes(ast.parse(bad))) == [1, 2]
