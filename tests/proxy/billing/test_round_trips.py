"""How often a billed request goes to the database, counted from the driver's own log of its commands."""

import gzip
import json
from decimal import Decimal
from itertools import product

from accounts.api_keys import create_key
from accounts.key_choices import Budget, Limits
from accounts.key_entry import BudgetPeriod
from tests.conftest import key_of
from tests.factories import InsertUser, ServeWith
from tests.proxy.requests import CHAT, MESSAGES, MODEL, RESPONSES, ask, assert_reconciles, chat, post

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
HOLD = SETTLE = ("findAndModify", "usersNew")
RECORD = ("insert", "request_logs")
DRIVER_LOG = {
    "LOG_LEVEL": "DEBUG",
    "DATABASE_LOG_LEVEL": "DEBUG",
    "MONGOB_LOG_MAX_DOCUMENT_LENGTH": "100000",
}  # The name is the driver's.


def commands_of(log: str) -> list[tuple[str, str]]:
    """Name and collection of every command that the driver has started, on any database."""
    entries = [line.partition(" DEBUG pymongo.command ")[2] for line in log.splitlines()]
    started = [json.loads(entry) for entry in entries if '"Command started"' in entry]
    return [(entry["commandName"], json.loads(entry["command"])[entry["commandName"]]) for entry in started]


def test_a_billed_request_takes_three_round_trips_once_the_prices_are_cached(
    serve_with: ServeWith, insert_user: InsertUser
) -> None:
    insert_user("alice", creditsNew=1)
    # The heart-beats of the process are no part of a request: the next one comes in five minutes.
    server = serve_with(GUNICORN_WORKERS="1", PRICE_CACHE_SECONDS="600", PROCESS_SILENT_SECONDS="3600", **DRIVER_LOG)
    assert post(server, chat()).status == 200
    assert ("aggregate", "model_pricing") in commands_of(server.log())

    limits = Limits(Budget(Decimal("0.5"), BudgetPeriod.DAY), models=(MODEL,), upstreams=("openhands",))
    _, limited_key = create_key(username="alice", name="limited", limits=limits)
    others: tuple[dict[str, str], ...] = ({}, {"x-api-key": "sk-ant-of-another-service", "Content-Encoding": "gzip"})
    keys, paths = (key_of("alice"), limited_key), (CHAT, MESSAGES, RESPONSES)
    for key, path, is_stream, other in product(keys, paths, (False, True), others):
        body = json.dumps(ask(path, stream=is_stream)).encode()
        before = len(commands_of(server.log()))
        headers = {"Authorization": f"Bearer {key}", **other}
        sent = gzip.compress(body) if other else body
        assert post(server, sent, path=path, username=None, headers=headers).status == 200
        assert commands_of(server.log())[before:] == [HOLD, RECORD, SETTLE], (path, is_stream, headers)
    for path, name in ((EMBEDDINGS, "input"), (COMPLETIONS, "prompt")):
        before = len(commands_of(server.log()))
        assert post(server, {"model": MODEL, name: "Hello"}, path=path).status == 200
        assert commands_of(server.log())[before:] == [HOLD, RECORD, SETTLE], path
    assert_reconciles()
