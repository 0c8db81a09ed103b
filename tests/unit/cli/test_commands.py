"""``binance-pm call``, and what all commands have in common; tests/messages has the texts of wrong usage."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal, Required, TypedDict, Unpack

import pytest
from cyclopts import App

import binance_pm
from binance_pm.api.connectivity import Empty
from binance_pm.cli.call import command_of
from binance_pm.declaration import Namespace, post
from binance_pm.endpoint import ENDPOINTS, Registry
from binance_pm.testing import Sandbox
from tests.support.command import environment_of
from tests.support.raw_server import refusing_port
from tests.support.sample import accepted_call


class NewOrder(TypedDict, total=False):
    """The parameters of an order."""

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
    @pytest.mark.parametrize("option", ["--sandbox", "--base-url"])
    def test_every_engine_gets_the_same_response(self, run: Any, engine: str, option: str, pm_sandbox: Sandbox) -> None:
        """An endpoint that needs no key is called without one."""
        address = (pm_sandbox.base_url,) if option == "--base-url" else ()

        assert run("call", "ping", option, *address, "--engine", engine) == (0, "{}\n", "")

    @pytest.mark.parametrize("name", sorted(ENDPOINTS))
    def test_every_endpoint_is_a_command(self, run: Any, name: str) -> None:
        """Each prints its response from the local exchange as JSON with plain amounts, or its refusal."""
        call = accepted_call(name)
        options = [part for argument, value in call.items() for part in option_of(argument, value)]
        ended = run("call", name, "--sandbox", *options)

        if refused := re.search(r"\(code (-?\d+), HTTP 4\d\d\)", ended.err):
            assert (ended.code, ended.out) == (1, "")
            assert int(refused[1]) not in MALFORMED
            return
        assert (ended.code, ended.err) == (0, "")
        assert isinstance(json.loads(ended.out), dict | list)
        assert not re.search(r'": "-?[\d.]+E', ended.out)

    def test_the_keys_of_a_typed_dict_are_options(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each option has its own description."""
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
    def test_keys_and_address_come_from_the_environment(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The parameters of the endpoint are options."""
        ended = run("call", "um_account", "--recv-window", "1234", **environment_of(pm_sandbox))

        (request,) = pm_sandbox.exchange.requests
        assert ended.code == 0
        assert (request.account, dict(request.params)["recvWindow"]) == ("account-01", "1234")

    @pytest.mark.pm_sandbox(accounts=1)
    def test_an_option_overrides_the_address_of_the_environment(self, run: Any, pm_sandbox: Sandbox) -> None:
        """An empty option is refused, and ``--sandbox`` does not reach the address of the environment."""
        here, elsewhere = {"BINANCE_PM_BASE_URL": pm_sandbox.base_url}, {"BINANCE_PM_BASE_URL": "https://example.com"}

        assert run("call", "ping", **here).code == 0
        assert run("call", "ping", "--base-url", pm_sandbox.base_url, **elsewhere).code == 0
        assert run("call", "ping", "--base-url", "", **here).code == 1
        assert run("call", "ping", "--sandbox", **here).code == 0
        assert run("call", "ping", "--sandbox", "--base-url", pm_sandbox.base_url).code == 2
        assert len(pm_sandbox.exchange.requests) == 2

    @pytest.mark.pm_sandbox(accounts=1)
    def test_failures_are_one_line(self, run: Any, pm_sandbox: Sandbox) -> None:
        """An unknown key, a refused connection and a parameter out of range end with exit code 1."""
        wrong = environment_of(pm_sandbox) | {"BINANCE_PM_API_KEY": "k" * 64}
        with refusing_port() as port:
            failures = {
                "create a new one": run("call", "um_account", **wrong),
                "Nothing was sent": run("call", "ping", "--base-url", f"http://127.0.0.1:{port}"),
                "60000 ms": run("call", "um_account", "--recv-window", "60001", "--sandbox"),
            }

        assert {(ended.code, ended.out, ended.err.count("\n")) for ended in failures.values()} == {(1, "", 1)}
        assert all(text in ended.err for text, ended in failures.items())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("call nope", "Unknown"),
        ("call um_account --nope", "Unknown"),
        ("call um_account --recv-window x", "Invalid"),
        ("nope", "Unknown"),
        ("sandbox --port=-1", "Invalid value -1 for --port. Must be >= 0."),
        ("sandbox --port 65536", "Invalid value 65536 for --port. Must be <= 65535."),
        ("sandbox --accounts 0", "Invalid value 0 for --accounts. Must be >= 1."),
        ("sandbox --accounts 1001", "Invalid value 1001 for --accounts. Must be <= 1000."),
        ("watch --accounts x --budget-name x", "--budget-name has no effect without --budget."),
        ("watch --accounts x --stream x", "--stream has no effect without --publish."),
        ("watch --accounts x --length 10", "--length has no effect without --publish."),
        ("watch --accounts x --on-event-kind Stale", "--on-event-kind has no effect without --on-event."),
        ("watch --accounts x --on-event-timeout 5", "--on-event-timeout has no effect without --on-event."),
        ("watch --accounts x --publish redis://h --length 0", "Invalid value 0 for --length. Must be >= 1."),
        ("watch --accounts x --on-event y --on-event-timeout 0", "Invalid value 0.0 for --on-event-timeout."),
    ],
)
def test_wrong_usage(run: Any, arguments: str, why: str) -> None:
    """The exit code is 2, and one line on stderr names the option."""
    ended = run(*arguments.split())

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    # Older releases of cyclopts put quotes around the option.
    assert ended.err.replace('"', "").startswith(f"binance-pm: {why}")


def test_urls_of_stores_may_come_from_the_environment(run: Any) -> None:
    """A URL with a password need not be an option, which every user of the machine can see."""
    stores = {"BINANCE_PM_BUDGET": "redis://127.0.0.1:1", "BINANCE_PM_PUBLISH": "redis://127.0.0.1:1"}
    ended = run("watch", "--accounts", "none.toml", "--budget-name", "x", "--stream", "x", **stores)

    assert (ended.code, "none.toml" in ended.err) == (1, True)


def test_version(run: Any) -> None:
    """The version is that of the package."""
    assert run("--version") == (0, f"{binance_pm.__version__}\n", "")


@pytest.mark.parametrize("command", ["", "call ping", "demo", "doctor", "plan", "request", "sandbox", "watch", "tail"])
def test_help_fits_eighty_columns(run: Any, command: str) -> None:
    """The help lists every command, or the options of one without the default of a flag."""
    out = run(*command.split(), "--help").out

    words = ("call", "demo", "doctor", "plan", "request", "sandbox", "tail", "watch") if not command else ("--",)
    assert max(map(len, out.splitlines())) <= 80
    assert all(word in out for word in words)
    assert not re.search(r"False|\(\)", out)


def raising(error: BaseException) -> Callable[..., None]:
    """Return a function that raises an error."""

    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        BaseExceptionGroup("unhandled errors in a TaskGroup", [KeyboardInterrupt()]),
        BaseExceptionGroup("", [RuntimeError(), BaseExceptionGroup("", [KeyboardInterrupt()])]),
    ],
    ids=["alone", "in a group", "in a group in a group"],
)
def test_an_interrupt_in_a_task_group_ends_the_command(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The exit code is that of Ctrl-C, without a traceback."""
    monkeypatch.setattr("anyio.run", raising(error))

    assert run("demo") == (130, "", "")


def test_an_unexpected_group_of_errors_is_raised(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the package is not hidden."""
    monkeypatch.setattr("anyio.run", raising(ExceptionGroup("ours", [RuntimeError()])))

    with pytest.raises(ExceptionGroup, match="ours"):
        run("demo")
