"""The price files that `manage.py take_over` is given: which upstream each is for, and what writing them does."""

import json
import re
from functools import partial
from pathlib import Path

from accounts.models import Balance
from mongo.collections import Document, collection_of, current_session
from proxy.api.addresses import port_of
from proxy.billing.price_files import UnreadableFile
from proxy.billing.replaced_prices import STALE, changes_of, find_stale, read_replaced_prices, write_row
from proxy.models import ModelPrice
from support.audit.trail import perform
from support.takeover.operations import new_operation

REASON = "Prices of the replaced system"


def read_files(arguments: list[str]) -> list[ModelPrice]:
    """The rows of all files, each `FILE` or `UPSTREAM=FILE`. Raises `UnreadableFile`, which names what is refused.

    Without an upstream it is the one that the file's own `port` belongs to, or that its name names.
    """
    rows: list[ModelPrice] = []
    for argument in arguments:
        upstream, path = _split(argument)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be read: {error.strerror}.") from error
        found = read_replaced_prices(data, upstream=upstream or _upstream_of(path, data))
        if found.refused:
            problems = " ".join(f"{name}: {problem}" for name, problem in found.refused.items())
            raise UnreadableFile(f"{path}: {problems}")
        rows += found.rows
    return rows


def _split(argument: str) -> tuple[Balance | None, Path]:
    name, is_named, path = argument.partition("=")
    return (Balance(name), Path(path)) if is_named and name in Balance.values else (None, Path(argument))


def _upstream_of(path: Path, data: bytes) -> Balance:
    by_name = [balance for balance in Balance if re.search(balance.value, path.name, re.IGNORECASE)]
    try:
        document = json.loads(data)
    except ValueError as error:
        raise UnreadableFile(f"{path} is not valid JSON: {error}") from error
    port = document.get("port") if isinstance(document, dict) else None
    by_port = [balance for balance in Balance if str(port_of(balance)) == str(port)]
    found = set(by_name + by_port)
    if len(found) != 1:
        raise UnreadableFile(f"{path}: say which upstream it is for, such as openhands={path}.")
    return found.pop()


def count_changes(rows: list[ModelPrice]) -> tuple[int, int]:
    """How many of the rows would be new, and how many would change a stored one."""
    changes = [changes_of(row) for row in rows]
    return sum(change is None for change in changes), sum(bool(change) for change in changes)


def import_rows(rows: list[ModelPrice], *, actor: str) -> int:
    """Write every row that is new or differs, each with its audit entry; returns how many. Safe to repeat."""
    changed = [row for row in rows if changes_of(row) != {}]
    for row in changed:
        perform(
            operation=new_operation(),
            actor=actor,
            action="import price",
            target=str(row)[:200],
            reason=REASON,
            change=partial(write_row, row),
            read_state=partial(_state, {"upstream": row.upstream, "modelId": row.model_id}),
        )
    return len(changed)


def stop_stale(*, actor: str) -> int:
    """Sell the replaced system's own rows no more, each with its audit entry; returns how many. Safe to repeat."""
    rows = find_stale()
    for row in rows:
        perform(
            operation=new_operation(),
            actor=actor,
            action="stop old price",
            target=str(row.get("modelId", row["_id"]))[:200],
            reason=REASON,
            change=partial(_stop, row),
            read_state=partial(_state, {"_id": row["_id"]}),
        )
    return len(rows)


def _stop(row: Document) -> None:
    query = {"_id": row["_id"], **STALE}
    collection_of(ModelPrice).update_one(query, {"$set": {"isActive": False}}, session=current_session())


def _state(query: Document) -> Document | None:
    document = collection_of(ModelPrice).find_one(query, session=current_session())
    return None if document is None else {name: str(value) for name, value in document.items()}
