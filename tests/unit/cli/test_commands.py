"""The command line, as its user meets it: exit codes, words, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Required, TypedDict, Unpack

import pytest
from cyclopts import App

import binance_pm
from binance_pm.api.connectivity import Empty
from binance_pm.cli.call import command_of
from binance_pm.declaration import Namespace, post
from binance_pm.endpoint import ENDPOINTS, Registry
from binance_pm.extras import installation
from binance_pm.testing import Sandbox
from tests.support.command import COMMAND, NO_KEYS, at_terminal, environment_of
from tests.support.raw_server import refusing_port
from tests.support.sample import accepted_call


class NewOrder(TypedDict, total=False):
    """What an order is made of."""

    symbol: Required[str]
    """The symbol."""
    time_in_force: Literal["GTC", "IOC"]
    """How long it waits."""


def option_of(argument: str, value: object) -> list[str]:
    """Return an argument as an option of the command line; a flag has no value."""
    option = argument.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}", str(value)]


MALFORMED = {-1020, *range(-1120, -1099)}
"""Codes by which the exchange refuses a request that does not fit the endpoint."""


class TestCall:
    """``binance-pm call``."""

    @pytest.mark.parametrize("engine", ["auto", "httpx", "direct"])
    @pytest.mark.parametrize("place", [("--sandbox",), ("--base-url",)], ids=["sandbox", "address"])
    def test_the_engine_can_be_chosen(self, run: Any, engine: str, place: tuple[str], pm_sandbox: Sandbox) -> None:
        """The answer is the same."""
        where = place if place == ("--sandbox",) else (*place, pm_sandbox.base_url)
        ended = run("call", "ping", *where, "--engine", engine)

        assert (ended.code, ended.out, ended.err) == (0, "{}\n", "")

    def test_an_engine_that_is_not_installed(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """One line says what to install."""
        monkeypatch.setitem(sys.modules, "httptools", None)
        ended = run("call", "ping", "--sandbox", "--engine", "direct")

        assert (ended.code, ended.out) == (1, "")
        assert f"httptools is not installed: {installation('fast')}" in ended.err
        assert ended.err.count("\n") <= 1

    @pytest.mark.parametrize("name", sorted(ENDPOINTS))
    def test_every_endpoint_is_a_command(self, run: Any, name: str) -> None:
        """Each prints the typed response of the local exchange as JSON, or its refusal of what the account lacks."""
        call = accepted_call(name)
        options = [part for argument, value in call.items() for part in option_of(argument, value)]
        ended = run("call", name, "--sandbox", *options)

        if refused := re.search(r"\(code (-?\d+), HTTP 4\d\d\)", ended.err):
            assert (ended.code, ended.out) == (1, "")
            assert int(refused[1]) not in MALFORMED
            return
        assert (ended.code, ended.err) == (0, "")
        assert isinstance(json.loads(ended.out), dict | list)

    def test_the_keys_of_a_typed_dict_are_options(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each with its own description."""
        registry = Registry()

        class _Orders(Namespace, name="test", registry=registry):
            @post("/papi/v1/um/order", weights=1)
            async def new_order(self, **order: Unpack[NewOrder]) -> Empty:
                """Place an order."""
                raise NotImplementedError(order)

        assert _Orders
        app = App()
        app.command(command_of(registry["test.new_order"]), name="test.new_order")
        with pytest.raises(SystemExit):
            app(["test.new_order", "--help"], exit_on_error=True)

        shown = capsys.readouterr().out
        assert re.search(r"--symbol .*The symbol\. \[required\]", shown)
        assert re.search(r"--time-in-force .*How long it waits\. \[choices: GTC, IOC\]", shown)

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
        assert "Nothing was sent" in ended.err

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
        assert f"textual is missing. Ask for --plain, or install it: {installation('cli')}" in screen.text


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

    assert (ended.code, ended.out) == (2, "")
    # Older releases of cyclopts put quotes around the option.
    assert ended.err.replace('"', "") == f"binance-pm: Invalid value {why}\n".replace('"', "")


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("--budget-name", "x", "--budget"),
        ("--stream", "x", "--publish"),
        ("--length", "10", "--publish"),
        ("--on-event-kind", "Stale", "--on-event"),
        ("--on-event-timeout", "5", "--on-event"),
    ],
)
def test_an_option_without_effect_is_wrong_usage(
    run: Any, option: str, value: str, needed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives it relies on it, and forgot the one that it belongs to."""
    for variable in ("BINANCE_PM_BUDGET", "BINANCE_PM_PUBLISH"):
        monkeypatch.delenv(variable, raising=False)
    ended = run("watch", "--accounts", str(tmp_path / "accounts.toml"), option, value)

    assert (ended.code, ended.out, ended.err) == (2, "", f"binance-pm: {option} has no effect without {needed}.\n")


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

    @pytest.mark.parametrize("command", ["call ping", "demo", "doctor", "plan", "sandbox", "watch", "tail"])
    def test_help_of_a_command(self, run: Any, command: str) -> None:
        """A default is told where it is news: that a flag is off is none."""
        out = run(*command.split(), "--help").out

        assert "--json" in out or command == "call ping"
        assert "False" not in out

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
        assert ended.stderr == f"binance-pm: {missing} is missing: {installation('cli')}\n"


@pytest.mark.parametrize(
    ("option", "not_loaded"),
    [
        ("--version", {"starlette", "uvicorn", "textual", "rich", "cyclopts", "httpx"}),
        ("--help", {"starlette", "uvicorn", "textual"}),
    ],
)
def test_help_and_version_load_no_more_than_they_need(option: str, not_loaded: set[str]) -> None:
    """A fresh interpreter loads neither the local exchange nor the dashboard."""
    code = (
        f"import sys; sys.argv[1:] = [{option!r}]\n"
        "from binance_pm.cli import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert ended.stdout
    assert not_loaded.isdisjoint(ended.stderr.split())
