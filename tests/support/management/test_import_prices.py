"""`manage.py import_prices`: what it shows, what it writes, and what it never does."""

import json
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import Balance
from proxy.billing import price_import
from proxy.billing.price_book import PriceBook
from proxy.billing.price_files import read_price_file
from proxy.billing.seed_prices import seed_prices
from proxy.errors import PriceRowChanged
from proxy.models import ModelPrice
from support.models import AuditEntry

FILES = Path(__file__).parents[2] / "proxy" / "billing" / "price_files"
LITELLM, MODELS_DEV = FILES / "litellm.json", FILES / "models_dev.json"
CLAUDE = ("--only", "claude-*")


@pytest.fixture(autouse=True)
def rows(db: None) -> Any:
    """The known rows; their cache prices and multipliers are as in the file, or not."""
    seed_prices()
    return connection.database["model_pricing"]


def run(path: Path, *options: str, upstream: str = "openhands") -> str:
    out = StringIO()
    call_command("import_prices", str(path), "--upstream", upstream, "--markup", "1.05", *options, stdout=out)
    return out.getvalue()


def refused(path: Path, *options: str) -> str:
    """The output of a run that must end with the exit code for a refusal."""
    out = StringIO()
    with pytest.raises(CommandError) as error:
        call_command("import_prices", str(path), "--upstream", "openhands", "--markup", "1.05", *options, stdout=out)
    assert error.value.returncode == 2
    return out.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file of LiteLLM's form with one model."""

    def run(name: str = "claude-haiku-4-5-20251001", **fields: Any) -> Path:
        entry = {"litellm_provider": "anthropic", "mode": "chat"}
        prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6}
        (tmp_path / "prices.json").write_text(json.dumps({name: entry | prices | fields}))
        return tmp_path / "prices.json"

    return run


def test_a_preview_names_everything_and_writes_nothing(rows: Any) -> None:
    before = list(rows.find())
    lines = run(LITELLM, *CLAUDE).splitlines()
    assert {tuple(line.split()[:2]) for line in lines[:-2]} == {
        ("new", "claude-haiku-5-5"),
        ("new", "claude-opus-5"),
        ("changed", "claude-haiku-4-5-20251001"),
        ("changed", "claude-sonnet-4-5-20250929"),
        ("gone", "claude-opus-4-5-20251101"),
    }
    sonnet = next(line for line in lines if "claude-sonnet-4-5" in line)
    assert "output 14 → 15 (+7.1 %)" in sonnet
    assert "cache write 1h – (6) → 6 (+0.0 %)" in sonnet
    assert "own input – → 3" in sonnet
    assert "web_search per use – → 0.01" in sonnet
    opus = next(line for line in lines if "claude-opus-5" in line)
    assert "input 5, output 25, cache write 6.25, cache write 1h 10, cache read 0.5 (× 1.05)" in opus
    assert lines[-2].startswith("OpenHands: 2 new, 2 changed, 0 as they are, 1 gone, 0 refused; 0 are no models")
    assert lines[-1] == "Nothing was written: look at it, then add --apply."
    assert list(rows.find()) == before
    assert not AuditEntry.objects.exists()


def test_apply_writes_list_prices_keeps_what_is_the_operators_and_is_in_the_audit(rows: Any) -> None:
    rows.update_one({"_id": "openhands/claude-sonnet-4-5-20250929"}, {"$set": {"unknown": 1, "maxOutputTokens": 5}})
    others = list(rows.find({"upstream": "ohmygpt"}))
    assert "Written." in run(LITELLM, "--apply", *CLAUDE)
    book = PriceBook()
    sonnet = book.find(Balance.OPENHANDS, "claude-sonnet-4-5")
    assert (sonnet.charged.rates.output, sonnet.charged.rates.cache_write_1h, sonnet.multiplier) == (
        15,
        6,
        Decimal("1.02"),
    )
    assert sonnet.own
    assert sonnet.own.rates == sonnet.charged.rates
    assert (sonnet.max_output_tokens, sonnet.charged.fees["web_search"].usd) == (5, Decimal("0.01"))
    assert rows.find_one({"_id": "openhands/claude-sonnet-4-5-20250929"})["unknown"] == 1
    haiku = book.find(Balance.OPENHANDS, "claude-haiku-5-5")
    assert (haiku.multiplier, haiku.charged.tiers[0].above, haiku.max_output_tokens) == (
        Decimal("1.05"),
        100_000,
        128_000,
    )
    assert haiku.own
    assert haiku.own.tiers[0].rates.output == Decimal("2.5")
    assert rows.find_one({"modelId": "claude-opus-4-5-20251101", "upstream": "openhands"})["outputPricePerMTok"] == 20
    assert list(rows.find({"upstream": "ohmygpt"})) == others
    entries = {entry.target: entry for entry in AuditEntry.objects.all()}
    assert set(entries) == {
        "claude-sonnet-4-5-20250929 (OpenHands)",
        "claude-haiku-4-5-20251001 (OpenHands)",
        "claude-haiku-5-5 (OpenHands)",
        "claude-opus-5 (OpenHands)",
    }
    changed, new = entries["claude-sonnet-4-5-20250929 (OpenHands)"], entries["claude-opus-5 (OpenHands)"]
    assert (changed.actor, changed.action) == ("manage.py import_prices", "import price")
    assert changed.reason == "Import of litellm.json"
    assert (changed.before["output_price"], changed.after["output_price"]) == ("14.00000000", "15.00000000")
    assert (new.before, new.after["input_price"]) == (None, "5.00000000")


