"""What the documentation names exists: files, tests, and headings of other pages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TOP = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"var"}
CODE = re.compile(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:py|md|toml|txt))(?::\w+)?`")
LINK = re.compile(r"\]\(([^)#\s]*)(#[\w-]+)?\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = {name for name in CODE.findall(text) if name.partition("/")[0] in TOP}
    missing = {name for name in named if not (ROOT / name).exists()}
    for target, anchor in LINK.findall(text):
        if ":" in target:
            continue
        linked = (page.parent / target) if target else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            missing.add(target + anchor)
    assert not missing, f"{page.name} names what does not exist"


def test_the_pages_name_enough_to_be_checked() -> None:
    names = [name for page in PAGES for name in CODE.findall(page.read_text())]
    assert len(names) > 100
