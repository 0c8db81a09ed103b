"""``binance-pm request``, tables, and the confirmation of writes; tests/messages has the texts."""

from __future__ import annotations

import io
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from binance_pm.cli.response import as_table
from binance_pm.testing import Sandbox
from binance_pm.wire import Model
from tests.support.command import environment_of

ORDER = ("POST", "/papi/v1/um/order", "symbol=BTCUSDT", "side=BUY", "type=MARKET", "quantity=0.01")
KEYS = {"BINANCE_PM_API_KEY": "k" * 64, "BINANCE_PM_API_SECRET": "s" * 64}


class Row(Model, frozen=True):
    """A row of a table."""

    uni_mmr: Decimal | None
    label: str = ""
    parts: tuple[Decimal, ...] = ()


def drawn(response: object, width: int) -> list[str]:
    """Return the lines of the table."""
    console = Console(width=width, file=io.StringIO())
    table = as_table(response, console)
    assert table is not None
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


class Terminal(io.StringIO):
    """A terminal with a typed answer."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the list of clients that would have sent a request."""
    clients: list[object] = []

    def note(_: object, client: object, *__: object) -> None:
        clients.append(client)

    monkeypatch.setattr("anyio.run", note)
    return clients


class TestRequest:
    """``binance-pm request``."""

    @pytest.mark.pm_sandbox(accounts=1)
    def test_a_declared_endpoint_needs_no_weight(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The parameters are sent as given."""
        ended = run("request", "GET", "/papi/v1/um/account", "recvWindow=1234", **environment_of(pm_sandbox))

        (request,) = pm_sandbox.exchange.requests
        assert (ended.code, ended.err) == (0, "")
        assert "assets" in json.loads(ended.out)
        assert dict(request.params)["recvWindow"] == "1234"

    @pytest.mark.pm_sandbox(accounts=1)
    def test_an_undeclared_endpoint_needs_a_weight(self, run: Any, pm_sandbox: Sandbox) -> None:
        """Without ``--weight``, nothing is sent; with it, the refusal is the exchange's."""
        refused = run("request", "GET", "/papi/v1/nothing", **environment_of(pm_sandbox))
        before = len(pm_sandbox.exchange.requests)
        answered = run("request", "GET", "/papi/v1/nothing", "--weight", "1", **environment_of(pm_sandbox))

        assert (refused.code, before) == (2, 0)
        assert (answered.code, "HTTP 404" in answered.err) == (1, True)

    def test_the_weight_of_a_declared_endpoint_is_known(self, run: Any) -> None:
        """``--weight`` is refused, because it could be wrong."""
        assert run("request", "GET", "/papi/v1/um/account", "--weight", "1", "--sandbox").code == 2

    def test_a_secret_parameter_is_not_shown(self, run: Any) -> None:
        """Text without an equals sign may be a misplaced key."""
        ended = run("request", "GET", "/papi/v1/um/account", "s" * 64, "--sandbox")

        assert (ended.code, "s" * 64 in ended.err) == (2, False)


class TestTable:
    """``--table``."""

    ROWS = (Row(uni_mmr=Decimal("1E-8"), label="[b]x"), Row(uni_mmr=None, label="\x1b[2J", parts=(Decimal("1E+2"),)))

    def test_a_list_has_a_row_for_each_struct(self) -> None:
        """Amounts are plain, numbers are aligned to the right, and control characters and markup are shown."""
        assert drawn(list(self.ROWS), 80) == [
            "    uniMmr  label      parts",
            "0.00000001  [b]x       []",
            '         -  \\u001b[2J  ["100"]',
        ]

    def test_a_list_that_is_too_wide_has_a_row_for_each_field(self) -> None:
        """No value is cut."""
        lines = drawn(list(self.ROWS), 24)

        assert [line.split() for line in lines[:3]] == [["field", "value"], ["uniMmr", "0.00000001"], ["label", "[b]x"]]
        assert lines[4] == ""

    def test_one_struct_has_a_row_for_each_field(self) -> None:
        """Even if a single row would fit."""
        assert drawn(self.ROWS[0], 80)[0].split() == ["field", "value"]

    @pytest.mark.parametrize("response", [[], {"a": 1}, [1], None])
    def test_other_responses_have_no_table(self, response: object) -> None:
        """They are printed as JSON."""
        assert as_table(response, Console()) is None

    def test_both_commands_print_tables(self, run: Any) -> None:
        """Without the option, they print JSON."""
        table = run("call", "um.position_risk", "--sandbox", "--table")
        again = run("request", "GET", "/papi/v1/um/positionRisk", "--sandbox", "--table")
        plain = run("request", "GET", "/papi/v1/um/positionRisk", "--sandbox")

        assert (table.code, again.code, plain.code) == (0, 0, 0)
        assert table.out.split()[:2] == again.out.split()[:2] == ["field", "value"]
        assert isinstance(json.loads(plain.out), list)


class TestConfirmation:
    """A write on the real exchange."""

    @pytest.mark.parametrize(("answer", "count"), [("y", 1), ("YES", 1), ("", 0), ("n", 0), ("yesterday", 0)])
    def test_a_terminal_is_asked(
        self, run: Any, sent: list[object], monkeypatch: pytest.MonkeyPatch, answer: str, count: int
    ) -> None:
        """Only a clear yes sends the request; the question shows the parameters and no secret."""
        err = Terminal()
        monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
        monkeypatch.setattr(sys, "stderr", err)
        ended = run("request", *ORDER, **KEYS)

        shown = err.getvalue()
        assert (ended.code, len(sent)) == (1 - count, count)
        assert all(part in shown for part in ORDER)
        assert "https://papi.binance.com" in shown
        assert not any(secret in shown for secret in KEYS.values())

    @pytest.mark.parametrize(
        "words",
        [("request", *ORDER), ("call", "um.cancel_order", "--symbol", "BTCUSDT", "--order-id", "1")],
        ids=["request", "call"],
    )
    def test_without_a_terminal_a_write_needs_yes(self, run: Any, sent: list[object], words: tuple[str, ...]) -> None:
        """With ``--yes``, nothing is asked."""
        refused = run(*words, **KEYS)
        before = len(sent)
        confirmed = run(*words, "--yes", **KEYS)

        assert (refused.code, refused.out, before) == (2, "", 0)
        assert (confirmed.code, len(sent)) == (0, 1)

    def test_a_read_is_not_confirmed(self, run: Any, sent: list[object]) -> None:
        """It changes nothing."""
        assert (run("call", "um_account", **KEYS).code, len(sent)) == (0, 1)

    @pytest.mark.pm_sandbox(accounts=1)
    def test_a_local_exchange_is_not_confirmed(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The address may come from an option or from the environment."""
        here = environment_of(pm_sandbox)
        keys = {name: value for name, value in here.items() if name != "BINANCE_PM_BASE_URL"}
        ended = [
            run("request", *ORDER, "--sandbox"),
            run("request", *ORDER, **here),
            run("request", *ORDER, "--base-url", pm_sandbox.base_url, **keys),
        ]

        assert [one.code for one in ended] == [0, 0, 0]
        assert [request.method for request in pm_sandbox.exchange.requests] == ["POST", "POST"]
