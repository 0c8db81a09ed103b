"""The command line, as its user meets it: exit codes, words, and never a traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import binance_pm
from binance_pm import cli
from binance_pm.endpoint import ENDPOINTS
from binance_pm.testing import Sandbox
from tests.conftest import refusing_port

COMMAND = [sys.executable, "-m", "binance_pm"]
# What sets a colour of letters or of what is behind them.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
NO_KEYS = {name: value for name, value in os.environ.items() if not name.startswith("BINANCE_PM_")}


class Outcome:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command in this process; what it prints is no terminal."""

    def run(*arguments: str, **environment: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["binance-pm", *arguments])
        for name in [name for name in os.environ if name.startswith("BINANCE_PM_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return Outcome(code if isinstance(code, int) else 1, out, err + (code if isinstance(code, str) else ""))

    return run


def environment_of(pm: Sandbox) -> dict[str, str]:
    """The keys of the first account."""
    account = pm.accounts[0]
    return {
        "BINANCE_PM_BASE_URL": pm.base_url,
        "BINANCE_PM_API_KEY": account.api_key,
        "BINANCE_PM_API_SECRET": account.api_secret,
    }


class TestCall:
    """``binance-pm call``."""

    @pytest.mark.parametrize("name", sorted(ENDPOINTS))
    def test_every_endpoint_is_a_command(self, run: Any, name: str) -> None:
        """Each prints its typed answer as JSON, without a key, from the local exchange."""
        ended = run("call", name, "--sandbox")

        assert (ended.code, ended.err) == (0, "")
        assert isinstance(json.loads(ended.out), dict)

    @pytest.mark.pm_sandbox(accounts=1)
    def test_keys_come_from_the_environment(self, run: Any, pm_sandbox: Sandbox) -> None:
        """So does the address."""
        ended = run("call", "span_account", **environment_of(pm_sandbox))

        assert json.loads(ended.out)["accountStatus"] == "NORMAL"
        assert pm_sandbox.exchange.requests[-1].account == "account-01"

    @pytest.mark.pm_sandbox(accounts=1)
    def test_parameters_are_options(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The endpoint's own parameters, spelt with dashes."""
        ended = run("call", "um_account", "--recv-window", "1234", **environment_of(pm_sandbox))

        assert ended.code == 0
        assert dict(pm_sandbox.exchange.requests[-1].params)["recvWindow"] == "1234"

    @pytest.mark.pm_sandbox(accounts=1)
    def test_the_address_may_be_given(self, run: Any, pm_sandbox: Sandbox) -> None:
        """An endpoint that needs no key is called without one."""
        ended = run("call", "ping", "--base-url", pm_sandbox.base_url)

        assert (ended.code, json.loads(ended.out)) == (0, {})

    @pytest.mark.pm_sandbox(accounts=1)
    def test_the_environments_address_holds_without_a_key_too(self, run: Any, pm_sandbox: Sandbox) -> None:
        """Whoever has set the address does not want to reach another one."""
        ended = run("call", "ping", BINANCE_PM_BASE_URL=pm_sandbox.base_url)

        assert (ended.code, len(pm_sandbox.exchange.requests)) == (0, 1)

    @pytest.mark.pm_sandbox(accounts=1)
    def test_the_option_wins_over_the_environment(self, run: Any, pm_sandbox: Sandbox) -> None:
        """An empty one too: it is refused, not replaced."""
        elsewhere = {"BINANCE_PM_BASE_URL": "https://example.com"}

        assert run("call", "ping", "--base-url", pm_sandbox.base_url, **elsewhere).code == 0
        assert run("call", "ping", "--base-url", "", BINANCE_PM_BASE_URL=pm_sandbox.base_url).code == 1
        assert len(pm_sandbox.exchange.requests) == 1

    def test_amounts_are_in_plain_notation(self, run: Any) -> None:
        """A zero with eight decimals is no exponent."""
        assert json.loads(run("call", "span_account", "--sandbox").out)["otherMM"] == "0.00000000"

    def test_no_key(self, run: Any) -> None:
        """One line says which variable is missing."""
        ended = run("call", "um_account")

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "BINANCE_PM_API_KEY is not set" in ended.err

    @pytest.mark.pm_sandbox(accounts=1)
    def test_wrong_key(self, run: Any, pm_sandbox: Sandbox) -> None:
        """One line says what to do about it."""
        ended = run("call", "um_account", **environment_of(pm_sandbox) | {"BINANCE_PM_API_KEY": "k" * 64})

        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "create a new one" in ended.err

    def test_no_network(self, run: Any) -> None:
        """Nobody answers: one line says so."""
        with refusing_port() as port:
            ended = run("call", "ping", "--base-url", f"http://127.0.0.1:{port}")

        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "no connection could be made" in ended.err

    @pytest.mark.parametrize(
        "arguments",
        [("call", "nope"), ("call", "um_account", "--nope"), ("call", "um_account", "--recv-window", "x"), ("nope",)],
    )
    def test_wrong_usage(self, run: Any, arguments: tuple[str, ...]) -> None:
        """The exit code is 2, and one line on stderr says what is wrong."""
        ended = run(*arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert re.match("binance-pm: (Unknown|Invalid)", ended.err)

    @pytest.mark.pm_sandbox(accounts=1)
    def test_two_places_are_wrong_usage(self, run: Any, pm_sandbox: Sandbox) -> None:
        """Neither option is ignored; the environment's address gives way to `--sandbox`."""
        ended = run("call", "ping", "--sandbox", "--base-url", pm_sandbox.base_url)

        assert (ended.code, ended.out, ended.err) == (
            2,
            "",
            "binance-pm: --sandbox and --base-url exclude each other.\n",
        )
        assert run("call", "ping", "--sandbox", BINANCE_PM_BASE_URL=pm_sandbox.base_url).code == 0
        assert pm_sandbox.exchange.requests == ()


class TestDemo:
    """``binance-pm demo``."""

    def test_once(self, run: Any) -> None:
        """A table of twelve accounts with their pools below, in 80 columns; no terminal means once."""
        ended = run("demo")

        lines = ended.out.splitlines()
        assert (ended.code, ended.err, max(map(len, lines)) <= 80) == (0, "", True)
        assert lines[0].split() == ["account", "status", "uniMMR", "equity", "maint.", "profit", "age"]
        assert sorted(line.split()[0] for line in lines[1:13]) == [f"account-{number:02}" for number in range(1, 13)]
        # Where the minute turned meanwhile, less was used in it.
        assert re.search(r"IP /papi +\[\.+=* *\] +\d+ of 6,000", ended.out)
        assert re.search(r"IP /sapi/v2/portfolio/account +\[\.+=* *\] +\d+ of 12,000", ended.out)

    def test_worst_first(self, run: Any) -> None:
        """Who is nearest to liquidation stands on top."""
        margins = [float(line.split()[2].rstrip("!")) for line in run("demo", "--once").out.splitlines()[1:13]]

        assert margins == sorted(margins)

    def test_another_seed_is_another_market(self, run: Any) -> None:
        """The same accounts, worth something else."""
        equities = [{line.split()[3] for line in run("demo", f"--seed={n}").out.splitlines()[1:13]} for n in (7, 8)]

        assert not equities[0] & equities[1]

    def test_plain(self, run: Any) -> None:
        """One line an event, until each account was read."""
        lines = run("demo", "--plain").out.splitlines()

        assert {line.split()[2] for line in lines} == {f"account-{number:02}:" for number in range(1, 13)}
        assert {line.split()[1] for line in lines} >= {"Reading"}

    def test_json(self, run: Any) -> None:
        """One object an event, and nothing else."""
        objects = [json.loads(line) for line in run("demo", "--json").out.splitlines()]

        assert {item["label"] for item in objects} == {f"account-{n:02}" for n in range(1, 13)}
        reading = next(item for item in objects if item["type"] == "Reading")
        assert set(reading["answers"]) <= {"span_account", "um_account"}

    def test_first_picture_within_two_seconds(self) -> None:
        """Of the processor, from the start of the process, imports included."""
        # Other programs only ever make it slower: one fast start is enough.
        assert any(processor_seconds("demo", "--once") < 2 for _ in range(3))

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize("end", ["q", "ctrl-c", "SIGINT", "SIGTERM"])
    def test_at_a_terminal(self, end: str) -> None:
        """A full screen that is updated until it is left, and the terminal is as it was."""
        with at_terminal("demo") as screen:
            screen.wait_for("account-12")
            screen.wait_for("12 fresh")
            screen.wait_for(r"(?s)live \d\d:\d\d:(\d\d)Z.*live \d\d:\d\d:(?!\1)\d\dZ")
            match end:
                case "q":
                    screen.type("q")
                case "ctrl-c":
                    screen.type("\x03")
                case _:
                    screen.signal(signal.Signals[end])

        assert screen.code == {"q": 0, "SIGTERM": 143}.get(end, 130)
        assert "Traceback" not in screen.text
        assert screen.is_restored
        # The screen of its own was entered and left, and the cursor is seen again.
        assert screen.text.count("\x1b[?1049h") == screen.text.count("\x1b[?1049l") == 1
        assert screen.text.rindex("\x1b[?25h") > screen.text.rindex("\x1b[?25l")

    @pytest.mark.usefixtures("interruptible")
    def test_no_colour(self) -> None:
        """Where it is not wanted, no colour is sent; the words are the same."""
        with at_terminal("demo", NO_COLOR="1") as plain:
            plain.wait_for("12 fresh")
            plain.type("q")
        with at_terminal("demo") as coloured:
            coloured.wait_for("12 fresh")
            coloured.type("q")

        assert [bool(COLOUR.search(screen.text)) for screen in (plain, coloured)] == [False, True]

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize(
        ("options", "environment"), [(("--plain",), {}), ((), {"TERM": "dumb"})], ids=["asked for", "dumb"]
    )
    def test_lines_at_a_terminal(self, options: tuple[str, ...], environment: dict[str, str]) -> None:
        """The story and its events go on until Ctrl-C, without a control sequence."""
        with at_terminal("demo", *options, **environment) as screen:
            screen.wait_for(r"Z Twelve accounts of a local exchange")
            screen.wait_for(r"(?s)(Reading +account-06.*){3}")
            screen.interrupt()

        assert screen.code == 130
        assert "Traceback" not in screen.text
        assert "\x1b" not in screen.text

    @pytest.mark.usefixtures("interruptible")
    def test_json_at_a_terminal_goes_on(self) -> None:
        """One object an event, and no caption."""
        with at_terminal("demo", "--json") as screen:
            screen.wait_for(r'(?s)("label":"account-06".*){3}')
            screen.interrupt()

        assert screen.code == 130
        assert all(line.startswith("{") for line in screen.text.replace("^C", "").splitlines() if line.strip())


@pytest.mark.pm_sandbox(accounts=2)
class TestWatch:
    """``binance-pm watch``."""

    @pytest.fixture
    def accounts(self, tmp_path: Path, pm_sandbox: Sandbox) -> list[str]:
        """The command for both accounts of a local exchange, whose keys are in files."""
        tables: list[str] = []
        for account in pm_sandbox.accounts:
            for name, key in (("key", account.api_key), ("secret", account.api_secret)):
                file = tmp_path / f"{account.label}.{name}"
                file.write_text(key, encoding="utf-8")
                file.chmod(0o600)
            tables.append(
                f'[[accounts]]\nlabel = "{account.label}"\nproduct = "span"\n'
                f'api_key = {{ file = "{account.label}.key" }}\napi_secret = {{ file = "{account.label}.secret" }}\n'
            )
        file = tmp_path / "accounts.toml"
        file.write_text("\n".join(tables), encoding="utf-8")
        return ["watch", "--accounts", str(file)]

    @pytest.mark.usefixtures("interruptible")
    def test_on_a_full_screen(self, accounts: list[str], pm_sandbox: Sandbox) -> None:
        """Until it is left."""
        with at_terminal(*accounts, "--warn", "1.5", BINANCE_PM_BASE_URL=pm_sandbox.base_url) as screen:
            screen.wait_for("2 fresh")
            screen.type("q")

        assert (screen.code, screen.is_restored, "Traceback" in screen.text) == (0, True, False)
        assert not any(account.api_secret in screen.text for account in pm_sandbox.accounts)

    @pytest.mark.usefixtures("interruptible")
    @pytest.mark.parametrize("option", ["--plain", "--json"])
    def test_in_lines(self, accounts: list[str], option: str, pm_sandbox: Sandbox) -> None:
        """One an event, at a terminal too, if that is asked for."""
        with at_terminal(*accounts, option, BINANCE_PM_BASE_URL=pm_sandbox.base_url) as screen:
            screen.wait_for("account-01")
            screen.wait_for("account-02")
            screen.interrupt()

        assert (screen.code, "\x1b" in screen.text, "Traceback" in screen.text) == (130, False, False)
        lines = [line for line in screen.text.replace("^C", "").splitlines() if line.strip()]
        assert all(line.startswith("{" if option == "--json" else tuple("012")) for line in lines)

    def test_without_a_terminal(self, accounts: list[str], pm_sandbox: Sandbox) -> None:
        """Lines, without being asked for."""
        command = subprocess.Popen(
            [*COMMAND, *accounts], stdout=subprocess.PIPE, env=NO_KEYS | {"BINANCE_PM_BASE_URL": pm_sandbox.base_url}
        )
        with command:
            assert command.stdout is not None
            line = command.stdout.readline().decode()
            command.kill()

        assert re.match(r"\d\d:\d\d:\d\dZ Reading +account-0\d: uni_mmr ", line)

    @pytest.mark.parametrize("options", [(), ("--plain",)])
    def test_lines_that_cannot_be(self, accounts: list[str], options: tuple[str, ...]) -> None:
        """One line says so, and no screen was entered."""
        with at_terminal(*accounts, "--warn", "1.2", "--alarm", "1.5", *options) as screen:
            screen.end()

        assert (screen.code, screen.text.count("\n"), "\x1b" in screen.text) == (1, 1, False)
        assert "alarm (1.5) is not below warn (1.2)" in screen.text

    def test_what_draws_it_may_be_missing(self, accounts: list[str]) -> None:
        """One line says what to do, or what to ask for instead."""
        missing = "import sys; sys.modules['textual'] = None"
        code = f"{missing}; sys.argv[1:] = {accounts!r}; from binance_pm.cli import main; main()"
        with at_terminal(command=[sys.executable, "-c", code]) as screen:
            screen.end()

        assert (screen.code, screen.text.count("\n")) == (1, 1)
        assert "textual is missing: pip install 'binance-pm[cli]', or ask for --plain" in screen.text


class TestPlan:
    """``binance-pm plan``."""

    def test_what_does_not_fit(self, run: Any) -> None:
        """A line for each pool and a line of verdict, in 80 columns; the exit code tells as well."""
        ended = run("plan", "--accounts", "40", "--every", "5", "um_account", "account")

        table, verdict = ended.out.split("\n\n")
        rows = [line.split() for line in table.splitlines()]
        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (1, "", True)
        assert rows[0] == ["weight", "a", "minute", "limit", "available", "needed", "share"]
        assert rows[1:] == [["IP", "/papi", "6,000", "5,510", "12,000", "217.8%"]]
        assert " ".join(verdict.split()) == (
            "It does not fit: it needs 12,000 a minute, polls may use 5,510 of 6,000: every 10.9 s fits, or adaptive."
        )

    def test_the_interval_that_it_names_fits(self, run: Any) -> None:
        """So does every longer one; a shorter one does not."""
        codes = [run("plan", "--accounts=40", f"--every={n}", "um_account", "account").code for n in (10.8, 10.9, 11)]

        assert codes == [1, 0, 0]

    def test_each_pool_has_a_line(self, run: Any) -> None:
        """An account's own pools are drawn on by one account."""
        ended = run("plan", "--accounts", "40", "--every", "15", "um_account", "pro_account")

        lines = ended.out.splitlines()
        assert [line.split()[:5] for line in lines[1:4]] == [
            ["IP", "/papi", "6,000", "5,510", "800"],
            ["IP", "/sapi/v1/portfolio/account", "12,000", "11,030", "800"],
            ["UID", "/sapi/v1/portfolio/account", "180,000", "165,590", "20"],
        ]
        assert max(map(len, lines)) <= 80
        assert lines[-1] == "It fits; the shortest interval is 2.18 s."

    @pytest.mark.parametrize(("every", "fits"), [("5", False), ("15", True)])
    def test_json(self, run: Any, every: str, fits: bool) -> None:  # noqa: FBT001 - pytest's parameters are positions
        """One object, and the exit code of the table."""
        ended = run("plan", "--accounts", "40", "--every", every, "um_account", "account", "--json")

        said = json.loads(ended.out)
        (pool,) = said.pop("pools")
        assert ended.code == int(not fits)
        assert said == {
            "fits": fits,
            "accounts": 40,
            "every": float(every),
            "shortest": pytest.approx(10.889, abs=1e-3),
        }
        assert (pool["pool"], pool["limit"]) == ("IP /papi", 6_000)
        assert pool["share"] == pool["needed"] / pool["available"] == pytest.approx(said["shortest"] / said["every"])

    @pytest.mark.parametrize(
        ("every", "seconds"), [("7", 7.0), ("7s", 7.0), ("7.5s", 7.5), ("500ms", 0.5), ("2m", 120.0)]
    )
    def test_intervals_have_units(self, run: Any, every: str, seconds: float) -> None:
        """Seconds where none is named."""
        assert json.loads(run("plan", "--accounts", "1", "--every", every, "--json").out)["every"] == seconds

    @pytest.mark.parametrize(
        ("product", "pools"),
        [
            ((), ["IP /papi"]),
            (("--product", "pm"), ["IP /papi"]),
            (("--product", "pm_pro"), ["IP /sapi/v1/portfolio/account", "UID /sapi/v1/portfolio/account"]),
            (("--product", "span"), ["IP /sapi/v2/portfolio/account"]),
        ],
    )
    def test_a_products_picture_is_read(self, run: Any, product: tuple[str, ...], pools: list[str]) -> None:
        """Where no endpoint is named."""
        said = json.loads(run("plan", "--accounts", "40", "--every", "15", *product, "--json").out)

        assert [pool["pool"] for pool in said["pools"]] == pools

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (
                ("1", "--every=1", "um_account", "nope"),
                "There is no endpoint 'nope': binance-pm call --help lists them.",
            ),
            (("1", "--every=1", "nope", "--json"), "There is no endpoint 'nope': binance-pm call --help lists them."),
            (("1", "--every=soon"), 'Invalid value "soon" for --every. Such as 5, 5s, 500ms or 2m.'),
            (("1", "--every=1h"), 'Invalid value "1h" for --every. Such as 5, 5s, 500ms or 2m.'),
            (
                ("1", "--every=1", "--floor=1"),
                "--every is the same for all: --floor and --ceiling are for a plan without",
            ),
            (
                ("1", "um_account", "--product=pm"),
                "--product stands for the endpoints that are read of it: name one or",
            ),
            (("1", "--shard=1/2"), "--shard takes a part of an accounts file: give its path to --accounts."),
            (("a.toml", "um_account"), "An accounts file says itself what is read: leave out endpoints and --product."),
            (
                ("a.toml", "--product=pm"),
                "An accounts file says itself what is read: leave out endpoints and --product.",
            ),
            (("a.toml", "--shard=x"), "--shard 'x' is not of the form i/n, such as 2/3."),
        ],
        ids=str,
    )
    def test_wrong_usage(self, run: Any, arguments: tuple[str, ...], why: str) -> None:
        """One line says what is wrong."""
        ended = run("plan", "--accounts", *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert ended.err.startswith(f"binance-pm: {why}")


ACCOUNTS = """
[[accounts]]
label = "{label}"
product = "{product}"
api_key = {{ env = "NOT_READ" }}
api_secret = {{ env = "NOT_READ" }}
"""


class TestPlanOfFile:
    """``binance-pm plan`` for an accounts file, and without an interval."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        """Thirty accounts of Portfolio Margin and two of the other products each; their keys are nowhere."""
        products = ["pm"] * 30 + ["pm_pro", "span"] * 2
        tables = [ACCOUNTS.format(label=f"desk-{n}", product=product) for n, product in enumerate(products)]
        path = tmp_path / "accounts.toml"
        path.write_text("".join(tables), encoding="utf-8")
        return str(path)

    def test_at_an_interval(self, run: Any, path: str) -> None:
        """Each account reads what its product needs; no key is opened."""
        ended = run("plan", "--accounts", path, "--every", "5s")

        rows = [line.split() for line in ended.out.splitlines()[1:5]]
        assert (ended.code, max(map(len, ended.out.splitlines())) <= 80) == (1, True)
        assert [[*row[:2], row[-2]] for row in rows] == [
            ["IP", "/papi", "9,000"],
            ["IP", "/sapi/v1/portfolio/account", "120"],
            ["UID", "/sapi/v1/portfolio/account", "60"],
            ["IP", "/sapi/v2/portfolio/account", "120"],
        ]
        assert run("plan", "--accounts", path, "--every", "9s").code == 0

    def test_as_it_would_be_watched(self, run: Any, path: str) -> None:
        """How often the calm ones, those in danger and all are read, and what a minute of it takes."""
        ended = run("plan", "--accounts", path)

        intervals, pools, verdict = ended.out.split("\n\n")
        rows = [line.split() for line in intervals.splitlines()]
        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (0, "", True)
        assert " ".join(rows[0]) == "seconds between readings accounts calm 5 in danger others all in danger"
        # The five whose readings take most are in danger: they share what polls may use with the others.
        assert rows[1] == ["account,", "um_account", "30", "15", "2.02", "30.2", "9.07"]
        assert rows[2:] == [["pro_account", "2", "15", "-", "15", "1"], ["span_account", "2", "15", "-", "15", "1"]]
        assert pools.splitlines()[1].split() == ["IP", "/papi", "6,000", "5,510", "3,000", "54.4%"]
        assert verdict == "It fits: while all are calm, each is read every 15 s.\n"

    def test_more_than_fits(self, run: Any) -> None:
        """Of a number too; the exit code tells that the ceiling does not hold."""
        ended = run("plan", "--accounts", "200")

        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (1, "", True)
        assert " ".join(ended.out.split("\n\n")[2].split()) == (
            "It does not fit: it needs 20,000 a minute, a watch plans 4,959 of 6,000: even while all are calm, some "
            "are read every 60.5 s."
        )
        assert run("plan", "--accounts", "200", "--ceiling", "61").code == 0

    def test_json(self, run: Any, path: str) -> None:
        """The same as one object."""
        said = json.loads(run("plan", "--accounts", path, "--floor", "2", "--ceiling", "30", "--json").out)

        assert (said["fits"], said["accounts"], said["floor"], said["ceiling"], said["few"]) == (True, 34, 2, 30, 5)
        assert [(group["read"], group["accounts"], group["calm"]) for group in said["groups"]] == [
            (["account", "um_account"], 30, 30),
            (["pro_account"], 2, 30),
            (["span_account"], 2, 30),
        ]

    def test_a_part_of_it(self, run: Any, path: str) -> None:
        """The parts are all of it together."""
        parts = [json.loads(run("plan", "--accounts", path, "--shard", f"{n}/3", "--json").out) for n in (1, 2, 3)]

        assert sum(part["accounts"] for part in parts) == 34
        assert all(0 < part["accounts"] < 34 for part in parts)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("--shard", "4/3"), "there is no shard 4 of 3"),
            (("--floor", "9", "--ceiling", "3"), "0 < floor <= ceiling <= 900"),
            (("--ceiling", "901"), "0 < floor <= ceiling <= 900"),
            (("--shard", "9/999"), "this shard has none of the accounts"),
        ],
    )
    def test_what_cannot_be(self, run: Any, path: str, arguments: tuple[str, ...], why: str) -> None:
        """One line says why."""
        ended = run("plan", "--accounts", path, *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert why in ended.err

    def test_a_file_that_is_wrong(self, run: Any, tmp_path: Path) -> None:
        """All that is wrong with it, in one line; and one that is not there."""
        path = tmp_path / "accounts.toml"
        path.write_text(ACCOUNTS.format(label="desk", product="spot"), encoding="utf-8")

        assert "line 2 [desk]: product is none of pm, pm_pro, span" in run("plan", "--accounts", str(path)).err
        assert "cannot be read" in run("plan", "--accounts", str(tmp_path / "none.toml")).err


def processor_seconds(*arguments: str) -> float:
    """What a command takes of the processor, however busy the machine is."""
    # Measuring coverage would cost more than what is measured here.
    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, timeout=20, env=unwatched)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.usefixtures("interruptible")
class TestSandbox:
    """``binance-pm sandbox``."""

    def test_serves_until_interrupted(self) -> None:
        """It prints its address and keys of each kind, and another process can use them."""
        with at_terminal("sandbox", "--accounts", "2") as screen:
            screen.wait_for("account-02")
            base_url = screen.find(r"export BINANCE_PM_BASE_URL=(\S+)")
            keys = {
                name: screen.find(rf"export {name}=(\S+)") for name in ("BINANCE_PM_API_KEY", "BINANCE_PM_API_SECRET")
            }
            called = subprocess.run(
                [*COMMAND, "call", "um_account"],
                env=NO_KEYS | keys | {"BINANCE_PM_BASE_URL": base_url},
                capture_output=True,
                timeout=20,
                check=False,
            )
            screen.interrupt()

        assert (called.returncode, called.stderr) == (0, b"")
        assert screen.text.count("-----BEGIN PRIVATE KEY-----") == 2
        assert (screen.code, "Traceback" in screen.text) == (130, False)

    def test_json(self) -> None:
        """One object for other programs."""
        with at_terminal("sandbox", "--json", "--accounts", "1") as screen:
            said = json.loads(screen.find(r"(\{.*\})\r?\n"))
            screen.interrupt()

        assert [key["kind"] for key in said["accounts"][0]["keys"]] == ["HMAC", "ED25519", "RSA"]

    def test_port_taken(self, run: Any) -> None:
        """One line says so."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ended = run("sandbox", "--port", str(listener.getsockname()[1]))

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "cannot listen on 127.0.0.1" in ended.err


def raising(error: BaseException) -> Callable[..., None]:
    """A function that does nothing else."""

    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("plan", "ping", "--accounts", "1", "--every=-1"), '"-1" for --every. Must be >= 0.001.'),
        (("plan", "ping", "--accounts", "1", "--every", "inf"), '"inf" for --every. Must be <= 86400.'),
        (("plan", "ping", "--accounts", "0", "--every", "1"), '"0" for --accounts. Must be >= 1.'),
        (("plan", "ping", "--accounts", "1000001", "--every", "1"), '"1000001" for --accounts. Must be <= 1000000.'),
        (("plan", "ping", "--accounts", "1", "--every", "0"), '"0" for --every. Must be >= 0.001.'),
        (("plan", "ping", "--accounts", "1", "--every", "nan"), '"nan" for --every. Must be <= 86400.'),
        (("plan", "ping", "--accounts", "1", "--every", "1441m"), '"1441m" for --every. Must be <= 86400.'),
        (("sandbox", "--port=-1"), '"-1" for --port. Must be >= 0.'),
        (("sandbox", "--port", "65536"), '"65536" for --port. Must be <= 65535.'),
        (("sandbox", "--accounts", "0"), '"0" for --accounts. Must be >= 1.'),
        (("sandbox", "--accounts", "1001"), '"1001" for --accounts. Must be <= 1000.'),
    ],
    ids=str,
)
def test_a_number_out_of_range_is_wrong_usage(run: Any, arguments: tuple[str, ...], why: str) -> None:
    """One line names the option and its bound."""
    ended = run(*arguments)

    assert (ended.code, ended.out, ended.err) == (2, "", f"binance-pm: Invalid value {why}\n")


