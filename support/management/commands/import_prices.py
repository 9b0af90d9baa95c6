"""`manage.py import_prices`: shows what a published price list would change, and changes it when told to."""

import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.errors import BillingError
from accounts.models import Balance
from proxy.billing.price_files import UnreadableFile, read_price_file
from proxy.billing.price_import import (
    ImportPlan,
    RowChange,
    ValueChange,
    add_row,
    amount_text,
    apply_change,
    plan_import,
    stated_fields,
    stated_prices,
)
from proxy.models import ModelPrice
from support.audit.trail import new_operation, perform
from support.typed import NotUnderstood, read_amount

ACTOR = "manage.py import_prices"
REFUSED = 2
"""The exit code when something of the file was refused; 1 is a failure, 0 that all of it was taken (or would be)."""
LARGEST_MARKUP = Decimal(10)


class Command(BaseCommand):
    help = (
        "Show what LiteLLM's model_prices_and_context_window.json or models.dev's api.json would change in the price "
        "rows of an upstream. Writes only with --apply. Exits with 2 if something of the file was refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--upstream", required=True, choices=Balance.values)
        parser.add_argument(
            "--markup", required=True, help="The multiplier of new rows, such as 1.02. Rows keep theirs."
        )
        parser.add_argument("--apply", action="store_true", help="Write it. Without, it is only shown.")
        parser.add_argument("--force", action="store_true", help="Take changes beyond × 3, too. Never a price of 0.")
        parser.add_argument("--only", default="*", metavar="GLOB", help="Models by name, such as 'claude-*'.")
        parser.add_argument("--provider", help="Take only what this provider sells, by the file's name for it.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        upstream, path = Balance(options["upstream"]), options["file"]
        try:
            file = read_price_file(path.read_bytes(), provider=options["provider"])
        except (OSError, UnreadableFile) as error:
            raise CommandError(f"{path} cannot be read. {error}") from error
        plan = plan_import(
            file,
            list(ModelPrice.objects.filter(upstream=upstream.value)),
            upstream=upstream,
            markup=_markup(options["markup"]),
            only=options["only"],
            is_forced=options["force"],
        )
        failed = self._apply(plan, reason=f"Import of {path.name}") if options["apply"] else {}
        is_applied = options["apply"] and not failed
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(plan, failed, upstream=upstream, is_applied=is_applied), indent=1))
        else:
            self._print(plan, failed, upstream=upstream, is_applied=options["apply"])
        if failed:
            raise CommandError("Not all of it was written.")
        if plan.refused:
            raise CommandError("Something of the file was refused.", returncode=REFUSED)

    def _apply(self, plan: ImportPlan, *, reason: str) -> dict[str, str]:
        """Each row with its audit entry, in a transaction of its own; returns the models that failed, and why."""
        steps: list[tuple[ModelPrice, Callable[[], None], list[str]]] = [
            (change.row, partial(apply_change, change), list(change.values)) for change in plan.changed
        ]
        steps += [(row, partial(add_row, row), stated_fields(row)) for row in plan.new]
        failed = {}
        for row, change, names in steps:
            try:
                perform(
                    operation=new_operation(),
                    actor=ACTOR,
                    action="import price",
                    target=str(row)[:200],
                    reason=reason[:500],
                    change=change,
                    read_state=partial(_state, row.pk, names),
                )
            except BillingError as error:
                failed[row.model_id] = str(error)
        return failed

    def _print(self, plan: ImportPlan, failed: dict[str, str], *, upstream: Balance, is_applied: bool) -> None:
        lines = [("new", row.model_id, _words(stated_prices(row), row)) for row in plan.new]
        lines += [("changed", one.row.model_id, "; ".join(map(_in_words, one.changes))) for one in plan.changed]
        lines += [("gone", row.model_id, "The file does not have it. The row stays as it is.") for row in plan.gone]
        lines += [("refused", name, why) for name, why in plan.refused.items()]
        lines += [("failed", name, why) for name, why in failed.items()]
        width = max((len(name) for _, name, _ in lines), default=0)
        for kind, name, words in lines:
            self.stdout.write(f"{kind:8} {name:{width}}  {words}")
        self.stdout.write(
            f"{upstream.label}: {len(plan.new)} new, {len(plan.changed)} changed, {plan.unchanged} as they are, "
            f"{len(plan.gone)} gone, {len(plan.refused)} refused; {plan.not_chat} are no models that chat"
        )
        self.stdout.write("Written." if is_applied else "Nothing was written: look at it, then add --apply.")


def _markup(text: str) -> Decimal:
    try:
        markup = read_amount(text)
        is_sound = 1 <= markup <= LARGEST_MARKUP
    except NotUnderstood as error:
        raise CommandError(f"--markup must be a number such as 1.02. {error}") from error
    if not is_sound:
        raise CommandError(
            f"--markup must be from 1 to {LARGEST_MARKUP}: below 1, models sell for less than they cost."
        )
    return markup


def _state(pk: str, names: list[str]) -> dict[str, Any] | None:
    """The fields of a row for the audit."""
    row = ModelPrice.objects.filter(pk=pk).first()
    if row is None:
        return None
    values = {name: getattr(row, name) for name in names}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def _words(prices: dict[str, str], row: ModelPrice) -> str:
    listed = ", ".join(f"{name} {amount}" for name, amount in prices.items())
    tiers = "".join(f"; above {tier['above']} tokens other prices" for tier in row.tiers or [])
    return f"{listed} (× {amount_text(row.multiplier)}){tiers}"


def _in_words(change: ValueChange) -> str:
    by = "" if change.factor is None else f" ({(change.factor - 1) * 100:+.1f} %)"
    return f"{change.what} {change.old} → {change.new}{by}"


def _as_json(plan: ImportPlan, failed: dict[str, str], *, upstream: Balance, is_applied: bool) -> dict[str, Any]:
    return {
        "upstream": upstream.value,
        "applied": is_applied,
        "new": [
            {"model": row.model_id, "prices": stated_prices(row), "multiplier": str(row.multiplier)} for row in plan.new
        ],
        "changed": [_change_as_json(change) for change in plan.changed],
        "gone": [row.model_id for row in plan.gone],
        "refused": plan.refused,
        "failed": failed,
        "unchanged": plan.unchanged,
        "not_chat": plan.not_chat,
    }


def _change_as_json(change: RowChange) -> dict[str, Any]:
    return {
        "model": change.row.model_id,
        "changes": [
            {
                "what": value.what,
                "old": value.old,
                "new": value.new,
                "factor": None if value.factor is None else f"{value.factor:.4f}",
            }
            for value in change.changes
        ],
    }