@pytest.mark.parametrize("path", [LITELLM, MODELS_DEV])
def test_a_repeat_changes_nothing(rows: Any, path: Path) -> None:
    run(path, "--apply", *CLAUDE)
    before, entries = list(rows.find()), AuditEntry.objects.count()
    assert " 0 new, 0 changed, " in run(path, "--apply", *CLAUDE)
    assert list(rows.find()) == before
    assert AuditEntry.objects.count() == entries


def test_what_one_file_does_not_say_stays_as_another_one_said(rows: Any) -> None:
    run(LITELLM, "--apply", *CLAUDE)
    assert "0 changed" in run(MODELS_DEV, "--apply", "--only", "claude-sonnet*")
    assert PriceBook().find(Balance.OPENHANDS, "claude-sonnet-4-5").charged.rates.cache_write_1h == 6


def test_an_alias_is_not_a_new_model(rows: Any) -> None:
    assert "claude-sonnet-4-5 " not in run(LITELLM, *CLAUDE)
    run(LITELLM, "--apply", *CLAUDE)
    assert rows.count_documents({"modelId": "claude-sonnet-4-5"}) == 0


def test_a_row_is_priced_as_the_model_that_the_upstream_knows(rows: Any, write: Callable[..., Path]) -> None:
    rows.update_one({"modelId": "claude-haiku-4-5-20251001"}, {"$set": {"upstreamModelId": "vendor/haiku"}})
    out = run(write("vendor/haiku", output_cost_per_token=6e-6), "--only", "claude-haiku*")
    assert "output 5 → 6 (+20.0 %)" in out
    assert "0 new, 1 changed" in out


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input_cost_per_token": 0}, "Its input price is missing or 0."),
        ({"output_cost_per_token": None}, "Its output price is missing or 0."),
        ({"output_cost_per_token": -5e-6}, "output_cost_per_token is negative."),
        ({"input_cost_per_token": "1e-6"}, "input_cost_per_token is not a number."),
        ({"mode": "embedding"}, "The file says that this is no model that chats."),
        ({"output_cost_per_token": 1.51e-5}, "More than × 3 is taken only with --force: output 5 → 15.1"),
        ({"input_cost_per_token": 0.33e-6}, "More than × 3 is taken only with --force: input 1 → 0.33"),
        ({"input_cost_per_token_above_200k_tokens": 4e-6}, "input above 200000 tokens 1 → 4"),
    ],
)
def test_what_is_not_believed_is_refused_and_not_written(
    rows: Any, write: Callable[..., Path], fields: dict[str, Any], words: str
) -> None:
    before = list(rows.find())
    assert words in refused(write(**fields), "--apply", "--only", "*haiku*")
    assert list(rows.find()) == before
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("fields", [{"input_cost_per_token": 0}, {"output_cost_per_token": 0.0}])
def test_no_force_makes_a_model_free(rows: Any, write: Callable[..., Path], fields: dict[str, Any]) -> None:
    assert "missing or 0" in refused(write("new-model", **fields), "--apply", "--force", "--only", "new-*")
    assert rows.count_documents({"modelId": "new-model"}) == 0