def test_the_exchanges_bounds_are_checked_too(run: Any) -> None:
    """A parameter of an endpoint is refused before it is sent."""
    ended = run("call", "um_account", "--recv-window", "60001", "--sandbox")

    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "the exchange allows 1 to 60000 ms" in ended.err


class TestHouse:
    """What every command owes its user."""

    def test_version(self, run: Any) -> None:
        """The package's own."""
        assert run("--version").out.strip() == binance_pm.__version__

    def test_the_module_is_the_command(self) -> None:
        """Where the script is not on the path, the interpreter starts it."""
        ended = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, timeout=20, check=False)

        assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, binance_pm.__version__, "")

    def test_help_fits_eighty_columns(self, run: Any) -> None:
        """Every command is listed."""
        out = run("--help").out

        assert max(map(len, out.splitlines())) <= 80
        assert all(command in out for command in ("call", "demo", "doctor", "plan", "sandbox", "watch"))

    @pytest.mark.parametrize(
        "error",
        [
            KeyboardInterrupt(),
            BaseExceptionGroup("unhandled errors in a TaskGroup", [KeyboardInterrupt()]),
            BaseExceptionGroup("", [RuntimeError(), BaseExceptionGroup("", [KeyboardInterrupt()])]),
        ],
        ids=["alone", "in a group", "in a group in a group"],
    )
    def test_an_interrupt_is_no_failure(self, run: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        """Ctrl-C within a task group comes as a group; it ends the command as it does elsewhere."""
        monkeypatch.setattr("anyio.run", raising(error))

        ended = run("demo")

        assert (ended.code, ended.out, ended.err) == (130, "", "")

    @pytest.mark.parametrize("shell", ["", "trap '' INT; "], ids=["", "where Ctrl-C is ignored"])
    @pytest.mark.parametrize("arguments", [("sandbox",), ("demo", "--plain", "--no-once")], ids=["sandbox", "demo"])
    def test_sigterm_ends_a_command(self, arguments: tuple[str, ...], shell: str) -> None:
        """Without a word, also where a script started it in the background, whose children do not hear Ctrl-C."""
        command = subprocess.Popen(
            ["/bin/sh", "-c", f'{shell}exec "$@"', "sh", *COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert command.stdout is not None
        command.stdout.readline()
        command.terminate()
        _, err = command.communicate(timeout=20)

        assert (command.returncode, err) == (143, b"")

    def test_a_group_without_an_interrupt_is_not_hushed(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mistake of ours is seen."""
        monkeypatch.setattr("anyio.run", raising(ExceptionGroup("ours", [RuntimeError()])))

        with pytest.raises(ExceptionGroup, match="ours"):
            run("demo")

    @pytest.mark.parametrize("arguments", [("call", "um_account", "--sandbox"), ("demo", "--once"), ("--help",)])
    def test_nothing_breaks_when_nobody_reads_on(self, arguments: tuple[str, ...]) -> None:
        """A closed pipe, as by `head`, is no error."""
        command = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert command.stdout is not None
        command.stdout.close()
        _, err = command.communicate(timeout=20)

        assert (command.returncode, err) == (0, b"")

    @pytest.mark.parametrize(
        ("arguments", "code"), [(("call", "ping", "--sandbox"), 0), (("demo", "--once"), 0), (("nope",), 2)]
    )
    def test_nothing_breaks_where_the_output_was_closed(self, arguments: tuple[str, ...], code: int) -> None:
        """As a shell does with `>&-` and `2>&-`: the exit code is what is left to tell."""
        closing = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
        ended = subprocess.run([*closing, *COMMAND, *arguments], timeout=20, check=False)

        assert ended.returncode == code

    def test_nothing_breaks_where_the_input_was_closed(self) -> None:
        """As a shell does with `<&-`, and some that start daemons: there is no terminal."""
        command = subprocess.Popen(
            ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "demo", "--no-once"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert command.stdout is not None
        first = command.stdout.readline()
        command.stdout.close()
        _, err = command.communicate(timeout=20)

        assert (b"Twelve accounts" in first, command.returncode, err) == (True, 0, b"")

    @pytest.mark.parametrize("arguments", [("call", "ping", "--sandbox"), ("demo", "--once"), ("demo", "--no-once")])
    def test_output_that_cannot_be_written(self, arguments: tuple[str, ...]) -> None:
        """It is a failure like others: one line."""
        unwritable = os.open(os.devnull, os.O_RDONLY)
        try:
            ended = subprocess.run(
                [*COMMAND, *arguments], stdout=unwritable, stderr=subprocess.PIPE, timeout=20, check=False
            )
        finally:
            os.close(unwritable)

        assert (ended.returncode, ended.stderr) == (1, b"binance-pm: Bad file descriptor\n")

    def test_a_failure_that_nobody_hears_is_one(self) -> None:
        """The exit code holds although the reader of stderr has gone."""
        command = subprocess.Popen([*COMMAND, "call", "um_account"], stderr=subprocess.PIPE, env=NO_KEYS)
        assert command.stderr is not None
        command.stderr.close()

        assert command.wait(timeout=20) == 1

    @pytest.mark.parametrize("missing", ["cyclopts", "starlette"])
    @pytest.mark.parametrize(
        "command",
        [
            "from binance_pm.cli import main; main()",
            "import runpy; runpy.run_module('binance_pm', run_name='__main__')",
        ],
        ids=["script", "module"],
    )
    def test_a_missing_extra_is_named(self, missing: str, command: str) -> None:
        """The command line is an extra: one line says how to get it."""
        ended = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.modules[{missing!r}] = None; {command}", "demo"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"binance-pm: {missing} is missing: pip install 'binance-pm[cli]'\n"


class Screen:
    """A command at a terminal of 80 columns."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, modes: list[Any]) -> None:
        self.text = ""
        self.code: int | None = None
        self.is_restored = False
        """Whether the terminal has its modes of before, such as echo and lines."""
        self._process = process
        self._terminal = terminal
        self._modes = modes

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern was seen."""
        deadline = time.monotonic() + 20
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in {self.text!r}"
            assert self._read(), f"{pattern!r} did not appear before the end of {self.text!r}"
        return found

    def find(self, pattern: str) -> str:
        """The first group of the pattern, once it was seen."""
        return self.wait_for(pattern)[1]

    def interrupt(self) -> None:
        """Press Ctrl-C and wait for the end."""
        self.signal(signal.SIGINT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        self.end()

    def type(self, keys: str) -> None:
        """Press keys that make it end, and wait for the end."""
        os.write(self._terminal, keys.encode())
        self.end()

    def end(self) -> None:
        """Read what is left and note the exit code."""
        while self._read():
            pass
        self.code = self._process.wait(timeout=20)
        self.is_restored = termios.tcgetattr(self._terminal) == self._modes

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], 20)
        if not ready:
            return False
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:
            return False
        self.text += piece.decode()
        return bool(piece)


@contextmanager
def at_terminal(*arguments: str, command: Sequence[str] = COMMAND, **environment: str) -> Generator[Screen, None, None]:
    """Run the command at a terminal."""
    ours, theirs = pty.openpty()
    modes: list[Any] = termios.tcgetattr(theirs)
    whole = NO_KEYS | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"} | environment
    try:
        process = subprocess.Popen([*command, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=whole)
        os.close(theirs)
        with process:
            screen = Screen(process, ours, modes)
            try:
                yield screen
            finally:
                process.kill()
    finally:
        os.close(ours)
