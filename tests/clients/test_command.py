"""`make clients` knows its programs, and says what it could not run and what failed."""

from decimal import Decimal
from pathlib import Path

import pytest

from clients import running
from clients.__main__ import render
from clients.catalogue import CLIENTS
from clients.packages import NotInstalledError, install_node
from clients.running import Result


def test_every_client_has_an_account_and_a_program_of_its_own() -> None:
    assert len({client.account for client in CLIENTS}) == len(CLIENTS)
    sources = Path(running.__file__).parent
    for client in CLIENTS:
        name = client.program.split()[0]
        assert name in ("codex", "claude") or list(sources.glob(f"*/{name}")), client.name


def test_without_node_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalledError, match=r"install Node\.js"):
        install_node()


def test_the_table_tells_what_failed() -> None:
    client = CLIENTS[0]
    results = [Result(client, "1.2", 3, 2, Decimal("0.00000001"), problems) for problems in ([], ["a problem"])]
    rows = render(results).splitlines()[2:]
    assert rows == [
        f"| {client.name} | 1.2 | 3 | 2 | $0.00000001 | yes |",
        f"| {client.name} | 1.2 | 3 | 2 | $0.00000001 | no |",
    ]