def test_force_takes_large_changes(write: Callable[..., Path]) -> None:
    path = write(output_cost_per_token=2e-5, input_cost_per_token_above_200k_tokens=9e-6)
    assert "output 5 → 20 (+300.0 %)" in run(path, "--apply", "--force", "--only", "*haiku*")
    price = PriceBook().find(Balance.OPENHANDS, "claude-haiku-4-5")
    assert (price.charged.rates.output, price.charged.tiers[0].rates.input) == (20, 9)


def test_exactly_three_times_is_not_too_large(write: Callable[..., Path]) -> None:
    assert "output 5 → 15 (+200.0 %)" in run(write(output_cost_per_token=1.5e-5), "--only", "*haiku*")


def test_a_row_that_cannot_be_used_is_not_touched(rows: Any, write: Callable[..., Path]) -> None:
    rows.update_many({"modelId": "claude-haiku-4-5-20251001"}, {"$set": {"tiers": "none"}})
    assert "The row cannot be used. tiers: unreadable: text none" in refused(write(), "--only", "*haiku*")


def test_other_tools_options_and_bounds_of_a_row_stay(rows: Any, write: Callable[..., Path]) -> None:
    fees = {
        "web_search": {"usd": "0.02", "maxUses": 3, "inputTokens": 5000, "ownUsd": "0.015"},
        "web_fetch": {"usd": 0, "maxUses": 5, "inputTokens": 9},
    }
    rows.update_many(
        {"modelId": "claude-haiku-4-5-20251001"},
        {"$set": {"toolFees": fees, "optionMultipliers": {"prediction": 1, "service_tier=priority": 1.5}}},
    )
    path = write(search_context_cost_per_query={"search_context_size_low": 0.01}, input_cost_per_token_priority=2e-6)
    out = run(path, "--apply", "--only", "*haiku*")
    assert "service_tier=priority × 1.5 → × 2 (+33.3 %)" in out
    assert "web_search per use 0.02 → 0.01 (-50.0 %)" in out
    row = ModelPrice.objects.get(upstream="openhands", model_id="claude-haiku-4-5-20251001")
    assert row.tool_fees == {
        "web_search": {"usd": "0.01", "maxUses": 3, "inputTokens": 5000},
        "web_fetch": {"usd": "0", "maxUses": 5, "inputTokens": 9},
    }
    assert row.option_multipliers == {"prediction": "1", "service_tier=priority": "2"}


def test_json_tells_the_same(write: Callable[..., Path]) -> None:
    report = json.loads(run(write(output_cost_per_token=6e-6), "--json", "--only", "*haiku*"))
    assert (report["upstream"], report["applied"], report["refused"], report["gone"]) == ("openhands", False, {}, [])
    (change,) = report["changed"]
    assert change["model"] == "claude-haiku-4-5-20251001"
    assert change["changes"][0] == {"what": "output", "old": "5", "new": "6", "factor": "1.2000"}
    assert json.loads(run(LITELLM, "--json", "--apply", *CLAUDE))["applied"] is True


@pytest.mark.parametrize("markup", ["0.02", "2 %", "NaN", "-1", "100", "", "1,02", "1e0", "١"])
def test_a_markup_that_is_none_is_refused(markup: str) -> None:
    with pytest.raises(CommandError, match="--markup must be"):
        call_command("import_prices", str(LITELLM), "--upstream", "openhands", f"--markup={markup}")


@pytest.mark.parametrize("content", [None, b"", b"not json", b"{}"])
def test_a_file_that_cannot_be_read_is_a_failure(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prices.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match="cannot be read") as error:
        run(path)
    assert error.value.returncode == 1


def test_a_row_that_was_changed_after_the_preview_is_left_alone(rows: Any) -> None:
    (row,) = ModelPrice.objects.filter(upstream="openhands", model_id="claude-haiku-4-5-20251001")
    plan = price_import.plan_import(
        read_price_file(LITELLM.read_bytes()), [row], upstream=Balance.OPENHANDS, markup=Decimal(1), only="claude-*"
    )
    rows.update_one({"_id": row.pk}, {"$set": {"ownInputPricePerMTok": 7.0}})
    with pytest.raises(PriceRowChanged):
        price_import.apply_change(plan.changed[0])
    new = next(one for one in plan.new if one.model_id == "claude-opus-5")
    price_import.add_row(new)
    with pytest.raises(PriceRowChanged):
        price_import.add_row(new)
    assert rows.find_one({"_id": row.pk})["ownInputPricePerMTok"] == 7.0
