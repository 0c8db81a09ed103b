"""``binance-pm orders``; tests/messages has the texts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from binance_pm import NoResponse, read_journal
from binance_pm.journal_file import HEADER
from binance_pm.testing import Fault, Sandbox
from tests.support.command import environment_of
from tests.support.journals import ended, started

LOST = Fault(method="POST", drop=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal."""
    return tmp_path / "journal.jsonl"


def lose(pm: Sandbox, path: Path, account: int = 0, *, is_loan: bool = False) -> None:
    """Write a journal whose only write has an unknown outcome."""

    async def work() -> None:
        pm.inject(LOST)
        async with pm.client(account, journal=path) as client:
            order = client.um.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
            loan = client.margin.borrow("USDT", "10")
            lost, other = (loan, order) if is_loan else (order, loan)
            other.close()
            with pytest.raises(NoResponse):
                await lost

    asyncio.run(work())


@pytest.mark.pm_sandbox(accounts=2)
class TestOrders:
    """Writes whose outcome is not known."""

    def test_an_outcome_is_found_out_and_kept(self, run: Any, pm_sandbox: Sandbox, path: Path) -> None:
        """A second run has nothing left to ask."""
        lose(pm_sandbox, path)

        first = run("orders", "--journal", str(path), "--json", **environment_of(pm_sandbox))
        requests = len(pm_sandbox.exchange.requests)
        second = run("orders", "--journal", str(path), **environment_of(pm_sandbox))

        assert (first.code, json.loads(first.out)["outcome"], second.code) == (0, "done", 0)
        assert len(pm_sandbox.exchange.requests) == requests
        assert [entry.outcome for entry in read_journal(path)] == ["done"]

    def test_another_url_is_asked(self, run: Any, pm_sandbox: Sandbox, path: Path) -> None:
        """Such as that of a local exchange."""
        lose(pm_sandbox, path)
        environment = environment_of(pm_sandbox)
        url = environment.pop("BINANCE_PM_BASE_URL")

        assert run("orders", "--journal", str(path), "--base-url", url, **environment).code == 0

    def test_a_list_needs_no_key(self, run: Any, pm_sandbox: Sandbox, path: Path) -> None:
        """Nothing is asked, and the outcome stays unknown."""
        lose(pm_sandbox, path)
        requests = len(pm_sandbox.exchange.requests)

        result = run("orders", "--journal", str(path), "--list")

        assert (result.code, result.err) == (1, "")
        assert "um.new_order" in result.out
        assert len(pm_sandbox.exchange.requests) == requests

    @pytest.mark.parametrize(("account", "is_loan"), [(1, False), (0, True)])
    def test_what_stays_unknown_is_the_exit_code(
        self, run: Any, pm_sandbox: Sandbox, path: Path, *, account: int, is_loan: bool
    ) -> None:
        """Another account's key is needed, or nothing proves the write."""
        lose(pm_sandbox, path, account, is_loan=is_loan)

        result = run("orders", "--journal", str(path), "--json", **environment_of(pm_sandbox))

        assert (result.code, json.loads(result.out)["outcome"]) == (1, "unknown")

    def test_a_list_does_not_change_the_file(self, run: Any, path: Path) -> None:
        """A program may be writing to it."""
        content = HEADER + started("one") + b'{"line":'
        path.write_bytes(content)

        assert run("orders", "--journal", str(path), "--list").code == 1
        assert path.read_bytes() == content

    @pytest.mark.parametrize("content", [None, b"hello\n", HEADER + b"hello\n"])
    def test_a_file_that_is_no_journal_ends_in_one_line(self, run: Any, path: Path, content: bytes | None) -> None:
        """On stderr."""
        if content is not None:
            path.write_bytes(content)

        result = run("orders", "--journal", str(path), "--list")

        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)

    def test_known_outcomes_need_no_key(self, run: Any, path: Path) -> None:
        """There is nothing to ask."""
        path.write_bytes(HEADER + started("one") + ended("one"))

        assert run("orders", "--journal", str(path)).code == 0

    def test_a_call_is_noted_in_a_journal(self, run: Any, pm_sandbox: Sandbox, path: Path) -> None:
        """With ``--journal``."""
        command = ("call", "um.set_leverage", "BTCUSDT", "10", "--journal", str(path))

        assert run(*command, **environment_of(pm_sandbox)).code == 0
        assert [entry.started.endpoint for entry in read_journal(path)] == ["um.set_leverage"]
