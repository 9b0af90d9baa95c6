"""The price files of the replaced proxies, as `manage.py take_over` imports them."""

import json
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from proxy.models import ModelPrice
from support.models import AuditEntry
from tests.takeover.database import PRICE_FILES, old_database


def test_prices_of_the_proxies_files_are_imported_and_old_rows_not_sold(database: Any, tmp_path: Path) -> None:
    database["model_pricing"].insert_many(old_database(size=1).collections["model_pricing"])
    paths = []
    for upstream, content in PRICE_FILES.items():
        path = tmp_path / f"config-{upstream}.json"
        path.write_text(json.dumps(content))
        paths.append(str(path))
    out = StringIO()
    call_command("take_over", "--prices", *paths, "--yes", stdout=out)
    assert "3 prices imported" in out.getvalue()
    sold = {(row.upstream, row.model_id): row for row in ModelPrice.objects.filter(is_active=True)}
    assert sold.keys() == {
        ("openhands", "claude-opus-4-6"),
        ("openhands", "claude-sonnet-4-5-20250929"),
        ("ohmygpt", "claude-sonnet-4-5-20250929"),
    }
    opus = sold["openhands", "claude-opus-4-6"]
    assert (opus.input_price, opus.output_price, opus.multiplier) == (4, 20, Decimal("1.02"))
    assert (opus.cache_write_price, opus.cache_read_price) == (Decimal("6.25"), Decimal("0.5"))
    assert AuditEntry.objects.filter(action="stop old price").count() == 4
    call_command("take_over", "--prices", *paths, "--yes", stdout=out)
    assert AuditEntry.objects.filter(action="import price").count() == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"billing_multiplier": None}, "no multiplier"),
        ({"input_price_per_mtok": 0}, "input price must be above 0"),
        ({"input_price_per_mtok": "4"}, "not a number"),
        ({"thinking_price_per_mtok": 5}, "thinking_price_per_mtok is not known here"),
        ({"multiplier": 2}, "says two things of its multiplier"),
        ({"billing_upstream": "ohmygpt"}, "sold on ohmygpt"),
    ],
)
def test_a_price_file_with_anything_unclear_is_refused_whole(
    database: Any, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    entry = PRICE_FILES["openhands"]["models"][0] | change
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"models": [entry, PRICE_FILES["openhands"]["models"][1]]}))
    with pytest.raises(CommandError, match=problem):
        call_command("take_over", "--prices", f"openhands={path}", "--yes", stdout=StringIO())
    assert ModelPrice.objects.count() == 0


def test_a_price_file_that_names_no_upstream_is_refused(database: Any, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"models": PRICE_FILES["openhands"]["models"]}))
    with pytest.raises(CommandError, match="say which upstream"):
        call_command("take_over", "--prices", str(path), "--yes", stdout=StringIO())
